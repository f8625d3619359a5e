// Package probe attaches ctwhy's BPF programs to conntrack's code and reads
// what they report. It knows which kernel functions tell which reason (plan.go)
// and is the only user of the generated types. It does not interpret: names,
// wall-clock time and reconciliation are package trace's.
package probe

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/ctwhy/ctwhy/pkg/event"
)

// Probe is a set of attached programs. It goes with the process: nothing is
// pinned, and the kernel detaches everything when the last descriptor closes.
type Probe struct {
	coll     *ebpf.Collection // the maps
	programs []*ebpf.Program
	events   *ringbuf.Reader
	coverage event.Coverage

	mu     sync.Mutex
	links  []attached // in the order of attachment
	packet *loaded    // nil where detail cannot be had; attached while armed
	armed  []attached
	missed uint64 // hits that detached links had missed
}

// ErrClosed is what Read says after Close.
var ErrClosed = os.ErrClosed

// Coverage says what can be seen. Detail is as at the moment of the call.
func (p *Probe) Coverage() event.Coverage { return p.coverage }

// Read waits for the next event. It returns [ErrClosed] once Close was called.
func (p *Probe) Read() (Record, error) {
	sample, err := p.events.Read()
	if err != nil {
		return Record{}, err
	}
	return decode(sample.RawSample)
}

// Count starts and stops the counting of what the hooks see. A Probe does not
// count when it is opened, so that the caller can read the kernel's own
// counters at the very moment.
func (p *Probe) Count(on bool) error {
	var flag uint32
	if on {
		flag = 1
	}
	if err := p.coll.Variables[traceVarCounting].Set(flag); err != nil {
		return fmt.Errorf("switch counting: %w", err)
	}
	return nil
}

// Flush makes Read return everything that is still in the ring, and then
// [ringbuf.ErrFlushed].
func (p *Probe) Flush() error { return p.events.Flush() }

// Tally is one reason's count in one netns, as the programs keep it.
type Tally struct {
	Netns uint32
	event.Tally
}

// Tallies reads the exact counts. They only grow.
func (p *Probe) Tallies() ([]Tally, error) {
	var (
		all    []Tally
		key    traceTallyKey
		perCPU []traceTally
	)
	it := p.coll.Maps[traceMapTallies].Iterate()
	for it.Next(&key, &perCPU) {
		t := Tally{Netns: key.Netns, Tally: event.Tally{Reason: event.Reason(key.Reason)}}
		for _, c := range perCPU {
			t.Count += c.Count
			t.Netlink += c.Netlink
			t.Filtered += c.Filtered
			t.Suppressed += c.Suppressed
			t.Lost += c.Lost
		}
		all = append(all, t)
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("read counts: %w", err)
	}
	return all, nil
}

// Missed reads what the machinery missed so far.
func (p *Probe) Missed() (event.Missed, error) {
	var m traceMisses
	if err := p.coll.Variables[traceVarMissed].Get(&m); err != nil {
		return event.Missed{}, fmt.Errorf("read missed: %w", err)
	}
	missed := event.Missed{Unpaired: m.Unpaired, Netns: m.Netns}
	for _, prog := range p.programs {
		stats, err := prog.Stats()
		if err != nil {
			return event.Missed{}, fmt.Errorf("read missed: %w", err)
		}
		missed.Recursion += stats.RecursionMisses
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	missed.Probes = p.missed
	for _, l := range append(p.links, p.armed...) {
		missed.Probes += l.missed()
	}
	return missed, nil
}

// ArmDetail attaches the hook that sees every packet on its way into
// conntrack, so that a refused one can be described. It says why it can't.
func (p *Probe) ArmDetail() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.packet == nil {
		return errors.New(p.coverage.Detail.Why)
	}
	if len(p.armed) > 0 {
		return nil
	}
	armed, err := p.packet.attach()
	if err != nil {
		return err
	}
	p.armed = armed
	return nil
}

// DisarmDetail undoes ArmDetail.
func (p *Probe) DisarmDetail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closeLinks(p.armed)
	p.armed = nil
}

// Detach ends the watch. What was counted and what is in the ring can still be read.
func (p *Probe) Detach() {
	p.DisarmDetail()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closeLinks(p.links)
	p.links = nil
}

// closeLinks detaches in the reverse of the order of attachment, and keeps
// what the links had missed. The caller holds mu.
func (p *Probe) closeLinks(links []attached) {
	for i := len(links) - 1; i >= 0; i-- {
		p.missed += links[i].missed()
		links[i].Close()
	}
}

// Close detaches and frees everything. It unblocks Read.
func (p *Probe) Close() error {
	var err error
	if p.events != nil {
		err = p.events.Close()
	}
	p.Detach()
	for _, prog := range p.programs {
		prog.Close()
	}
	p.coll.Close()
	return err
}

// attached is one program's link.
type attached struct {
	link.Link
}

// missed is how many hits a kprobe could not handle; 0 where the kernel does
// not tell (before Linux 6.7, and for fexit, whose misses the program counts).
func (a attached) missed() uint64 {
	info, err := a.Info()
	if err != nil {
		return 0
	}
	if pe := info.PerfEvent(); pe != nil {
		if k := pe.Kprobe(); k != nil {
			return k.Missed
		}
	}
	return 0
}
