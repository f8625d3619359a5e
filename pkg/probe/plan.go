package probe

import "github.com/ctwhy/ctwhy/pkg/event"

// A hook is one kernel function that is watched, by either backend.
type hook struct {
	function string
	fexit    []program
	kprobe   []program
}

// A program is one of the object's programs and how it is attached.
type program struct {
	name string
	how  how
}

// how a program is attached; also what coverage calls it.
type how string

const (
	byFentry    how = "fentry"
	byFexit     how = "fexit"
	byKprobe    how = "kprobe"
	byKretprobe how = "kretprobe"
)

// The hooks. Programs stand in the order in which they are attached.
var (
	unlinked = &hook{
		function: "nf_ct_helper_destroy",
		fexit:    []program{{traceProgUnlinkedFentry, byFentry}},
		kprobe:   []program{{traceProgUnlinkedKprobe, byKprobe}},
	}
	earlyDrop = &hook{
		function: "early_drop",
		fexit:    []program{{traceProgEarlyDropFentry, byFentry}},
		kprobe:   []program{{traceProgEarlyDropKprobe, byKprobe}},
	}
	clash = &hook{
		function: "nf_ct_resolve_clash",
		fexit:    []program{{traceProgClashFentry, byFentry}, {traceProgClashFexit, byFexit}},
		kprobe:   []program{{traceProgClashKprobe, byKprobe}, {traceProgClashKretprobe, byKretprobe}},
	}
	alloc = &hook{
		function: "__nf_conntrack_alloc",
		fexit:    []program{{traceProgAllocFexit, byFexit}},
		kprobe:   []program{{traceProgAllocKprobe, byKprobe}, {traceProgAllocKretprobe, byKretprobe}},
	}
	confirm = &hook{
		function: "__nf_conntrack_confirm",
		fexit:    []program{{traceProgConfirmFexit, byFexit}},
		kprobe:   []program{{traceProgConfirmKprobe, byKprobe}, {traceProgConfirmKretprobe, byKretprobe}},
	}
	packet = &hook{
		function: "nf_conntrack_in",
		fexit:    []program{{traceProgPacketFentry, byFentry}},
		kprobe:   []program{{traceProgPacketKprobe, byKprobe}},
	}
)

// hooks are the ones attached from the start, in that order. packet is not
// among them: it runs for every packet, and is attached only while detail is
// armed.
//
// What a program notes another takes up: early_drop's is taken up at the end
// of the allocation, a clash's at the end of confirmation. The ones that take
// up come first here, and so go last, that no note is left.
var hooks = []*hook{alloc, earlyDrop, unlinked, confirm, clash}

// needs says what each reason is told by. With one of its hooks missing a
// reason would be taken for another, or not be seen.
var needs = map[event.Reason][]*hook{
	event.TableFull:      {alloc, earlyDrop},
	event.NoMemory:       {alloc, earlyDrop},
	event.Evicted:        {unlinked, earlyDrop, alloc},
	event.ClashDropped:   {clash},
	event.ClashMerged:    {clash},
	event.ClashReplyOnly: {clash},
	event.ChainTooLong:   {confirm, clash},
	event.Dying:          {confirm, clash},
}
