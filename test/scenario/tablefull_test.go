//go:build guest

package scenario

import (
	"net/netip"
	"testing"
)

// place is where a workload sends from and to, in a netns whose table is
// full.
type place struct {
	family   string
	src, dst netip.Addr
	dev      string
}

// places are the two ways out of a netns for each family: the loopback, and a
// veth whose other end is in another netns. The neighbour is never asked for
// its address: a packet refused at the output hook does not get that far.
func places(t *testing.T, n *netns) map[string][]place {
	t.Helper()
	far := newNetns(t)
	wire(t, n, "veth0", "10.1.0.1/24", far, "veth0", "10.1.0.2/24")
	n.ip(t, "-6 addr add fd01::1/64 dev veth0 nodad")
	addr := netip.MustParseAddr
	return map[string][]place{
		"ipv4": {
			{"ipv4", addr("127.0.0.2"), addr("127.0.0.1"), "lo"},
			{"ipv4", addr("10.1.0.1"), addr("10.1.0.2"), "veth0"},
		},
		"ipv6": {
			{"ipv6", addr("::1"), addr("::1"), "lo"},
			{"ipv6", addr("fd01::1"), addr("fd01::2"), "veth0"},
		},
	}
}

const (
	fullOf = 64 // entries in a full table
	tries  = 40 // packets of new flows that each workload sends into it
)

// tableFull runs one workload for each place of a netns whose table is full,
// and compares all that is said of its packets.
func tableFull(t *testing.T, send func(s *sent, p place) error, refused func(*sent) []flow, more func(w *want, p place)) {
	eachBackend(t, func(t *testing.T, backend string) {
		for _, family := range []string{"ipv4", "ipv6"} {
			t.Run(family, func(t *testing.T) {
				n := fullNetns(t, fullOf)
				at := places(t, n)[family]
				tr := observe(t, backend, []*netns{n}, "--detail", "always")
				workloads := make([]sent, len(at))
				var all []flow
				for i, p := range at {
					s := &workloads[i]
					n.must(t, "wl-full", func() error { return s.timed(func() error { return send(s, p) }) })
					if len(s.flows) != tries {
						t.Fatalf("the workload sent %d packets, want %d", len(s.flows), tries)
					}
					if lost := refused(s); len(lost) != tries {
						t.Errorf("%d of %d packets were refused", len(lost), tries)
					}
					all = append(all, refused(s)...)
				}
				traced := tr.stop()
				wantCounters(t, tr.kernel[0], counters{"drop": uint64(len(all))})
				if !traced {
					return
				}
				tr.wantReasons(n, map[string]uint64{"table_full": uint64(len(all))})
				events := tr.wantFlows("table_full", all)
				each(t, events, func(e *event) error {
					i := 0
					if e.Out != nil && *e.Out == at[1].dev {
						i = 1
					}
					w := want{n: n, family: family, hook: "output", out: at[i].dev, mark: 0x1234, comm: "wl-full", count: fullOf, max: fullOf}
					more(&w, at[i])
					if err := w.check(e, &workloads[i]); err != nil {
						return err
					}
					return reversed(e.tuple, e.Reply, e.Proto)
				})
			})
		}
	})
}

// TestTableFullTCP: SYNs of non-blocking connects into a full table. The
// sender never learns: see connectTCP.
func TestTableFullTCP(t *testing.T) {
	tableFull(t, func(s *sent, p place) error {
		return connectTCP(s, p.src, 20000, netip.AddrPortFrom(p.dst, 80), tries, 0x1234)
	}, func(s *sent) []flow { return s.flows }, func(w *want, _ place) { w.flags = "S" })
}

// TestTableFullUDP: datagrams to new destinations; sendto says EPERM for each.
func TestTableFullUDP(t *testing.T) {
	tableFull(t, func(s *sent, p place) error {
		return sendUDP(s, p.src, netip.AddrPortFrom(p.dst, 5000), tries, 0x1234)
	}, (*sent).refused, func(*want, place) {})
}

// TestTableFullICMP: echo requests, whose flows have a type, a code and an id
// instead of ports.
func TestTableFullICMP(t *testing.T) {
	tableFull(t, func(s *sent, p place) error {
		return sendEchoes(s, p.src, p.dst, 700, tries, 0x1234)
	}, (*sent).refused, func(w *want, p place) {
		w.icmpType = 8
		if p.family == "ipv6" {
			w.icmpType = 128
		}
	})
}
