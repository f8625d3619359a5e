package probe

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/ctwhy/ctwhy/pkg/event"
)

// Record is an event as it came out of the kernel.
type Record struct {
	event.Event // without its time and the netns's name

	// Boot is when it happened: CLOCK_BOOTTIME, in nanoseconds.
	Boot uint64
	// InIndex is the index of the interface that the packet came in by, where
	// its name could not be read in the kernel; 0 is none.
	InIndex uint32
}

const eventSize = int(unsafe.Sizeof(traceEvent{}))

// decode makes a Record of one sample of the ring.
func decode(sample []byte) (Record, error) {
	if len(sample) < eventSize {
		return Record{}, fmt.Errorf("event of %d octets, expected %d", len(sample), eventSize)
	}
	var e traceEvent
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&e)), eventSize), sample)

	has := func(h traceHas) bool { return traceHas(e.Has)&h != 0 }
	r := Record{
		Event: event.Event{
			Reason:  event.Reason(e.Reason),
			Netns:   event.Netns{ID: e.Netns},
			Zone:    e.Zone,
			CPU:     int(e.Cpu),
			Netlink: has(traceHasHAS_NETLINK),
			Orig:    tuple(e.Orig),
		},
		Boot: e.Time,
	}
	if !r.Reason.Known() {
		return Record{}, fmt.Errorf("event of unknown reason %d", e.Reason)
	}
	if has(traceHasHAS_REPLY) {
		r.Reply = tuple(e.Reply)
	}
	if has(traceHasHAS_TABLE) && has(traceHasHAS_MAX) {
		r.Table = &event.Table{Count: e.Count, Max: e.Max}
	}
	if has(traceHasHAS_PACKET) {
		r.Packet = &event.Packet{
			Hook: event.Hook(e.Hook + 1),
			In:   name(e.In),
			Out:  name(e.Out),
			Mark: e.Mark,
		}
		if has(traceHasHAS_TCP_FLAGS) {
			flags := event.TCPFlags(e.TcpFlags)
			r.Packet.TCPFlags = &flags
		}
		if r.Packet.In == "" {
			r.InIndex = e.Iif
		}
	}
	if has(traceHasHAS_OWNER) {
		r.Owner = &event.Owner{PID: e.Pid, Comm: name(e.Comm)}
	}
	if has(traceHasHAS_ENTRY) {
		entry := &event.Entry{
			Orig:   tuple(e.Entry.Orig),
			Reply:  tuple(e.Entry.Reply),
			Status: event.Status(e.Entry.Status),
			Mark:   e.Entry.Mark,
			Zone:   e.Entry.Zone,
		}
		if r.Reason.Clash() {
			r.Winner = entry
		} else {
			r.Victim = entry
		}
	}
	return r, nil
}

func tuple(t traceTuple) event.Tuple {
	out := event.Tuple{Proto: t.Proto}
	switch Family(t.Family) {
	case IPv4:
		out.Src = netip.AddrFrom4([4]byte(t.Src[:4]))
		out.Dst = netip.AddrFrom4([4]byte(t.Dst[:4]))
	case IPv6:
		out.Src = netip.AddrFrom16(t.Src)
		out.Dst = netip.AddrFrom16(t.Dst)
	}
	var src, dst [2]byte // as they lie in memory: network order
	binary.NativeEndian.PutUint16(src[:], t.Sport)
	binary.NativeEndian.PutUint16(dst[:], t.Dport)
	if out.IsICMP() {
		out.ICMPID = binary.BigEndian.Uint16(src[:])
		out.ICMPType, out.ICMPCode = dst[0], dst[1]
	} else {
		out.SrcPort = binary.BigEndian.Uint16(src[:])
		out.DstPort = binary.BigEndian.Uint16(dst[:])
	}
	return out
}

// name is a kernel string up to its terminating zero.
func name(b [16]uint8) string {
	s, _, _ := bytes.Cut(b[:], []byte{0})
	return string(s)
}
