//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/ctwhy/ctwhy/test/bench/result"
)

// A mode is something that watches conntrack, or nothing.
type mode struct {
	name    result.Mode
	runs    bool // count its programs' runs
	dropped bool // measure dropped packets
	// start returns how to stop it, and how long it took to be ready, in ns.
	start func() (stop func() error, ready float64, err error)
}

func modes() []mode {
	all := []mode{
		{name: result.Bare, dropped: true, start: func() (func() error, float64, error) {
			return func() error { return nil }, 0, nil
		}},
		{name: result.EmptyFexit, start: emptyFexit},
		{name: result.CtwhyFexit, runs: true, dropped: true, start: ctwhy("fexit")},
		{name: result.EmptyKretprobe, start: emptyKretprobe},
		{name: result.EmptyKprobes, dropped: true, start: emptyKprobes},
		{name: result.CtwhyKprobe, runs: true, dropped: true, start: ctwhy("kprobe")},
	}
	if _, err := exec.LookPath("bpftrace"); err == nil {
		all = append(all,
			mode{name: result.BpftraceKfunc, start: bpftrace(
				`kretfunc:__nf_conntrack_alloc /(uint64)retval > 0xfffffffffffff000/ { @failed = count(); }
				 kretfunc:__nf_conntrack_confirm /retval == 0/ { @refused = count(); }`)},
			mode{name: result.BpftraceKprobe, start: bpftrace(
				`kretprobe:__nf_conntrack_alloc /(uint64)retval > 0xfffffffffffff000/ { @failed = count(); }
				 kretprobe:__nf_conntrack_confirm /retval == 0/ { @refused = count(); }`)})
	}
	return all
}

// pair are the functions that a new flow passes.
var pair = []string{"__nf_conntrack_alloc", "__nf_conntrack_confirm"}

var empty = asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}

func emptyFexit() (func() error, float64, error) {
	return attachPair(func(function string) (*ebpf.ProgramSpec, func(*ebpf.Program) (link.Link, error)) {
		return &ebpf.ProgramSpec{
				Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFExit, AttachTo: function,
				Instructions: empty, License: "GPL",
			}, func(p *ebpf.Program) (link.Link, error) {
				return link.AttachTracing(link.TracingOptions{Program: p})
			}
	})
}

func emptyKretprobe() (func() error, float64, error) {
	return attachPair(func(function string) (*ebpf.ProgramSpec, func(*ebpf.Program) (link.Link, error)) {
		return &ebpf.ProgramSpec{Type: ebpf.Kprobe, Instructions: empty, License: "GPL"},
			func(p *ebpf.Program) (link.Link, error) { return link.Kretprobe(function, p, nil) }
	})
}

// emptyKprobes are on all that ctwhy's kprobes are on when a full table
// refuses a packet and detail is armed: the least that kprobes can cost.
func emptyKprobes() (func() error, float64, error) {
	spec := &ebpf.ProgramSpec{Type: ebpf.Kprobe, Instructions: empty, License: "GPL"}
	var closers []io.Closer
	for _, at := range []struct {
		function string
		attach   func(string, *ebpf.Program, *link.KprobeOptions) (link.Link, error)
	}{
		{"__nf_conntrack_alloc", link.Kprobe}, {"__nf_conntrack_alloc", link.Kretprobe},
		{"early_drop", link.Kprobe}, {"nf_conntrack_in", link.Kprobe},
	} {
		prog, err := ebpf.NewProgram(spec)
		if err != nil {
			return nil, 0, errors.Join(err, closeAll(closers))
		}
		l, err := at.attach(at.function, prog, nil)
		if err != nil {
			return nil, 0, errors.Join(err, prog.Close(), closeAll(closers))
		}
		closers = append(closers, l, prog)
	}
	return func() error { return closeAll(closers) }, 0, nil
}

func closeAll(closers []io.Closer) error {
	var err error
	for _, c := range closers {
		err = errors.Join(err, c.Close())
	}
	return err
}

func attachPair(how func(function string) (*ebpf.ProgramSpec, func(*ebpf.Program) (link.Link, error))) (func() error, float64, error) {
	var closers []io.Closer
	stop := func() error { return closeAll(closers) }
	for _, function := range pair {
		spec, attach := how(function)
		prog, err := ebpf.NewProgram(spec)
		if err != nil {
			return nil, 0, errors.Join(err, stop())
		}
		l, err := attach(prog)
		if err != nil {
			return nil, 0, errors.Join(err, prog.Close(), stop())
		}
		closers = append(closers, l, prog)
	}
	return stop, 0, nil
}

const readyFile = "/tmp/ready"

// ctwhy runs the real thing, as a user would.
func ctwhy(backend string) func() (func() error, float64, error) {
	return func() (func() error, float64, error) {
		cmd := exec.Command("/ctwhy", "trace", "--backend", backend, "-o", "json", "--ready-file", readyFile)
		started := now()
		if err := cmd.Start(); err != nil {
			return nil, 0, err
		}
		stop := func() error {
			if err := cmd.Process.Signal(unix.SIGINT); err != nil {
				return err
			}
			return cmd.Wait()
		}
		if err := until(30*time.Second, func() bool { _, err := os.Stat(readyFile); return err == nil }); err != nil {
			return nil, 0, errors.Join(fmt.Errorf("wait for ctwhy: %w", err), stop())
		}
		return stop, float64(now() - started), nil
	}
}

func bpftrace(script string) func() (func() error, float64, error) {
	return func() (func() error, float64, error) {
		var out strings.Builder
		before := links()
		cmd := exec.Command("bpftrace", "-e", script)
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			return nil, 0, err
		}
		stop := func() error {
			if err := cmd.Process.Signal(unix.SIGINT); err != nil {
				return err
			}
			if err := cmd.Wait(); err != nil {
				return fmt.Errorf("%w: %s", err, out.String())
			}
			return nil
		}
		if err := until(120*time.Second, func() bool { return links() >= before+2 }); err != nil {
			return nil, 0, errors.Join(fmt.Errorf("wait for bpftrace: %w", err), stop())
		}
		return stop, 0, nil
	}
}

// links counts the BPF programs in the kernel: bpftrace says nothing when it
// has attached, but each of its probes is a program that is loaded just before.
func links() int {
	n := 0
	var id ebpf.ProgramID
	for {
		next, err := ebpf.ProgramGetNextID(id)
		if err != nil {
			return n
		}
		id, n = next, n+1
	}
}

// runs sums up how often the programs in the kernel have run.
func runs() (uint64, error) {
	var sum uint64
	var id ebpf.ProgramID
	for {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return sum, nil
		}
		if err != nil {
			return 0, err
		}
		id = next
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			return 0, err
		}
		stats, err := p.Stats()
		p.Close()
		if err != nil {
			return 0, err
		}
		sum += stats.RunCount
	}
}

func until(limit time.Duration, done func() bool) error {
	for end := now() + int64(limit); !done(); {
		if now() > end {
			return errors.New("it took too long")
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}
