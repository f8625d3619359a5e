// Package trace is the pipeline from what the probe reports to what a user is
// shown: it names namespaces and interfaces, stamps wall-clock time, arms and
// disarms detail, and at the end sets the counts against the kernel's own.
// How any of it looks is the sink's business.
package trace

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/ctwhy/ctwhy/pkg/event"
	"github.com/ctwhy/ctwhy/pkg/kernel"
	"github.com/ctwhy/ctwhy/pkg/probe"
)

// Sink is told what happens, by one goroutine.
type Sink interface {
	Coverage(event.Coverage) error
	Event(event.Event) error
	Summary(event.Summary) error
}

// Options is what to trace and for how long. The zero value traces everything
// until the context ends.
type Options struct {
	Probe  probe.Options
	Detail DetailMode
	// For ends the trace after this time; 0 is never.
	For time.Duration
	// StopAfter ends the trace after so many events; 0 is never.
	StopAfter uint64
	// Ready is called once, when everything is attached.
	Ready func() error
}

// Run traces until the context ends, the time or the number of events is
// reached, or the sink fails. It always detaches, and tells the sink the
// summary unless the sink itself has failed.
func Run(ctx context.Context, k kernel.Kernel, opts Options, sink Sink) error {
	p, err := probe.Open(k, opts.Probe)
	if err != nil {
		return err
	}
	defer p.Close()

	t := &tracer{
		probe:    p,
		sink:     sink,
		detail:   newDetail(opts.Detail, p),
		names:    &names{},
		clock:    &kernel.BootClock{},
		shown:    map[tallyID]uint64{},
		excess:   map[tallyID]uint64{},
		coverage: p.Coverage(),
		opts:     opts,
	}
	return t.run(ctx)
}

// tracer is one run.
type tracer struct {
	probe    *probe.Probe
	sink     Sink
	detail   *detail
	names    *names
	clock    *kernel.BootClock
	coverage event.Coverage
	opts     Options

	shown  map[tallyID]uint64
	excess map[tallyID]uint64 // read after the trace's end, and not shown
	total  uint64             // of shown
}

type tallyID struct {
	netns  uint32
	reason event.Reason
}

func (t *tracer) run(ctx context.Context) error {
	t.detail.start(time.Now())
	if err := t.tellCoverage(); err != nil {
		return err
	}
	before := readAll(t.opts.Probe.Filter.Netns)
	if err := t.probe.Count(true); err != nil {
		return err
	}
	before.readAgain()
	started := time.Now()
	if t.opts.Ready != nil {
		if err := t.opts.Ready(); err != nil {
			return err
		}
	}

	records := t.read()
	failed := t.watch(ctx, records, started)
	t.detail.disarm()

	after := readAll(t.opts.Probe.Filter.Netns)
	if err := t.probe.Count(false); err != nil {
		return errors.Join(failed, err)
	}
	after.readAgain()
	ended := time.Now()
	t.probe.Detach()
	if err := t.drain(records, failed == nil); err != nil {
		return errors.Join(failed, err)
	}
	if failed != nil {
		return failed
	}
	summary, err := t.summary(before, after)
	if err != nil {
		return err
	}
	summary.Duration = ended.Sub(started)
	return t.sink.Summary(summary)
}

// result is a record, or why there is none.
type result struct {
	probe.Record
	err error
}

// read passes on what the probe reports until the probe is closed, or flushed
// at the end. The channel is short: what user space can't take in time waits
// in the ring, and what does not fit there is counted in the kernel.
func (t *tracer) read() <-chan result {
	out := make(chan result, 64)
	go func() {
		defer close(out)
		for {
			r, err := t.probe.Read()
			if errors.Is(err, ringbuf.ErrFlushed) || errors.Is(err, probe.ErrClosed) {
				return
			}
			out <- result{r, err}
			if err != nil {
				return
			}
		}
	}()
	return out
}

// watch shows events until the trace ends. The error is the sink's, or the
// probe's.
func (t *tracer) watch(ctx context.Context, records <-chan result, started time.Time) error {
	if t.opts.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, started.Add(t.opts.For))
		defer cancel()
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if t.detail.quiet(now) {
				if err := t.tellCoverage(); err != nil {
					return err
				}
			}
		case r := <-records:
			if r.err != nil {
				return fmt.Errorf("read events: %w", r.err)
			}
			if err := t.show(r.Record); err != nil {
				return err
			}
			if t.opts.StopAfter > 0 && t.total >= t.opts.StopAfter {
				return nil
			}
		}
	}
}

// drain takes what is still in the ring; show says whether to show it.
func (t *tracer) drain(records <-chan result, show bool) error {
	if err := t.probe.Flush(); err != nil {
		return fmt.Errorf("flush events: %w", err)
	}
	for r := range records {
		if r.err != nil {
			return fmt.Errorf("read events: %w", r.err)
		}
		if show && (t.opts.StopAfter == 0 || t.total < t.opts.StopAfter) {
			if err := t.show(r.Record); err != nil {
				return err
			}
			continue
		}
		t.excess[tallyID{r.Netns.ID, r.Reason}]++
	}
	return nil
}

// show completes an event and passes it to the sink.
func (t *tracer) show(r probe.Record) error {
	e := r.Event
	e.Time = t.clock.Time(r.Boot)
	e.Netns.Name = t.names.netns(e.Netns.ID)
	if r.InIndex != 0 {
		e.Packet.In = t.names.device(e.Netns.ID, r.InIndex)
	}
	if err := t.sink.Event(e); err != nil {
		return err
	}
	t.total++
	t.shown[tallyID{e.Netns.ID, e.Reason}]++
	if t.detail.seen(e, time.Now()) {
		return t.tellCoverage()
	}
	return nil
}

func (t *tracer) tellCoverage() error {
	t.coverage.Detail = t.detail.state
	if t.coverage.Detail.Why == "" {
		t.coverage.Detail.Why = t.probe.Coverage().Detail.Why
	}
	return t.sink.Coverage(t.coverage)
}

// summary sets what was counted against the kernel's counters.
func (t *tracer) summary(before, after *readings) (event.Summary, error) {
	missed, err := t.probe.Missed()
	if err != nil {
		return event.Summary{}, err
	}
	tallies, err := t.probe.Tallies()
	if err != nil {
		return event.Summary{}, err
	}
	s := event.Summary{Missed: missed}
	byNetns := map[uint32][]event.Tally{}
	for _, tally := range tallies {
		id := tallyID{tally.Netns, tally.Reason}
		tally.Shown = t.shown[id]
		tally.Suppressed += t.excess[id]
		// What left the kernel and did not arrive is lost, wherever it went.
		tally.Lost = tally.Count - tally.Filtered - tally.Suppressed - tally.Shown
		byNetns[tally.Netns] = append(byNetns[tally.Netns], tally.Tally)
	}
	only := t.opts.Probe.Filter.Netns
	for _, id := range concerned(byNetns, before, after) {
		if only != 0 && id != only {
			continue
		}
		n := event.NetnsSummary{
			Netns:   event.Netns{ID: id, Name: t.names.netns(id)},
			Reasons: byNetns[id],
		}
		reconcile(&n, before.of(id), after.of(id))
		s.Netns = append(s.Netns, n)
	}
	return s, nil
}
