//go:build guest

package scenario

import (
	"bufio"
	"fmt"
	"math"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	floodDrops  = 1_000_000
	floodRate   = 1000 // ctwhy's default for --rate
	floodMemory = 64 << 10
)

// TestFlood: a million packets are lost as fast as two CPUs can send them.
// Every one is counted, few are shown, ctwhy stays small, and all that was not
// shown is accounted for.
func TestFlood(t *testing.T) {
	eachBackend(t, func(t *testing.T, backend string) {
		// One entry fills the table, so that a drop costs little beside the
		// hooks: what is measured here is ctwhy.
		n := fullNetns(t, 1)
		n.sink(t)
		// The last --rate wins: this is the default, written out since observe
		// asks for everything.
		tr := observe(t, backend, []*netns{n}, "--rate", strconv.Itoa(floodRate))
		tr.flood = true
		begin := time.Now()
		errs := make(chan error, 2)
		for cpu := range 2 {
			go func() {
				errs <- n.do("wl-flood", func() error { return flood(cpu, floodDrops/2) })
			}()
		}
		for range 2 {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		took := time.Since(begin)
		t.Logf("%d drops in %v, %.0f a second", floodDrops, took, floodDrops/took.Seconds())
		var peak int
		if tr.tracer != nil {
			peak = peakMemory(t, tr.tracer.cmd.Process.Pid)
		}
		traced := tr.stop()
		wantCounters(t, tr.kernel[0], counters{"drop": floodDrops})
		if !traced {
			return
		}
		tr.wantReasons(t, n, map[string]uint64{"table_full": floodDrops})
		y := tr.summary.netnsOf(n).Reasons["table_full"]
		t.Logf("%+v, peak memory %d KiB, summary after %.1f s", y, peak, tr.summary.Seconds)
		// Seconds begin when they like: a little more than one may touch three.
		if most := uint64(floodRate * (math.Ceil(tr.summary.Seconds) + 1)); y.Shown > most {
			t.Errorf("%d events were shown in %.1f s, want %d at most", y.Shown, tr.summary.Seconds, most)
		}
		if y.Shown < floodRate {
			t.Errorf("%d events were shown, want %d at least", y.Shown, floodRate)
		}
		if peak >= floodMemory {
			t.Errorf("ctwhy used %d KiB, want less than %d", peak, floodMemory)
		}
	})
}

// flood sends n datagrams that are all refused from one CPU.
func flood(cpu, n int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin to CPU %d: %w", cpu, err)
	}
	fd, _, err := socket(unix.SOCK_DGRAM, 0, netip.MustParseAddrPort("10.77.0.1:0"), 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, sockaddr(netip.MustParseAddrPort("10.99.0.1:53"))); err != nil {
		return err
	}
	data := [1]byte{'x'}
	for i := range n {
		// Raw, so that the scheduler does not look at each of a million.
		if _, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(ptr(&data[0])), 1, 0, 0, 0); e != unix.EPERM {
			return fmt.Errorf("send %d of %d was not refused: %w", i, n, e)
		}
	}
	return nil
}

// peakMemory is a process's largest resident set so far, in KiB.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kib, err := strconv.Atoi(strings.Fields(v)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kib
		}
	}
	t.Fatal("no VmHWM in /proc/PID/status")
	return 0
}
