//go:build linux

package ctnetlink

import (
	"fmt"

	"github.com/ctwhy/ctwhy/pkg/event"
)

// Counter is a field of the kernel's struct ip_conntrack_stat, with the number
// that it has in ctnetlink (enum ctattr_stats_cpu,
// uapi/linux/netfilter/nfnetlink_conntrack.h).
type Counter uint8

const (
	Found         Counter = 2  // CTA_STATS_FOUND
	Invalid       Counter = 4  // CTA_STATS_INVALID
	Insert        Counter = 8  // CTA_STATS_INSERT
	InsertFailed  Counter = 9  // CTA_STATS_INSERT_FAILED
	Drop          Counter = 10 // CTA_STATS_DROP
	EarlyDrop     Counter = 11 // CTA_STATS_EARLY_DROP
	Error         Counter = 12 // CTA_STATS_ERROR
	SearchRestart Counter = 13 // CTA_STATS_SEARCH_RESTART
	ClashResolve  Counter = 14 // CTA_STATS_CLASH_RESOLVE, Linux 5.10 or later
	ChainTooLong  Counter = 15 // CTA_STATS_CHAIN_TOOLONG, Linux 5.15 or later

	maxCounter = 16
)

var counterNames = [maxCounter]string{
	Found: "found", Invalid: "invalid", Insert: "insert", InsertFailed: "insert_failed", Drop: "drop", EarlyDrop: "early_drop",
	Error: "error", SearchRestart: "search_restart", ClashResolve: "clash_resolve", ChainTooLong: "chaintoolong",
}

// String is the kernel's name of the counter, as conntrack -S prints it, or
// "" if this version knows none.
func (c Counter) String() string {
	if c < maxCounter {
		return counterNames[c]
	}
	return ""
}

// Counters is a set of counters.
type Counters uint16

// Has reports whether c is in the set.
func (s Counters) Has(c Counter) bool { return s&(1<<c) != 0 }

// Stats are the statistics of one netns at one moment.
type Stats struct {
	CPUs []CPU // every possible CPU, in ascending order
	// Has are the counters that the kernel told of; older ones lack some.
	Has Counters
	// Source is where they come from: "ctnetlink" or "/proc/net/stat/nf_conntrack".
	Source string
}

// CPU are one CPU's counters, by [Counter]; each wraps at 32 bits. One that
// the kernel did not tell of is 0.
type CPU struct {
	ID    int // from ctnetlink; from /proc the position among the possible CPUs
	Value [maxCounter]uint32
}

// Delta is by how much a netns's counters moved.
type Delta struct {
	event.Counters
	Found, Invalid, Insert, Error, SearchRestart uint64
	// Has are the counters that both readings told of; the others are 0.
	Has Counters
}

// Sub is by how much the counters of one netns moved between two readings. A
// counter may have wrapped once on each CPU in the meantime: 4,294,967,296
// losses later the difference is short of that many.
func Sub(before, after Stats) (Delta, error) {
	if len(before.CPUs) != len(after.CPUs) {
		return Delta{}, fmt.Errorf("compare conntrack statistics: of %d CPUs before and %d after", len(before.CPUs), len(after.CPUs))
	}
	var sum [maxCounter]uint64
	has := before.Has & after.Has
	for i := range after.CPUs {
		for c := range Counter(maxCounter) {
			if has.Has(c) {
				sum[c] += uint64(after.CPUs[i].Value[c] - before.CPUs[i].Value[c])
			}
		}
	}
	return Delta{
		Counters: event.Counters{
			Drop: sum[Drop], InsertFailed: sum[InsertFailed], EarlyDrop: sum[EarlyDrop],
			ClashResolve: sum[ClashResolve], ChainTooLong: sum[ChainTooLong],
		},
		Found: sum[Found], Invalid: sum[Invalid], Insert: sum[Insert], Error: sum[Error], SearchRestart: sum[SearchRestart],
		Has: has,
	}, nil
}
