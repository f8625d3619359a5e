// Package event is ctwhy's domain: what can happen to a packet in connection
// tracking, and what is said about it. It knows neither the kernel nor a
// format, and imports the standard library only, so that a recording can be
// read anywhere.
package event

import (
	"net/netip"
	"time"
)

// Event is one packet that conntrack lost or changed, or one entry that it
// evicted. What is unknown is the zero value, or a nil pointer where zero
// would be a value too.
type Event struct {
	// Time is wall-clock time, computed from the event's own clock
	// (CLOCK_BOOTTIME, read in the kernel when it happened).
	Time   time.Time
	Reason Reason
	Netns  Netns
	// Zone is the conntrack zone (CTA_ZONE), 0 by default.
	Zone uint16
	// Netlink: a ctnetlink create (or a BPF program) asked for this insert,
	// there was no packet. The kernel's drop counters do not move for it.
	Netlink bool
	// Orig is the packet's own tuple; for an eviction the victim's.
	Orig Tuple
	// Reply is what the reply's tuple would have been, after NAT where NAT
	// had been done.
	Reply Tuple
	// Table is the fill of the netns's table just after the loss.
	Table *Table
	CPU   int
	// Packet is what is known of the packet itself; nil where the hook sees
	// only the tuple.
	Packet *Packet
	// Winner is the entry that was in the table first, for a clash.
	Winner *Entry
	// Victim is the state of an evicted entry.
	Victim *Entry
	// Owner is the sending process; nil unless the current task was the
	// sender beyond doubt.
	Owner *Owner
}

// Netns names a network namespace.
type Netns struct {
	ID   uint32 // inode number, as in /proc/PID/ns/net
	Name string // name in /run/netns, "" where it has none
}

// Tuple is one direction of a flow (struct nf_conntrack_tuple).
type Tuple struct {
	Src, Dst netip.Addr
	Proto    uint8
	// SrcPort and DstPort, in host byte order, for protocols that have them
	// (see [Tuple.HasPorts]); GRE's keys stand here too.
	SrcPort, DstPort uint16
	// ICMPType, ICMPCode and ICMPID, the last in host byte order, for ICMP and ICMPv6.
	ICMPType, ICMPCode uint8
	ICMPID             uint16
}

// HasPorts reports whether the tuple's protocol has ports.
func (t Tuple) HasPorts() bool {
	switch t.Proto {
	case ProtoTCP, ProtoUDP, ProtoUDPLite, ProtoSCTP, ProtoDCCP:
		return true
	}
	return false
}

// IsICMP reports whether the tuple has an ICMP type, code and id.
func (t Tuple) IsICMP() bool { return t.Proto == ProtoICMP || t.Proto == ProtoICMPv6 }

// IP protocol numbers that conntrack has a tracker for.
const (
	ProtoICMP    = 1
	ProtoTCP     = 6
	ProtoUDP     = 17
	ProtoDCCP    = 33
	ProtoGRE     = 47
	ProtoICMPv6  = 58
	ProtoSCTP    = 132
	ProtoUDPLite = 136
)

var protoNames = map[uint8]string{
	ProtoICMP: "icmp", ProtoTCP: "tcp", ProtoUDP: "udp", ProtoDCCP: "dccp", ProtoGRE: "gre",
	ProtoICMPv6: "icmpv6", ProtoSCTP: "sctp", ProtoUDPLite: "udplite",
}

// ProtoName is conntrack(8)'s name of a protocol, or its number.
func ProtoName(p uint8) string {
	if n, ok := protoNames[p]; ok {
		return n
	}
	return itoa(p)
}

// Table is how full one netns's table is. The limit is one global number that
// each netns's own count is compared with.
type Table struct {
	Count, Max uint32
}

// Hook is the netfilter hook that a packet was in, with the kernel's numbers
// (enum nf_inet_hooks) plus one, so that zero is unknown.
type Hook uint8

const (
	Prerouting Hook = iota + 1
	Input
	Forward
	Output
	Postrouting
)

func (h Hook) String() string {
	switch h {
	case Prerouting:
		return "prerouting"
	case Input:
		return "input"
	case Forward:
		return "forward"
	case Output:
		return "output"
	case Postrouting:
		return "postrouting"
	}
	return ""
}

// TCPFlags is the TCP header's flags octet (RFC 9293, 3.1).
type TCPFlags uint8

// String is the first letters of the flags that are set, SYN first: S, SA, R, FA.
func (f TCPFlags) String() string {
	const letters = "FSRPAUEW"
	b := make([]byte, 0, 8)
	for _, i := range []int{1, 0, 2, 3, 4, 5, 6, 7} {
		if f&(1<<i) != 0 {
			b = append(b, letters[i])
		}
	}
	return string(b)
}

// Packet is what is known of a packet beyond its tuple.
type Packet struct {
	TCPFlags *TCPFlags // nil for other protocols, and where the header could not be read
	Hook     Hook
	In, Out  string // interface names; "" where the hook has none
	Mark     uint32 // skb mark
}

// Entry is one conntrack entry at the moment of the event.
type Entry struct {
	Orig, Reply Tuple
	Status      Status
	Mark        uint32
	Zone        uint16
}

// Status is the entry's status bits (enum ip_conntrack_status,
// uapi/linux/netfilter/nf_conntrack_common.h).
type Status uint32

const (
	StatusSeenReply Status = 1 << 1
	StatusAssured   Status = 1 << 2
	StatusConfirmed Status = 1 << 3
	StatusSrcNAT    Status = 1 << 4
	StatusDstNAT    Status = 1 << 5
	StatusDying     Status = 1 << 9
)

var statusNames = []string{
	"EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED", "SRC_NAT", "DST_NAT", "SEQ_ADJUST", "SRC_NAT_DONE",
	"DST_NAT_DONE", "DYING", "FIXED_TIMEOUT", "TEMPLATE", "NAT_CLASH", "HELPER", "OFFLOAD", "HW_OFFLOAD",
}

// Names are the set bits' names without the kernel's prefix IPS_.
func (s Status) Names() []string {
	names := []string{}
	for i, n := range statusNames {
		if s&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return names
}

// Owner is the process that sent a packet. Comm is its thread's name as the
// kernel has it, so hostile text.
type Owner struct {
	PID  uint32
	Comm string
}
