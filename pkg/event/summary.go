package event

import (
	"strconv"
	"time"
)

func itoa(p uint8) string { return strconv.Itoa(int(p)) }

// Coverage says what can be seen on this machine, and how. It is told before
// the first event and again whenever it changes.
type Coverage struct {
	Kernel  string // uname -r
	Reasons []ReasonCoverage
	Detail  Detail
	// Notes are sentences about what is not covered.
	Notes []string
}

// ReasonCoverage is how one reason is seen.
type ReasonCoverage struct {
	Reason Reason
	Hooks  []HookCoverage
	// Missing says in a sentence why this reason cannot be seen; "" when it can.
	Missing string
}

// HookCoverage is one kernel function and how it is watched.
type HookCoverage struct {
	Function string
	Backend  string // "fexit", "fentry", "kprobe" or "kretprobe"
}

// Detail is whether packets' own details are read on the way into conntrack,
// which costs a little for every packet.
type Detail struct {
	Mode  string // "auto", "always" or "never"
	Armed bool
	// Why is set when the state changed: "first loss", "quiet for 30s"; or
	// why it cannot be armed.
	Why string
}

// Summary is a trace's end: what was counted, beside the kernel's counters.
type Summary struct {
	Duration time.Duration
	Netns    []NetnsSummary
	Missed   Missed
}

// NetnsSummary is one netns's part of a [Summary].
type NetnsSummary struct {
	Netns   Netns
	Reasons []Tally
	// Kernel is by how much the kernel's counters moved meanwhile; nil where
	// they could not be read, and Unread says why.
	Kernel *Counters
	Unread string
	// Lacks are the counters that this kernel does not have; they are 0 in
	// Kernel and Slack.
	Lacks []string
	// Slack is by how much the kernel's counters moved while they were being
	// read at the start and at the end: a difference up to it proves nothing.
	Slack Counters
	// Differences are the counters that do not reconcile.
	Differences []Difference
}

// Reconciled reports whether every counter of the kernel was explained, and
// whether that could be told.
func (n NetnsSummary) Reconciled() (ok, known bool) {
	return len(n.Differences) == 0, n.Kernel != nil
}

// Tally is the arithmetic of one reason in one netns:
// Count = Filtered + Shown + Suppressed + Lost.
type Tally struct {
	Reason     Reason
	Count      uint64 // all that happened, exact
	Netlink    uint64 // of Count: asked for by ctnetlink, not by a packet
	Filtered   uint64 // of Count: not asked for by the filter
	Shown      uint64 // printed
	Suppressed uint64 // not shown because of --rate, or after the last event of --stop-after
	Lost       uint64 // not shown because a buffer was full
}

// Difference is a kernel counter that ctwhy's own counts do not explain.
type Difference struct {
	Counter  string
	Kernel   uint64 // by how much the kernel's counter moved
	Expected uint64 // by how much ctwhy's counts say it moved
}

// Missed is what the machinery itself missed, in all netns together.
type Missed struct {
	// Recursion: runs of a program that the kernel skipped because the
	// program was already running on that CPU (bpf_prog_info.recursion_misses).
	Recursion uint64
	// Probes: kprobe or kretprobe hits that the kernel could not handle.
	Probes uint64
	// Unpaired: returns whose entry was not seen.
	Unpaired uint64
	// Netns: losses that could not be counted since there were too many
	// netns at once.
	Netns uint64
}

// Any reports whether anything was missed.
func (m Missed) Any() bool { return m != Missed{} }
