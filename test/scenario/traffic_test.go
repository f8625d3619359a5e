//go:build guest

package scenario

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func ptr[T any](p *T) unsafe.Pointer { return unsafe.Pointer(p) }

// flow is a packet's own tuple. For ICMP sport is the echo's id and dport 0.
type flow struct {
	proto        string
	src, dst     netip.Addr
	sport, dport uint16
}

func (f flow) String() string {
	return fmt.Sprintf("%s %s -> %s", f.proto, netip.AddrPortFrom(f.src, f.sport), netip.AddrPortFrom(f.dst, f.dport))
}

// sent is what a workload did: every flow that it sent a packet of, and what
// the kernel answered.
type sent struct {
	flows      []flow
	errs       []error // one for each flow, nil where the kernel took the packet
	start, end time.Time
}

func (s *sent) add(f flow, err error) {
	s.flows = append(s.flows, f)
	s.errs = append(s.errs, err)
}

// refused are the flows whose packet the kernel refused with EPERM, which is
// what a drop in the output path looks like to the sender.
func (s *sent) refused() []flow {
	var r []flow
	for i, f := range s.flows {
		if errors.Is(s.errs[i], unix.EPERM) {
			r = append(r, f)
		}
	}
	return r
}

// failed is the first error that is not an answer of the kernel's to a packet
// that it took, or refused.
func (s *sent) failed() error {
	for i, err := range s.errs {
		if err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINPROGRESS) {
			return fmt.Errorf("%v: %w", s.flows[i], err)
		}
	}
	return nil
}

// timed runs f between the window's two clock readings.
func (s *sent) timed(f func() error) error {
	s.start = time.Now()
	err := f()
	s.end = time.Now()
	return err
}

// socket opens a socket bound to src (port 0: the kernel's choice), whose
// packets carry this mark, and returns its port.
func socket(typ, proto int, src netip.AddrPort, mark uint32) (fd int, port uint16, err error) {
	family := unix.AF_INET
	if src.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, typ|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return -1, 0, fmt.Errorf("socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	if mark != 0 {
		if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
			return -1, 0, fmt.Errorf("set SO_MARK: %w", err)
		}
	}
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return -1, 0, fmt.Errorf("set SO_REUSEADDR: %w", err)
	}
	if err = unix.Bind(fd, sockaddr(src)); err != nil {
		return -1, 0, fmt.Errorf("bind %v: %w", src, err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return -1, 0, fmt.Errorf("getsockname: %w", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		port = uint16(sa.Port)
	case *unix.SockaddrInet6:
		port = uint16(sa.Port)
	}
	return fd, port, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// connectTCP begins one TCP connection from each of n ports of src, beginning
// at sport, without waiting for an answer, and gives up at once: only the SYN
// is wanted. connect(2) does not tell what became of the SYN: tcp_connect()
// takes nothing but ECONNREFUSED for an error and leaves the rest to the
// retransmission timer, so a refused SYN looks like a slow server
// (EINPROGRESS). All sockets are open at the same time, and are closed before
// the first retransmission is due, unless the machine is very slow: see
// [trace.wantFlows].
func connectTCP(s *sent, src netip.Addr, sport uint16, dst netip.AddrPort, n int, mark uint32) error {
	for i := range n {
		from := netip.AddrPortFrom(src, sport+uint16(i))
		fd, _, err := socket(unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0, from, mark)
		if err != nil {
			return err
		}
		err = unix.Connect(fd, sockaddr(dst))
		s.add(flow{"tcp", src, dst.Addr(), from.Port(), dst.Port()}, err)
		if err := unix.Close(fd); err != nil {
			return err
		}
	}
	return s.failed()
}

// sendUDP sends one datagram from one socket, of a port that the kernel
// chooses, to each of n ports of dst, beginning with dst's.
func sendUDP(s *sent, src netip.Addr, dst netip.AddrPort, n int, mark uint32) error {
	return sendUDPFrom(s, netip.AddrPortFrom(src, 0), dst, n, mark)
}

// sendUDPFrom is sendUDP from a port of the caller's choice, for those that
// use several sockets: the kernel may choose a port that was used before.
func sendUDPFrom(s *sent, src, dst netip.AddrPort, n int, mark uint32) error {
	fd, sport, err := socket(unix.SOCK_DGRAM, 0, src, mark)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for i := range n {
		to := netip.AddrPortFrom(dst.Addr(), dst.Port()+uint16(i))
		err := unix.Sendto(fd, []byte("x"), 0, sockaddr(to))
		s.add(flow{"udp", src.Addr(), dst.Addr(), sport, to.Port()}, err)
	}
	return s.failed()
}

// sendEchoes sends n ICMP or ICMPv6 echo requests with ids from id on.
func sendEchoes(s *sent, src, dst netip.Addr, id uint16, n int, mark uint32) error {
	name, proto, typ := "icmp", unix.IPPROTO_ICMP, byte(8)
	if src.Is6() {
		name, proto, typ = "icmpv6", unix.IPPROTO_ICMPV6, 128
	}
	fd, _, err := socket(unix.SOCK_RAW, proto, netip.AddrPortFrom(src, 0), mark)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for i := range n {
		echo := make([]byte, 8)
		echo[0] = typ
		binary.BigEndian.PutUint16(echo[4:], id+uint16(i))
		// For ICMPv6 the kernel makes the checksum, which covers the
		// addresses too.
		if src.Is4() {
			binary.BigEndian.PutUint16(echo[2:], checksum(echo))
		}
		err := unix.Sendto(fd, echo, 0, sockaddr(netip.AddrPortFrom(dst, 0)))
		s.add(flow{name, src, dst, id + uint16(i), 0}, err)
	}
	return s.failed()
}

// checksum is the Internet checksum (RFC 1071) of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
