//go:build guest

package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

const helper = "nf_conntrack_ftp"

// TestHelperUnloaded: a helper is unloaded while new flows come. Entries that
// are not confirmed at this moment may hold what is about to go away, so the
// kernel spoils them and their packets are lost. Linux 5.10 marks them as
// dying. Linux 6.1 sees at the confirmation that their extensions are out of
// date, which ctwhy has no name for: it must then name the counters that it
// cannot explain, and not call it by another reason's name. Linux 6.12 has
// given the check up and loses nothing.
//
// The detour keeps each entry unconfirmed for a good while, and an extension
// is switched on, so that what can be lost is.
func TestHelperUnloaded(t *testing.T) {
	unloads := 2
	if losesByUnload(t) {
		unloads = 6
	}
	eachBackend(t, func(t *testing.T, backend string) {
		n := newNetns(t)
		n.sink(t)
		n.nft(t, detour)
		n.must(t, "", func() error { return writeFile(sysctlFile("net.netfilter.nf_conntrack_acct"), "1") })
		setSysctl(t, sysctlMax, 1<<20)
		tr := observe(t, backend, []*netns{n})
		tr.byTest = true
		var s sent
		var done atomic.Bool
		sending := make(chan error, 1)
		go func() {
			sending <- n.do("wl-unload", func() error { return s.timed(func() error { return sendUntil(&s, &done) }) })
		}()
		err := func() error {
			for range unloads {
				if out, err := exec.Command("modprobe", helper).CombinedOutput(); err != nil {
					return fmt.Errorf("modprobe %s: %w: %s", helper, err, out)
				}
				if err := unix.DeleteModule(helper, 0); err != nil {
					return fmt.Errorf("unload %s: %w", helper, err)
				}
			}
			return nil
		}()
		done.Store(true)
		if err := errors.Join(err, <-sending); err != nil {
			t.Fatal(err)
		}
		n.flush(t)
		traced := tr.stop()
		lost := s.refused()
		t.Logf("%d of %d flows were refused", len(lost), len(s.flows))
		if len(lost) == 0 && losesByUnload(t) {
			t.Error("no flow was refused")
		}
		if !traced {
			return
		}
		kernel := tr.kernel[0]
		switch {
		case len(lost) == 0:
			wantCounters(t, kernel, nil)
		case kernel["insert_failed"] == tr.counted(n, "dying"):
			checkNetns(t, tr.summary, n, kernel)
			w := want{n: n, family: "ipv4", hook: "postrouting", out: "dummy0", mark: 0x1234, comm: "wl-unload"}
			each(t, wantFlows(t, tr.of("dying"), lost), func(e *event) error { return w.check(e, &s) })
		default:
			checkUnexplained(t, tr, n, kernel)
		}
	})
}

// checkUnexplained: nothing was given a name, and each counter that moved is
// named as a difference, with all that it moved by.
func checkUnexplained(t *testing.T, tr *trace, n *netns, kernel counters) {
	t.Helper()
	tr.wantReasons(t, n, nil)
	sum := tr.summary.netnsOf(n)
	if sum == nil || sum.Reconciled == nil || *sum.Reconciled {
		t.Fatalf("packets were lost without a name, and the summary does not say so: %v", sum)
	}
	unexplained := counters{}
	for _, d := range sum.Differences {
		unexplained[d.Counter] = d.Kernel - d.Expected
	}
	for _, k := range counterNames {
		if unexplained[k] != kernel[k] {
			t.Errorf("%s moved by %d without a name, the summary says by %d", k, kernel[k], unexplained[k])
		}
	}
}

// losesByUnload reports whether this kernel is known to lose packets so.
func losesByUnload(t *testing.T) bool {
	t.Helper()
	release := release(t)
	return strings.HasPrefix(release, "5.10.") || strings.HasPrefix(release, "6.1.")
}

// sendUntil sends datagrams of new flows until it is told to stop.
func sendUntil(s *sent, done *atomic.Bool) error {
	for i := byte(0); !done.Load(); i++ {
		if err := sendUDP(s, netip.MustParseAddr("10.77.0.1"), netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 99, 0, i}), 1000), 10, 0x1234); err != nil {
			return err
		}
	}
	return nil
}
