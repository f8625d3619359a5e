//go:build guest

package scenario

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// attachWithin is how long a test waits for ctwhy to be ready. What ctwhy
	// promises is less, and TestReady asks for it.
	attachWithin = 30 * time.Second
	// endWithin is how long it may take from a signal to its end.
	endWithin = 20 * time.Second
)

// tracer is a running ctwhy trace.
type tracer struct {
	cmd    *exec.Cmd
	began  time.Time
	ready  time.Duration // from exec to the ready file
	stderr output

	mu  sync.Mutex
	doc document
	err error // the first line that broke the contract

	exited chan error // what Wait said, once
}

// output is what a process has printed so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// command is ctwhy with these arguments.
func command(args ...string) *exec.Cmd { return exec.Command(*ctwhyPath, args...) }

// startTracer starts ctwhy trace and returns once it is attached.
func startTracer(t *testing.T, args ...string) *tracer {
	t.Helper()
	tr := launchTracer(t, args...)
	tr.waitReady(t, attachWithin)
	return tr
}

// launchTracer starts ctwhy trace without waiting for anything but its birth.
func launchTracer(t *testing.T, args ...string) *tracer {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ready")
	tr := &tracer{exited: make(chan error, 1)}
	tr.cmd = command(append([]string{"trace", "-o", "json", "--ready-file", file}, args...)...)
	tr.cmd.Stderr = &tr.stderr
	out, err := tr.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	tr.began = time.Now()
	if err := tr.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		in := bufio.NewReaderSize(out, 1<<16)
		for {
			line, err := in.ReadBytes('\n')
			if len(line) > 0 {
				tr.line(line)
			}
			if err != nil {
				break
			}
		}
		tr.exited <- tr.cmd.Wait()
	}()
	t.Cleanup(func() { _ = tr.cmd.Process.Kill() })
	return tr
}

func (tr *tracer) line(line []byte) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if err := tr.doc.parse(line); err != nil && tr.err == nil {
		tr.err = err
	}
}

// readyFile is the last argument but those that the test gave: see
// launchTracer.
func (tr *tracer) readyFile() string { return tr.cmd.Args[5] }

// isReady reports whether the ready file is there.
func (tr *tracer) isReady() bool {
	_, err := os.Stat(tr.readyFile())
	return err == nil
}

func (tr *tracer) waitReady(t *testing.T, within time.Duration) {
	t.Helper()
	ok := eventually(within, func() bool {
		select {
		case err := <-tr.exited:
			tr.exited <- err
			t.Fatalf("ctwhy ended instead of attaching: %v\n%s", err, head(tr.stderr.String()))
		default:
		}
		return tr.isReady()
	})
	tr.ready = time.Since(tr.began)
	if !ok {
		// The stacks say where it hangs.
		_ = tr.cmd.Process.Signal(syscall.SIGQUIT)
		err := <-tr.exited
		t.Fatalf("ctwhy was not ready within %v: %v\n%s", within, err, head(tr.stderr.String()))
	}
}

// await waits until what was printed so far satisfies ok.
func (tr *tracer) await(t *testing.T, what string, ok func(*document) bool) {
	t.Helper()
	if !eventually(10*time.Second, func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return ok(&tr.doc)
	}) {
		t.Errorf("ctwhy did not print %s", what)
	}
}

// stop ends ctwhy by a signal, as a user does, and returns all it printed.
func (tr *tracer) stop(t *testing.T, sig syscall.Signal) *document {
	t.Helper()
	if err := tr.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("signal ctwhy: %v\n%s", err, head(tr.stderr.String()))
	}
	return tr.wait(t, endWithin)
}

// wait waits for ctwhy to end by itself with status 0 and a summary.
func (tr *tracer) wait(t *testing.T, within time.Duration) *document {
	t.Helper()
	if err := tr.end(t, within); err != nil {
		t.Fatalf("ctwhy: %v\n%s", err, head(tr.stderr.String()))
	}
	if tr.err != nil {
		t.Fatalf("ctwhy broke its contract: %v", tr.err)
	}
	if tr.doc.summary == nil {
		t.Fatalf("ctwhy ended without a summary\n%s", head(tr.stderr.String()))
	}
	return &tr.doc
}

// end waits for ctwhy to end and returns how it did.
func (tr *tracer) end(t *testing.T, within time.Duration) error {
	t.Helper()
	select {
	case err := <-tr.exited:
		return err
	case <-time.After(within):
		_ = tr.cmd.Process.Signal(syscall.SIGQUIT)
		err := <-tr.exited
		t.Fatalf("ctwhy had not ended after %v: %v\n%s", within, err, head(tr.stderr.String()))
		return nil
	}
}

// head is the beginning of a process's words, without most of the stacks that
// SIGQUIT makes Go print.
func head(s string) string {
	const most = 4000
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// eventually asks until ok or too late.
func eventually(within time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(within); ; {
		if ok() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// netnsOf finds a netns in the summary; nil where it is not mentioned.
func (s *summary) netnsOf(n *netns) *netnsSummary {
	for i := range s.Netns {
		if s.Netns[i].ID == n.inode {
			return &s.Netns[i]
		}
	}
	return nil
}

func (n *netnsSummary) String() string {
	reconciled := "unknown: " + n.Unread
	if n.Reconciled != nil {
		reconciled = fmt.Sprint(*n.Reconciled)
	}
	return fmt.Sprintf("%d (%q): %+v, kernel %v, reconciled %s, differences %+v, slack %v", n.ID, n.Name, n.Reasons, n.Kernel, reconciled, n.Differences, n.Slack)
}
