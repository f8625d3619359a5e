package matrix

import (
	"bytes"
	"testing"

	"github.com/ctwhy/ctwhy/test/vm"
)

// TestDyingModule shows that the module does what TestDying of test/scenario
// builds on: a new flow's packet with the mark is dropped, and counted by the
// kernel as insert_failed; another isn't.
func TestDyingModule(t *testing.T) {
	eachKernel(t, func(t *testing.T, k vm.Kernel) {
		ko, err := vm.BuildModule(t.Context(), k, "../vm/module")
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		exit, err := run(t.Context(), t, k, vm.Options{
			Command:  []string{"sh", "-e", "/dying.sh"},
			Binaries: []string{"ip", "nft", "conntrack"},
			Files: map[string]string{
				"/ctwhy_dying.ko": ko,
				"/dying.sh":       "testdata/dying.sh",
				"/dying.nft":      "testdata/dying.nft",
			},
			CPUs:   1, // the counters are by CPU
			Stdout: &out,
		}, &out)
		if err != nil || exit != 0 {
			t.Fatalf("exit %d, error %v\n%s", exit, err, &out)
		}
		want := "passed: unmarked\nlost: marked\nlost: marked, IPv6\ninsert_failed=2\n"
		if out.String() != want {
			t.Errorf("the guest said:\n%swant:\n%s", &out, want)
		}
	})
}
