package render

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ctwhy/ctwhy/pkg/event"
)

// Summary writes the trace's end as a table for each netns, and how it
// compares with the kernel's counters.
func (t *Text) Summary(s event.Summary) error {
	var b strings.Builder
	if t.events {
		b.WriteString("\n")
	}
	seconds := s.Duration.Round(100 * time.Millisecond).Seconds()
	fmt.Fprintf(&b, "traced for %.1f seconds", seconds)
	if len(s.Netns) == 0 {
		b.WriteString(", nothing was lost")
	}
	b.WriteString("\n")
	for _, n := range s.Netns {
		t.netns(&b, n)
	}
	missed(&b, s.Missed)
	_, err := io.WriteString(t.out, b.String())
	return err
}

func (t *Text) netns(b *strings.Builder, n event.NetnsSummary) {
	b.WriteString("netns " + utoa(n.Netns.ID))
	if n.Netns.Name != "" {
		b.WriteString(" " + word(n.Netns.Name, 64))
	}
	b.WriteString("\n")
	switch {
	case counted(n.Reasons) > 0:
		table(b, n.Reasons)
	case len(n.Differences) > 0:
		b.WriteString("  nothing was seen\n")
	default:
		b.WriteString("  nothing was lost\n")
	}
	switch {
	case n.Kernel != nil:
		b.WriteString("  kernel:" + moved(*n.Kernel, n.Lacks, true) + "\n")
		reconciled(b, n)
	case n.Unread != "":
		b.WriteString("  kernel: counters not read: " + Clean(n.Unread) + "\n")
	default:
		b.WriteString("  kernel: counters not read\n")
	}
}

func counted(ts []event.Tally) (n uint64) {
	for _, t := range ts {
		n += t.Count
	}
	return n
}

// table writes the tallies; the last two columns only where they are needed.
func table(b *strings.Builder, ts []event.Tally) {
	type column struct {
		name  string
		value func(event.Tally) uint64
		any   bool
	}
	cols := []column{
		{"counted", func(t event.Tally) uint64 { return t.Count }, true},
		{"shown", func(t event.Tally) uint64 { return t.Shown }, true},
		{"suppressed", func(t event.Tally) uint64 { return t.Suppressed }, true},
		{"lost", func(t event.Tally) uint64 { return t.Lost }, true},
		{"filtered", func(t event.Tally) uint64 { return t.Filtered }, false},
		{"by ctnetlink", func(t event.Tally) uint64 { return t.Netlink }, false},
	}
	b.WriteString("  " + pad("reason", 16))
	for i := range cols {
		c := &cols[i]
		for _, t := range ts {
			c.any = c.any || c.value(t) > 0
		}
		if c.any {
			fmt.Fprintf(b, "  %12s", c.name)
		}
	}
	b.WriteString("\n")
	for _, t := range ts {
		if t.Count == 0 {
			continue
		}
		b.WriteString("  " + pad(t.Reason.String(), 16))
		for _, c := range cols {
			if c.any {
				fmt.Fprintf(b, "  %12d", c.value(t))
			}
		}
		b.WriteString("\n")
	}
}

// moved lists counters, all of them or those that moved.
func moved(c event.Counters, lacks []string, all bool) string {
	var b strings.Builder
	values := c.Values()
	for i, name := range event.CounterNames() {
		if values[i] > 0 || all && !slices.Contains(lacks, name) {
			b.WriteString(" " + name + " +" + strconv.FormatUint(values[i], 10))
		}
	}
	return b.String()
}

func reconciled(b *strings.Builder, n event.NetnsSummary) {
	if ok, _ := n.Reconciled(); ok {
		switch {
		case n.Slack != (event.Counters{}):
			b.WriteString("  reconciled: the kernel's counters moved by what was counted, give or take what moved while they were read:" + moved(n.Slack, n.Lacks, false))
		case *n.Kernel == event.Counters{}:
			b.WriteString("  reconciled: the kernel's counters did not move")
		default:
			b.WriteString("  reconciled: the kernel's counters moved by exactly what was counted")
		}
		b.WriteString("\n")
		return
	}
	for _, d := range n.Differences {
		fmt.Fprintf(b, "  not reconciled: %s moved by %d, but the losses counted explain %d: ", Clean(d.Counter), d.Kernel, d.Expected)
		if d.Kernel > d.Expected {
			fmt.Fprintf(b, "%d not seen\n", d.Kernel-d.Expected)
		} else {
			fmt.Fprintf(b, "%d too many seen\n", d.Expected-d.Kernel)
		}
	}
}

// missed names what the machinery missed and what it means.
func missed(b *strings.Builder, m event.Missed) {
	for _, x := range []struct {
		n    uint64
		what string
	}{
		{m.Recursion, "program runs that the kernel skipped since the program was already running on that CPU; as many losses may be uncounted"},
		{m.Probes, "probe hits that the kernel could not handle; as many losses may be uncounted"},
		{m.Unpaired, "function returns whose entry was not seen; as many losses may be uncounted"},
		{m.Netns, "losses uncounted since there were too many network namespaces at once"},
	} {
		if x.n > 0 {
			fmt.Fprintf(b, "missed: %d %s\n", x.n, x.what)
		}
	}
}
