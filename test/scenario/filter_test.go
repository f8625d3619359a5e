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
		{"-p tcp", func(f flow) bool { return f.proto == "tcp" }},
		{"--proto udp", func(f flow) bool { return f.proto == "udp" }},
		{"-p icmp", func(f flow) bool { return f.proto == "icmp" }},
		{"-s 10.77.0.1", func(f flow) bool { return f.src.String() == "10.77.0.1" }},
		{"-d 10.99.0.0/25", func(f flow) bool { return in("10.99.0.0/25", f.dst) }},
		{"-d fd99::/16", func(f flow) bool { return in("fd99::/16", f.dst) }},
		{"-d fd99::5", func(f flow) bool { return f.dst.String() == "fd99::5" }},
		{"--sport 20003", func(f flow) bool { return f.sport == 20003 }},
		{"--dport 5001", func(f flow) bool { return f.dport == 5001 }},
		{"-f ipv4", func(f flow) bool { return f.src.Is4() }},
		{"-f ipv6", func(f flow) bool { return f.src.Is6() }},
		{"--reason table_full,evicted", func(flow) bool { return true }},
		{"--reason evicted", func(flow) bool { return false }},
		{"-p udp -d 10.99.0.0/16 --dport 5002", func(f flow) bool {
			return f.proto == "udp" && in("10.99.0.0/16", f.dst) && f.dport == 5002
		}},
	}
	eachBackend(t, func(t *testing.T, backend string) {
		n := fullNetns(t, fullOf)
		n.sink(t)
		if *bare {
			var s sent
			tr := observe(t, backend, []*netns{n})
			n.must(t, "wl-filter", func() error { return s.timed(func() error { return mixed(&s) }) })
			tr.stop()
			wantCounters(t, tr.kernel[0], counters{"drop": uint64(len(s.flows))})
			return
		}
		for _, test := range tests {
			t.Run(strings.ReplaceAll(test.args, " ", "_"), func(t *testing.T) {
				tr := observe(t, backend, []*netns{n}, strings.Fields(test.args)...)
				var s sent
				n.must(t, "wl-filter", func() error { return s.timed(func() error { return mixed(&s) }) })
				tr.stop()
				total := uint64(len(s.flows))
				wantCounters(t, tr.kernel[0], counters{"drop": total})
				var asked []flow
				for _, f := range s.flows {
					if test.match(f) {
						asked = append(asked, f)
					}
				}
				tr.wantFlows("table_full", asked)
				shown := uint64(len(asked))
				if len(tr.events) != len(asked) {
					t.Errorf("%d events were shown, want %d", len(tr.events), shown)
				}
				want := tally{Count: total, Shown: shown, Filtered: total - shown}
				if got := tr.summary.netnsOf(n).Reasons["table_full"]; got != want {
					t.Errorf("the tally is %+v, want %+v", got, want)
				}
			})
		}
	})
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

// TestNetnsFilter: of two netns that lose packets, one is asked for: by its
// name, by a path, by its inode.
func TestNetnsFilter(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		wanted := newNetns(t)
		other := newNetns(t)
		for _, n := range []*netns{wanted, other} {
			n.fill(t, fullOf)
			n.sink(t)
		}
		setSysctl(t, sysctlMax, fullOf)
		for kind, name := range map[string]string{
			"name": wanted.name, "path": "/run/netns/" + wanted.name, "inode": fmt.Sprint(wanted.inode),
		} {
			t.Run(kind, func(t *testing.T) {
				tr := observe(t, backend, []*netns{wanted}, "--netns", name)
				var s, unwanted sent
				for n, s := range map[*netns]*sent{wanted: &s, other: &unwanted} {
					n.must(t, "wl-netns", func() error { return s.timed(func() error { return mixed(s) }) })
				}
				traced := tr.stop()
				total := uint64(len(s.flows))
				wantCounters(t, tr.kernel[0], counters{"drop": total})
				if !traced {
					return
				}
				tr.wantReasons(wanted, map[string]uint64{"table_full": total})
				events := tr.wantFlows("table_full", s.flows)
				if uint64(len(events)) != total {
					t.Errorf("%d events were shown, want %d", len(events), total)
				}
				each(t, events, func(e *event) error {
					if e.Netns.ID != wanted.inode || e.Netns.Name != wanted.name {
						return fmt.Errorf("netns is %v", e.Netns)
					}
					return nil
				})
				if sum := tr.summary.netnsOf(other); sum != nil {
					for reason, y := range sum.Reasons {
						if y.Count != y.Filtered {
							t.Errorf("the other netns has %+v of %s", y, reason)
						}
					}
				}
			})
		}
	})
}

// TestAllNetns: without a filter every netns is watched, also one
// that did not exist when ctwhy began.
func TestAllNetns(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		before := newNetns(t)
		before.fill(t, fullOf)
		before.sink(t)
		tr := observe(t, backend, []*netns{before}, "--detail", "always")
		after := fullNetns(t, fullOf)
		after.sink(t)
		var s, late sent
		before.must(t, "wl-netns", func() error { return s.timed(func() error { return mixed(&s) }) })
		after.must(t, "wl-netns", func() error { return late.timed(func() error { return mixed(&late) }) })
		// The late netns began with counters at zero.
		c, err := readCounters(after)
		if err != nil {
			t.Fatal(err)
		}
		wantCounters(t, c, counters{"drop": uint64(len(late.flows))})
		if !tr.stop() {
			return
		}
		tr.wantReasons(before, map[string]uint64{"table_full": uint64(len(s.flows))})
		tr.wantReasons(after, map[string]uint64{"table_full": uint64(len(late.flows))})
		checkNetns(t, tr.summary, after, c)
		for _, n := range []*netns{before, after} {
			if !slices.ContainsFunc(tr.events, func(e event) bool { return e.Netns.ID == n.inode && e.Netns.Name == n.name }) {
				t.Errorf("no event names netns %s", n.name)
			}
		}
	})
}
