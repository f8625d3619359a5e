package matrix

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ctwhy/ctwhy/test/vm"
)

var guestRun = flag.String("scenario", "", "run only the scenarios that match, as -run")

// scenarioTime is for one kernel: a test that hangs must not eat the others' time.
const scenarioTime = 10 * time.Minute

// TestScenarios runs test/scenario in a VM of each kernel.
func TestScenarios(t *testing.T) {
	dir := t.TempDir()
	ctwhy, scenario := filepath.Join(dir, "ctwhy"), filepath.Join(dir, "scenario.test")
	build(t, "build", "-trimpath", "-o", ctwhy, "./cmd/ctwhy")
	build(t, "test", "-c", "-tags", "guest", "-o", scenario, "./test/scenario")

	eachKernel(t, func(t *testing.T, k vm.Kernel) {
		ko, err := vm.BuildModule(t.Context(), k, "../vm/module")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), scenarioTime+time.Minute)
		defer cancel()
		start := time.Now()
		var out, console bytes.Buffer
		exit, err := run(ctx, t, k, vm.Options{
			Command:  []string{"/scenario.test", "-test.v", "-test.timeout", scenarioTime.String(), "-test.run", *guestRun},
			Binaries: []string{"ip", "nft", "conntrack"},
			Files: map[string]string{
				"/ctwhy":              ctwhy,
				"/scenario.test":      scenario,
				"/lib/ctwhy_dying.ko": ko,
			},
			Stdout:  verbose(&out),
			Console: &console,
		}, &out, &console)
		tests := judge(out.String())
		switch {
		case err != nil:
			t.Errorf("%v\nthe guest said:\n%s", err, failures(&out))
		case exit != 0 || tests.failed > 0 || !tests.complete:
			t.Errorf("exit %d; the guest said:\n%s", exit, failures(&out))
		case tests.passed == 0:
			t.Errorf("no test ran; the guest said:\n%s", &out)
		}
		if t.Failed() && err == nil && console.Len() > 0 {
			t.Logf("the kernel said:\n%s", &console)
		}
		t.Logf("Linux %s: %d passed, %d skipped, %d failed, in %.0f s", k, tests.passed, tests.skipped, tests.failed, time.Since(start).Seconds())
	})
}

// run is vm.Run, repeated if the emulator failed. The buffers that o writes to,
// and its input, begin anew then.
func run(ctx context.Context, t *testing.T, k vm.Kernel, o vm.Options, buffers ...*bytes.Buffer) (exit int, err error) {
	for range 3 {
		for _, b := range buffers {
			b.Reset()
		}
		if in, ok := o.Stdin.(io.Seeker); ok {
			if _, err := in.Seek(0, io.SeekStart); err != nil {
				return 0, err
			}
		}
		if exit, err = vm.Run(ctx, k, o); !errors.Is(err, vm.ErrEmulation) {
			break
		}
		t.Logf("once more: %v", err)
	}
	return exit, err
}

// eachKernel runs f as a subtest for each kernel of the matrix, one after the
// other: each keeps two CPUs busy.
func eachKernel(t *testing.T, f func(t *testing.T, k vm.Kernel)) {
	if k, ok, err := vm.FromEnv(); ok {
		if err != nil {
			t.Fatal(err)
		}
		t.Run(k.Release, func(t *testing.T) { f(t, k) })
		return
	}
	for _, series := range vm.Series() {
		t.Run(series, func(t *testing.T) {
			k, err := vm.Open(t.Context(), series, os.Stderr)
			if err != nil {
				t.Fatal(err)
			}
			f(t, k)
		})
	}
}

// build runs go in the module's root; what it makes is static, because the guest
// has no libraries.
func build(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// verbose also shows what is written to w, if the tests run with -v.
func verbose(w io.Writer) io.Writer {
	if testing.Verbose() {
		return io.MultiWriter(w, os.Stdout)
	}
	return w
}

// failures is what to show of the guest's words: all, unless it was shown before.
func failures(out *bytes.Buffer) string {
	if testing.Verbose() {
		return "(see above)"
	}
	return out.String()
}

// result is what a test binary said with -test.v.
type result struct {
	passed, skipped, failed int
	complete                bool // it ended with PASS
}

var verdict = regexp.MustCompile(`^--- (PASS|SKIP|FAIL): `)

// judge counts top-level tests: an exit code alone doesn't tell that any ran.
func judge(out string) (r result) {
	for line := range strings.Lines(out) {
		switch m := verdict.FindStringSubmatch(line); {
		case m == nil:
			r.complete = r.complete || line == "PASS\n"
		case m[1] == "PASS":
			r.passed++
		case m[1] == "SKIP":
			r.skipped++
		case m[1] == "FAIL":
			r.failed++
		}
	}
	return r
}
