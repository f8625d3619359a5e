//go:build guest

package scenario

import (
	"fmt"
	"net/netip"
	"testing"
)

// chainFlows fills 512 buckets far beyond the limit: each flow is in two
// chains, of which none may be longer than a random number from 50 to 79.
// Refusals begin near 13,000 flows.
const chainFlows = 18000

// TestChainTooLong: so many flows in so few buckets that chains grow too
// long. The packet is lost after its hooks have all agreed, at the
// confirmation, and sendto says EPERM.
func TestChainTooLong(t *testing.T) {
	if !hasChainLimit(t) {
		t.Run("unlimited", testChainUnlimited)
		return
	}
	eachBackend(t, func(t *testing.T, backend string) {
		setSysctl(t, sysctlMax, 1<<20)
		setSysctl(t, sysctlBuckets, 512)
		n := newNetns(t)
		n.sink(t)
		tr := observe(t, backend, []*netns{n})
		var s sent
		n.must(t, "wl-chain", func() error {
			return s.timed(func() error {
				for i := range 2 {
					src, dst := netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.99.0.1")
					if i == 1 {
						src, dst = netip.MustParseAddr("fd77::1"), netip.MustParseAddr("fd99::1")
					}
					if err := sendUDP(&s, src, netip.AddrPortFrom(dst, 1000), chainFlows/2, 0x1234); err != nil {
						return err
					}
				}
				return nil
			})
		})
		// The hash table is one for all netns: leave it as it was.
		n.flush(t)
		traced := tr.stop()
		lost := s.refused()
		t.Logf("%d of %d flows were refused", len(lost), len(s.flows))
		if len(lost) < 100 {
			t.Errorf("%d flows were refused only", len(lost))
		}
		wantCounters(t, tr.kernel[0], counters{"chaintoolong": uint64(len(lost)), "insert_failed": uint64(len(lost))})
		if !traced {
			return
		}
		tr.wantReasons(t, n, map[string]uint64{"chain_too_long": uint64(len(lost))})
		each(t, wantFlows(t, tr.of("chain_too_long"), lost), func(e *event) error {
			family := "ipv4"
			if e.Src.Is6() {
				family = "ipv6"
			}
			if e.Winner != nil || e.Victim != nil {
				return fmt.Errorf("there is another entry in it")
			}
			w := want{n: n, family: family, hook: "postrouting", out: "dummy0", mark: 0x1234, comm: "wl-chain"}
			if err := w.check(e, &s); err != nil {
				return err
			}
			return reversed(e.tuple, e.Reply, e.Proto)
		})
	})
}

// testChainUnlimited: before Linux 5.15 no chain is too long, and coverage
// must say so instead of promising what never comes.
func testChainUnlimited(t *testing.T) {
	n := newNetns(t)
	tr := observe(t, "kprobe", []*netns{n})
	if !tr.stop() {
		return
	}
	if missing := tr.missing(t, "chain_too_long"); missing == "" {
		t.Error("coverage does not say that this kernel has no limit for chains")
	}
	if missing := tr.missing(t, "table_full"); missing != "" {
		t.Errorf("table_full cannot be seen: %s", missing)
	}
}
