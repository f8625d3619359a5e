//go:build guest

package scenario

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Global sysctls: one value for every netns, to be set from the initial one.
const (
	sysctlMax     = "net.netfilter.nf_conntrack_max"
	sysctlBuckets = "net.netfilter.nf_conntrack_buckets"
)

// counters are the kernel's, by conntrack -S's names, summed over CPUs.
type counters map[string]uint64

// counterNames are those that a loss can move, as they stand in a summary.
var counterNames = []string{"drop", "insert_failed", "early_drop", "clash_resolve", "chaintoolong"}

// readCounters asks conntrack(8) in n.
func readCounters(n *netns) (counters, error) {
	var out []byte
	err := n.do("", func() (err error) {
		out, err = exec.Command("conntrack", "-S").Output()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("conntrack -S: %w", err)
	}
	return parseCounters(string(out))
}

// parseCounters reads lines such as
// "cpu=0   	found=0 invalid=0 insert=0 insert_failed=0 drop=0 ...".
func parseCounters(out string) (counters, error) {
	c := counters{}
	for _, f := range strings.Fields(out) {
		k, v, ok := strings.Cut(f, "=")
		if !ok {
			return nil, fmt.Errorf("conntrack -S: unexpected field %q", f)
		}
		x, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("conntrack -S: %q: %w", f, err)
		}
		c[k] += x
	}
	delete(c, "cpu")
	if _, ok := c["drop"]; !ok {
		return nil, fmt.Errorf("conntrack -S: no field drop in %q", out)
	}
	return c, nil
}

// since is c - before. The counters are fresh with each netns, so that a wrap
// of their 32 bits cannot happen here.
func (c counters) since(before counters) counters {
	d := counters{}
	for k, v := range c {
		d[k] = v - before[k]
	}
	return d
}

// wantCounters fails the test unless exactly the counters in want moved, by
// what it says, and none of the others that a loss can move.
func wantCounters(t *testing.T, got, want counters) {
	t.Helper()
	for _, k := range counterNames {
		if got[k] != want[k] {
			t.Errorf("kernel: %s moved by %d, want %d", k, got[k], want[k])
		}
	}
}

func sysctlFile(name string) string { return "/proc/sys/" + strings.ReplaceAll(name, ".", "/") }

func readSysctl(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(sysctlFile(name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// setSysctl sets a global sysctl until the test ends.
func setSysctl(t *testing.T, name string, value int) {
	t.Helper()
	old := readSysctl(t, name)
	writeSysctl(t, name, strconv.Itoa(value))
	t.Cleanup(func() { writeSysctl(t, name, old) })
}

func writeSysctl(t *testing.T, name, value string) {
	t.Helper()
	if err := writeFile(sysctlFile(name), value); err != nil {
		t.Fatal(err)
	}
}

// release is the kernel's, as uname -r prints it.
func release(t *testing.T) string {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	return unix.ByteSliceToString(u.Release[:])
}

// atLeast compares the kernel's version. It only guards what a test finds out
// by looking: a kernel that is new enough must have it.
func atLeast(t *testing.T, major, minor int) bool {
	t.Helper()
	var x, y int
	if _, err := fmt.Sscanf(release(t), "%d.%d", &x, &y); err != nil {
		t.Fatalf("version %q: %v", release(t), err)
	}
	return x > major || x == major && y >= minor
}

// hasFexit reports whether fexit can attach to conntrack's functions here,
// which needs their BTF: the module's own, or the kernel's where conntrack is
// built in.
func hasFexit(t *testing.T) bool {
	t.Helper()
	btf := "/sys/kernel/btf/nf_conntrack"
	if builtIn() {
		btf = "/sys/kernel/btf/vmlinux"
	}
	_, err := os.Stat(btf)
	if err != nil && atLeast(t, 5, 11) {
		t.Fatalf("this kernel is new enough for fexit, but: %v", err)
	}
	return err == nil
}

// builtIn reports whether conntrack is no module, so cannot be missing.
func builtIn() bool {
	_, err := os.Stat("/sys/module/nf_conntrack")
	_, loaded := moduleState("nf_conntrack")
	return err == nil && !loaded
}

// hasChainLimit reports whether this kernel limits the length of a hash
// chain (Linux 5.15 or later): it then has a counter for it.
func hasChainLimit(t *testing.T) bool {
	t.Helper()
	c, err := parseCounters(run(t, "conntrack", "-S"))
	if err != nil {
		t.Fatal(err)
	}
	_, ok := c["chaintoolong"]
	if ok != atLeast(t, 5, 15) {
		t.Fatalf("this kernel has a counter chaintoolong: %v, and is %s", ok, release(t))
	}
	return ok
}

func writeFile(name, content string) error { return os.WriteFile(name, []byte(content), 0o644) }
