//go:build guest

package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Exit codes, as conntrack(8)'s.
const (
	exitFailed = 1
	exitUsage  = 2
)

// refusal is ctwhy saying no: a status, nothing on stdout, and on stderr
// lines that begin with its name and contain all of these words.
func refusal(t *testing.T, cmd *exec.Cmd, status int, words ...string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(endWithin, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	if !late.Stop() {
		t.Fatalf("%v ran instead of refusing\n%s", cmd.Args, head(stderr.String()))
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != status {
		t.Errorf("%v: %v, want exit status %d\n%s", cmd.Args, err, status, stderr.String())
	}
	if stdout.Len() > 0 {
		t.Errorf("%v printed on stdout: %s", cmd.Args, stdout.String())
	}
	said := stderr.String()
	t.Logf("%s", strings.TrimSpace(said))
	for line := range strings.Lines(said) {
		if !strings.HasPrefix(line, "ctwhy: ") {
			t.Errorf("a line on stderr does not begin with ctwhy: %q", line)
		}
	}
	if n := strings.Count(said, "\n"); n == 0 || n > 3 {
		t.Errorf("%d lines on stderr, want a sentence", n)
	}
	for _, word := range words {
		if !strings.Contains(strings.ToLower(said), strings.ToLower(word)) {
			t.Errorf("%v: stderr does not say %q: %s", cmd.Args, word, said)
		}
	}
}

// TestUsage: what cannot be meant is refused before anything is attached.
func TestUsage(t *testing.T) {
	if *bare {
		t.Skip("there is nothing to refuse without ctwhy")
	}
	for args, words := range map[string][]string{
		"trace -p nosuch":              {"nosuch"},
		"trace -s 10.0.0.300":          {"10.0.0.300"},
		"trace -d fd00::1/129":         {"fd00::1/129"},
		"trace -f ipv4 -s fd00::1":     {"fd00::1", "family"},
		"trace -p tcp --dport 99999":   {"99999"},
		"trace -f ipv5":                {"ipv5"},
		"trace --reason nosuch":        {"nosuch", "table_full"},
		"trace --backend nosuch":       {"nosuch", "kprobe"},
		"trace --detail nosuch":        {"nosuch", "never"},
		"trace -o nosuch":              {"nosuch", "json"},
		"trace --nosuch":               {"nosuch"},
		"trace --for never":            {"never"},
		"nosuch":                       {"nosuch"},
		"trace eth0 -p tcp --dport 80": {"eth0", "trace -p tcp --dport 80"},
	} {
		t.Run(strings.ReplaceAll(args, " ", "_"), func(t *testing.T) {
			refusal(t, command(strings.Fields(args)...), exitUsage, words...)
		})
	}
}

// TestRefusal: what cannot be done here and now.
func TestRefusal(t *testing.T) {
	if *bare {
		t.Skip("there is nothing to refuse without ctwhy")
	}
	t.Run("not_root", func(t *testing.T) {
		cmd := command("trace")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		refusal(t, cmd, exitFailed, "root")
	})
	t.Run("unknown_netns", func(t *testing.T) {
		refusal(t, command("trace", "--netns", "nosuch"), exitFailed, "nosuch")
	})
	t.Run("unknown_netns_inode", func(t *testing.T) {
		refusal(t, command("trace", "--netns", "4242"), exitFailed, "4242")
	})
	t.Run("no_fexit", func(t *testing.T) {
		if hasFexit(t) {
			t.Skip("this kernel has fexit for conntrack")
		}
		refusal(t, command("trace", "--backend", "fexit"), exitFailed, "fexit", "BTF")
	})
}

// TestTrampolineFull: other tracers hold all the places that a function has
// for fexit programs (BPF_MAX_TRAMP_LINKS, 38 on most machines). Asked for
// fexit, ctwhy names the function and the cause; left alone, it watches this
// function by kprobe and misses nothing.
func TestTrampolineFull(t *testing.T) {
	if *bare || !hasFexit(t) {
		t.Skip("this needs ctwhy, and a kernel that has fexit for conntrack")
	}
	const function = "early_drop"
	// No machine has more places than this.
	const most = 40
	spec := &ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{}}
	for i := range most {
		spec.Programs[fmt.Sprint("empty", i)] = &ebpf.ProgramSpec{
			Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFExit, AttachTo: function, License: "Dual BSD/GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		}
	}
	empty, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	places := 0
	for _, prog := range empty.Programs {
		l, err := link.AttachTracing(link.TracingOptions{Program: prog})
		if errors.Is(err, unix.E2BIG) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		places++
	}
	if places == most {
		t.Fatalf("%s has room for more than %d programs", function, most)
	}
	t.Logf("%s has %d places", function, places)

	t.Run("fexit", func(t *testing.T) {
		refusal(t, command("trace", "--backend", "fexit"), exitFailed, function, "other", "--backend auto")
	})
	t.Run("auto", func(t *testing.T) { traceBeside(t, function) })
}

// traceBeside: one function must be watched by kprobe, the others need not.
func traceBeside(t *testing.T, function string) {
	n := fullNetns(t, fullOf)
	n.sink(t)
	tr := observe(t, "auto", []*netns{n})
	var s sent
	n.must(t, "wl-tramp", func() error {
		return s.timed(func() error {
			return sendUDP(&s, netip.MustParseAddr("10.77.0.1"), netip.MustParseAddrPort("10.99.0.1:1000"), tries, 0)
		})
	})
	tr.stop()
	wantCounters(t, tr.kernel[0], counters{"drop": tries})
	wantFlows(t, tr.of("table_full"), s.flows)
	backends := map[string]string{}
	for _, r := range tr.coverage[0].Reasons {
		for _, h := range r.Hooks {
			backends[h.Function] = h.Backend
		}
	}
	for f, b := range backends {
		if byFexit := b == "fexit" || b == "fentry"; byFexit == (f == function) {
			t.Errorf("%s is watched by %s", f, b)
		}
	}
}

// TestConntrackNotLoaded: without the module there is nothing to attach to.
// ctwhy says so and offers --wait; with that it attaches once the module is
// there, before anything can be lost.
func TestConntrackNotLoaded(t *testing.T) {
	if *bare {
		t.Skip("there is nothing to wait without ctwhy")
	}
	if builtIn() {
		t.Skip("conntrack is built into this kernel")
	}
	var unloaded []string
	reload := func() {
		for i := len(unloaded) - 1; i >= 0; i-- {
			run(t, "modprobe", unloaded[i])
		}
		unloaded = nil
	}
	t.Cleanup(reload)
	if !eventually(20*time.Second, func() bool { return unload("nf_conntrack", &unloaded) }) {
		t.Fatalf("nf_conntrack cannot be unloaded, its users are %v", usersOf("nf_conntrack"))
	}

	refusal(t, command("trace"), exitFailed, "conntrack", "--wait")

	waiting := func() *tracer {
		tr := launchTracer(t, "--wait")
		if !eventually(10*time.Second, func() bool { return strings.Contains(tr.stderr.String(), "waiting") }) {
			t.Error("ctwhy does not say that it waits")
		}
		return tr
	}
	impatient := waiting()
	if err := impatient.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := impatient.end(t, endWithin); err != nil {
		t.Errorf("interrupted while waiting: %v", err)
	}

	tr := waiting()
	if tr.isReady() {
		t.Error("ctwhy is ready without conntrack")
	}
	reload()
	tr.waitReady(t, attachWithin)
	n := fullNetns(t, fullOf)
	n.sink(t)
	var s sent
	n.must(t, "wl-wait", func() error {
		return sendUDP(&s, netip.MustParseAddr("10.77.0.1"), netip.MustParseAddrPort("10.99.0.1:1000"), tries, 0)
	})
	doc := tr.stop(t, syscall.SIGINT)
	if sum := doc.summary.netnsOf(n); sum == nil || sum.Reconciled == nil || !*sum.Reconciled || sum.Reasons["table_full"].Count != tries {
		t.Errorf("the summary is %v", sum)
	}
}
