//go:build guest

package scenario

import (
	"net/netip"
	"os"
	"testing"
)

// dyingMark is what the module marks with death.
const dyingMark = 0xdead

// TestDying: an entry that is marked as dying before its first packet is
// confirmed. What does it in the field is a race with a flush or with the
// unloading of a helper, in the microseconds between two hooks, so a module of
// the test sets the bit instead, on packets with a mark of their own. It is a
// failure when the module is not there: nothing else proves this path.
func TestDying(t *testing.T) {
	if _, err := os.Stat(*dyingPath); err != nil {
		t.Fatalf("the module that makes entries die is missing: %v", err)
	}
	run(t, "insmod", *dyingPath)
	t.Cleanup(func() { run(t, "rmmod", "ctwhy_dying") })
	eachBackend(t, func(t *testing.T, backend string) {
		n := newNetns(t)
		n.sink(t)
		tr := observe(t, backend, []*netns{n})
		var doomed, healthy sent
		n.must(t, "wl-dying", func() error {
			return doomed.timed(func() error {
				for _, ends := range [][2]string{{"10.77.0.1", "10.99.0.1"}, {"fd77::1", "fd99::1"}} {
					src, dst := netip.MustParseAddr(ends[0]), netip.AddrPortFrom(netip.MustParseAddr(ends[1]), 1000)
					if err := sendUDP(&doomed, src, dst, tries, dyingMark); err != nil {
						return err
					}
					if err := sendUDP(&healthy, src, dst, tries, 0); err != nil {
						return err
					}
				}
				return nil
			})
		})
		traced := tr.stop()
		if lost := len(doomed.refused()); lost != len(doomed.flows) {
			t.Errorf("%d of %d sends with the mark were refused", lost, len(doomed.flows))
		}
		if lost := len(healthy.refused()); lost != 0 {
			t.Errorf("%d sends without the mark were refused", lost)
		}
		total := uint64(len(doomed.flows))
		wantCounters(t, tr.kernel[0], counters{"insert_failed": total})
		if !traced {
			return
		}
		tr.wantReasons(t, n, map[string]uint64{"dying": total})
		each(t, wantFlows(t, tr.of("dying"), doomed.flows), func(e *event) error {
			family := "ipv4"
			if e.Src.Is6() {
				family = "ipv6"
			}
			w := want{n: n, family: family, hook: "postrouting", out: "dummy0", mark: dyingMark, comm: "wl-dying"}
			if err := w.check(e, &doomed); err != nil {
				return err
			}
			return reversed(e.tuple, e.Reply, e.Proto)
		})
	})
}
