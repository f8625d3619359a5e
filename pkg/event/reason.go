package event

import (
	"fmt"
	"sort"
	"strings"
)

// Reason says why conntrack lost, changed or evicted something. Its values
// are the wire's: enum reason in headers/event.h has the same numbers.
type Reason uint8

const (
	// TableFull: the table of this netns held nf_conntrack_max entries and
	// early_drop found none to evict.
	TableFull Reason = iota + 1
	// NoMemory: the slab allocator had no memory for the entry.
	NoMemory
	// Evicted: early_drop killed this entry to make room for a newcomer.
	Evicted
	// ClashDropped: another packet inserted the same tuple first and the
	// clash could not be resolved.
	ClashDropped
	// ClashMerged: the clash was resolved by moving the packet to the
	// winner's entry.
	ClashMerged
	// ClashReplyOnly: the clash was resolved by inserting the loser's entry
	// in the reply direction only, for one second.
	ClashReplyOnly
	// ChainTooLong: the hash bucket held too many entries.
	ChainTooLong
	// Dying: the entry was marked as dying before its first packet was
	// confirmed.
	Dying
)

// Fate is what became of the packet or the entry.
type Fate string

const (
	Dropped  Fate = "dropped"  // the packet was dropped
	Accepted Fate = "accepted" // the packet went on
	Gone     Fate = "evicted"  // the entry was removed, the packet that caused it went on
)

// Reasons lists every reason in its order of display.
func Reasons() []Reason {
	return []Reason{TableFull, NoMemory, Evicted, ClashDropped, ClashMerged, ClashReplyOnly, ChainTooLong, Dying}
}

var reasonNames = map[Reason]string{
	TableFull:      "table_full",
	NoMemory:       "no_memory",
	Evicted:        "evicted",
	ClashDropped:   "clash_dropped",
	ClashMerged:    "clash_merged",
	ClashReplyOnly: "clash_reply_only",
	ChainTooLong:   "chain_too_long",
	Dying:          "dying",
}

// String is the reason's name as it stands in JSON and on the command line.
func (r Reason) String() string {
	if n, ok := reasonNames[r]; ok {
		return n
	}
	return fmt.Sprintf("reason_%d", uint8(r))
}

// Known reports whether this version has a name for r.
func (r Reason) Known() bool { _, ok := reasonNames[r]; return ok }

// Fate is what becomes of a packet, or for [Evicted] of an entry, that this
// reason hits.
func (r Reason) Fate() Fate {
	switch r {
	case Evicted:
		return Gone
	case ClashMerged, ClashReplyOnly:
		return Accepted
	default:
		return Dropped
	}
}

// Clash reports whether an event of this reason has a winner.
func (r Reason) Clash() bool {
	return r == ClashDropped || r == ClashMerged || r == ClashReplyOnly
}

// ParseReason is the inverse of [Reason.String]. The error names every
// reason there is.
func ParseReason(name string) (Reason, error) {
	for r, n := range reasonNames {
		if n == name {
			return r, nil
		}
	}
	names := make([]string, 0, len(reasonNames))
	for _, r := range Reasons() {
		names = append(names, r.String())
	}
	return 0, fmt.Errorf("unknown reason %q: it is one of %s", name, strings.Join(names, ", "))
}

// Counters are the fields of the kernel's struct ip_conntrack_stat that
// losses move, for one netns, summed over CPUs. The kernel's are 32 bits wide
// and wrap; these are sums of such fields or differences of such sums.
type Counters struct {
	Drop         uint64 // drop
	InsertFailed uint64 // insert_failed
	EarlyDrop    uint64 // early_drop
	ClashResolve uint64 // clash_resolve, Linux 5.10 or later
	ChainTooLong uint64 // chaintoolong, Linux 5.15 or later
}

// CounterNames are the kernel's names, as conntrack -S prints them, in the
// order of [Counters.Values].
func CounterNames() []string {
	return []string{"drop", "insert_failed", "early_drop", "clash_resolve", "chaintoolong"}
}

// Values are the counters in the order of [CounterNames].
func (c Counters) Values() []uint64 {
	return []uint64{c.Drop, c.InsertFailed, c.EarlyDrop, c.ClashResolve, c.ChainTooLong}
}

// CountersOf is the inverse of [Counters.Values].
func CountersOf(v []uint64) Counters {
	return Counters{Drop: v[0], InsertFailed: v[1], EarlyDrop: v[2], ClashResolve: v[3], ChainTooLong: v[4]}
}

// Moves says by how much one packet that is lost for this reason moves the
// kernel's counters (net/netfilter/nf_conntrack_core.c). An insert that came
// through ctnetlink moves none of them, but for an eviction.
func (r Reason) Moves() Counters {
	switch r {
	case TableFull, NoMemory:
		return Counters{Drop: 1}
	case Evicted:
		return Counters{EarlyDrop: 1}
	case ClashDropped:
		return Counters{Drop: 1, InsertFailed: 1}
	case ClashMerged, ClashReplyOnly:
		return Counters{ClashResolve: 1}
	case ChainTooLong:
		return Counters{InsertFailed: 1, ChainTooLong: 1}
	case Dying:
		return Counters{InsertFailed: 1}
	}
	return Counters{}
}

// Add adds n times d.
func (c *Counters) Add(d Counters, n uint64) {
	c.Drop += d.Drop * n
	c.InsertFailed += d.InsertFailed * n
	c.EarlyDrop += d.EarlyDrop * n
	c.ClashResolve += d.ClashResolve * n
	c.ChainTooLong += d.ChainTooLong * n
}

// SortReasons sorts in the order of display.
func SortReasons(rs []Reason) { sort.Slice(rs, func(i, j int) bool { return rs[i] < rs[j] }) }
