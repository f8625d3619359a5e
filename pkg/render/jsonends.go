package render

import (
	"slices"

	"github.com/ctwhy/ctwhy/pkg/event"
)

// Coverage writes what can be seen.
func (j *JSON) Coverage(c event.Coverage) error {
	e := j.begin("coverage")
	if c.Kernel != "" {
		e.text("kernel", c.Kernel)
	}
	e.open("reasons", '[')
	for _, r := range c.Reasons {
		e.open("", '{')
		e.text("reason", r.Reason.String())
		e.open("hooks", '[')
		for _, h := range r.Hooks {
			e.open("", '{')
			e.text("function", h.Function)
			e.text("backend", h.Backend)
			e.close('}')
		}
		e.close(']')
		if r.Missing != "" {
			e.text("missing", r.Missing)
		}
		e.close('}')
	}
	e.close(']')
	e.open("detail", '{')
	e.text("mode", c.Detail.Mode)
	e.bool("armed", c.Detail.Armed)
	if c.Detail.Why != "" {
		e.text("why", c.Detail.Why)
	}
	e.close('}')
	e.open("notes", '[')
	for _, n := range c.Notes {
		e.text("", n)
	}
	e.close(']')
	return j.end()
}

// Summary writes a trace's end.
func (j *JSON) Summary(s event.Summary) error {
	e := j.begin("summary")
	e.seconds("seconds", s.Duration)
	e.open("netns", '[')
	for _, n := range s.Netns {
		netns(e, n)
	}
	e.close(']')
	e.open("missed", '{')
	e.uint("recursion", s.Missed.Recursion)
	e.uint("probes", s.Missed.Probes)
	e.uint("unpaired", s.Missed.Unpaired)
	e.uint("netns", s.Missed.Netns)
	e.close('}')
	return j.end()
}

func netns(e *encoder, n event.NetnsSummary) {
	e.open("", '{')
	e.uint("id", uint64(n.Netns.ID))
	e.text("name", n.Netns.Name)
	e.open("reasons", '{')
	for _, t := range n.Reasons {
		e.open(t.Reason.String(), '{')
		e.uint("count", t.Count)
		e.uint("shown", t.Shown)
		e.uint("suppressed", t.Suppressed)
		e.uint("lost", t.Lost)
		if t.Netlink > 0 {
			e.uint("netlink", t.Netlink)
		}
		if t.Filtered > 0 {
			e.uint("filtered", t.Filtered)
		}
		e.close('}')
	}
	e.close('}')
	if n.Kernel != nil {
		counters(e, "kernel", *n.Kernel, n.Lacks)
	} else if n.Unread != "" {
		e.text("unread", n.Unread)
	}
	if ok, known := n.Reconciled(); known {
		e.bool("reconciled", ok)
	}
	if len(n.Differences) > 0 {
		e.open("differences", '[')
		for _, d := range n.Differences {
			e.open("", '{')
			e.text("counter", d.Counter)
			e.uint("kernel", d.Kernel)
			e.uint("expected", d.Expected)
			e.close('}')
		}
		e.close(']')
	}
	if n.Slack != (event.Counters{}) {
		counters(e, "slack", n.Slack, n.Lacks)
	}
	e.close('}')
}

func counters(e *encoder, key string, c event.Counters, lacks []string) {
	e.open(key, '{')
	values := c.Values()
	for i, name := range event.CounterNames() {
		if !slices.Contains(lacks, name) {
			e.uint(name, values[i])
		}
	}
	e.close('}')
}
