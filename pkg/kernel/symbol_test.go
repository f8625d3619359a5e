package kernel

import (
	"fmt"
	"strings"
	"testing"
)

func TestSymbols(t *testing.T) {
	s, err := Kernel{Root: "testdata/healthy"}.Symbols(
		"early_drop", "__nf_conntrack_alloc", "nf_ct_delete", "nf_conntrack_max", "nf_conntrack_in", "bpf_prog_6deef7357e7b4530")
	if err != nil {
		t.Fatal(err)
	}
	if s.Hidden {
		t.Error("addresses are not hidden")
	}
	for _, want := range []Symbol{
		{"early_drop", "nf_conntrack", 0xffffffffc0a02000, 't', 2},
		{"__nf_conntrack_alloc", "nf_conntrack", 0xffffffffc0a01000, 't', 0},
		{"nf_conntrack_max", "nf_conntrack", 0xffffffffc0a04000, 'D', 1},
		{"nf_conntrack_in", "nf_conntrack", 0xffffffffc0a05000, 'T', 0},
		{"bpf_prog_6deef7357e7b4530", "bpf", 0xffffffffc0c00000, 't', 0},
	} {
		if got, ok := s.Lookup(want.Name); !ok || got != want {
			t.Errorf("%s: %+v, %v, want %+v", want.Name, got, ok, want)
		}
	}
	if s.Has("nf_ct_delete") {
		t.Error("nf_ct_delete.part.0 taken for nf_ct_delete")
	}
	if s.Has("nf_conntrack_max") || !s.Has("early_drop") {
		t.Error("Has is for functions")
	}
}

func TestSymbolsEdges(t *testing.T) {
	for _, c := range []struct {
		name, text   string
		hidden, want bool
	}{
		{"hidden", "0000000000000000 T _text\n0000000000000000 t early_drop\t[nf_conntrack]\n", true, true},
		{"zero-based per-CPU data", "0000000000000000 A fixed_percpu_data\nffffffff81000000 T early_drop\n", false, true},
		{"32 bits", "c0008000 T _text\nc0101000 t early_drop\n", false, true},
		{"no last newline", "ffffffff81000000 t early_drop", false, true},
		{"prefix", "ffffffff81000000 t early_drop_list\n", false, false},
		{"data before function", "ffffffff81000000 d early_drop\nffffffff81000000 t early_drop\n", false, true},
		{"function before data", "ffffffff81000000 t early_drop\nffffffff81000000 d early_drop\n", false, true},
		{"empty", "", false, false},
		{"garbage", "\n \nx\nffffffff81000000\nffffffff81000000 t\n", false, false},
		{"long", "ffffffff81000000 t " + strings.Repeat("x", 600) + "\nffffffff81000001 t early_drop\n", false, true},
	} {
		s, err := scanSymbols(strings.NewReader(c.text), []string{"early_drop"})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if s.Hidden != c.hidden || s.Has("early_drop") != c.want {
			t.Errorf("%s: hidden %v, found %v", c.name, s.Hidden, s.Has("early_drop"))
		}
	}
	if _, err := scanSymbols(strings.NewReader(strings.Repeat("x", 1<<20)), nil); err == nil {
		t.Error("a megabyte without a newline is not kallsyms")
	}
}

func sampleKallsyms() string {
	var b strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&b, "ffffffff%08x t some_kernel_function_%d\n", 0x81000000+i*16, i)
	}
	b.WriteString("ffffffffc0a02000 t early_drop\t[nf_conntrack]\n")
	return b.String()
}

func TestSymbolsAllocateNothingPerLine(t *testing.T) {
	text := sampleKallsyms()
	if n := testing.AllocsPerRun(1, func() {
		if _, err := scanSymbols(strings.NewReader(text), []string{"early_drop"}); err != nil {
			t.Fatal(err)
		}
	}); n > 50 {
		t.Errorf("%.0f allocations for 200,000 lines", n)
	}
}

func BenchmarkSymbols(b *testing.B) {
	text := sampleKallsyms()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := scanSymbols(strings.NewReader(text), []string{"early_drop", "nf_conntrack_in", "__nf_conntrack_alloc", "nf_ct_delete"}); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzSymbols(f *testing.F) {
	f.Add("ffffffff81f8f070 t early_drop\t[nf_conntrack]\n")
	f.Add("0 t early_drop\n\n  \t[")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := scanSymbols(strings.NewReader(text), []string{"early_drop"})
		if err == nil && s.Has("early_drop") && !strings.Contains(text, "early_drop") {
			t.Error("found what is not there")
		}
	})
}
