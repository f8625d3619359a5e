package event

import (
	"strings"
	"testing"
)

func TestReasonsHaveNamesFatesAndCounters(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Reasons() {
		got, err := ParseReason(r.String())
		if err != nil || got != r {
			t.Errorf("ParseReason(%q) = %v, %v", r.String(), got, err)
		}
		if seen[r.String()] || !r.Known() {
			t.Errorf("%v has no name of its own", r)
		}
		seen[r.String()] = true
		if r.Moves() == (Counters{}) {
			t.Errorf("%v moves no counter: nothing would check it", r)
		}
		if (r.Moves().ClashResolve > 0) != (r.Fate() == Accepted) {
			t.Errorf("%v: fate %v does not go with its counters", r, r.Fate())
		}
	}
	if _, err := ParseReason("lost"); err == nil || !strings.Contains(err.Error(), "table_full") {
		t.Errorf("an unknown reason: %v", err)
	}
	if Reason(0).Known() {
		t.Error("the zero value is a reason")
	}
}

func TestCountersAsValuesAndBack(t *testing.T) {
	c := Counters{Drop: 1, InsertFailed: 2, EarlyDrop: 3, ClashResolve: 4, ChainTooLong: 5}
	if CountersOf(c.Values()) != c || len(c.Values()) != len(CounterNames()) {
		t.Errorf("values %v", c.Values())
	}
	var sum Counters
	sum.Add(c, 3)
	if sum != (Counters{3, 6, 9, 12, 15}) {
		t.Errorf("sum %+v", sum)
	}
}

func TestTCPFlags(t *testing.T) {
	for flags, want := range map[TCPFlags]string{0x02: "S", 0x12: "SA", 0x04: "R", 0x14: "RA", 0x11: "FA", 0x10: "A", 0x18: "PA", 0: ""} {
		if got := flags.String(); got != want {
			t.Errorf("%#02x is %q, want %q", uint8(flags), got, want)
		}
	}
}

func TestStatusNames(t *testing.T) {
	got := strings.Join((StatusSeenReply | StatusAssured | StatusConfirmed | StatusDying).Names(), ",")
	if got != "SEEN_REPLY,ASSURED,CONFIRMED,DYING" {
		t.Errorf("got %s", got)
	}
}

func TestProtocols(t *testing.T) {
	if ProtoName(6) != "tcp" || ProtoName(200) != "200" {
		t.Error("names of protocols")
	}
	if !(Tuple{Proto: ProtoUDP}).HasPorts() || (Tuple{Proto: ProtoGRE}).HasPorts() || !(Tuple{Proto: ProtoICMPv6}).IsICMP() {
		t.Error("what a tuple has")
	}
}
