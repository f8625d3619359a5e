//go:build guest

package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// readyWithin is what ctwhy promises under emulation, from exec to the ready
// file.
const readyWithin = 5 * time.Second

// TestReady: how long ctwhy needs until it is attached. The best of three
// counts: the machine that emulates this one has other work too.
func TestReady(t *testing.T) {
	if *bare {
		t.Skip("there is nothing to start without ctwhy")
	}
	eachBackend(t, func(t *testing.T, backend string) {
		best := time.Duration(0)
		for range 3 {
			tr := startTracer(t, "--backend", backend)
			doc := tr.stop(t, syscall.SIGINT)
			if len(doc.coverage) == 0 {
				t.Error("no coverage was printed")
			}
			if best == 0 || tr.ready < best {
				best = tr.ready
			}
			if best < readyWithin {
				break
			}
		}
		t.Logf("ready after %v", best)
		if best > readyWithin {
			t.Errorf("ready after %v, want %v", best, readyWithin)
		}
	})
}

// TestEnd: every way to end a trace gives a summary that reconciles and
// status 0.
func TestEnd(t *testing.T) {
	if *bare {
		t.Skip("there is nothing to end without ctwhy")
	}
	n := fullNetns(t, fullOf)
	n.sink(t)
	send := func(t *testing.T, packets int) {
		t.Helper()
		var s sent
		n.must(t, "wl-end", func() error {
			return sendUDP(&s, netip.MustParseAddr("10.77.0.1"), netip.MustParseAddrPort("10.99.0.1:1000"), packets, 0)
		})
	}
	reconciled := func(t *testing.T, doc *document, shown int) {
		t.Helper()
		if len(doc.events) != shown {
			t.Errorf("%d events were shown, want %d", len(doc.events), shown)
		}
		sum := doc.summary.netnsOf(n)
		if sum == nil || sum.Reconciled == nil || !*sum.Reconciled {
			t.Errorf("not reconciled: %v", sum)
		}
	}
	seconds := func(t *testing.T, doc *document, least, most float64) {
		t.Helper()
		if s := doc.summary.Seconds; s < least || s > most {
			t.Errorf("the trace took %v s by its summary, want %v to %v", s, least, most)
		}
	}
	t.Run("for", func(t *testing.T) {
		tr := startTracer(t, "--for", "2s")
		send(t, tries)
		doc := tr.wait(t, 2*time.Second+endWithin)
		reconciled(t, doc, tries)
		seconds(t, doc, 2, 4)
	})

	// The others run at the same time: starting takes longer than ending.
	begin := time.Now()
	ended := map[string]*tracer{
		"sigint": launchTracer(t), "sigterm": launchTracer(t), "stop-after": launchTracer(t, "--stop-after", "5"),
	}
	for _, tr := range ended {
		tr.waitReady(t, attachWithin)
	}
	send(t, tries)
	for name, end := range map[string]func(*testing.T, *tracer) (doc *document, shown int){
		"sigint":     func(t *testing.T, tr *tracer) (*document, int) { return tr.stop(t, syscall.SIGINT), tries },
		"sigterm":    func(t *testing.T, tr *tracer) (*document, int) { return tr.stop(t, syscall.SIGTERM), tries },
		"stop-after": func(t *testing.T, tr *tracer) (*document, int) { return tr.wait(t, endWithin), 5 },
	} {
		t.Run(name, func(t *testing.T) {
			tr := ended[name]
			doc, shown := end(t, tr)
			reconciled(t, doc, shown)
			seconds(t, doc, 0, time.Since(begin).Seconds())
			if tr.isReady() {
				t.Error("the ready file is still there")
			}
		})
	}
}

// TestKilled: after kill -9 nothing of ctwhy is left in the kernel: no
// program, no map, no link, no kprobe, no file. The kernel takes a process's
// BPF objects back after it has ended, so this waits a moment for it.
func TestKilled(t *testing.T) {
	if *bare {
		t.Skip("there is nothing to kill without ctwhy")
	}
	eachBackend(t, func(t *testing.T, backend string) {
		var left []string
		clean := func() bool {
			left = leftovers(t)
			return len(left) == 0
		}
		if !eventually(10*time.Second, clean) {
			t.Fatalf("before ctwhy runs there is already %v", left)
		}
		tr := startTracer(t, "--backend", backend, "--detail", "always")
		if clean() {
			t.Fatal("ctwhy runs, but the kernel has nothing of it")
		}
		if err := tr.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := tr.end(t, endWithin); err == nil {
			t.Error("ctwhy ended with status 0")
		}
		if !eventually(10*time.Second, clean) {
			t.Errorf("these are left: %v", left)
		}
	})
}

// leftovers lists what a tracer could leave behind in this kernel.
func leftovers(t *testing.T) []string {
	t.Helper()
	var left []string
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, fmt.Sprintf("program %d", next))
		id = next
	}
	for id := ebpf.MapID(0); ; {
		next, err := ebpf.MapGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, fmt.Sprintf("map %d", next))
		id = next
	}
	for _, file := range []string{"/sys/kernel/tracing/kprobe_events", "/sys/kernel/debug/kprobes/list"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			left = append(left, "kprobe "+strings.TrimSpace(line))
		}
	}
	pinned, err := filepath.Glob("/sys/fs/bpf/*")
	if err != nil {
		t.Fatal(err)
	}
	return append(left, pinned...)
}
