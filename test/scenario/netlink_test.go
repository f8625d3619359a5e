//go:build guest

package scenario

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// insert asks ctnetlink for entries in a full table, which it refuses.
func insert(n *netns, s *sent, entries int) error {
	for i := range entries {
		f := flow{"udp", netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), uint16(100 + i), 53}
		out, err := n.run("conntrack", strings.Fields(fmt.Sprintf("-I -p udp -s %v -d %v --sport %d --dport %d -t 60", f.src, f.dst, f.sport, f.dport))...)
		if err == nil || !strings.Contains(out, "memory") {
			return fmt.Errorf("conntrack -I into a full table was not refused for want of memory: %s", out)
		}
		s.add(f, nil)
	}
	return nil
}

// checkInserts: no packet was lost and the kernel has counted nothing, though
// it logs the same words. ctwhy tells of them, says that they came from
// netlink, and still reconciles.
func checkInserts(t *testing.T, tr *trace, n *netns, s *sent) {
	inserts := uint64(len(s.flows))
	tr.wantReasons(t, n, map[string]uint64{"table_full": inserts})
	if y := tr.summary.netnsOf(n).Reasons["table_full"]; y.Netlink != inserts {
		t.Errorf("%d of %d came from netlink, want all", y.Netlink, inserts)
	}
	w := want{n: n, family: "ipv4", noPacket: true, count: fullOf, max: fullOf}
	each(t, wantFlows(t, in(n, tr.of("table_full")), s.flows), func(e *event) error {
		if !e.Netlink {
			return fmt.Errorf("netlink is absent")
		}
		if err := w.check(e, s); err != nil {
			return err
		}
		return reversed(e.tuple, e.Reply, e.Proto)
	})
}
