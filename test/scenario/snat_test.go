//go:build guest

package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// onePort makes every flow to port 80 leave from one address and one port, so
// that the second one's replies cannot be told from the first one's. The
// search for a free port gives up, the packet goes on with the port that is
// taken, and the clash comes at the confirmation.
func onePort(family, addr string) string {
	return fmt.Sprintf(`
		table %s nat {
			chain postrouting {
				type nat hook postrouting priority 100
				meta l4proto { tcp, udp } th dport 80 snat to %s:4000
			}
		}`, family, addr)
}

// TestClashDropped: SNAT to one port, so no race is needed: the first flow
// has the port, all others are lost.
func TestClashDropped(t *testing.T) {
	cases := []struct {
		name, family, table, src, to, dst, proto string
	}{
		{"tcp4", "ipv4", "ip", "10.77.0.1", "10.77.0.1", "10.99.0.1", "tcp"},
		{"tcp6", "ipv6", "ip6", "fd77::1", "[fd77::1]", "fd99::1", "tcp"},
		// UDP may clash and be resolved, but not where another flow has the
		// reply's tuple alone.
		{"udp4", "ipv4", "ip", "10.77.0.1", "10.77.0.1", "10.99.0.1", "udp"},
	}
	eachBackend(t, func(t *testing.T, backend string) {
		ns, sends := make([]*netns, len(cases)), make([]sent, len(cases))
		for i, c := range cases {
			ns[i] = newNetns(t)
			ns[i].sink(t)
			ns[i].nft(t, onePort(c.table, c.to))
		}
		tr := observe(t, backend, ns)
		for i, c := range cases {
			s := &sends[i]
			src, dst := netip.MustParseAddr(c.src), netip.AddrPortFrom(netip.MustParseAddr(c.dst), 80)
			ns[i].must(t, "wl-snat", func() error {
				return s.timed(func() error { return oneAfterTheOther(s, c.proto, src, dst, 1+tries) })
			})
		}
		traced := tr.stop()
		for i, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				n, s := ns[i], &sends[i]
				if c.proto == "udp" && len(s.refused()) != tries {
					t.Errorf("%d of %d sends were refused", len(s.refused()), tries)
				}
				wantCounters(t, tr.kernel[i], counters{"drop": tries, "insert_failed": tries})
				if !traced {
					return
				}
				tr.wantReasons(t, n, map[string]uint64{"clash_dropped": tries})
				w := want{n: n, family: c.family, hook: "postrouting", out: "dummy0", mark: 0x1234, comm: "wl-snat"}
				if c.proto == "tcp" {
					w.flags = "S"
				}
				each(t, wantFlows(t, in(n, tr.of("clash_dropped")), s.flows[1:]), func(e *event) error {
					if err := w.check(e, s); err != nil {
						return err
					}
					return checkSNAT(e, s.flows[0], netip.MustParseAddr(c.src))
				})
			})
		}
	})
}

// oneAfterTheOther begins n flows to one destination from ports of their own.
func oneAfterTheOther(s *sent, proto string, src netip.Addr, dst netip.AddrPort, n int) error {
	if proto == "tcp" {
		return connectTCP(s, src, 20000, dst, n, 0x1234)
	}
	for i := range n {
		if err := sendUDPFrom(s, netip.AddrPortFrom(src, 20000+uint16(i)), dst, 1, 0x1234); err != nil {
			return err
		}
	}
	return nil
}

// checkSNAT: the winner is the first flow, and what both have in common is
// the reply's tuple.
func checkSNAT(e *event, first flow, to netip.Addr) error {
	w := e.Winner
	if w == nil || e.Reply == nil {
		return fmt.Errorf("winner or reply is absent")
	}
	if got := w.Orig.flow(e.Proto); got != first {
		return fmt.Errorf("the winner is %v, want %v", got, first)
	}
	want := flow{proto: e.Proto, src: first.dst, sport: first.dport, dst: to, dport: 4000}
	if got := w.Reply.flow(e.Proto); got != want {
		return fmt.Errorf("the winner's reply is %v, want %v", got, want)
	}
	if got := e.Reply.flow(e.Proto); got != want {
		return fmt.Errorf("reply is %v, want %v", got, want)
	}
	for _, bit := range []string{"CONFIRMED", "SRC_NAT"} {
		if !slices.Contains(w.Status, bit) {
			return fmt.Errorf("the winner's status %v is without %s", w.Status, bit)
		}
	}
	return nil
}

// router is a netns between a client and a server, each with a veth to it.
type router struct {
	*netns
	client          *netns
	clientA, serveA netip.Addr
}

// newRouter lets the client reach the server through the router. The server
// takes what comes and says nothing.
func newRouter(t *testing.T) *router {
	t.Helper()
	r := &router{netns: newNetns(t), client: newNetns(t), clientA: netip.MustParseAddr("10.1.0.2"), serveA: netip.MustParseAddr("10.2.0.2")}
	server := newNetns(t)
	wire(t, r.client, "eth0", "10.1.0.2/24", r.netns, "rc", "10.1.0.1/24")
	wire(t, server, "eth0", "10.2.0.2/24", r.netns, "rs", "10.2.0.1/24")
	r.client.ip(t, "route add default via 10.1.0.1")
	server.ip(t, "route add default via 10.2.0.1")
	r.must(t, "", func() error { return writeFile("/proc/sys/net/ipv4/ip_forward", "1") })
	server.nft(t, `
		table inet silent {
			chain prerouting {
				type filter hook prerouting priority -400
				meta l4proto { tcp, udp } drop
			}
		}`)
	return r
}

// awaitDrops waits until the router has dropped n packets: they reach it
// after the client's system call has returned.
func (r *router) awaitDrops(t *testing.T, n uint64) {
	t.Helper()
	var c counters
	if !eventually(10*time.Second, func() (ok bool) {
		var err error
		if c, err = readCounters(r.netns); err != nil {
			t.Fatal(err)
		}
		return c["drop"] >= n
	}) {
		t.Errorf("the router has dropped %d packets, want %d", c["drop"], n)
	}
}

// begin begins n connections from the client to the server.
func (r *router) begin(t *testing.T, s *sent, sport uint16, n int) {
	t.Helper()
	r.client.must(t, "wl-forward", func() error {
		return connectTCP(s, r.clientA, sport, netip.AddrPortFrom(r.serveA, 80), n, 0x1234)
	})
}

// TestForwarded: routers lose what they forward, one on the way in since its
// table is full, one on the way out since its NAT has one port only. There is
// no sender to be named: whoever is current there is so by chance, even when
// it is the client, as is likely here.
func TestForwarded(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		full, nat := newRouter(t), newRouter(t)
		full.nft(t, `
			table inet label {
				chain prerouting {
					type filter hook prerouting priority -300
					meta mark set 0x77
				}
			}`)
		full.fill(t, fullOf)
		setSysctl(t, sysctlMax, fullOf)
		nat.nft(t, onePort("ip", "10.2.0.1"))

		tr := observe(t, backend, []*netns{full.netns, nat.netns}, "--detail", "always")
		var toFull, toNAT sent
		toFull.start = time.Now()
		full.begin(t, &toFull, 20000, tries)
		full.awaitDrops(t, tries)
		toFull.end = time.Now()

		toNAT.start = time.Now()
		nat.begin(t, &toNAT, 20000, 1)
		if !eventually(10*time.Second, func() bool { return nat.count(t) == 1 }) {
			t.Fatal("the first flow has not reached the router")
		}
		nat.begin(t, &toNAT, 20001, tries)
		nat.awaitDrops(t, tries)
		toNAT.end = time.Now()
		traced := tr.stop()

		t.Run("table_full", func(t *testing.T) {
			wantCounters(t, tr.kernel[0], counters{"drop": tries})
			if !traced {
				return
			}
			tr.wantReasons(t, full.netns, map[string]uint64{"table_full": tries})
			w := want{n: full.netns, family: "ipv4", hook: "prerouting", in: "rc", mark: 0x77, flags: "S", count: fullOf, max: fullOf}
			each(t, wantFlows(t, tr.of("table_full"), toFull.flows), func(e *event) error {
				if err := w.check(e, &toFull); err != nil {
					return err
				}
				return reversed(e.tuple, e.Reply, e.Proto)
			})
		})
		t.Run("clash_dropped", func(t *testing.T) {
			wantCounters(t, tr.kernel[1], counters{"drop": tries, "insert_failed": tries})
			if !traced {
				return
			}
			tr.wantReasons(t, nat.netns, map[string]uint64{"clash_dropped": tries})
			w := want{n: nat.netns, family: "ipv4", hook: "postrouting", in: "rc", out: "rs", flags: "S"}
			each(t, wantFlows(t, tr.of("clash_dropped"), toNAT.flows[1:]), func(e *event) error {
				if err := w.check(e, &toNAT); err != nil {
					return err
				}
				return checkSNAT(e, toNAT.flows[0], netip.MustParseAddr("10.2.0.1"))
			})
		})
	})
}
