//go:build guest

package scenario

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	// starvedFlows are sent at most while memory is short. Each takes one
	// object of a slab; pages that a CPU keeps for itself are not subject to
	// the watermarks and last for some thousands of them.
	starvedFlows = 60000
	// starvedEnough is how many losses end the famine.
	starvedEnough = 200
	// sacrifices are processes that the OOM killer may have. Whoever else
	// needs a page during the famine calls it.
	sacrifices = 40
)

// TestNoMemory: the slab allocator has no memory for an entry. The packet
// path allocates with GFP_ATOMIC, which may use part of the reserve below the
// zone's low watermark, but never waits: so a watermark above all the memory
// there is, set for some milliseconds, lets only those allocations succeed
// that need no new page. A datagram's own buffer is such: it is freed with the
// datagram and used again for the next. Entries stay, and need ever more.
func TestNoMemory(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		setSysctl(t, sysctlMax, 1<<20)
		n := newNetns(t)
		n.sink(t)
		// Before Linux 5.18 each entry has an extension for events, which
		// would fail too, without consequences.
		n.must(t, "", func() error { return writeFile(sysctlFile("net.netfilter.nf_conntrack_events"), "0") })
		tr := observe(t, backend, []*netns{n}, "--detail", "always")
		protect(t, os.Getpid())
		if tr.tracer != nil {
			protect(t, tr.tracer.cmd.Process.Pid)
		}
		for range sacrifices {
			sacrifice(t)
		}
		var s sent
		n.must(t, "wl-starve", func() error { return s.timed(func() error { return starve(&s) }) })
		traced := tr.stop()
		lost := s.refused()
		t.Logf("%d of %d flows were refused in %v", len(lost), len(s.flows), s.end.Sub(s.start))
		if len(lost) < starvedEnough {
			t.Errorf("%d flows were refused only", len(lost))
		}
		wantCounters(t, tr.kernel[0], counters{"drop": uint64(len(lost))})
		if !traced {
			return
		}
		tr.wantReasons(t, n, map[string]uint64{"no_memory": uint64(len(lost))})
		each(t, wantFlows(t, tr.of("no_memory"), lost), func(e *event) error {
			w := want{n: n, family: "ipv4", hook: "output", out: "dummy0", mark: 0x1234, comm: "wl-starve"}
			if err := w.check(e, &s); err != nil {
				return err
			}
			if e.Table == nil || e.Table.Max != 1<<20 {
				return fmt.Errorf("table is %v", e.Table)
			}
			return reversed(e.tuple, e.Reply, e.Proto)
		})
	})
}

// starve sends datagrams of new flows while there is no free memory above the
// watermark, until enough of them are lost. Between the two writes of the
// watermark nothing may allocate but the kernel: a page fault in here would
// wait for memory that only the end of this function gives back. So all is
// made and locked before, garbage is collected before, and the system calls
// are raw ones, which do not give the scheduler's P away and need no new one.
func starve(s *sent) error {
	src, dst := netip.MustParseAddr("10.77.0.1"), netip.MustParseAddr("10.99.0.1")
	fd, sport, err := socket(unix.SOCK_DGRAM, 0, netip.AddrPortFrom(src, 0), 0x1234)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const sysctl = "vm.min_free_kbytes"
	reserve, err := unix.Open(sysctlFile(sysctl), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(reserve)
	usual, err := os.ReadFile(sysctlFile(sysctl))
	if err != nil {
		return err
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return err
	}
	famine := strconv.AppendUint(nil, 8*info.Totalram/1024, 10)
	errs := make([]unix.Errno, starvedFlows)
	to := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: dst.As4()}
	data := [1]byte{'x'}
	write := func(b []byte) unix.Errno {
		_, _, e := unix.RawSyscall6(unix.SYS_PWRITE64, uintptr(reserve), uintptr(ptr(&b[0])), uintptr(len(b)), 0, 0, 0)
		return e
	}

	// The slabs of this CPU shall have what a datagram needs for itself, so
	// that it gets as far as conntrack.
	var cpu unix.CPUSet
	cpu.Set(0)
	if err := unix.SchedSetaffinity(0, &cpu); err != nil {
		return fmt.Errorf("pin to CPU 0: %w", err)
	}
	for range 100 {
		if err := unix.Sendto(fd, data[:], 0, sockaddr(netip.AddrPortFrom(dst, 999))); err != nil {
			return err
		}
	}
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	if err := unix.Mlockall(unix.MCL_CURRENT); err != nil {
		return fmt.Errorf("mlockall: %w", err)
	}
	defer func() { _ = unix.Munlockall() }()
	raised := write(famine)
	n, lost := 0, 0
	for ; n < starvedFlows && lost < starvedEnough && raised == 0; n++ {
		port := uint16(1000 + n)
		to.Port = port<<8 | port>>8
		_, _, errs[n] = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(ptr(&data[0])), 1, 0, uintptr(ptr(&to)), unix.SizeofSockaddrInet4)
		if errs[n] == unix.EPERM {
			lost++
		}
	}
	restored := write(usual)

	if raised != 0 || restored != 0 {
		return fmt.Errorf("write %s: %w, %w", sysctl, raised, restored)
	}
	for i, e := range errs[:n] {
		f := flow{"udp", src, dst, sport, uint16(1000 + i)}
		switch e {
		case 0:
			s.add(f, nil)
		case unix.ENOBUFS: // no memory for the datagram itself: conntrack never saw it
		default:
			s.add(f, e)
		}
	}
	return s.failed()
}

// protect keeps a process from the OOM killer.
func protect(t *testing.T, pid int) {
	t.Helper()
	if err := writeFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), "-1000"); err != nil {
		t.Fatal(err)
	}
}

// sacrifice starts a process that the OOM killer takes first.
func sacrifice(t *testing.T) {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if err := writeFile(fmt.Sprintf("/proc/%d/oom_score_adj", cmd.Process.Pid), "1000"); err != nil {
		t.Fatal(err)
	}
}
