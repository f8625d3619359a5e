//go:build guest

package scenario

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	ctwhyPath = flag.String("ctwhy", "/ctwhy", "the program under test")
	dyingPath = flag.String("dying", "/lib/ctwhy_dying.ko", "the module that TestDying loads")
	bare      = flag.Bool("bare", false, "run the workloads without ctwhy and check the kernel's counters only")
)

// The process's first thread cannot end before the process does. A goroutine
// that entered a netns on it would keep that netns for ever, so it is kept for
// the main goroutine, which enters none.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	flag.Parse()
	if err := throwAway(); err != nil {
		fmt.Fprintf(os.Stderr, "scenario: %v\n", err)
		os.Exit(1)
	}
	// Threads that spin for each other, as those of a race do, must not keep
	// the readers of ctwhy's output from running.
	runtime.GOMAXPROCS(8)
	os.Exit(m.Run())
}

// throwAway reports why this machine must not be used: anything but an
// initramfs, which is gone when the machine is switched off, may be
// somebody's.
func throwAway() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("must run as root")
	}
	var fs unix.Statfs_t
	if err := unix.Statfs("/", &fs); err != nil {
		return fmt.Errorf("statfs /: %w", err)
	}
	if fs.Type != unix.TMPFS_MAGIC && fs.Type != unix.RAMFS_MAGIC {
		return fmt.Errorf("the root file system is not an initramfs: these tests are for throw-away virtual machines")
	}
	return nil
}

// eachBackend runs f once for each backend that this kernel has. Only where
// conntrack is a module without BTF is there no fexit (Linux 5.10);
// TestFexitRefused checks that ctwhy says so there.
func eachBackend(t *testing.T, f func(t *testing.T, backend string)) {
	t.Helper()
	backends := []string{"fexit", "kprobe"}
	if !hasFexit(t) {
		backends = backends[1:]
	}
	if *bare {
		backends = []string{"bare"}
	}
	for _, b := range backends {
		t.Run(b, func(t *testing.T) { f(t, b) })
	}
}

// run runs a command and returns what it printed; the test fails if it does.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
