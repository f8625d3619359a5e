//go:build guest

package scenario

import (
	"net/netip"
	"testing"
)

const (
	fullOf = 64 // entries in a full table
	tries  = 40 // packets of new flows that each workload sends into it
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
func places(t *testing.T, n *netns) []place {
	t.Helper()
	far := newNetns(t)
	wire(t, n, "veth0", "10.1.0.1/24", far, "veth0", "10.1.0.2/24")
	n.ip(t, "-6 addr add fd01::1/64 dev veth0 nodad")
	addr := netip.MustParseAddr
	return []place{
		{"ipv4", addr("127.0.0.2"), addr("127.0.0.1"), "lo"},
		{"ipv4", addr("10.1.0.1"), addr("10.1.0.2"), "veth0"},
		{"ipv6", addr("::1"), addr("::1"), "lo"},
		{"ipv6", addr("fd01::1"), addr("fd01::2"), "veth0"},
	}
}

// protocols are what is sent into a full table.
var protocols = []struct {
	name string
	send func(s *sent, p place) error
	// silent: the sender does not learn that the packet was refused.
	silent bool
	fields func(w *want)
}{
	// SYNs of connects. The sender never learns: see connectTCP.
	{"tcp", func(s *sent, p place) error {
		return connectTCP(s, p.src, 20000, netip.AddrPortFrom(p.dst, 80), tries, 0x1234)
	}, true, func(w *want) { w.flags = "S" }},
	// Datagrams to new destinations.
	{"udp", func(s *sent, p place) error {
		return sendUDP(s, p.src, netip.AddrPortFrom(p.dst, 5000), tries, 0x1234)
	}, false, func(*want) {}},
	// Echo requests, whose flows have a type, a code and an id instead of
	// ports.
	{"icmp", func(s *sent, p place) error {
		return sendEchoes(s, p.src, p.dst, 700, tries, 0x1234)
	}, false, func(w *want) {
		w.icmpType = 8
		if w.family == "ipv6" {
			w.icmpType = 128
		}
	}},
}

// TestTableFull: packets of new flows into a table that is full of ASSURED
// entries, which nothing evicts. Likewise entries that ctnetlink is asked to
// create there.
func TestTableFull(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		n := fullNetns(t, fullOf)
		at := places(t, n)
		zoned := newNetns(t)
		zoned.sink(t)
		zoned.nft(t, track)
		zoned.fill(t, fullOf)
		inserted := newNetns(t)
		inserted.fill(t, fullOf)
		tr := observe(t, backend, []*netns{n, zoned, inserted}, "--detail", "always")
		workloads := make([]sent, len(protocols)*len(at))
		var all []flow
		for i, proto := range protocols {
			for j, p := range at {
				s := &workloads[i*len(at)+j]
				n.must(t, "wl-full", func() error { return s.timed(func() error { return proto.send(s, p) }) })
				lost := s.refused()
				if proto.silent {
					lost = s.flows
				}
				if len(lost) != tries {
					t.Errorf("%d of %d packets were refused", len(lost), tries)
				}
				all = append(all, lost...)
			}
		}
		var inZone sent
		zoned.must(t, "wl-zone", func() error {
			return inZone.timed(func() error {
				return sendUDP(&inZone, netip.MustParseAddr("fd77::1"), netip.MustParseAddrPort("[fd99::1]:53"), tries, 0)
			})
		})
		var byNetlink sent
		if err := byNetlink.timed(func() error { return insert(inserted, &byNetlink, 5) }); err != nil {
			t.Fatal(err)
		}
		traced := tr.stop()
		wantCounters(t, tr.kernel[0], counters{"drop": uint64(len(all))})
		wantCounters(t, tr.kernel[1], counters{"drop": tries})
		wantCounters(t, tr.kernel[2], nil)
		if !traced {
			return
		}
		tr.wantReasons(t, n, map[string]uint64{"table_full": uint64(len(all))})
		wantFlows(t, in(n, tr.of("table_full")), all)
		for i, proto := range protocols {
			for j, p := range at {
				t.Run(proto.name+"_"+p.family+"_"+p.dev, func(t *testing.T) {
					s := &workloads[i*len(at)+j]
					w := want{n: n, family: p.family, hook: "output", out: p.dev, mark: 0x1234, comm: "wl-full", count: fullOf, max: fullOf}
					proto.fields(&w)
					each(t, in(n, tr.ofFlows("table_full", s.flows)), func(e *event) error {
						if err := w.check(e, s); err != nil {
							return err
						}
						return reversed(e.tuple, e.Reply, e.Proto)
					})
				})
			}
		}
		// The zone that a rule gave the packet is told of a loss that happens
		// before there is an entry to read it from.
		t.Run("zone", func(t *testing.T) {
			tr.wantReasons(t, zoned, map[string]uint64{"table_full": tries})
			w := want{n: zoned, family: "ipv6", hook: "output", out: "dummy0", zone: 7, comm: "wl-zone"}
			each(t, wantFlows(t, in(zoned, tr.of("table_full")), inZone.refused()), func(e *event) error { return w.check(e, &inZone) })
		})
		t.Run("netlink", func(t *testing.T) { checkInserts(t, tr, inserted, &byNetlink) })
	})
}
