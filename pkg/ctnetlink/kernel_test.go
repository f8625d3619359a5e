//go:build linux

package ctnetlink

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ctwhy/ctwhy/pkg/netns"
)

// namespace makes a network namespace that a sleeping process holds, and
// returns its path.
func namespace(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI must run this test as root")
		}
		t.Skip("needs root")
	}
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	runtime.LockOSThread() // the death signal comes when the thread ends
	t.Cleanup(runtime.UnlockOSThread)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)
}

// insert makes n entries in the table with conntrack(8), from source ports
// that begin with first.
func insert(t *testing.T, path string, first, n int) {
	t.Helper()
	for i := range n {
		out, err := exec.Command("nsenter", "--net="+path, "conntrack", "-I", "-p", "udp", "-s", "10.0.0.1", "-d", "10.0.0.2",
			"--sport", fmt.Sprint(first+i), "--dport", "53", "-t", "60").CombinedOutput()
		if err != nil {
			t.Fatalf("conntrack -I: %v\n%s", err, out)
		}
	}
}

func TestReadStats(t *testing.T) {
	path := namespace(t)
	insert(t, path, 1000, 1) // loads ctnetlink, if it is a module
	before, err := ReadStats(path)
	if err != nil {
		t.Fatal(err)
	}
	if before.Source != "ctnetlink" {
		t.Errorf("source %q where ctnetlink is there", before.Source)
	}
	insert(t, path, 2000, 7)
	after, err := ReadStats(path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Sub(before, after)
	if err != nil || d.Insert != 7 || d.Drop != 0 {
		t.Errorf("%+v, %v", d, err)
	}

	// Both sources tell the same, CPU by CPU.
	var proc Stats
	if err := netns.Do(path, func() (err error) { proc, err = readProc(); return err }); err != nil {
		t.Fatal(err)
	}
	if len(proc.CPUs) != len(after.CPUs) || proc.Has != after.Has {
		t.Fatalf("%d CPUs with %b from /proc, %d with %b from ctnetlink", len(proc.CPUs), proc.Has, len(after.CPUs), after.Has)
	}
	for i := range proc.CPUs {
		if proc.CPUs[i].Value != after.CPUs[i].Value {
			t.Errorf("CPU %d: %v from /proc, %v from ctnetlink", i, proc.CPUs[i].Value, after.CPUs[i].Value)
		}
	}
	other, err := ReadStats(namespace(t))
	if err != nil {
		t.Fatal(err)
	}
	if d, err := Sub(Stats{CPUs: make([]CPU, len(other.CPUs)), Has: other.Has}, other); err != nil || d.Insert != 0 {
		t.Errorf("another netns: %+v, %v", d, err)
	}
	if _, err := ReadStats("/dev/null"); err == nil {
		t.Error("read the statistics of /dev/null")
	}
}
