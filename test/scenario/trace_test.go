//go:build guest

package scenario

import (
	"fmt"
	"os"
	"slices"
	"sort"
	"syscall"
	"testing"
	"time"
)

// trace is one scenario under observation: ctwhy runs, and the counters of
// the netns in question were read before the workload.
type trace struct {
	t      *testing.T
	tracer *tracer // nil with -bare
	netns  []*netns
	before []counters
	// byTest: the test itself holds the summary against the counters, since
	// it knows of losses that ctwhy has no name for.
	byTest bool

	// flood: so many packets that a softirq may well meet a program that it
	// has interrupted, whose second run the kernel then skips, and tells.
	flood bool

	// after stop:
	*document
	kernel []counters // by how much each netns's counters moved
}

// observe starts ctwhy by this backend and reads the netns's counters.
// Nothing is limited unless the test says otherwise.
func observe(t *testing.T, backend string, ns []*netns, args ...string) *trace {
	t.Helper()
	return observeBy(t, backend, ns, args)[0]
}

// observeBy is observe by several ctwhys at once, one for each list of
// arguments, that all watch the same. Starting takes most of a test's time,
// and there are two CPUs.
func observeBy(t *testing.T, backend string, ns []*netns, lists ...[]string) []*trace {
	t.Helper()
	traces := make([]*trace, len(lists))
	for i, args := range lists {
		traces[i] = &trace{t: t, netns: ns}
		if !*bare {
			traces[i].tracer = launchTracer(t, append([]string{"--backend", backend, "--rate", "0"}, args...)...)
		}
	}
	for _, tr := range traces {
		if tr.tracer != nil {
			tr.tracer.waitReady(t, attachWithin)
		}
	}
	for _, n := range ns {
		c, err := readCounters(n)
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range traces {
			tr.before = append(tr.before, c)
		}
	}
	return traces
}

// stop reads the counters again, ends ctwhy, and holds its summary against
// them. It returns false where there is no ctwhy to ask more of.
func (tr *trace) stop() bool {
	tr.t.Helper()
	for i, n := range tr.netns {
		c, err := readCounters(n)
		if err != nil {
			tr.t.Fatal(err)
		}
		tr.kernel = append(tr.kernel, c.since(tr.before[i]))
	}
	if tr.tracer == nil {
		return false
	}
	tr.document = tr.tracer.stop(tr.t, syscall.SIGINT)
	tr.check()
	return true
}

// check is what must be true of every trace, whatever happened in it.
func (tr *trace) check() {
	t := tr.t
	t.Helper()
	for i, n := range tr.netns {
		if !tr.byTest {
			checkNetns(t, tr.summary, n, tr.kernel[i])
		}
	}
	for what, n := range tr.summary.Missed {
		// A probe that hits while its CPU is inside another one is not run.
		// That is told, and no loss where the counts are exact all the same:
		// the hit was of a packet that was not lost.
		if n != 0 && what != "probes" && (what != "recursion" || !tr.flood) {
			t.Errorf("ctwhy missed %d by %s", n, what)
		}
	}
	shown := map[string]uint64{}
	for i := range tr.events {
		e := &tr.events[i]
		shown[fmt.Sprint(e.Netns.ID, e.Reason)]++
		if want := fates[e.Reason]; e.Fate != want {
			t.Errorf("fate of %s is %q, want %q", e.Reason, e.Fate, want)
		}
	}
	for _, n := range tr.summary.Netns {
		for reason, tally := range n.Reasons {
			if got := shown[fmt.Sprint(n.ID, reason)]; got != tally.Shown {
				t.Errorf("netns %d: %d events of %s were printed, the summary says %d", n.ID, got, reason, tally.Shown)
			}
			delete(shown, fmt.Sprint(n.ID, reason))
		}
	}
	for what, n := range shown {
		t.Errorf("%d events of %s are not in the summary", n, what)
	}
}

var fates = map[string]string{
	"table_full": "dropped", "no_memory": "dropped", "evicted": "evicted", "clash_dropped": "dropped", "clash_merged": "accepted",
	"clash_reply_only": "accepted", "chain_too_long": "dropped", "dying": "dropped",
}

// checkNetns holds one netns's summary against the kernel's counters as the
// test read them, and its reasons against both.
func checkNetns(t *testing.T, s *summary, n *netns, kernel counters) {
	t.Helper()
	sum := s.netnsOf(n)
	if sum == nil {
		for _, k := range counterNames {
			if kernel[k] != 0 {
				t.Errorf("the summary does not mention netns %s, where %s moved by %d", n.name, k, kernel[k])
			}
		}
		return
	}
	if sum.Reconciled == nil || !*sum.Reconciled {
		t.Errorf("not reconciled: %v", sum)
	}
	if sum.Name != n.name {
		t.Errorf("netns %d has the name %q, want %q", sum.ID, sum.Name, n.name)
	}
	for _, k := range counterNames {
		if sum.Kernel[k] != kernel[k] {
			t.Errorf("ctwhy read that %s moved by %d, conntrack -S says %d", k, sum.Kernel[k], kernel[k])
		}
	}
	// What each reason does to the counters. An insert through ctnetlink
	// moves none, but its evictions do.
	r := sum.Reasons
	packets := func(reason string) uint64 { return r[reason].Count - r[reason].Netlink }
	want := counters{
		"drop":          packets("table_full") + packets("no_memory") + packets("clash_dropped"),
		"insert_failed": packets("clash_dropped") + packets("chain_too_long") + packets("dying"),
		"early_drop":    r["evicted"].Count,
		"clash_resolve": packets("clash_merged") + packets("clash_reply_only"),
		"chaintoolong":  packets("chain_too_long"),
	}
	for _, k := range counterNames {
		if kernel[k] != want[k] {
			t.Errorf("%s moved by %d, ctwhy's reasons make it %d: %v", k, kernel[k], want[k], sum)
		}
	}
	for reason, y := range r {
		if y.Count != y.Filtered+y.Shown+y.Suppressed+y.Lost {
			t.Errorf("%s: count %d is not filtered %d + shown %d + suppressed %d + lost %d", reason, y.Count, y.Filtered, y.Shown, y.Suppressed, y.Lost)
		}
	}
}

// wantReasons fails the test unless exactly these reasons were counted in n.
func (tr *trace) wantReasons(t *testing.T, n *netns, want map[string]uint64) {
	t.Helper()
	for reason := range fates {
		if got := tr.counted(n, reason); got != want[reason] {
			t.Errorf("netns %s: ctwhy counted %d %s, want %d", n.name, got, reason, want[reason])
		}
	}
}

// counted is how many of one reason ctwhy has counted in n.
func (tr *trace) counted(n *netns, reason string) uint64 {
	if sum := tr.summary.netnsOf(n); sum != nil {
		return sum.Reasons[reason].Count
	}
	return 0
}

// of are the events of one reason.
func (tr *trace) of(reason string) []*event {
	var events []*event
	for i := range tr.events {
		if e := &tr.events[i]; e.Reason == reason {
			events = append(events, e)
		}
	}
	return events
}

// ofFlows are the events of one reason and these flows.
func (tr *trace) ofFlows(reason string, flows []flow) []*event {
	wanted := map[flow]bool{}
	for _, f := range flows {
		wanted[f] = true
	}
	return slices.DeleteFunc(tr.of(reason), func(e *event) bool { return !wanted[e.flow()] })
}

// in are the events of one netns.
func in(n *netns, events []*event) []*event {
	return slices.DeleteFunc(events, func(e *event) bool { return e.Netns.ID != n.inode })
}

// missing is why this reason cannot be seen, in the first line of coverage.
func (tr *trace) missing(t *testing.T, reason string) string {
	t.Helper()
	if len(tr.coverage) == 0 {
		t.Fatal("no coverage was printed")
	}
	for _, r := range tr.coverage[0].Reasons {
		if r.Reason == reason {
			return r.Missing
		}
	}
	t.Fatalf("coverage is silent on %s", reason)
	return ""
}

// wantFlows fails the test unless the events are of exactly these flows, and
// returns them. A flow may have several events where its packet was sent
// again.
func wantFlows(t *testing.T, events []*event, want []flow) []*event {
	t.Helper()
	missing := map[flow]bool{}
	for _, f := range want {
		missing[f] = true
	}
	known := len(missing)
	seen := map[flow]bool{}
	var strange []string
	for _, e := range events {
		f := e.flow()
		if missing[f] {
			delete(missing, f)
			seen[f] = true
		} else if !seen[f] {
			strange = append(strange, f.String())
		}
	}
	if len(strange) > 0 {
		t.Errorf("%d events are of flows that the workload did not send or that were not lost, such as %s", len(strange), strange[0])
	}
	if len(missing) > 0 {
		var first []string
		for f := range missing {
			first = append(first, f.String())
		}
		sort.Strings(first)
		t.Errorf("%d of %d lost flows have no event, such as %s", len(missing), known, first[0])
	}
	return events
}

// want is what a workload knows of its packets, field by field.
type want struct {
	n                     *netns
	family, hook, in, out string
	flags                 string // "" where there are none
	mark                  uint32
	zone                  uint16
	comm                  string // "": the sender is not known
	icmpType              uint8  // of an echo request; 0: not ICMP
	count, max            uint32 // of the table; 0: not checked
	noPacket              bool   // nothing is known of the packet, or there is none
}

// check compares one event with it.
func (w want) check(e *event, s *sent) error {
	if e.Netns.ID != w.n.inode || e.Netns.Name != w.n.name {
		return fmt.Errorf("netns is %v, want %d %s", e.Netns, w.n.inode, w.n.name)
	}
	if e.Netlink && !w.noPacket {
		return fmt.Errorf("netlink is set for a packet")
	}
	if e.Zone != w.zone {
		return fmt.Errorf("zone is %d, want %d", e.Zone, w.zone)
	}
	if e.Family != w.family {
		return fmt.Errorf("family is %s, want %s", e.Family, w.family)
	}
	// The event's clock is read in the kernel and moved to wall-clock time
	// by an offset that is itself measured, so a little may be wrong.
	const slack = 20 * time.Millisecond
	if s != nil && (e.Time.Before(s.start.Add(-slack)) || e.Time.After(s.end.Add(slack))) {
		return fmt.Errorf("time is %v, not between %v and %v", e.Time, s.start, s.end)
	}
	if e.CPU == nil || *e.CPU < 0 || *e.CPU > 1 {
		return fmt.Errorf("cpu is %s, the machine has 0 and 1", deref(e.CPU))
	}
	if w.max != 0 && (e.Table == nil || e.Table.Count != w.count || e.Table.Max != w.max) {
		return fmt.Errorf("table is %v, want %d of %d", e.Table, w.count, w.max)
	}
	if err := w.checkICMP(e); err != nil {
		return err
	}
	if w.noPacket {
		if e.Hook != nil || e.TCPFlags != nil || e.Mark != nil || e.In != nil || e.Out != nil || e.Owner != nil {
			return fmt.Errorf("there is a packet where none is known: hook %s", deref(e.Hook))
		}
		return nil
	}
	if deref(e.Hook) != w.hook {
		return fmt.Errorf("hook is %s, want %s", deref(e.Hook), w.hook)
	}
	if deref(e.In) != w.in {
		return fmt.Errorf("in is %s, want %q", deref(e.In), w.in)
	}
	if deref(e.Out) != w.out {
		return fmt.Errorf("out is %s, want %q", deref(e.Out), w.out)
	}
	if e.Mark == nil || *e.Mark != w.mark {
		return fmt.Errorf("mark is %s, want %d", deref(e.Mark), w.mark)
	}
	if (w.flags == "") != (e.TCPFlags == nil) || w.flags != "" && *e.TCPFlags != w.flags {
		return fmt.Errorf("tcp_flags is %s, want %q", deref(e.TCPFlags), w.flags)
	}
	if w.comm == "" {
		if e.Owner != nil {
			return fmt.Errorf("owner is %v, want none", *e.Owner)
		}
		return nil
	}
	if e.Owner == nil {
		return fmt.Errorf("owner is absent, want %d %s", os.Getpid(), w.comm)
	}
	if e.Owner.PID != os.Getpid() || e.Owner.Comm != w.comm {
		return fmt.Errorf("owner is %v, want %d %s", *e.Owner, os.Getpid(), w.comm)
	}
	return nil
}

// deref is a field as an error shows it.
func deref[T any](p *T) string {
	if p == nil {
		return "(absent)"
	}
	return fmt.Sprint(*p)
}

// checkICMP: echoes have a type, a code and an id, everything else has ports.
func (w want) checkICMP(e *event) error {
	if w.icmpType == 0 {
		if e.ICMPType != nil || e.ICMPCode != nil || e.ICMPID != nil || e.Sport == nil || e.Dport == nil {
			return fmt.Errorf("ports are absent, or ICMP fields present")
		}
		return nil
	}
	if e.Sport != nil || e.Dport != nil {
		return fmt.Errorf("ICMP has ports")
	}
	if e.ICMPType == nil || *e.ICMPType != w.icmpType || e.ICMPCode == nil || *e.ICMPCode != 0 || e.ICMPID == nil {
		return fmt.Errorf("not the ICMP type, code and id of an echo request")
	}
	return nil
}

// reversed checks that the reply tuple is the original's, the other way
// round: what it is without NAT.
func reversed(orig tuple, reply *tuple, proto string) error {
	if reply == nil {
		return fmt.Errorf("reply is absent")
	}
	f, r := orig.flow(proto), reply.flow(proto)
	want := flow{proto: proto, src: f.dst, dst: f.src, sport: f.dport, dport: f.sport}
	if orig.ICMPID != nil {
		// An echo and its answer carry the same id.
		want.sport, want.dport = f.sport, 0
	}
	if r != want {
		return fmt.Errorf("reply is %v, want %v", r, want)
	}
	return nil
}

// each fails the test at the first event that check refuses.
func each(t *testing.T, events []*event, check func(*event) error) {
	t.Helper()
	bad := 0
	var first error
	for _, e := range events {
		if err := check(e); err != nil {
			if bad++; bad == 1 {
				first = fmt.Errorf("%s of %v: %w", e.Reason, e.flow(), err)
			}
		}
	}
	if bad > 0 {
		t.Errorf("%d of %d events are wrong, the first: %v", bad, len(events), first)
	}
}
