package trace

import (
	"errors"
	"slices"

	"github.com/ctwhy/ctwhy/pkg/ctnetlink"
	"github.com/ctwhy/ctwhy/pkg/event"
	"github.com/ctwhy/ctwhy/pkg/netns"
)

// A reading is what one netns's counters were just before and just after
// counting was switched. As long as nothing is lost in between, the two are
// the same.
type reading struct {
	first, second ctnetlink.Stats
	cookie        uint64 // of the namespace, 0 where the kernel does not tell
	err           error
}

// readings are all netns's, by inode.
type readings struct {
	refs map[uint32]netns.Ref
	all  map[uint32]reading
	err  error // the namespaces could not be listed
}

// readAll takes first readings: of one netns, or of all for 0.
func readAll(only uint32) *readings {
	r := &readings{all: map[uint32]reading{}}
	r.refs, r.err = netns.List()
	for id, ref := range r.refs {
		if only != 0 && id != only {
			continue
		}
		var one reading
		one.first, one.cookie, one.err = readStats(ref)
		r.all[id] = one
	}
	return r
}

// readAgain takes second readings.
func (r *readings) readAgain() {
	for id, one := range r.all {
		if one.err == nil {
			one.second, _, one.err = readStats(r.refs[id])
			r.all[id] = one
		}
	}
}

func readStats(ref netns.Ref) (stats ctnetlink.Stats, cookie uint64, err error) {
	err = ref.Do(func() error {
		if cookie, err = netns.Cookie(); err != nil {
			return err
		}
		stats, err = ctnetlink.ReadStats("")
		return err
	})
	return stats, cookie, err
}

// of is one netns's reading, nil where it was not found.
func (r *readings) of(id uint32) *reading {
	if one, ok := r.all[id]; ok {
		return &one
	}
	if r.err != nil {
		return &reading{err: r.err}
	}
	return nil
}

// concerned are the namespaces that a summary speaks of: those with losses,
// those whose counters moved although nothing was seen, and the tracer's own.
func concerned(tallies map[uint32][]event.Tally, before, after *readings) []uint32 {
	ids := map[uint32]bool{}
	for id := range tallies {
		ids[id] = true
	}
	for id := range after.all {
		var n event.NetnsSummary
		reconcile(&n, before.of(id), after.of(id))
		if n.Kernel != nil && (*n.Kernel != event.Counters{} || n.Slack != event.Counters{}) {
			ids[id] = true
		}
	}
	if self, err := netns.Self(); err == nil {
		ids[self.ID] = true
	}
	var sorted []uint32
	for id := range ids {
		sorted = append(sorted, id)
	}
	slices.Sort(sorted)
	return sorted
}

// reconcile sets a netns's tallies against its counters. A netns that was not
// there at the start began with counters of zero.
//
// Counting was switched on between the two readings of before, and off
// between those of after. So what the kernel counted from before's second to
// after's first must have been seen; what it counted within either pair may
// have been.
func reconcile(n *event.NetnsSummary, before, after *reading) {
	slices.SortFunc(n.Reasons, func(a, b event.Tally) int { return int(a.Reason) - int(b.Reason) })
	if after == nil {
		n.Unread = "the namespace is gone, or cannot be found"
		return
	}
	if before == nil {
		zero := ctnetlink.Stats{CPUs: make([]ctnetlink.CPU, len(after.first.CPUs)), Has: after.first.Has}
		before = &reading{first: zero, second: zero, cookie: after.cookie}
	}
	if err := errors.Join(before.err, after.err); err != nil {
		n.Unread = err.Error()
		return
	}
	if before.cookie != after.cookie {
		n.Unread = "the namespace is gone, and another has taken its number"
		return
	}
	certain, err1 := ctnetlink.Sub(before.second, after.first)
	most, err2 := ctnetlink.Sub(before.first, after.second)
	if err := errors.Join(err1, err2); err != nil {
		n.Unread = err.Error()
		return
	}
	n.Kernel = &certain.Counters

	var expected event.Counters
	for _, t := range n.Reasons {
		packets := t.Count
		if t.Reason != event.Evicted {
			packets -= t.Netlink
		}
		expected.Add(t.Reason.Moves(), packets)
	}
	slack := most.Values()
	for i, name := range event.CounterNames() {
		slack[i] -= certain.Values()[i]
		if !told(certain.Has, name) {
			n.Lacks = append(n.Lacks, name)
			continue
		}
		low, want := certain.Values()[i], expected.Values()[i]
		if want < low || want > low+slack[i] {
			n.Differences = append(n.Differences, event.Difference{Counter: name, Kernel: low, Expected: want})
		}
	}
	n.Slack = event.CountersOf(slack)
}

// told reports whether the kernel has a counter of that name.
func told(has ctnetlink.Counters, name string) bool {
	for c := ctnetlink.Found; c <= ctnetlink.ChainTooLong; c++ {
		if c.String() == name {
			return has.Has(c)
		}
	}
	return false
}
