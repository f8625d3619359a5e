//go:build guest

package scenario

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestDetail: what is known of a packet in a full table depends on whether
// the program on the way into conntrack is armed: from the start, never, or
// from the first loss on. Coverage says when.
func TestDetail(t *testing.T) {
	if *bare {
		t.Skip("there is nothing to see without ctwhy")
	}
	src, dst := netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.99.0.1")
	known := want{family: "ipv4", hook: "output", out: "dummy0", mark: 0x1234, comm: "wl-detail"}
	eachBackend(t, func(t *testing.T, backend string) {
		n := fullNetns(t, fullOf)
		n.sink(t)
		known.n = n
		send := func(s *sent, port uint16, k int) {
			n.must(t, "wl-detail", func() error {
				return s.timed(func() error { return sendUDP(s, src, netip.AddrPortFrom(dst, port), k, 0x1234) })
			})
		}
		t.Run("never", func(t *testing.T) {
			tr := observe(t, backend, []*netns{n}, "--detail", "never")
			var s sent
			send(&s, 5000, tries)
			tr.stop()
			each(t, wantFlows(t, tr.of("table_full"), s.flows), func(e *event) error {
				return want{n: n, family: "ipv4", noPacket: true}.check(e, &s)
			})
		})
		t.Run("auto", func(t *testing.T) {
			tr := observe(t, backend, []*netns{n}, "--detail", "auto")
			var first, later sent
			send(&first, 5000, 1)
			tr.tracer.await(t, "that detail is armed", func(d *document) bool {
				return len(d.coverage) > 0 && d.coverage[len(d.coverage)-1].Detail.Armed
			})
			send(&later, 6000, tries)
			tr.stop()
			if c := tr.coverage[0]; c.Detail.Armed || c.Detail.Mode != "auto" {
				t.Errorf("detail was %+v before the first loss", c.Detail)
			}
			if c := tr.coverage[len(tr.coverage)-1]; !c.Detail.Armed || c.Detail.Why == "" {
				t.Errorf("detail was %+v after it", c.Detail)
			}
			total := append(first.flows, later.flows...)
			each(t, wantFlows(t, tr.of("table_full"), total), func(e *event) error {
				if *e.Dport == 5000 {
					return want{n: n, family: "ipv4", noPacket: true}.check(e, &first)
				}
				return known.check(e, &later)
			})
		})
	})
}

// TestOwnerOfRetransmission: a SYN that is lost is sent again by a timer, on
// behalf of a process that sleeps, while some other one is current. The first
// loss has an owner, the others must have none. They are not told apart by
// anything else: same flow, same flags, same hook.
func TestOwnerOfRetransmission(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		n := fullNetns(t, fullOf)
		n.sink(t)
		tr := observe(t, backend, []*netns{n}, "--detail", "always")
		from, to := netip.MustParseAddrPort("10.77.0.1:20000"), netip.MustParseAddrPort("10.99.0.1:80")
		s := sent{}
		n.must(t, "wl-again", func() error {
			return s.timed(func() error {
				fd, _, err := socket(unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0, from, 0x1234)
				if err != nil {
					return err
				}
				defer unix.Close(fd)
				s.add(flow{"tcp", from.Addr(), to.Addr(), from.Port(), to.Port()}, unix.Connect(fd, sockaddr(to)))
				// The timer fires after a second.
				if !eventually(10*time.Second, func() bool {
					c, err := readCounters(n)
					return err == nil && c["drop"] >= 2
				}) {
					return fmt.Errorf("the SYN was not sent again")
				}
				return s.failed()
			})
		})
		traced := tr.stop()
		drops := tr.kernel[0]["drop"]
		wantCounters(t, tr.kernel[0], counters{"drop": drops})
		if !traced {
			return
		}
		events := wantFlows(t, tr.of("table_full"), s.flows)
		if uint64(len(events)) != drops {
			t.Errorf("%d events for %d drops", len(events), drops)
		}
		first := true
		each(t, events, func(e *event) error {
			w := want{n: n, family: "ipv4", hook: "output", out: "dummy0", mark: 0x1234, flags: "S"}
			if first {
				w.comm = "wl-again"
			}
			first = false
			return w.check(e, &s)
		})
	})
}
