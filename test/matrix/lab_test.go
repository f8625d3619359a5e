package matrix

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ctwhy/ctwhy/test/vm"
)

// TestLab shows that the lab itself can be believed, on each kernel: what goes
// in and out, and that conntrack and the modules around it work there.
func TestLab(t *testing.T) {
	eachKernel(t, func(t *testing.T, k vm.Kernel) {
		back := filepath.Join(t.TempDir(), "back")
		content := bytes.Repeat([]byte("\x00\r\n\xffctwhy"), 1<<17)
		var out bytes.Buffer
		exit, err := run(t.Context(), t, k, vm.Options{
			Command:  []string{"sh", "/lab.sh", "two words"},
			Binaries: []string{"ip", "nft", "conntrack"},
			Files:    map[string]string{"/lab.sh": "testdata/lab.sh"},
			Out:      map[string]string{"/tmp/back": back},
			Stdin:    bytes.NewReader(content),
			Stdout:   &out,
		}, &out)
		if err != nil || exit != 42 {
			t.Fatalf("exit %d, error %v\n%s", exit, err, &out)
		}
		want := "argument: two words\n" + k.Release + "\ncpus: 2\nnetns: one entry\non stderr\r\nno newline at the end"
		if out.String() != want {
			t.Errorf("the guest said %q, want %q", &out, want)
		}
		if got, err := os.ReadFile(back); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes came back, %v, want the %d that went in", len(got), err, len(content))
		}
	})
}

// TestLabTrouble shows that a guest that ends badly is told, and at once.
func TestLabTrouble(t *testing.T) {
	k, err := vm.Open(t.Context(), "6.12", os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for _, test := range []struct {
		name string
		o    vm.Options
		want []string
	}{
		{"panic", vm.Options{Command: []string{"sh", "-c", "echo c >/proc/sysrq-trigger"}},
			[]string{"the guest ended before", "Kernel panic - not syncing: sysrq triggered crash"}},
		{"power off", vm.Options{Command: []string{"poweroff", "-f"}}, []string{"the guest ended before"}},
		{"no room", vm.Options{Command: []string{"true"}, Memory: 32}, []string{"the guest ended before"}},
		{"no such module", vm.Options{Command: []string{"true"}, Modules: []string{"nosuch"}}, []string{"module nosuch: not in"}},
		{"no such file", vm.Options{Command: []string{"true"}, Out: map[string]string{"/nosuch": "x"}}, []string{"no file /nosuch"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := vm.Run(t.Context(), k, test.o)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in the error: %v", want, err)
				}
			}
		})
	}
	t.Run("deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := vm.Run(ctx, k, vm.Options{Command: []string{"sleep", "1000"}}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the deadline's", err)
		}
	})
	t.Run("no such command", func(t *testing.T) {
		if exit, err := vm.Run(t.Context(), k, vm.Options{Command: []string{"nosuch"}}); exit != 127 || err != nil {
			t.Errorf("exit %d, error %v, want 127 as from a shell", exit, err)
		}
	})
	if d := time.Since(start); d > time.Minute {
		t.Errorf("all of that took %v", d)
	}
}

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		out  string
		want result
	}{
		{"", result{}},
		{"PASS\n", result{complete: true}},
		{"=== RUN   TestA\n    --- PASS: TestA/x (0.00s)\n--- PASS: TestA (0.00s)\n--- SKIP: TestB (0.00s)\nPASS\n",
			result{passed: 1, skipped: 1, complete: true}},
		{"--- PASS: TestA (0.00s)\n--- FAIL: TestB (0.00s)\nFAIL\n", result{passed: 1, failed: 1}},
		{"--- PASS: TestA (0.00s)\npanic: test timed out", result{passed: 1}},
	} {
		if got := judge(test.out); got != test.want {
			t.Errorf("judge(%q) = %+v, want %+v", test.out, got, test.want)
		}
	}
}
