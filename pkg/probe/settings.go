package probe

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/ctwhy/ctwhy/pkg/event"
	"github.com/ctwhy/ctwhy/pkg/kernel"
)

// Filter says which losses are shown. All are counted. The zero value shows
// everything.
type Filter struct {
	Netns   uint32         // inode; 0 is any
	Reasons []event.Reason // none is all
	Family  Family
	Proto   *uint8
	// Src and Dst match the original tuple; the zero Prefix is any.
	Src, Dst netip.Prefix
	// SrcPort and DstPort match the original tuple; 0 is any. They make sense
	// with a Proto that has ports.
	SrcPort, DstPort uint16
}

// Family is the kernel's number of an address family (NFPROTO_*).
type Family uint8

const (
	AnyFamily Family = 0
	IPv4      Family = 2
	IPv6      Family = 10
)

func familyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// Check says what is contradictory in a filter.
func (f Filter) Check() error { return f.fill(&traceSettings{}) }

// fill writes the filter as the programs read it.
func (f Filter) fill(s *traceSettings) error {
	s.Netns = f.Netns
	for _, r := range f.Reasons {
		s.Reasons |= 1 << r
	}
	if len(f.Reasons) == 0 {
		s.Reasons = ^uint32(0)
	}
	family := f.Family
	for _, p := range []struct {
		prefix     netip.Prefix
		want, mask *[16]uint8
	}{{f.Src, &s.Src, &s.SrcMask}, {f.Dst, &s.Dst, &s.DstMask}} {
		if !p.prefix.IsValid() {
			continue
		}
		if of := familyOf(p.prefix.Addr()); family == AnyFamily {
			family = of
		} else if family != of {
			return fmt.Errorf("address %s is of another family than the rest of the filter", p.prefix)
		}
		copy(p.want[:], p.prefix.Addr().AsSlice())
		for i := range p.prefix.Bits() {
			p.mask[i/8] |= 0x80 >> (i % 8)
		}
	}
	s.Family = uint8(family)
	if f.Proto != nil {
		s.Proto, s.MatchProto = *f.Proto, 1
	}
	s.Sport, s.Dport = networkOrder(f.SrcPort), networkOrder(f.DstPort)
	if s.Family != 0 || f.Proto != nil || f.SrcPort != 0 || f.DstPort != 0 {
		s.MatchTuple = 1
	}
	return nil
}

func networkOrder(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

// The kernel's variables that the programs read. Each may be missing from a
// kernel; then what depends on it is not known.
const (
	symMax          = "nf_conntrack_max"
	symNetID        = "nf_conntrack_net_id"
	symExtGenID     = "nf_conntrack_ext_genid"
	symPerCPUOffset = "__per_cpu_offset"
	symPreemptCount = "__preempt_count"
	symPCPUHot      = "pcpu_hot" // Linux 6.2 to 6.14: struct pcpu_hot.preempt_count
)

// addresses fills in where the kernel's variables are.
func addresses(s *traceSettings, symbols kernel.Symbols, types *btf.Spec) error {
	addr := func(name string) uint64 {
		sym, _ := symbols.Lookup(name)
		return sym.Addr
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count CPUs: %w", err)
	}
	s.MaxCpus = uint32(cpus)
	s.ConntrackMax = addr(symMax)
	s.ConntrackNetId = addr(symNetID)
	s.ExtGenid = addr(symExtGenID)
	s.PerCpuOffset = addr(symPerCPUOffset)
	s.PreemptCount = addr(symPreemptCount)
	if hot := addr(symPCPUHot); s.PreemptCount == 0 && hot != 0 {
		if offset, ok := memberOffset(types, "pcpu_hot", "preempt_count"); ok {
			s.PreemptCount = hot + uint64(offset)
		}
	}
	return nil
}

// memberOffset is where a member stands in a struct of the kernel's, also
// inside anonymous structs and unions.
func memberOffset(types *btf.Spec, structure, member string) (offset uint32, ok bool) {
	var s *btf.Struct
	if types.TypeByName(structure, &s) != nil {
		return 0, false
	}
	return findMember(s.Members, member)
}

func findMember(members []btf.Member, name string) (offset uint32, ok bool) {
	for _, m := range members {
		if m.Name == name {
			return m.Offset.Bytes(), true
		}
		if m.Name != "" {
			continue
		}
		var inner []btf.Member
		switch t := m.Type.(type) {
		case *btf.Struct:
			inner = t.Members
		case *btf.Union:
			inner = t.Members
		}
		if offset, ok := findMember(inner, name); ok {
			return m.Offset.Bytes() + offset, true
		}
	}
	return 0, false
}

// unknowns says what these settings leave in the dark, for coverage.
func unknowns(s *traceSettings, countInNet bool) []string {
	var notes []string
	if s.ConntrackMax == 0 || (s.ConntrackNetId == 0 && !countInNet) {
		notes = append(notes, "the table's count and limit are not shown: this kernel does not tell where its variables are (CONFIG_KALLSYMS_ALL)")
	}
	if runtime.GOARCH == "amd64" && (s.PreemptCount == 0 || s.PerCpuOffset == 0) {
		notes = append(notes, "owners are not shown: this kernel does not tell where its preempt count is")
	}
	return notes
}
