package render

import (
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/ctwhy/ctwhy/pkg/event"
)

// Coverage writes a short block to the diagnostics; when only the detail has
// changed since, a line.
func (t *Text) Coverage(c event.Coverage) error {
	last := t.coverage
	t.coverage = &c
	if last != nil {
		before := *last
		before.Detail = c.Detail
		if reflect.DeepEqual(before, c) {
			if last.Detail == c.Detail {
				return nil
			}
			return t.tell([]string{"packet details " + armed(c.Detail)})
		}
	}
	var lines []string
	if c.Kernel != "" {
		lines = append(lines, "kernel "+Clean(c.Kernel))
	}
	for _, r := range c.Reasons {
		line := pad(r.Reason.String(), 16) + " " + hooks(r.Hooks)
		if r.Missing != "" {
			line = pad(r.Reason.String(), 16) + " not seen here: " + Clean(r.Missing)
		}
		lines = append(lines, line)
	}
	lines = append(lines, "packet details (TCP flags, hook, interfaces, mark): "+detail(c.Detail))
	for _, n := range c.Notes {
		lines = append(lines, Clean(n))
	}
	return t.tell(lines)
}

func (t *Text) tell(lines []string) error {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString("ctwhy: " + l + "\n")
	}
	_, err := io.WriteString(t.diag, b.String())
	return err
}

func detail(d event.Detail) string {
	switch {
	case d.Mode == "never":
		return "never"
	case d.Mode == "auto" && !d.Armed && d.Why == "":
		return "auto, read from the first loss on"
	}
	return Clean(d.Mode) + ", " + armed(d)
}

func armed(d event.Detail) string {
	s := "not armed"
	if d.Armed {
		s = "armed"
	}
	if d.Why != "" {
		s += ": " + Clean(d.Why)
	}
	return s
}

// hooks writes "early_drop + __nf_conntrack_alloc (fexit)", with the backends
// after each function where they are not all the same.
func hooks(hs []event.HookCoverage) string {
	var functions []string
	backends := map[string][]string{}
	for _, h := range hs {
		if backends[h.Function] == nil {
			functions = append(functions, h.Function)
		}
		if !slices.Contains(backends[h.Function], h.Backend) {
			backends[h.Function] = append(backends[h.Function], h.Backend)
		}
	}
	if len(functions) == 0 {
		return "no hook"
	}
	same := true
	for _, f := range functions {
		same = same && slices.Equal(backends[f], backends[functions[0]])
	}
	for i, f := range functions {
		if !same || i == len(functions)-1 {
			functions[i] = f + " (" + strings.Join(backends[f], " + ") + ")"
		}
	}
	return Clean(strings.Join(functions, " + "))
}
