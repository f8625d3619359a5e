//go:build guest

package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestDetail: what is known of a packet in a full table depends on whether
// the program on the way into conntrack is armed: never, from the first loss
// on, or from the start. Three ctwhys see the same packets, each its own way.
//
// The last of these packets is a SYN that a timer sends again a second later,
// on behalf of a process that sleeps, while some other one is current. The
// first time it has an owner, then it must have none. Nothing else tells the
// two apart: same flow, same flags, same hook.
func TestDetail(t *testing.T) {
	src, dst := netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.99.0.1")
	eachBackend(t, func(t *testing.T, backend string) {
		n := fullNetns(t, fullOf)
		n.sink(t)
		traces := observeBy(t, backend, []*netns{n},
			[]string{"--detail", "never"}, []string{"--detail", "auto"}, []string{"--detail", "always"})
		never, auto, always := traces[0], traces[1], traces[2]

		var first, later, again sent
		send := func(s *sent, port uint16, k int) {
			n.must(t, "wl-detail", func() error {
				return s.timed(func() error { return sendUDP(s, src, netip.AddrPortFrom(dst, port), k, 0x1234) })
			})
		}
		send(&first, 5000, 1)
		if !*bare {
			auto.tracer.await(t, "that detail is armed", func(d *document) bool {
				return len(d.coverage) > 0 && d.coverage[len(d.coverage)-1].Detail.Armed
			})
		}
		send(&later, 6000, tries)
		n.must(t, "wl-again", func() error {
			return again.timed(func() error { return connectTwice(n, &again, src, netip.AddrPortFrom(dst, 80)) })
		})

		unknown := want{n: n, family: "ipv4", noPacket: true}
		known := want{n: n, family: "ipv4", hook: "output", out: "dummy0", mark: 0x1234, comm: "wl-detail"}
		events := func(t *testing.T, tr *trace) []*event {
			t.Helper()
			tr.t = t
			traced := tr.stop()
			drops := tr.kernel[0]["drop"]
			wantCounters(t, tr.kernel[0], counters{"drop": drops})
			if !traced {
				t.Skip("there is nothing to see without ctwhy")
			}
			if uint64(len(tr.events)) != drops {
				t.Errorf("%d events for %d drops", len(tr.events), drops)
			}
			return wantFlows(t, tr.of("table_full"), slices.Concat(first.flows, later.flows, again.flows))
		}
		t.Run("never", func(t *testing.T) {
			each(t, events(t, never), func(e *event) error { return unknown.check(e, nil) })
			if c := never.coverage[len(never.coverage)-1]; c.Detail.Armed || c.Detail.Mode != "never" {
				t.Errorf("detail was %+v", c.Detail)
			}
		})
		t.Run("auto", func(t *testing.T) {
			each(t, events(t, auto), func(e *event) error {
				switch {
				case *e.Dport == 5000:
					return unknown.check(e, &first)
				case e.Proto == "udp":
					return known.check(e, &later)
				}
				return nil
			})
			if c := auto.coverage[0]; c.Detail.Armed || c.Detail.Mode != "auto" {
				t.Errorf("detail was %+v before the first loss", c.Detail)
			}
			if c := auto.coverage[len(auto.coverage)-1]; !c.Detail.Armed || c.Detail.Why == "" {
				t.Errorf("detail was %+v after it", c.Detail)
			}
		})
		t.Run("always", func(t *testing.T) {
			syns := 0
			each(t, events(t, always), func(e *event) error {
				switch {
				case *e.Dport == 5000:
					return known.check(e, &first)
				case e.Proto == "udp":
					return known.check(e, &later)
				}
				w := want{n: n, family: "ipv4", hook: "output", out: "dummy0", mark: 0x1234, flags: "S"}
				if syns == 0 {
					w.comm = "wl-again"
				}
				syns++
				return w.check(e, &again)
			})
			if syns < 2 {
				t.Errorf("%d events of the SYN, which was sent again", syns)
			}
		})
	})
}

// connectTwice begins a connection and waits until its SYN has been lost a
// second time: the timer fires after a second.
func connectTwice(n *netns, s *sent, src netip.Addr, dst netip.AddrPort) error {
	before, err := readCounters(n)
	if err != nil {
		return err
	}
	fd, port, err := socket(unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0, netip.AddrPortFrom(src, 0), 0x1234)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	s.add(flow{"tcp", src, dst.Addr(), port, dst.Port()}, unix.Connect(fd, sockaddr(dst)))
	if !eventually(10*time.Second, func() bool {
		c, err := readCounters(n)
		return err == nil && c.since(before)["drop"] >= 2
	}) {
		return fmt.Errorf("the SYN was not sent again")
	}
	return s.failed()
}
