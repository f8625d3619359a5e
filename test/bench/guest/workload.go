//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strconv"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"
)

const (
	batches   = 21
	batchSize = 1000
	discard   = 9 // the port that takes everything
	tableSize = 1024
)

func now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // there is no machine without this clock
	}
	return ts.Nano()
}

func sysctl(name, value string) error {
	return os.WriteFile("/proc/sys/"+name, []byte(value), 0)
}

// prepare makes conntrack track, and Go stay out of the way.
func prepare() error {
	debug.SetGCPercent(-1)
	ruleset := `add table ip bench
add chain ip bench out { type filter hook output priority 0; }
add rule ip bench out ct state invalid counter`
	if out, err := exec.Command("nft", ruleset).CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	return nil
}

// reset empties the table and sizes it: for many entries, or to be full with
// as many entries as buckets, as by default.
func reset(max, buckets int) error {
	if out, err := exec.Command("conntrack", "-F").CombinedOutput(); err != nil {
		return fmt.Errorf("conntrack -F: %w: %s", err, out)
	}
	return errors.Join(
		sysctl("net/netfilter/nf_conntrack_buckets", strconv.Itoa(buckets)),
		sysctl("net/netfilter/nf_conntrack_max", strconv.Itoa(max)))
}

// send is sendto(2) without Go's scheduler, whose work would be counted too.
func send(fd int, to *unix.RawSockaddrInet4) unix.Errno {
	const octets = "x"
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.StringData(octets))), 1, 0,
		uintptr(unsafe.Pointer(to)), unsafe.Sizeof(*to))
	return errno
}

// receive is read(2) in the same way.
func receive(fd int) unix.Errno {
	var buf [8]byte
	_, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	return errno
}

// loopback is an address for [send].
func loopback(host uint32, port uint16) unix.RawSockaddrInet4 {
	a := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte{127, byte(host >> 16), byte(host >> 8), byte(host)}}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&a.Port))[:], port)
	return a
}

func udp() (int, error) {
	return unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
}

// sink is a socket that every packet to the discard port ends at, on all
// loopback addresses. Nobody reads it: once full it drops, at a constant cost.
func sink() (int, error) {
	fd, err := udp()
	if err != nil {
		return 0, err
	}
	return fd, unix.Bind(fd, &unix.SockaddrInet4{Port: discard})
}

// median measures batches and returns the median cost of one packet.
func median(batch func(i int) error) (float64, error) {
	costs := make([]float64, 0, batches)
	for i := range batches {
		start := now()
		if err := batch(i); err != nil {
			return 0, err
		}
		costs = append(costs, float64(now()-start)/batchSize)
	}
	slices.Sort(costs)
	return costs[batches/2], nil
}

// spray sends one packet to each of a batch's addresses, all of them new flows.
func spray(fd, batch int, want unix.Errno) error {
	for i := range batchSize {
		to := loopback(uint32(batch*batchSize+i+1), discard)
		if errno := send(fd, &to); errno != want {
			return fmt.Errorf("send to %v: %w, expected error %d", to.Addr, errno, int(want))
		}
	}
	return nil
}

// sprayed is the cost of a packet of a spray.
func sprayed(want unix.Errno) (float64, error) {
	to, err := sink()
	if err != nil {
		return 0, err
	}
	defer unix.Close(to)
	fd, err := udp()
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return median(func(batch int) error { return spray(fd, batch, want) })
}

func newFlows() (float64, error) {
	if err := reset(1<<20, 1<<17); err != nil {
		return 0, err
	}
	return sprayed(0)
}

// pingPong is a flow that has seen packets both ways.
type pingPong struct {
	a, b     int
	toA, toB unix.RawSockaddrInet4
}

func newPingPong() (*pingPong, error) {
	const portA, portB = 7001, 7002
	p := &pingPong{toA: loopback(1, portA), toB: loopback(1, portB)}
	var err error
	if p.a, err = udp(); err != nil {
		return nil, err
	}
	if p.b, err = udp(); err != nil {
		return nil, err
	}
	return p, errors.Join(
		unix.Bind(p.a, &unix.SockaddrInet4{Addr: p.toA.Addr, Port: portA}),
		unix.Bind(p.b, &unix.SockaddrInet4{Addr: p.toB.Addr, Port: portB}),
		p.exchange(10))
}

// exchange sends n packets, one way and the other in turn.
func (p *pingPong) exchange(n int) error {
	for i := range n {
		from, at, to := p.a, p.b, &p.toB
		if i%2 == 1 {
			from, at, to = p.b, p.a, &p.toA
		}
		if errno := send(from, to); errno != 0 {
			return errno
		}
		if errno := receive(at); errno != 0 {
			return errno
		}
	}
	return nil
}

func (p *pingPong) close() error { return errors.Join(unix.Close(p.a), unix.Close(p.b)) }

func established() (cost float64, err error) {
	if err := reset(1<<20, 1<<17); err != nil {
		return 0, err
	}
	p, err := newPingPong()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	return median(func(int) error { return p.exchange(batchSize) })
}

// runsWhileEstablished counts the runs of BPF programs over 100,000 packets of
// a known flow.
func runsWhileEstablished() (n uint64, err error) {
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stats.Close()) }()
	p, err := newPingPong()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	before, err := runs()
	if err != nil {
		return 0, err
	}
	if err := p.exchange(100_000); err != nil {
		return 0, err
	}
	after, err := runs()
	return after - before, err
}

// dropped measures packets that a full table refuses. The first batches get
// over the budget of shown events, for this second and those that follow.
func dropped() (float64, error) {
	if err := reset(tableSize, tableSize); err != nil {
		return 0, err
	}
	if err := fill(); err != nil {
		return 0, err
	}
	return sprayed(unix.EPERM)
}

// fill fills the table with entries that can't be evicted.
func fill() error {
	c, err := conntrack.Dial(nil)
	if err != nil {
		return err
	}
	defer c.Close()
	for i := range tableSize {
		src := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		dst := netip.AddrFrom4([4]byte{10, 1, 0, 1})
		f := conntrack.NewFlow(unix.IPPROTO_UDP, conntrack.StatusConfirmed|conntrack.StatusSeenReply|conntrack.StatusAssured, src, dst, 1000, 2000, 3600, 0)
		if err := c.Create(f); err != nil {
			return fmt.Errorf("create entry %d of %d: %w", i+1, tableSize, err)
		}
	}
	return nil
}
