package trace

import (
	"errors"
	"reflect"
	"testing"

	"github.com/ctwhy/ctwhy/pkg/ctnetlink"
	"github.com/ctwhy/ctwhy/pkg/event"
)

// stats are one CPU's statistics with these counters.
func stats(values map[ctnetlink.Counter]uint32) ctnetlink.Stats {
	s := ctnetlink.Stats{CPUs: make([]ctnetlink.CPU, 1)}
	for _, c := range []ctnetlink.Counter{ctnetlink.Drop, ctnetlink.InsertFailed, ctnetlink.EarlyDrop, ctnetlink.ClashResolve, ctnetlink.ChainTooLong} {
		s.Has |= 1 << c
		s.CPUs[0].Value[c] = values[c]
	}
	return s
}

func still(values map[ctnetlink.Counter]uint32) *reading {
	return &reading{first: stats(values), second: stats(values)}
}

type counters = map[ctnetlink.Counter]uint32

func TestReconcile(t *testing.T) {
	for name, test := range map[string]struct {
		tallies       []event.Tally
		before, after *reading
		want          []event.Difference
		kernel, slack event.Counters
		unread        bool
	}{
		"every reason moves its own counters": {
			tallies: []event.Tally{
				{Reason: event.Dying, Count: 1},
				{Reason: event.TableFull, Count: 2}, {Reason: event.NoMemory, Count: 4},
				{Reason: event.Evicted, Count: 8}, {Reason: event.ClashDropped, Count: 16},
				{Reason: event.ClashMerged, Count: 32}, {Reason: event.ClashReplyOnly, Count: 64},
				{Reason: event.ChainTooLong, Count: 128},
			},
			before: still(counters{ctnetlink.Drop: 1000}),
			after: still(counters{ctnetlink.Drop: 1000 + 2 + 4 + 16, ctnetlink.InsertFailed: 16 + 128 + 1,
				ctnetlink.EarlyDrop: 8, ctnetlink.ClashResolve: 32 + 64, ctnetlink.ChainTooLong: 128}),
			kernel: event.Counters{Drop: 22, InsertFailed: 145, EarlyDrop: 8, ClashResolve: 96, ChainTooLong: 128},
		},
		"an insert by ctnetlink moves no drop counter, but what it evicts counts": {
			tallies: []event.Tally{
				{Reason: event.TableFull, Count: 5, Netlink: 3},
				{Reason: event.Evicted, Count: 7, Netlink: 7},
			},
			before: still(nil),
			after:  still(counters{ctnetlink.Drop: 2, ctnetlink.EarlyDrop: 7}),
			kernel: event.Counters{Drop: 2, EarlyDrop: 7},
		},
		"a loss that was not seen": {
			before: still(nil), after: still(counters{ctnetlink.Drop: 1}),
			kernel: event.Counters{Drop: 1},
			want:   []event.Difference{{Counter: "drop", Kernel: 1, Expected: 0}},
		},
		"a loss that the kernel did not count": {
			tallies: []event.Tally{{Reason: event.ChainTooLong, Count: 3}},
			before:  still(nil), after: still(counters{ctnetlink.InsertFailed: 3, ctnetlink.ChainTooLong: 2}),
			kernel: event.Counters{InsertFailed: 3, ChainTooLong: 2},
			want:   []event.Difference{{Counter: "chaintoolong", Kernel: 2, Expected: 3}},
		},
		"losses while the counters were read may have been seen or not": {
			tallies: []event.Tally{{Reason: event.TableFull, Count: 12}},
			before:  &reading{first: stats(nil), second: stats(counters{ctnetlink.Drop: 2})},
			after:   &reading{first: stats(counters{ctnetlink.Drop: 12}), second: stats(counters{ctnetlink.Drop: 13})},
			kernel:  event.Counters{Drop: 10}, slack: event.Counters{Drop: 3},
		},
		"but no more than those": {
			tallies: []event.Tally{{Reason: event.TableFull, Count: 14}},
			before:  &reading{first: stats(nil), second: stats(counters{ctnetlink.Drop: 2})},
			after:   &reading{first: stats(counters{ctnetlink.Drop: 12}), second: stats(counters{ctnetlink.Drop: 13})},
			kernel:  event.Counters{Drop: 10}, slack: event.Counters{Drop: 3},
			want: []event.Difference{{Counter: "drop", Kernel: 10, Expected: 14}},
		},
		"a counter wraps": {
			tallies: []event.Tally{{Reason: event.TableFull, Count: 3}},
			before:  still(counters{ctnetlink.Drop: 1<<32 - 1}), after: still(counters{ctnetlink.Drop: 2}),
			kernel: event.Counters{Drop: 3},
		},
		"a namespace that began after the trace": {
			tallies: []event.Tally{{Reason: event.TableFull, Count: 3}},
			after:   still(counters{ctnetlink.Drop: 3}),
			kernel:  event.Counters{Drop: 3},
		},
		"a namespace that has gone": {
			tallies: []event.Tally{{Reason: event.TableFull, Count: 3}},
			before:  still(nil), unread: true,
		},
		"another namespace with the number of one that has gone": {
			before: &reading{cookie: 1}, after: &reading{cookie: 2}, unread: true,
		},
		"a namespace that could not be read": {
			before: &reading{err: errors.New("no")}, after: still(nil), unread: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := event.NetnsSummary{Reasons: test.tallies}
			reconcile(&n, test.before, test.after)
			if test.unread {
				if n.Kernel != nil || n.Unread == "" {
					t.Errorf("kernel %v, unread %q", n.Kernel, n.Unread)
				}
				return
			}
			if n.Kernel == nil || *n.Kernel != test.kernel || n.Slack != test.slack {
				t.Errorf("kernel %+v, slack %+v; want %+v, %+v (%s)", n.Kernel, n.Slack, test.kernel, test.slack, n.Unread)
			}
			if !reflect.DeepEqual(n.Differences, test.want) {
				t.Errorf("differences %+v, want %+v", n.Differences, test.want)
			}
			for i := 1; i < len(n.Reasons); i++ {
				if n.Reasons[i-1].Reason > n.Reasons[i].Reason {
					t.Error("reasons are not in their order")
				}
			}
		})
	}
}

func TestReconcileLeavesOutCountersThatTheKernelLacks(t *testing.T) {
	old := stats(nil)
	old.Has &^= 1 << ctnetlink.ChainTooLong
	r := &reading{first: old, second: old}
	n := event.NetnsSummary{Reasons: []event.Tally{{Reason: event.ChainTooLong, Count: 1}}}
	reconcile(&n, r, r)
	for _, d := range n.Differences {
		if d.Counter == "chaintoolong" {
			t.Error("compared with a counter that is not there")
		}
	}
	if len(n.Lacks) != 1 || n.Lacks[0] != "chaintoolong" {
		t.Errorf("lacks %v", n.Lacks)
	}
}

func TestReadingsThatCouldNotBeTakenSayWhy(t *testing.T) {
	r := &readings{err: errors.New("no /proc")}
	var n event.NetnsSummary
	reconcile(&n, r.of(1), r.of(1))
	if n.Unread == "" || n.Kernel != nil {
		t.Errorf("kernel %v, unread %q", n.Kernel, n.Unread)
	}
}
