//go:build linux

package ctnetlink

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"

	"github.com/ctwhy/ctwhy/pkg/event"
)

// message is a message's payload, of one CPU with the given attributes.
func message(t testing.TB, cpu uint16, attrs ...netlink.Attribute) []byte {
	t.Helper()
	b, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{2, 0, byte(cpu >> 8), byte(cpu)}, b...)
}

func attr(c Counter, v uint32) netlink.Attribute {
	return netlink.Attribute{Type: uint16(c), Data: binary.BigEndian.AppendUint32(nil, v)}
}

func TestDecodeCPU(t *testing.T) {
	all := []netlink.Attribute{attr(7, 99)} // CTA_STATS_DELETE_LIST, long unused
	for c := range Counter(maxCounter) {
		if c.String() != "" {
			all = append(all, attr(c, 1000+uint32(c)))
		}
	}
	all = append(all, attr(100, 99), netlink.Attribute{Type: 300, Data: []byte{1}}) // of a newer kernel
	cpu, has, err := decodeCPU(message(t, 258, all...))
	if err != nil || cpu.ID != 258 {
		t.Fatalf("CPU %d: %v", cpu.ID, err)
	}
	for c := range Counter(maxCounter) {
		want := uint32(0)
		if c.String() != "" {
			want = 1000 + uint32(c)
		}
		if cpu.Value[c] != want || has.Has(c) != (want != 0) {
			t.Errorf("counter %d %q: %d, told %v", c, c, cpu.Value[c], has.Has(c))
		}
	}
}

func TestDecodeCPUOlderKernel(t *testing.T) {
	cpu, has, err := decodeCPU(message(t, 0, attr(Drop, 7), attr(ClashResolve, 0)))
	if err != nil || cpu.Value[Drop] != 7 || !has.Has(ClashResolve) || has.Has(ChainTooLong) {
		t.Errorf("%+v, %b, %v", cpu, has, err)
	}
}

func TestDecodeCPURefuses(t *testing.T) {
	good := message(t, 0, attr(Drop, 7))
	for name, b := range map[string][]byte{
		"empty":               nil,
		"half a header":       good[:3],
		"half an attribute":   good[:len(good)-2],
		"half its header":     good[:6],
		"16 bits":             message(t, 0, netlink.Attribute{Type: uint16(Drop), Data: []byte{0, 7}}),
		"64 bits":             message(t, 0, netlink.Attribute{Type: uint16(Drop), Data: make([]byte, 8)}),
		"empty attribute":     message(t, 0, netlink.Attribute{Type: uint16(Drop)}),
		"longer than message": {2, 0, 0, 0, 200, 0, 10, 0, 0, 0, 0, 7},
	} {
		if cpu, has, err := decodeCPU(b); err == nil {
			t.Errorf("%s: %+v, %b", name, cpu, has)
		}
	}
	if cpu, has, err := decodeCPU(good[:nfgenmsgLen]); err != nil || has != 0 {
		t.Errorf("no attribute is no error: %+v, %b, %v", cpu, has, err)
	}
}

func TestParseProc(t *testing.T) {
	common := map[Counter]uint32{Found: 1, Invalid: 2, Insert: 4, InsertFailed: 5, Drop: 6, EarlyDrop: 7, Error: 8, SearchRestart: 9}
	for _, c := range []struct {
		file  string
		cpus  int
		extra map[Counter]uint32
	}{
		{"proc-5.4.txt", 1, nil},
		{"proc-5.10.txt", 2, map[Counter]uint32{ClashResolve: 11}},
		{"proc-5.15.txt", 1, map[Counter]uint32{ClashResolve: 11, ChainTooLong: 12}},
	} {
		f, err := os.Open("testdata/" + c.file)
		if err != nil {
			t.Fatal(err)
		}
		s, err := parseProc(f)
		f.Close()
		if err != nil || len(s.CPUs) != c.cpus {
			t.Fatalf("%s: %d CPUs, %v", c.file, len(s.CPUs), err)
		}
		for n := range Counter(maxCounter) {
			want, has := common[n]
			if v, ok := c.extra[n]; ok {
				want, has = v, true
			}
			if s.CPUs[0].Value[n] != want || s.Has.Has(n) != has {
				t.Errorf("%s: %s is %d, told %v", c.file, n, s.CPUs[0].Value[n], s.Has.Has(n))
			}
		}
		if c.cpus == 2 && (s.CPUs[1].Value[Drop] != 1<<32-1 || s.CPUs[1].ID != 1) {
			t.Errorf("second CPU: %+v", s.CPUs[1])
		}
	}
}

func TestParseProcRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty":         "",
		"no CPU":        "entries drop\n",
		"other file":    "Inter-| Receive\n",
		"short line":    "entries drop\n00000001\n",
		"long line":     "entries drop\n00000001 00000002 00000003\n",
		"not a number":  "entries drop\n00000001 zz\n",
		"too big":       "entries drop\n00000001 100000000\n",
		"endless words": strings.Repeat("x", 1<<20),
	} {
		if s, err := parseProc(strings.NewReader(text)); err == nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func reading(has Counters, cpus ...map[Counter]uint32) Stats {
	s := Stats{Has: has}
	for i, values := range cpus {
		cpu := CPU{ID: i}
		for c, v := range values {
			cpu.Value[c] = v
		}
		s.CPUs = append(s.CPUs, cpu)
	}
	return s
}

func TestSub(t *testing.T) {
	const all = ^Counters(0)
	before := reading(all, map[Counter]uint32{Drop: 10, InsertFailed: 1}, map[Counter]uint32{Drop: 1<<32 - 3, Found: 7, ChainTooLong: 5})
	after := reading(all, map[Counter]uint32{Drop: 15, InsertFailed: 1, EarlyDrop: 2}, map[Counter]uint32{Drop: 2, Found: 9, ChainTooLong: 5, ClashResolve: 4,
		Invalid: 1, Insert: 2, Error: 3, SearchRestart: 4})
	got, err := Sub(before, after)
	want := Delta{
		Counters: event.Counters{Drop: 5 + 5, EarlyDrop: 2, ClashResolve: 4},
		Found:    2, Invalid: 1, Insert: 2, Error: 3, SearchRestart: 4, Has: all,
	}
	if err != nil || got != want {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}

	before.Has = 1 << Drop // read from another source
	got, err = Sub(before, after)
	if want := (Delta{Counters: event.Counters{Drop: 10}, Has: 1 << Drop}); err != nil || got != want {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	if _, err := Sub(before, reading(all)); err == nil {
		t.Error("compared two CPUs with none")
	}
}

func FuzzDecodeCPU(f *testing.F) {
	f.Add(message(f, 1, attr(Drop, 7), attr(ChainTooLong, 1)))
	f.Add(message(f, 0, netlink.Attribute{Type: uint16(Drop), Data: []byte{7}}))
	f.Add([]byte{2, 0, 0, 0, 200, 0, 10, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		cpu, has, err := decodeCPU(b)
		if err != nil {
			return
		}
		for c := range Counter(maxCounter) {
			if cpu.Value[c] != 0 && (!has.Has(c) || c.String() == "") {
				t.Errorf("counter %d is %d without an attribute", c, cpu.Value[c])
			}
		}
	})
}

func FuzzParseProc(f *testing.F) {
	for _, name := range []string{"proc-5.4.txt", "proc-5.10.txt", "proc-5.15.txt"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := parseProc(strings.NewReader(text)); err == nil && (len(s.CPUs) == 0 || !s.Has.Has(Drop)) {
			t.Errorf("%+v from %q", s, text)
		}
	})
}
