//go:build linux

package netns

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// needRoot skips a test that needs root, but where CI says that it is root.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("CI must run this test as root")
	}
	t.Skip("needs root")
}

// namespace makes a network namespace that a sleeping process holds.
func namespace(t *testing.T) Ref {
	t.Helper()
	needRoot(t)
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	runtime.LockOSThread() // the death signal comes when the thread ends
	t.Cleanup(runtime.UnlockOSThread)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	r, err := machine.process(strconv.Itoa(cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func here(t *testing.T) uint32 {
	t.Helper()
	link, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Error(err)
	}
	id, _ := parseLink(link)
	return id
}

func TestDo(t *testing.T) {
	other := namespace(t)
	self, err := Self()
	if err != nil || self.ID == other.ID {
		t.Fatalf("%+v and %+v: %v", self, other, err)
	}
	ran := false
	if err := other.Do(func() error {
		ran = true
		if id := here(t); id != other.ID {
			t.Errorf("in %d, want %d", id, other.ID)
		}
		if now, err := Self(); err != nil || now.ID != self.ID {
			t.Errorf("the process moved to %+v: %v", now, err)
		}
		return nil
	}); err != nil || !ran {
		t.Fatalf("ran %v: %v", ran, err)
	}
	mine := errors.New("mine")
	if err := Do(other.Path, func() error { return mine }); !errors.Is(err, mine) {
		t.Errorf("the function's error is lost: %v", err)
	}
	if err := Do(other.Path, func() error { runtime.Goexit(); return nil }); err == nil {
		t.Error("a function that never returned has succeeded")
	}
	if err := Do("", func() error { return mine }); !errors.Is(err, mine) {
		t.Errorf("where the caller is: %v", err)
	}
}

// Every thread of the process must be where it was, and no file be open.
func TestDoLeaksNothing(t *testing.T) {
	other := namespace(t)
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 50 {
				_ = other.Do(func() error {
					if i%10 == 0 {
						runtime.Goexit()
					}
					runtime.Gosched()
					return nil
				})
			}
		})
	}
	wg.Wait()
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil || len(tasks) == 0 {
		t.Fatalf("no threads: %v", err)
	}
	for _, path := range tasks {
		if link, err := os.Readlink(path); err == nil {
			if id, _ := parseLink(link); id != self.ID {
				t.Errorf("%s is in %d", path, id)
			}
		}
	}
	fds, _ := filepath.Glob("/proc/self/fd/*")
	for _, path := range fds {
		if link, err := os.Readlink(path); err == nil && strings.HasPrefix(link, "net:[") {
			t.Errorf("%s is open: %s", path, link)
		}
	}
}

func TestDoRefuses(t *testing.T) {
	needRoot(t)
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, "/proc/self/ns/mnt", "/dev/null", "/nowhere", t.TempDir()} {
		if err := Do(path, func() error { t.Errorf("ran in %s", path); return nil }); err == nil {
			t.Errorf("entered %s", path)
		}
	}
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	self.ID++
	if err := self.Do(func() error { t.Error("ran in another namespace"); return nil }); !errors.Is(err, ErrGone) {
		t.Errorf("another namespace at the path: %v", err)
	}
	self.Path = "/proc/self/ns/nowhere"
	if err := self.Do(func() error { return nil }); !errors.Is(err, ErrGone) {
		t.Errorf("no namespace at the path: %v", err)
	}
}

func TestMachine(t *testing.T) {
	other := namespace(t)
	all, err := List()
	if err != nil {
		t.Fatal(err)
	}
	// A container's root may not look at process 1.
	if r, err := Initial(); !errors.Is(err, fs.ErrPermission) && (err != nil || all[r.ID].ID != r.ID) {
		t.Errorf("the initial one %+v is not listed: %v", r, err)
	}
	for _, get := range []func() (Ref, error){Self, func() (Ref, error) { return Resolve(strconv.Itoa(int(other.ID))) }} {
		r, err := get()
		if err != nil || all[r.ID].ID != r.ID {
			t.Errorf("%+v is not listed: %v", r, err)
		}
	}
	if r, ok := new(Index).Lookup(other.ID); !ok || r.Path == "" {
		t.Errorf("not found: %+v", r)
	}
}
