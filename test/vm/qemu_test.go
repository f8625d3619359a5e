package vm

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestArguments(t *testing.T) {
	for _, test := range []struct {
		name, accel string
		o           Options
		want, not   string
		err         string
	}{
		{"default", "tcg", Options{}, "-cpu max,-cx16|-accel tcg,thread=multi|-smp 2|-m 512", "-icount|id=in", ""},
		{"sizes", "tcg", Options{CPUs: 4, Memory: 1024}, "-smp 4|-m 1024", "", ""},
		{"icount", "tcg", Options{ICount: true, CPUs: 4}, "-icount shift=0,sleep=off|-smp 1|thread=single", "", ""},
		{"kvm", "kvm", Options{}, "-accel kvm|-cpu host", "tcg", ""},
		{"stdin", "tcg", Options{Stdin: strings.NewReader("")}, "socket,id=in,fd=4", "", ""},
		{"kernel's arguments", "tcg", Options{Append: []string{"quux=1", "b"}}, "oops=panic mitigations=off quux=1 b", "", ""},
		{"icount with kvm", "kvm", Options{ICount: true}, "", "", "unset CTWHY_ACCEL"},
		{"no such accelerator", "hax", Options{}, "", "", "CTWHY_ACCEL=hax"},
	} {
		t.Run(test.name, func(t *testing.T) {
			args, err := arguments(test.accel, Kernel{Image: "/k"}, test.o, "/i")
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			line := strings.Join(args, " ")
			for part := range strings.SplitSeq(test.want, "|") {
				if !strings.Contains(line, part) {
					t.Errorf("no %s in %s", part, line)
				}
			}
			for part := range strings.SplitSeq(test.not, "|") {
				if part != "" && strings.Contains(line, part) {
					t.Errorf("%s in %s", part, line)
				}
			}
			if !slices.Contains(args, "/k") || !slices.Contains(args, "/i") {
				t.Errorf("no kernel or initramfs in %s", line)
			}
		})
	}
}

func TestTail(t *testing.T) {
	var all bytes.Buffer
	c := &tail{w: &all}
	for range tailSize {
		c.Write([]byte("x\r\n"))
	}
	c.Write([]byte("Kernel panic\r\n"))
	if s := c.String(); len(s) > tailSize || !strings.HasSuffix(s, "x\nKernel panic") {
		t.Errorf("%d bytes, ending in %q", len(s), s[max(0, len(s)-30):])
	}
	if all.Len() != 2*tailSize+len("Kernel panic\n") {
		t.Errorf("passed on %d bytes", all.Len())
	}
}
