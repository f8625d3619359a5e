//go:build guest

package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

// TestEvicted: flows that nobody answers fill a table and go on coming, so
// that each newcomer pushes out what came before it. early_drop looks into
// eight buckets only: with as few buckets as there can be and twice as many
// entries, it finds a victim nearly always, sometimes several at once; where
// it finds none the newcomer is refused, and the sender learns of that.
func TestEvicted(t *testing.T) {
	workloads := []struct {
		name string
		send func(s *sent) error
	}{
		{"udp", func(s *sent) error {
			for i := range 4 {
				src, dst := netip.MustParseAddr("10.77.0.1"), netip.AddrFrom4([4]byte{10, 99, 0, byte(i)})
				if i%2 == 1 {
					src, dst = netip.MustParseAddr("fd77::1"), netip.MustParseAddr(fmt.Sprintf("fd99::%d", i))
				}
				if err := sendUDP(s, src, netip.AddrPortFrom(dst, 10000), 600, 0x1234); err != nil {
					return err
				}
			}
			return nil
		}},
		{"tcp", func(s *sent) error {
			src, dst := netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.99.0.1")
			return connectTCP(s, src, 20000, netip.AddrPortFrom(dst, 80), 1800, 0x1234)
		}},
	}
	eachBackend(t, func(t *testing.T, backend string) {
		setSysctl(t, sysctlBuckets, 512)
		setSysctl(t, sysctlMax, 1024)
		ns := make([]*netns, len(workloads))
		for i := range workloads {
			ns[i] = newNetns(t)
			ns[i].sink(t)
		}
		tr := observe(t, backend, ns, "--detail", "always")
		sends := make([]sent, len(workloads))
		left := make([]int, len(workloads))
		for i, w := range workloads {
			s := &sends[i]
			ns[i].must(t, "wl-evict", func() error { return s.timed(func() error { return w.send(s) }) })
			left[i] = ns[i].count(t)
			// The hash table is one for all netns, and so few buckets have no
			// room for another thousand entries.
			ns[i].flush(t)
		}
		traced := tr.stop()
		for i, w := range workloads {
			t.Run(w.name, func(t *testing.T) { checkEvicted(t, tr, traced, i, w.name, &sends[i], left[i]) })
		}
	})
}

func checkEvicted(t *testing.T, tr *trace, traced bool, i int, proto string, s *sent, left int) {
	n, kernel := tr.netns[i], tr.kernel[i]
	// What was sent was refused, is still there, or was evicted.
	evicted, refused := kernel["early_drop"], kernel["drop"]
	wantCounters(t, kernel, counters{"early_drop": evicted, "drop": refused})
	if evicted < 500 {
		t.Errorf("the kernel evicted %d entries only", evicted)
	}
	if sum := refused + evicted + uint64(left); sum != uint64(len(s.flows)) {
		t.Errorf("%d refused, %d evicted and %d left in the table make %d, but %d were sent", refused, evicted, left, sum, len(s.flows))
	}
	if proto == "udp" && uint64(len(s.refused())) != refused {
		t.Errorf("%d sends were refused, the kernel dropped %d", len(s.refused()), refused)
	}
	t.Logf("%d sent, %d evicted, %d refused", len(s.flows), evicted, refused)
	if !traced {
		return
	}
	tr.wantReasons(t, n, map[string]uint64{"evicted": evicted, "table_full": refused})
	if proto == "udp" {
		wantFlows(t, in(n, tr.of("table_full")), s.refused())
	}
	sent := map[flow]bool{}
	for _, f := range s.flows {
		sent[f] = true
	}
	seen := map[flow]bool{}
	each(t, in(n, tr.of("evicted")), func(e *event) error {
		f := e.flow()
		if !sent[f] {
			return fmt.Errorf("the workload did not send it")
		}
		if seen[f] {
			return fmt.Errorf("it was evicted twice")
		}
		seen[f] = true
		if e.Winner != nil {
			return fmt.Errorf("an eviction has no winner")
		}
		if e.Victim == nil {
			return fmt.Errorf("victim is absent")
		}
		if got := e.Victim.Orig.flow(e.Proto); got != f {
			return fmt.Errorf("the victim is %v", got)
		}
		if !slices.Contains(e.Victim.Status, "CONFIRMED") || slices.Contains(e.Victim.Status, "ASSURED") {
			return fmt.Errorf("the victim's status is %v", e.Victim.Status)
		}
		family := "ipv4"
		if f.src.Is6() {
			family = "ipv6"
		}
		if err := (want{n: n, family: family, noPacket: true}).check(e, s); err != nil {
			return err
		}
		return reversed(e.Victim.Orig, &e.Victim.Reply, e.Proto)
	})
}
