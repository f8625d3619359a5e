// Package result is what the benchmark measures, and the bars that it is held
// to.
package result

import (
	"fmt"
	"io"
)

// Mode is what watches conntrack during a measurement.
type Mode string

const (
	Bare           Mode = "bare"
	EmptyFexit     Mode = "empty fexit pair"
	CtwhyFexit     Mode = "ctwhy by fexit"
	EmptyKretprobe Mode = "empty kretprobe pair"
	CtwhyKprobe    Mode = "ctwhy by kprobe"
	EmptyKprobes   Mode = "empty kprobes, as many"
	BpftraceKfunc  Mode = "bpftrace by kfunc"
	BpftraceKprobe Mode = "bpftrace by kretprobe"
)

// Cost is the median cost of one packet, in guest instructions.
type Cost struct {
	Mode        Mode
	NewFlow     float64 // a UDP packet over loopback that makes a new entry
	Established float64 // a UDP packet over loopback of a known flow
	Dropped     float64 // a UDP packet refused by a full table; 0 where not measured
	// Runs is how often the mode's programs ran for 100,000 established packets.
	Runs uint64
	// Attach is from start to ready; 0 where not measured.
	Attach float64
}

// Result is one run of the benchmark.
type Result struct {
	Costs []Cost
}

func (r Result) of(m Mode) Cost {
	for _, c := range r.Costs {
		if c.Mode == m {
			return c
		}
	}
	return Cost{}
}

// Report prints the table and the bars, and tells whether all were met.
func (r Result) Report(w io.Writer) bool {
	bare := r.of(Bare)
	fmt.Fprintf(w, "%-22s %10s %8s %14s %10s %8s %14s\n", "", "new flow", "adds", "known flow", "dropped", "times", "to ready")
	for _, c := range r.Costs {
		fmt.Fprintf(w, "%-22s %10.0f %8.0f %14.0f", c.Mode, c.NewFlow, c.NewFlow-bare.NewFlow, c.Established)
		if c.Dropped > 0 {
			fmt.Fprintf(w, " %10.0f %8.2f", c.Dropped, c.Dropped/bare.Dropped)
		}
		if c.Attach > 0 {
			fmt.Fprintf(w, " %12.0f M", c.Attach/1e6)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	ok := true
	bar := func(what string, value, most float64) {
		verdict := "met"
		if value > most {
			verdict, ok = "MISSED", false
		}
		fmt.Fprintf(w, "%-74s %8.3f <= %5.3f  %s\n", what, value, most, verdict)
	}
	adds := func(m Mode) float64 { return r.of(m).NewFlow - bare.NewFlow }
	bar("new flow: what ctwhy by fexit adds, in empty fexit pairs", adds(CtwhyFexit)/adds(EmptyFexit), 1.10)
	bar("new flow: what ctwhy by kprobe adds, in empty kretprobe pairs", adds(CtwhyKprobe)/adds(EmptyKretprobe), 2.25)
	for _, m := range []Mode{CtwhyFexit, CtwhyKprobe} {
		c := r.of(m)
		bar("known flow: runs of programs over 100,000 packets, "+string(m), float64(c.Runs), 0)
		change := c.Established/bare.Established - 1
		bar("known flow: change of cost, either way, "+string(m), max(change, -change), 0.005)
	}
	for _, m := range []Mode{CtwhyFexit, CtwhyKprobe} {
		bar("dropped packet while detail is limited, in bare ones, "+string(m), r.of(m).Dropped/bare.Dropped, 1.3)
	}
	return ok
}
