//go:build linux

package main

import (
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// pairOfQueries are what getaddrinfo sends: A and AAAA of one name.
func pairOfQueries(name string) (pair [2][]byte, err error) {
	for i, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
		m := dnsmessage.Message{
			Header: dnsmessage.Header{ID: uint16(4711 + i), RecursionDesired: true},
			Questions: []dnsmessage.Question{{
				Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET,
			}},
		}
		if pair[i], err = m.Pack(); err != nil {
			return pair, err
		}
	}
	return pair, nil
}

// sendPair sends both queries from a new socket, each from a CPU of its own,
// at the same moment as nearly as can be.
func sendPair(from netip.Addr, to netip.AddrPort, queries [2][]byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()}); err != nil {
		return err
	}
	var (
		atTheLine atomic.Int32
		wait      sync.WaitGroup
		errs      [2]error
	)
	for cpu, query := range queries {
		wait.Add(1)
		go func() {
			defer wait.Done()
			// The thread ends with its goroutine, and its affinity with it.
			runtime.LockOSThread()
			var set unix.CPUSet
			set.Set(cpu)
			if errs[cpu] = unix.SchedSetaffinity(0, &set); errs[cpu] != nil {
				atTheLine.Add(1)
				return
			}
			for atTheLine.Add(1); atTheLine.Load() < 2; {
			}
			errs[cpu] = unix.Sendto(fd, query, 0, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
		}()
	}
	wait.Wait()
	return errors.Join(errs[:]...)
}
