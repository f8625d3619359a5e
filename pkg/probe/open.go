package probe

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/ctwhy/ctwhy/pkg/event"
	"github.com/ctwhy/ctwhy/pkg/kernel"
)

// Backend is how functions are watched.
type Backend string

const (
	Auto   Backend = "auto"   // fexit where it can be, else kprobe, for each function
	Fexit  Backend = "fexit"  // BPF trampolines; needs the module's BTF
	Kprobe Backend = "kprobe" // kprobe and kretprobe
)

// Options is what Open needs to know. The zero value watches everything.
type Options struct {
	Backend Backend
	Filter  Filter
	// Rate limits events to so many a second for each reason; 0 is no limit.
	Rate uint64
}

// Open loads and attaches the programs. Hooks that can't be attached reduce
// the coverage; Open fails when nothing is left of it, or nothing of what the
// filter asks for, or when the backend was not left to it. The caller has made
// sure that conntrack is loaded.
func Open(k kernel.Kernel, opts Options) (*Probe, error) {
	if opts.Backend == "" {
		opts.Backend = Auto
	}
	// Before Linux 5.11 maps count against the limit of locked memory.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise the limit of locked memory: %w", err)
	}
	o := &opener{kernel: k, backend: opts.Backend, cache: btf.NewCache()}
	if err := o.look(); err != nil {
		return nil, err
	}
	settings := traceSettings{Rate: opts.Rate}
	if err := opts.Filter.fill(&settings); err != nil {
		return nil, err
	}
	if err := addresses(&settings, o.symbols, o.types); err != nil {
		return nil, err
	}
	if err := o.loadMaps(&settings); err != nil {
		return nil, err
	}
	p := &Probe{coll: o.maps}
	if err := o.attachAll(p, opts.Filter); err != nil {
		p.Close()
		return nil, err
	}
	events, err := ringbuf.NewReader(o.maps.Maps[traceMapEvents])
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("open ring buffer: %w", err)
	}
	p.events = events
	_, countInNet := memberOffset(o.types, "netns_ct", "count")
	p.coverage.Notes = append(p.coverage.Notes, unknowns(&settings, countInNet)...)
	return p, nil
}

// opener holds what Open finds out on the way.
type opener struct {
	kernel  kernel.Kernel
	backend Backend
	cache   *btf.Cache
	types   *btf.Spec // vmlinux's
	module  *btf.Spec // nf_conntrack's, vmlinux's where it is built in, nil where there is none
	symbols kernel.Symbols
	spec    *ebpf.CollectionSpec
	maps    *ebpf.Collection
}

// look reads what the kernel says of itself.
func (o *opener) look() error {
	names := []string{symMax, symNetID, symExtGenID, symPerCPUOffset, symPreemptCount, symPCPUHot}
	for _, h := range append(hooks, packet) {
		names = append(names, h.function)
	}
	var err error
	if o.symbols, err = o.kernel.Symbols(names...); err != nil {
		return err
	}
	if o.types, err = o.cache.Kernel(); err != nil {
		return fmt.Errorf("read the kernel's BTF: %w", err)
	}
	o.module = o.types
	if sym, ok := o.symbols.Lookup(alloc.function); ok && sym.Module != "" {
		if o.kernel.ModuleBTF(sym.Module).Answer == kernel.No {
			o.module = nil
		} else if o.module, err = o.cache.Module(sym.Module); err != nil {
			return fmt.Errorf("read BTF of module %s: %w", sym.Module, err)
		}
	}
	if o.spec, err = loadTrace(); err != nil {
		return err
	}
	return nil
}

// loadMaps creates the maps, which all hooks share.
func (o *opener) loadMaps(settings *traceSettings) error {
	if err := o.spec.Variables[traceVarConfig].Set(settings); err != nil {
		return fmt.Errorf("configure programs: %w", err)
	}
	only := o.spec.Copy()
	only.Programs = nil
	var err error
	o.maps, err = ebpf.NewCollection(only)
	if errors.Is(err, unix.EPERM) {
		return refused
	}
	if err != nil {
		return fmt.Errorf("create BPF maps: %w", err)
	}
	return nil
}

// attachAll attaches every hook that can be, and writes down the coverage.
func (o *opener) attachAll(p *Probe, filter Filter) error {
	missing := map[*hook]error{}
	by := map[*hook][]program{}
	for _, h := range hooks {
		l, err := o.load(p, h)
		if err == nil {
			var links []attached
			if links, err = l.attach(); err == nil {
				p.links = append(p.links, links...)
				by[h] = l.programs
				continue
			}
		}
		var c *cannot
		if !errors.As(err, &c) {
			return err
		}
		if o.backend != Auto {
			return fmt.Errorf("%w; use --backend auto", err)
		}
		missing[h] = err
	}
	if len(missing) == len(hooks) {
		return fmt.Errorf("nothing of conntrack can be watched: %w", missing[alloc])
	}
	p.coverage = event.Coverage{Kernel: o.kernel.Release()}
	for _, r := range event.Reasons() {
		p.coverage.Reasons = append(p.coverage.Reasons, o.cover(r, by, missing))
	}
	p.coverage.Notes = o.blindSpots(by)
	if err := unseen(p.coverage, filter.Reasons); err != nil {
		return err
	}

	l, err := o.load(p, packet)
	if err != nil {
		var c *cannot
		if !errors.As(err, &c) {
			return err
		}
		p.coverage.Detail.Why = err.Error()
		return nil
	}
	p.packet = l
	return nil
}

// unseen says why there is no point in going on: none of the reasons that were
// asked for can be seen. With others, coverage says what is missing.
func unseen(c event.Coverage, wanted []event.Reason) error {
	var why error
	for _, r := range c.Reasons {
		if !slices.Contains(wanted, r.Reason) {
			continue
		}
		if r.Missing == "" {
			return nil
		}
		why = fmt.Errorf("%v can't be seen here: %s", r.Reason, r.Missing)
	}
	return why
}

// cover says how one reason is seen.
func (o *opener) cover(r event.Reason, by map[*hook][]program, missing map[*hook]error) event.ReasonCoverage {
	c := event.ReasonCoverage{Reason: r}
	if r == event.ChainTooLong {
		if _, ok := memberOffset(o.types, "ip_conntrack_stat", "chaintoolong"); !ok {
			c.Missing = "this kernel does not limit the length of hash chains (Linux 5.15 or later does)"
			return c
		}
	}
	for _, h := range needs[r] {
		if err := missing[h]; err != nil {
			return event.ReasonCoverage{Reason: r, Missing: err.Error()}
		}
		for _, prog := range by[h] {
			c.Hooks = append(c.Hooks, event.HookCoverage{Function: h.function, Backend: string(prog.how)})
		}
	}
	return c
}

// blindSpots says what this kernel does not count of what is missed.
func (o *opener) blindSpots(by map[*hook][]program) []string {
	kprobes := false
	for _, progs := range by {
		kprobes = kprobes || progs[0].how == byKprobe
	}
	if kprobes && o.kernel.AtLeast(6, 7) == kernel.No {
		return []string{"this kernel does not say how many hits its kprobes missed (Linux 6.7 or later does): only the comparison with its counters would show them"}
	}
	return nil
}

// cannot is why a hook can't be watched by a backend here. It is no fault of
// the program's: another backend may do, or the coverage shrinks.
type cannot struct{ why string }

func (c *cannot) Error() string { return c.why }

func cannotf(format string, args ...any) error { return &cannot{fmt.Sprintf(format, args...)} }

// refused is what EPERM means to a process whose privileges were found to be
// enough. Lockdown can be read only where securityfs is mounted.
var refused = &kernel.Problem{
	What: "the kernel refuses BPF programs even to this privileged process: it is in lockdown=confidentiality, or a seccomp profile or security module forbids them",
	Do:   "run it outside of the container, or boot with lockdown=integrity",
}

// loaded is a hook whose programs are in the kernel, not attached yet.
type loaded struct {
	hook     *hook
	programs []program
	inKernel []*ebpf.Program
	// instead loads the hook for the other backend, when this one turns out
	// to be impossible only at attaching; nil when there is no other.
	instead func() (*loaded, error)
}

// load loads a hook's programs for the backend that suits it.
func (o *opener) load(p *Probe, h *hook) (*loaded, error) {
	switch o.backend {
	case Fexit:
		return o.loadFexit(p, h)
	case Kprobe:
		return o.loadKprobe(p, h)
	}
	l, err := o.loadFexit(p, h)
	var c *cannot
	if errors.As(err, &c) {
		return o.loadKprobe(p, h)
	}
	if err == nil {
		l.instead = func() (*loaded, error) { return o.loadKprobe(p, h) }
	}
	return l, err
}

func (o *opener) loadFexit(p *Probe, h *hook) (*loaded, error) {
	if err := o.kernel.JIT().Err(); err != nil {
		return nil, cannotf("fexit needs the JIT: %v", err)
	}
	if !o.symbols.Has(h.function) {
		return nil, o.noSymbol(h)
	}
	if o.module == nil {
		return nil, cannotf("%s can't be watched by fexit: this kernel has no BTF of the module nf_conntrack (Linux 5.11 or later, CONFIG_DEBUG_INFO_BTF_MODULES)", h.function)
	}
	var fn *btf.Func
	if err := o.module.TypeByName(h.function, &fn); err != nil {
		return nil, cannotf("%s can't be watched by fexit: it is not in this kernel's BTF", h.function)
	}
	return o.loadPrograms(p, h, h.fexit)
}

func (o *opener) loadKprobe(p *Probe, h *hook) (*loaded, error) {
	if err := o.kernel.Kprobes().Err(); err != nil {
		return nil, cannotf("%s can't be watched by a kprobe: %v", h.function, err)
	}
	sym, ok := o.symbols.Lookup(h.function)
	if !ok || !sym.Func() {
		return nil, o.noSymbol(h)
	}
	if sym.Others > 0 {
		return nil, cannotf("%s can't be watched by a kprobe: this kernel has %d functions of that name", h.function, sym.Others+1)
	}
	return o.loadPrograms(p, h, h.kprobe)
}

func (o *opener) noSymbol(h *hook) error {
	return cannotf("this kernel has no function %s that could be watched: the compiler has inlined or split it", h.function)
}

// loadPrograms puts a hook's programs into the kernel.
func (o *opener) loadPrograms(p *Probe, h *hook, programs []program) (*loaded, error) {
	only := o.spec.Copy()
	only.Programs = map[string]*ebpf.ProgramSpec{}
	for _, prog := range programs {
		only.Programs[prog.name] = o.spec.Programs[prog.name].Copy()
	}
	coll, err := ebpf.NewCollectionWithOptions(only, ebpf.CollectionOptions{
		MapReplacements: o.maps.Maps,
		Cache:           o.cache,
	})
	if errors.Is(err, unix.EPERM) {
		return nil, refused
	}
	if err != nil {
		return nil, fmt.Errorf("load programs for %s: %w", h.function, err)
	}
	defer coll.Close()
	l := &loaded{hook: h, programs: programs}
	for _, prog := range programs {
		in := coll.DetachProgram(prog.name)
		p.programs = append(p.programs, in)
		l.inKernel = append(l.inKernel, in)
	}
	return l, nil
}

// attach attaches all of a hook's programs, or none.
func (l *loaded) attach() ([]attached, error) {
	var links []attached
	for i, prog := range l.programs {
		a, err := l.hook.attach(prog, l.inKernel[i])
		if err == nil {
			links = append(links, attached{a})
			continue
		}
		for _, done := range links {
			done.Close()
		}
		var c *cannot
		if l.instead == nil || !errors.As(err, &c) {
			return nil, err
		}
		other, err := l.instead()
		if err != nil {
			return nil, err
		}
		*l = *other
		return l.attach()
	}
	return links, nil
}

func (h *hook) attach(prog program, in *ebpf.Program) (link.Link, error) {
	var (
		l   link.Link
		err error
	)
	switch prog.how {
	case byKprobe:
		l, err = link.Kprobe(h.function, in, nil)
	case byKretprobe:
		l, err = link.Kretprobe(h.function, in, nil)
	default:
		l, err = link.AttachTracing(link.TracingOptions{Program: in})
	}
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, unix.E2BIG):
		return nil, cannotf("%s can't be watched by %s: other tracers hold all of its trampoline's slots (bpftool link shows whose they are)", h.function, prog.how)
	case errors.Is(err, unix.EBUSY):
		return nil, cannotf("%s can't be watched by %s: a live patch or another tracer has taken it over", h.function, prog.how)
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, errnoNotSupp):
		return nil, cannotf("%s can't be watched by %s: this kernel does not support it there", h.function, prog.how)
	}
	return nil, fmt.Errorf("attach %s to %s: %w", prog.how, h.function, err)
}

// errnoNotSupp is ENOTSUPP (include/linux/errno.h), which the kernel keeps to
// itself but lets out here.
const errnoNotSupp = unix.Errno(524)

// VerifierLog is the whole of the kernel's verdict on a program, "" where err
// is about something else.
func VerifierLog(err error) string {
	var v *ebpf.VerifierError
	if !errors.As(err, &v) {
		return ""
	}
	return strings.Join(v.Log, "\n")
}
