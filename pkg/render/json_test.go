package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/ctwhy/ctwhy/pkg/event"
)

// rendered is everything that there is to render, a line each.
func rendered(t testing.TB) string {
	t.Helper()
	var b bytes.Buffer
	j := NewJSON(&b)
	for _, c := range coverages() {
		if err := j.Coverage(c); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range samples() {
		if err := j.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range summaries() {
		if err := j.Summary(s); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestJSONGolden(t *testing.T) { golden(t, "json", rendered(t)) }

// The format's definition, to the letter.
func TestJSONContract(t *testing.T) {
	var b strings.Builder
	j := NewJSON(&b)
	if err := j.Event(example()); err != nil {
		t.Fatal(err)
	}
	if err := j.Summary(event.Summary{Duration: 10200e6, Netns: []event.NetnsSummary{{
		Netns: event.Netns{ID: 4026532208, Name: "client"}, Kernel: &event.Counters{Drop: 485},
		Reasons: []event.Tally{{Reason: event.TableFull, Count: 485, Shown: 485}},
	}}}); err != nil {
		t.Fatal(err)
	}
	const want = `{"schema":1,"type":"event","time":"2026-11-21T12:00:00.123456789Z","reason":"table_full","fate":"dropped","netns":{"id":4026531840,"name":""},"zone":0,"family":"ipv4","proto":"tcp","src":"10.0.0.1","dst":"10.0.0.2","sport":40000,"dport":80,"reply":{"src":"10.0.0.2","dst":"10.0.0.1","sport":80,"dport":40000},"table":{"count":512,"max":512},"cpu":1,"tcp_flags":"S","hook":"output","in":"","out":"eth0","mark":0,"owner":{"pid":812,"comm":"curl"}}
{"schema":1,"type":"summary","seconds":10.2,"netns":[{"id":4026532208,"name":"client","reasons":{"table_full":{"count":485,"shown":485,"suppressed":0,"lost":0}},"kernel":{"drop":485,"insert_failed":0,"early_drop":0,"clash_resolve":0,"chaintoolong":0},"reconciled":true}],"missed":{"recursion":0,"probes":0,"unpaired":0,"netns":0}}
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &b, want)
	}
}

func TestJSONIsReadBackAsWritten(t *testing.T) {
	var b bytes.Buffer
	ev := hostile()
	if err := NewJSON(&b).Event(ev); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Out   string
		Owner struct{ Comm string }
		Netns struct{ Name string }
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	name := strings.ToValidUTF8(ev.Netns.Name, "\ufffd")
	if got.Out != ev.Packet.Out || got.Owner.Comm != ev.Owner.Comm || got.Netns.Name != name {
		t.Errorf("%+v", got)
	}
}

func FuzzQuoted(f *testing.F) {
	for _, s := range []string{"", "curl", "\"\\\x00\x1b[31m\u202e\u2028\xff\U0001f600\U000e0041\u009b\ufffd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := appendQuoted(nil, s)
		var got string
		if err := json.Unmarshal(b, &got); err != nil || got != string([]rune(s)) {
			t.Errorf("%q became %q: %v", s, got, err)
		}
		for _, r := range string(b) {
			if !unicode.IsPrint(r) {
				t.Errorf("%q holds %U", b, r)
			}
		}
	})
}

func TestJSONAllocatesNothing(t *testing.T) {
	j, ev := NewJSON(discard{}), worst(event.ClashDropped)
	_ = j.Event(ev)
	// The winner's status names are a slice of its own.
	if n := testing.AllocsPerRun(100, func() { _ = j.Event(ev) }); n > 6 {
		t.Errorf("%.0f allocations for an event", n)
	}
}

type discard struct{ err error }

func (d discard) Write(b []byte) (int, error) { return len(b), d.err }

func TestWriteErrorsAreTold(t *testing.T) {
	full := errors.New("disk full")
	j, x := NewJSON(discard{full}), NewText(discard{full}, discard{full}, TextOptions{})
	for i, err := range []error{
		j.Event(example()), j.Coverage(event.Coverage{}), j.Summary(event.Summary{}),
		x.Event(example()), x.Coverage(event.Coverage{}), x.Summary(event.Summary{}),
	} {
		if !errors.Is(err, full) {
			t.Errorf("%d: %v", i, err)
		}
	}
}
