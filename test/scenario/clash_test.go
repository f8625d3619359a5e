//go:build guest

package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	racePairs  = 150 // pairs of datagrams in one round of a race
	raceComm   = "wl-race"
	raceWanted = 60 // clashes after which a race is over
)

// resolver sends each pair of datagrams as a resolver of a C library sends
// its questions for A and AAAA: from one socket to one server, here from two
// threads pinned to two CPUs at the same instant. Both threads find no entry
// and make one; the one that inserts second clashes. Each pair has a socket,
// so a flow, of its own.
func resolver(n *netns, comm string, s *sent, server netip.AddrPort, src netip.Addr, mark uint32) error {
	fds := make([]int, racePairs)
	for i := range fds {
		fd, port, err := socket(unix.SOCK_DGRAM, 0, netip.AddrPortFrom(src, 0), mark)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, sockaddr(server)); err != nil {
			return err
		}
		fds[i] = fd
		s.add(flow{"udp", src, server.Addr(), port, server.Port()}, nil)
	}
	var arrived atomic.Int32
	question := [1]byte{'?'}
	send := func(cpu int) error {
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return fmt.Errorf("pin to CPU %d: %w", cpu, err)
		}
		for i, fd := range fds {
			// Both spin until the other has come: nothing that sleeps wakes
			// two threads at the same instant.
			arrived.Add(1)
			for arrived.Load() < int32(2*(i+1)) {
			}
			if _, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(ptr(&question[0])), 1, 0, 0, 0); e != 0 {
				// The other thread must not wait for ever.
				arrived.Add(int32(2 * len(fds)))
				return fmt.Errorf("send: %w", e)
			}
		}
		return nil
	}
	// Each thread is a new one that ends afterwards, and its CPU set with it.
	errs := make(chan error, 1)
	go func() { errs <- n.do(comm, func() error { return send(1) }) }()
	err := n.do(comm, func() error { return send(0) })
	if other := <-errs; err == nil {
		err = other
	}
	return err
}

// raceUntil repeats the race until the kernel has resolved enough clashes.
func raceUntil(t *testing.T, n *netns, s *sent, server netip.AddrPort, src netip.Addr) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	s.start = time.Now()
	for {
		n.must(t, "", func() error { return resolver(n, raceComm, s, server, src, 0x1234) })
		s.end = time.Now()
		c, err := readCounters(n)
		if err != nil {
			t.Fatal(err)
		}
		if c["clash_resolve"] >= raceWanted {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d pairs of datagrams gave %d clashes only", len(s.flows), c["clash_resolve"])
		}
	}
}

var servers = map[string]struct{ src, server, nat string }{
	"ipv4": {"10.77.0.1", "10.96.0.10:53", `
		table ip nat {
			chain output {
				type nat hook output priority -100
				ip daddr 10.96.0.10 udp dport 53 dnat to numgen random mod 4 map { 0: 10.96.1.1, 1: 10.96.1.2, 2: 10.96.1.3, 3: 10.96.1.4 }
			}
		}`},
	"ipv6": {"fd77::1", "[fd96::10]:53", `
		table ip6 nat {
			chain output {
				type nat hook output priority -100
				ip6 daddr fd96::10 udp dport 53 dnat to numgen random mod 4 map { 0: fd96::1:1, 1: fd96::1:2, 2: fd96::1:3, 3: fd96::1:4 }
			}
		}`},
}

// detour is thousands of rules that match nothing, as a node with many
// services has them. A packet takes its time in them between the two hooks
// that the race is about, where a conntrack entry is made and where it is
// confirmed: with no rules the second packet would have to come within some
// microseconds, which is rare when the two virtual CPUs must share a real one.
const detour = `
	table inet detour {
		chain c3 {
			meta mark 1 drop; meta mark 2 drop; meta mark 3 drop; meta mark 4 drop; meta mark 5 drop
			meta mark 6 drop; meta mark 7 drop; meta mark 8 drop; meta mark 9 drop; meta mark 10 drop
		}
		chain c2 {
			jump c3; jump c3; jump c3; jump c3; jump c3; jump c3; jump c3; jump c3; jump c3; jump c3
		}
		chain c1 {
			jump c2; jump c2; jump c2; jump c2; jump c2; jump c2; jump c2; jump c2; jump c2; jump c2
		}
		chain output {
			type filter hook output priority 10
			jump c1; jump c1; jump c1; jump c1; jump c1
		}
	}`

// track gives the entries of the netns a mark and a zone, which winners must
// then show.
const track = `
	table inet label {
		chain set_zone {
			type filter hook output priority -300
			ct zone set 7
		}
		chain set_mark {
			type filter hook output priority -150
			ct mark set 0x5678
		}
	}`

// TestClashResolved: the race without NAT, and through a DNAT to four
// backends picked at random, as a cluster's service address for DNS is.
// Without NAT both packets have both tuples in common, so the second goes on
// with the first one's entry. With it, that is so only where both were given
// the same backend; else the second keeps an entry of its own for replies
// only.
func TestClashResolved(t *testing.T) {
	type race struct {
		family string
		nat    bool
	}
	races := []race{{"ipv4", false}, {"ipv6", false}, {"ipv4", true}, {"ipv6", true}}
	eachBackend(t, func(t *testing.T, backend string) {
		ns := make([]*netns, len(races))
		for i, r := range races {
			ns[i] = newNetns(t)
			ns[i].sink(t)
			ns[i].nft(t, track)
			ns[i].nft(t, detour)
			if r.nat {
				ns[i].nft(t, servers[r.family].nat)
			}
		}
		tr := observe(t, backend, ns)
		sends := make([]sent, len(races))
		for i, r := range races {
			at := servers[r.family]
			raceUntil(t, ns[i], &sends[i], netip.MustParseAddrPort(at.server), netip.MustParseAddr(at.src))
		}
		traced := tr.stop()
		for i, r := range races {
			name := "merged_" + r.family
			if r.nat {
				name = "reply_only_" + r.family
			}
			t.Run(name, func(t *testing.T) { checkRace(t, tr, traced, i, r.family, r.nat, &sends[i]) })
		}
	})
}

func checkRace(t *testing.T, tr *trace, traced bool, i int, family string, nat bool, s *sent) {
	n, kernel := tr.netns[i], tr.kernel[i]
	clashes := kernel["clash_resolve"]
	wantCounters(t, kernel, counters{"clash_resolve": clashes})
	if !traced {
		t.Logf("%d pairs, %d clashes", len(s.flows), clashes)
		return
	}
	merged, replyOnly := in(n, tr.of("clash_merged")), in(n, tr.of("clash_reply_only"))
	t.Logf("%d pairs, %d clashes: %d merged, %d reply only", len(s.flows), clashes, len(merged), len(replyOnly))
	tr.wantReasons(t, n, map[string]uint64{"clash_merged": uint64(len(merged)), "clash_reply_only": uint64(len(replyOnly))})
	if nat != (len(replyOnly) > 0) {
		t.Errorf("%d clashes were resolved for the reply only, with DNAT: %v", len(replyOnly), nat)
	}
	pairs := map[flow]bool{}
	for _, f := range s.flows {
		pairs[f] = true
	}
	w := want{n: n, family: family, hook: "postrouting", out: "dummy0", mark: 0x1234, zone: 7, comm: raceComm}
	each(t, append(merged, replyOnly...), func(e *event) error {
		if !pairs[e.flow()] {
			return fmt.Errorf("the workload did not send it, or it clashed twice")
		}
		delete(pairs, e.flow())
		if err := w.check(e, s); err != nil {
			return err
		}
		return checkResolved(e, nat)
	})
}

// checkResolved compares the loser with its winner: they have the original
// tuple in common, and where they were merged the reply's too.
func checkResolved(e *event, nat bool) error {
	w := e.Winner
	if w == nil {
		return fmt.Errorf("winner is absent")
	}
	if e.Victim != nil {
		return fmt.Errorf("a clash has no victim")
	}
	if got := w.Orig.flow(e.Proto); got != e.flow() {
		return fmt.Errorf("the winner is %v", got)
	}
	if w.Mark == nil || *w.Mark != 0x5678 || w.Zone == nil || *w.Zone != 7 {
		return fmt.Errorf("the winner's mark and zone are %s %s", deref(w.Mark), deref(w.Zone))
	}
	if !slices.Contains(w.Status, "CONFIRMED") || nat != slices.Contains(w.Status, "DST_NAT") {
		return fmt.Errorf("the winner's status is %v, with DNAT: %v", w.Status, nat)
	}
	if !nat {
		if err := reversed(e.tuple, e.Reply, e.Proto); err != nil {
			return err
		}
		return reversed(w.Orig, &w.Reply, e.Proto)
	}
	if e.Reply == nil {
		return fmt.Errorf("reply is absent")
	}
	loser, winner := e.Reply.flow(e.Proto), w.Reply.flow(e.Proto)
	if same := loser == winner; same != (e.Reason == "clash_merged") {
		return fmt.Errorf("the reply tuples are %v and the winner's %v", loser, winner)
	}
	for _, r := range []flow{loser, winner} {
		if b := r.src.String(); !strings.HasPrefix(b, "10.96.1.") && !strings.HasPrefix(b, "fd96::1:") {
			return fmt.Errorf("%s is not a backend", b)
		}
	}
	return nil
}
