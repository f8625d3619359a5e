//go:build guest

package scenario

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestFilter: each filter shows the events that it asks for and counts the
// others as filtered, so that the kernel's counters are still explained.
func TestFilter(t *testing.T) {
	in := func(prefix string, a netip.Addr) bool { return netip.MustParsePrefix(prefix).Contains(a) }
	tests := []struct {
		args  string
		match func(flow) bool
	}{
		{"-p tcp --sport 20003", func(f flow) bool { return f.proto == "tcp" && f.sport == 20003 }},
		{"-d fd99::4/126", func(f flow) bool { return in("fd99::4/126", f.dst) }},
		{"-f ipv4", func(f flow) bool { return f.src.Is4() }},
		{"--reason evicted", func(flow) bool { return false }},

		{"--protonum icmp", func(f flow) bool { return f.proto == "icmp" }},
		{"-s fd77::1", func(f flow) bool { return f.src.String() == "fd77::1" }},
		{"-d 10.99.0.0/25", func(f flow) bool { return in("10.99.0.0/25", f.dst) }},
		{"-p udp -d 10.99.0.126 --dport 5001 --reason table_full,evicted", func(f flow) bool {
			return f.proto == "udp" && f.dst.String() == "10.99.0.126" && f.dport == 5001
		}},
	}
	const together = 4 // ctwhys at once; more would need more memory
	eachBackend(t, func(t *testing.T, backend string) {
		n := fullNetns(t, fullOf)
		n.sink(t)
		for group := range slices.Chunk(tests, together) {
			if backend == "kprobe" && hasFexit(t) && group[0].args != tests[0].args {
				break // the filter is the same code by both backends: one group is enough
			}
			var lists [][]string
			for _, test := range group {
				lists = append(lists, strings.Fields(test.args))
			}
			traces := observeBy(t, backend, []*netns{n}, lists...)
			var s sent
			n.must(t, "wl-filter", func() error { return s.timed(func() error { return mixed(&s) }) })
			for i, test := range group {
				t.Run(strings.ReplaceAll(test.args, " ", "_"), func(t *testing.T) {
					checkFiltered(t, traces[i], &s, test.match)
				})
			}
		}
	})
}

func checkFiltered(t *testing.T, tr *trace, s *sent, match func(flow) bool) {
	tr.t = t
	traced := tr.stop()
	total := uint64(len(s.flows))
	wantCounters(t, tr.kernel[0], counters{"drop": total})
	if !traced {
		return
	}
	var asked []flow
	for _, f := range s.flows {
		if match(f) {
			asked = append(asked, f)
		}
	}
	wantFlows(t, tr.of("table_full"), asked)
	shown := uint64(len(asked))
	if len(tr.events) != len(asked) {
		t.Errorf("%d events were shown, want %d", len(tr.events), shown)
	}
	want := tally{Count: total, Shown: shown, Filtered: total - shown}
	if got := tr.summary.netnsOf(tr.netns[0]).Reasons["table_full"]; got != want {
		t.Errorf("the tally is %+v, want %+v", got, want)
	}
}

// mixed sends a few packets of every kind: two families, three protocols,
// several addresses and ports. Each flow is sent once.
func mixed(s *sent) error {
	src4, src6 := netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("fd77::1")
	for i := range byte(8) {
		dst4, dst6 := netip.AddrFrom4([4]byte{10, 99, 0, 125 + i}), netip.MustParseAddr(fmt.Sprintf("fd99::%d", i))
		if err := connectTCP(s, src4, 20000, netip.AddrPortFrom(dst4, 80+uint16(i)), 4, 0); err != nil {
			return err
		}
		if err := connectTCP(s, src6, 20000, netip.AddrPortFrom(dst6, 80+uint16(i)), 4, 0); err != nil {
			return err
		}
		if err := sendUDP(s, src4, netip.AddrPortFrom(dst4, 5000), 4, 0); err != nil {
			return err
		}
		if err := sendUDP(s, src6, netip.AddrPortFrom(dst6, 5000), 4, 0); err != nil {
			return err
		}
	}
	return sendEchoes(s, src4, netip.MustParseAddr("10.99.0.125"), 1, 4, 0)
}

// TestNetnsFilter: of three netns that lose packets, one of which is younger
// than ctwhy, one is asked for, by its name, by a path, by its inode; or all
// are watched.
func TestNetnsFilter(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		wanted, other := newNetns(t), newNetns(t)
		for _, n := range []*netns{wanted, other} {
			n.fill(t, fullOf)
			n.sink(t)
		}
		kinds := []string{"name", "all", "path", "inode"}
		lists := [][]string{
			{"--netns", wanted.name}, nil, {"--netns", "/run/netns/" + wanted.name}, {"--netns", fmt.Sprint(wanted.inode)},
		}
		if backend == "kprobe" && hasFexit(t) {
			// It is the same filter by both backends, and told apart before
			// anything is attached.
			kinds, lists = kinds[:2], lists[:2]
		}
		traces := observeBy(t, backend, []*netns{wanted}, lists...)
		late := fullNetns(t, fullOf)
		late.sink(t)
		var s sent
		wanted.must(t, "wl-netns", func() error { return mixed(&s) })
		other.must(t, "wl-netns", func() error { return mixed(&sent{}) })
		late.must(t, "wl-netns", func() error { return mixed(&sent{}) })
		total := uint64(len(s.flows))
		for i, kind := range kinds {
			t.Run(kind, func(t *testing.T) {
				tr := traces[i]
				tr.t = t
				traced := tr.stop()
				wantCounters(t, tr.kernel[0], counters{"drop": total})
				if !traced {
					return
				}
				if got := wantFlows(t, in(wanted, tr.of("table_full")), s.flows); uint64(len(got)) != total {
					t.Errorf("%d events of the netns were shown, want %d", len(got), total)
				}
				tr.wantReasons(t, wanted, map[string]uint64{"table_full": total})
				for _, n := range []*netns{other, late} {
					checkOther(t, tr, n, total, kind == "all")
				}
			})
		}
	})
}

// checkOther: a netns that was not asked for has no events; one that was, has.
func checkOther(t *testing.T, tr *trace, n *netns, total uint64, asked bool) {
	t.Helper()
	c, err := readCounters(n) // at zero when the netns was made, which nobody watched before
	if err != nil {
		t.Fatal(err)
	}
	wantCounters(t, c, counters{"drop": total})
	events := in(n, tr.of("table_full"))
	if !asked {
		if sum := tr.summary.netnsOf(n); len(events) > 0 || sum != nil {
			t.Errorf("netns %s was not asked for and has %d events, and in the summary %v", n.name, len(events), sum)
		}
		return
	}
	checkNetns(t, tr.summary, n, c)
	tr.wantReasons(t, n, map[string]uint64{"table_full": total})
	if uint64(len(events)) != total {
		t.Errorf("netns %s has %d events, want %d", n.name, len(events), total)
	}
	each(t, events, func(e *event) error {
		if e.Netns.Name != n.name {
			return fmt.Errorf("netns is %v, want %s", e.Netns, n.name)
		}
		return nil
	})
}
