package render

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ctwhy/ctwhy/pkg/event"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file of testdata, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s (run go test -update to accept)\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

func ports(proto uint8, src, dst string) event.Tuple {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return event.Tuple{Src: s.Addr(), Dst: d.Addr(), Proto: proto, SrcPort: s.Port(), DstPort: d.Port()}
}

func icmp(proto uint8, src, dst string, typ uint8, id uint16) event.Tuple {
	return event.Tuple{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Proto: proto, ICMPType: typ, ICMPID: id}
}

func flags(f event.TCPFlags) *event.TCPFlags { return &f }

const home = 4026531840

// example is the event that the format's definition shows.
func example() event.Event {
	return event.Event{
		Time:   time.Date(2026, 11, 21, 12, 0, 0, 123456789, time.UTC),
		Reason: event.TableFull,
		Netns:  event.Netns{ID: home},
		Orig:   ports(event.ProtoTCP, "10.0.0.1:40000", "10.0.0.2:80"),
		Reply:  ports(event.ProtoTCP, "10.0.0.2:80", "10.0.0.1:40000"),
		Table:  &event.Table{Count: 512, Max: 512},
		CPU:    1,
		Packet: &event.Packet{TCPFlags: flags(2), Hook: event.Output, Out: "eth0"},
		Owner:  &event.Owner{PID: 812, Comm: "curl"},
	}
}

// samples are events of every kind.
func samples() []event.Event {
	at := func(micro int, ev event.Event) event.Event {
		ev.Time = time.Date(2026, 11, 21, 12, 0, 0, micro*1000+789, time.UTC)
		if ev.Netns.ID == 0 {
			ev.Netns.ID = home
		}
		return ev
	}
	dns := ports(event.ProtoUDP, "10.244.1.7:41532", "10.96.0.10:53")
	backend := func(i string) event.Tuple { return ports(event.ProtoUDP, i+":53", "10.244.1.7:41532") }
	client := event.Netns{ID: 4026532208, Name: "client"}
	table := &event.Table{Count: 262143, Max: 262144}
	return []event.Event{
		example(),
		at(200000, event.Event{Reason: event.TableFull, Netns: client, Zone: 7, Table: table,
			Orig:   ports(event.ProtoTCP, "10.0.0.1:40001", "10.0.0.2:443"),
			Reply:  ports(event.ProtoTCP, "10.0.0.2:443", "10.0.0.1:40001"),
			Packet: &event.Packet{TCPFlags: flags(0x12), Hook: event.Forward, In: "veth12ab34cd", Out: "eth0", Mark: 0x4000}}),
		at(200001, event.Event{Reason: event.TableFull, Netlink: true, Table: table, CPU: 3,
			Orig:  ports(event.ProtoUDP, "10.0.0.1:1000", "10.0.0.2:53"),
			Reply: ports(event.ProtoUDP, "10.0.0.2:53", "10.0.0.1:1000")}),
		at(200002, event.Event{Reason: event.NoMemory, Table: &event.Table{Count: 3, Max: 512},
			Orig:  icmp(event.ProtoICMP, "10.0.0.1", "10.0.0.2", 8, 77),
			Reply: icmp(event.ProtoICMP, "10.0.0.2", "10.0.0.1", 0, 77)}),
		at(200003, event.Event{Reason: event.Evicted, Netns: event.Netns{ID: 4026532300}, Table: table,
			Orig:  ports(event.ProtoTCP, "10.0.0.9:5555", "10.0.0.2:80"),
			Reply: ports(event.ProtoTCP, "10.0.3.2:8080", "10.0.0.9:5555"),
			Victim: &event.Entry{Orig: ports(event.ProtoTCP, "10.0.0.9:5555", "10.0.0.2:80"),
				Reply:  ports(event.ProtoTCP, "10.0.3.2:8080", "10.0.0.9:5555"),
				Status: event.StatusConfirmed | event.StatusDstNAT | event.StatusDying, Mark: 0x10}}),
		at(200004, event.Event{Reason: event.ClashMerged, Netns: client, Orig: dns, Reply: inverseOf(dns), Table: table,
			Packet: &event.Packet{Hook: event.Output, Out: "eth0"}, Owner: &event.Owner{PID: 4321, Comm: "isc-net-0001"},
			Winner: &event.Entry{Orig: dns, Reply: inverseOf(dns), Status: event.StatusConfirmed}}),
		at(200005, event.Event{Reason: event.ClashReplyOnly, Netns: client, Orig: dns, Reply: backend("10.244.2.3"), Table: table,
			Packet: &event.Packet{Hook: event.Postrouting, Out: "eth0"},
			Winner: &event.Entry{Orig: dns, Reply: backend("10.244.3.4"), Status: event.StatusConfirmed | event.StatusDstNAT | event.StatusSeenReply, Zone: 3}}),
		at(200006, event.Event{Reason: event.ClashDropped, Table: table,
			Orig:   ports(event.ProtoTCP, "10.0.0.1:40000", "10.0.0.2:80"),
			Reply:  ports(event.ProtoTCP, "10.0.0.2:80", "192.0.2.1:1024"),
			Packet: &event.Packet{TCPFlags: flags(2), Hook: event.Postrouting, Out: "eth0"},
			Winner: &event.Entry{Orig: ports(event.ProtoTCP, "10.0.0.7:39999", "10.0.0.2:80"), Reply: ports(event.ProtoTCP, "10.0.0.2:80", "192.0.2.1:1024"),
				Status: event.StatusConfirmed | event.StatusSrcNAT | event.StatusSeenReply | event.StatusAssured}}),
		at(200007, event.Event{Reason: event.ChainTooLong, Table: table,
			Orig:   ports(event.ProtoTCP, "[2001:db8::1]:40000", "[2001:db8::2]:80"),
			Reply:  ports(event.ProtoTCP, "[2001:db8::2]:80", "[2001:db8::1]:40000"),
			Packet: &event.Packet{Hook: event.Input, In: "eth0"}}),
		at(200008, event.Event{Reason: event.Dying,
			Orig: event.Tuple{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Proto: 89}}),
		at(200009, event.Event{Reason: event.TableFull, Table: table,
			Orig:  icmp(event.ProtoICMPv6, "fe80::1", "2001:db8::2", 128, 5),
			Reply: icmp(event.ProtoICMPv6, "2001:db8::2", "fe80::1", 129, 5)}),
		at(200010, event.Event{Reason: event.TableFull, Table: table,
			Orig:  event.Tuple{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Proto: event.ProtoGRE, SrcPort: 1, DstPort: 2},
			Reply: event.Tuple{Src: netip.MustParseAddr("10.0.0.2"), Dst: netip.MustParseAddr("10.0.0.1"), Proto: event.ProtoGRE, SrcPort: 2, DstPort: 1}}),
		at(200011, hostile()),
		at(200012, event.Event{Reason: event.ClashDropped, Netns: client}), // nothing could be read
		at(200013, worst(event.ClashDropped)),
	}
}

func inverseOf(t event.Tuple) event.Tuple {
	t.Src, t.Dst, t.SrcPort, t.DstPort = t.Dst, t.Src, t.DstPort, t.SrcPort
	return t
}

// hostile has names that attack a terminal, a parser and a reader.
func hostile() event.Event {
	ev := example()
	ev.Netns.Name = "a\x1b[2J\u202e b\u2028\xff\u009b31m\U000e0041"
	ev.Owner.Comm = "x\" \n[1]\x7f\x00"
	ev.Packet.Out = "\x1b]0;pwn\a"
	return ev
}

// worst is the longest event that there can be.
func worst(r event.Reason) event.Event {
	tuple := func(last string) event.Tuple {
		return ports(event.ProtoUDPLite, "[2001:db8:1111:2222:3333:4444:5555:"+last+"]:65535", "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:"+last+"]:65534")
	}
	entry := &event.Entry{Orig: tuple("ff01"), Reply: tuple("ff02"), Status: ^event.Status(0), Mark: 1<<32 - 1, Zone: 65535}
	return event.Event{
		Reason: r, Netns: event.Netns{ID: 1<<32 - 1, Name: "a-name-as-long-as-only-a-container-runtime-would-make-it"}, Zone: 65534, Netlink: true,
		Orig: tuple("ff03"), Reply: tuple("ff04"), Table: &event.Table{Count: 1<<32 - 1, Max: 1<<32 - 1}, CPU: 4095,
		Packet: &event.Packet{TCPFlags: flags(255), Hook: event.Postrouting, In: "fifteen-letters", Out: "fifteen=letters", Mark: 1<<32 - 1},
		Winner: entry, Owner: &event.Owner{PID: 4194304, Comm: "fifteen letters"},
	}
}

func coverages() []event.Coverage {
	hook := func(f, b string) event.HookCoverage { return event.HookCoverage{Function: f, Backend: b} }
	full := event.Coverage{
		Kernel: "6.12.107+deb12-amd64",
		Reasons: []event.ReasonCoverage{
			{Reason: event.TableFull, Hooks: []event.HookCoverage{hook("early_drop", "fexit"), hook("__nf_conntrack_alloc", "fexit")}},
			{Reason: event.Evicted, Hooks: []event.HookCoverage{hook("early_drop", "fentry"), hook("early_drop", "fexit"), hook("nf_ct_delete.part.0", "kprobe")}},
			{Reason: event.ClashMerged, Hooks: []event.HookCoverage{hook("__nf_conntrack_confirm", "kprobe"), hook("__nf_conntrack_confirm", "kretprobe")}},
			{Reason: event.ChainTooLong, Missing: "this kernel's chains have no limit"},
			{Reason: event.Dying},
		},
		Detail: event.Detail{Mode: "auto"},
		Notes:  []string{"losses before the ready line are not counted"},
	}
	armed, again, never := full, full, full
	armed.Detail = event.Detail{Mode: "auto", Armed: true, Why: "first loss"}
	again.Detail = event.Detail{Mode: "auto", Why: "quiet for 30s"}
	never.Kernel, never.Notes, never.Reasons = "", nil, full.Reasons[:1]
	never.Detail = event.Detail{Mode: "never"}
	return []event.Coverage{full, armed, again, again, never}
}

func summaries() []event.Summary {
	return []event.Summary{
		{Duration: 10200 * time.Millisecond, Netns: []event.NetnsSummary{
			{Netns: event.Netns{ID: home}, Kernel: &event.Counters{Drop: 485, InsertFailed: 20},
				Reasons: []event.Tally{
					{Reason: event.TableFull, Count: 465, Shown: 465},
					{Reason: event.Evicted},
					{Reason: event.ClashDropped, Count: 20, Shown: 5, Suppressed: 12, Lost: 3},
				}},
			{Netns: event.Netns{ID: 4026532208, Name: "client"}, Kernel: &event.Counters{Drop: 500, EarlyDrop: 1},
				Reasons: []event.Tally{
					{Reason: event.TableFull, Count: 490, Netlink: 3, Filtered: 100, Shown: 390},
					{Reason: event.Evicted, Count: 2, Shown: 2},
				},
				Slack:       event.Counters{Drop: 1},
				Differences: []event.Difference{{Counter: "drop", Kernel: 500, Expected: 487}, {Counter: "early_drop", Kernel: 1, Expected: 2}}},
			{Netns: event.Netns{ID: 4026532209, Name: "pod"}, Kernel: &event.Counters{ClashResolve: 4},
				Slack: event.Counters{ClashResolve: 2}, Reasons: []event.Tally{{Reason: event.ClashMerged, Count: 3, Shown: 3}}},
			{Netns: event.Netns{ID: 4026532210, Name: "gone\x1b[1m"}, Unread: "network namespace is gone",
				Reasons: []event.Tally{{Reason: event.Dying, Count: 1, Shown: 1}}},
			{Netns: event.Netns{ID: 4026532211}, Kernel: &event.Counters{}, Lacks: []string{"chaintoolong"}},
			{Netns: event.Netns{ID: 4026532212}, Kernel: &event.Counters{ChainTooLong: 1},
				Differences: []event.Difference{{Counter: "chaintoolong", Kernel: 1}}},
		}, Missed: event.Missed{Recursion: 1, Probes: 2, Unpaired: 3, Netns: 4}},
		{Duration: time.Second},
	}
}
