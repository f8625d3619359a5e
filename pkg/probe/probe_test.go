package probe

import (
	"encoding/binary"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/ctwhy/ctwhy/pkg/event"
)

func spec(t *testing.T) *ebpf.CollectionSpec {
	t.Helper()
	s, err := loadTrace()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The Go types are generated, but the layout is the compiler's: what is copied
// octet by octet must lie at the same place in both.
func TestLayoutIsTheObjects(t *testing.T) {
	types := spec(t).Types
	for name, goType := range map[string]reflect.Type{
		"event":     reflect.TypeFor[traceEvent](),
		"tuple":     reflect.TypeFor[traceTuple](),
		"entry":     reflect.TypeFor[traceEntry](),
		"settings":  reflect.TypeFor[traceSettings](),
		"tally":     reflect.TypeFor[traceTally](),
		"tally_key": reflect.TypeFor[traceTallyKey](),
		"misses":    reflect.TypeFor[traceMisses](),
	} {
		var c *btf.Struct
		if err := types.TypeByName(name, &c); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if uintptr(c.Size) != goType.Size() {
			t.Errorf("struct %s has %d octets, its Go type %d", name, c.Size, goType.Size())
		}
		end := uint32(0)
		for _, m := range c.Members {
			f, ok := goType.FieldByNameFunc(func(field string) bool {
				return strings.EqualFold(field, strings.ReplaceAll(m.Name, "_", ""))
			})
			if !ok || f.Offset != uintptr(m.Offset.Bytes()) {
				t.Errorf("struct %s: %s is at %d, in Go at %d", name, m.Name, m.Offset.Bytes(), f.Offset)
			}
			if m.Offset.Bytes() != end {
				t.Errorf("struct %s has a hole before %s", name, m.Name)
			}
			size, err := btf.Sizeof(m.Type)
			if err != nil {
				t.Fatal(err)
			}
			end = m.Offset.Bytes() + uint32(size)
		}
		if end != c.Size {
			t.Errorf("struct %s has a hole at its end", name)
		}
	}
}

func TestReasonsAreTheWires(t *testing.T) {
	for wire, want := range map[traceReason]event.Reason{
		traceReasonREASON_TABLE_FULL:       event.TableFull,
		traceReasonREASON_NO_MEMORY:        event.NoMemory,
		traceReasonREASON_EVICTED:          event.Evicted,
		traceReasonREASON_CLASH_DROPPED:    event.ClashDropped,
		traceReasonREASON_CLASH_MERGED:     event.ClashMerged,
		traceReasonREASON_CLASH_REPLY_ONLY: event.ClashReplyOnly,
		traceReasonREASON_CHAIN_TOO_LONG:   event.ChainTooLong,
		traceReasonREASON_DYING:            event.Dying,
	} {
		if event.Reason(wire) != want {
			t.Errorf("%v is %d on the wire", want, wire)
		}
	}
	if int(traceReasonREASON_END) != len(event.Reasons())+1 {
		t.Errorf("the wire has %d reasons, the domain %d", traceReasonREASON_END-1, len(event.Reasons()))
	}
}

func TestEveryProgramIsInThePlanAndBack(t *testing.T) {
	planned := map[string]bool{}
	for _, h := range append(hooks, packet) {
		for _, p := range append(h.fexit, h.kprobe...) {
			planned[p.name] = true
			section := spec(t).Programs[p.name].SectionName
			if want := string(p.how) + "/" + h.function; section != want {
				t.Errorf("program %s is in section %s, the plan says %s", p.name, section, want)
			}
		}
	}
	for name := range spec(t).Programs {
		if !planned[name] {
			t.Errorf("program %s is not in the plan", name)
		}
	}
	for _, r := range event.Reasons() {
		if len(needs[r]) == 0 {
			t.Errorf("nothing tells %v", r)
		}
	}
}

func TestDecodeTuples(t *testing.T) {
	be := func(v uint16) uint16 {
		return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
	}
	v6 := netip.MustParseAddr("fd00::1").As16()
	for want, in := range map[event.Tuple]traceTuple{
		{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Proto: 6, SrcPort: 40000, DstPort: 80}: {
			Src: [16]uint8{10, 0, 0, 1}, Dst: [16]uint8{10, 0, 0, 2}, Sport: be(40000), Dport: be(80), Family: 2, Proto: 6},
		{Src: netip.MustParseAddr("fd00::1"), Dst: netip.MustParseAddr("fd00::1"), Proto: 17, SrcPort: 1, DstPort: 65535}: {
			Src: v6, Dst: v6, Sport: be(1), Dport: be(65535), Family: 10, Proto: 17},
		{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Proto: 1, ICMPType: 8, ICMPCode: 1, ICMPID: 77}: {
			Src: [16]uint8{10, 0, 0, 1}, Dst: [16]uint8{10, 0, 0, 2}, Sport: be(77), Dport: be(8<<8 | 1), Family: 2, Proto: 1},
	} {
		if got := tuple(in); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestFilterRefusesTwoFamilies(t *testing.T) {
	f := Filter{Src: netip.MustParsePrefix("10.0.0.0/8"), Dst: netip.MustParsePrefix("fd00::/8")}
	if err := f.Check(); err == nil {
		t.Error("an IPv4 source with an IPv6 destination was taken")
	}
	f = Filter{Src: netip.MustParsePrefix("10.0.0.0/8"), Family: IPv6}
	if err := f.Check(); err == nil {
		t.Error("an IPv4 source with -f ipv6 was taken")
	}
}

func TestFilterMasks(t *testing.T) {
	var s traceSettings
	f := Filter{Dst: netip.MustParsePrefix("10.128.0.0/9"), DstPort: 53}
	if err := f.fill(&s); err != nil {
		t.Fatal(err)
	}
	if s.DstMask != [16]uint8{0xff, 0x80} || s.Dst != [16]uint8{10, 128} || s.SrcMask != [16]uint8{} {
		t.Errorf("dst %v mask %v, src mask %v", s.Dst, s.DstMask, s.SrcMask)
	}
	if s.Family != uint8(IPv4) || s.MatchTuple != 1 || s.Sport != 0 || s.Dport != networkOrder(53) || s.Reasons != ^uint32(0) {
		t.Errorf("settings %+v", s)
	}
}

func FuzzDecode(f *testing.F) {
	whole := make([]byte, eventSize)
	whole[unsafe.Offsetof(traceEvent{}.Reason)] = 1
	f.Add(whole)
	f.Add(whole[:eventSize-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, sample []byte) {
		r, err := decode(sample)
		if (len(sample) < eventSize) != (err != nil) && err == nil {
			t.Errorf("a sample of %d octets was taken", len(sample))
		}
		if err == nil && !r.Reason.Known() {
			t.Errorf("reason %d was taken", r.Reason)
		}
	})
}
