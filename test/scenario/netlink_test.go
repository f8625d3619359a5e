//go:build guest

package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestNetlinkInsert: an entry that ctnetlink is asked to create finds the
// table full. No packet is lost and the kernel counts nothing, though it logs
// the same words; ctwhy tells it, says that it came from netlink, and still
// reconciles.
func TestNetlinkInsert(t *testing.T) {
	const inserts = 5
	eachBackend(t, func(t *testing.T, backend string) {
		n := fullNetns(t, fullOf)
		tr := observe(t, backend, []*netns{n}, "--detail", "always")
		var s sent
		s.start = time.Now()
		for i := range inserts {
			f := flow{"udp", netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), uint16(100 + i), 53}
			out, err := n.run("conntrack", strings.Fields(fmt.Sprintf("-I -p udp -s %v -d %v --sport %d --dport %d -t 60", f.src, f.dst, f.sport, f.dport))...)
			if err == nil || !strings.Contains(out, "memory") {
				t.Fatalf("conntrack -I into a full table: %v %s", err, out)
			}
			s.add(f, err)
		}
		s.end = time.Now()
		traced := tr.stop()
		wantCounters(t, tr.kernel[0], nil)
		if !traced {
			return
		}
		tr.wantReasons(t, n, map[string]uint64{"table_full": inserts})
		if sum := tr.summary.netnsOf(n); sum != nil && sum.Reasons["table_full"].Netlink != inserts {
			t.Errorf("%d of %d came from netlink, want all", sum.Reasons["table_full"].Netlink, inserts)
		}
		w := want{n: n, family: "ipv4", noPacket: true, count: fullOf, max: fullOf}
		each(t, wantFlows(t, tr.of("table_full"), s.flows), func(e *event) error {
			if !e.Netlink {
				return fmt.Errorf("it came from netlink")
			}
			if err := w.check(e, &s); err != nil {
				return err
			}
			return reversed(e.tuple, e.Reply, e.Proto)
		})
	})
}
