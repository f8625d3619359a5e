package render

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/ctwhy/ctwhy/pkg/event"
)

func text(t testing.TB, opt TextOptions, do func(x *Text) error) (out, diag string) {
	t.Helper()
	opt.Location, opt.Home = time.UTC, home
	var o, d bytes.Buffer
	if err := do(NewText(&o, &d, opt)); err != nil {
		t.Fatal(err)
	}
	return o.String(), d.String()
}

func allEvents(x *Text) error {
	for _, e := range samples() {
		if err := x.Event(e); err != nil {
			return err
		}
	}
	return nil
}

func TestTextGolden(t *testing.T) {
	for _, c := range []struct {
		name string
		opt  TextOptions
	}{{"text", TextOptions{}}, {"text-color", TextOptions{Color: true}}, {"text-narrow", TextOptions{Width: 100}}} {
		out, diag := text(t, c.opt, allEvents)
		golden(t, c.name, out)
		if diag != "" {
			t.Errorf("%s: events in the diagnostics: %s", c.name, diag)
		}
	}
}

func TestTextCoverage(t *testing.T) {
	out, diag := text(t, TextOptions{}, func(x *Text) error {
		for _, c := range coverages() {
			if err := x.Coverage(c); err != nil {
				return err
			}
		}
		return nil
	})
	golden(t, "text-coverage", diag)
	if out != "" {
		t.Errorf("coverage among the data: %s", out)
	}
	for line := range strings.Lines(diag) {
		if !strings.HasPrefix(line, "ctwhy: ") {
			t.Errorf("diagnostics without prefix: %s", line)
		}
	}
}

func TestTextSummary(t *testing.T) {
	out, diag := text(t, TextOptions{}, func(x *Text) error {
		for _, s := range summaries() {
			if err := x.Summary(s); err != nil {
				return err
			}
		}
		return nil
	})
	golden(t, "text-summary", out)
	if diag != "" {
		t.Errorf("summary in the diagnostics: %s", diag)
	}
}

// No event makes a line wider than asked for.
func TestTextWidth(t *testing.T) {
	for _, r := range event.Reasons() {
		for _, w := range []int{DefaultWidth, DefaultWidth + 40} {
			out, _ := text(t, TextOptions{Width: w}, func(x *Text) error {
				ev := worst(r)
				_ = x.Event(ev)
				ev.Victim, ev.Winner = ev.Winner, nil
				_ = x.Event(ev)
				ev.Owner.Comm, ev.Netns.Name = strings.Repeat("字", 5), strings.Repeat("\"", 255)
				_ = x.Event(ev)
				return x.Event(example()) // after columns have grown
			})
			for line := range strings.Lines(out) {
				if n := width(strings.TrimSuffix(line, "\n")); n > w {
					t.Errorf("%d columns, not %d: %s", n, w, line)
				}
			}
		}
	}
}

// One line where 160 columns are enough.
func TestTextIsOneLine(t *testing.T) {
	ev := example()
	ev.Netns.Name = "client"
	ev.Orig = ports(event.ProtoTCP, "255.255.255.255:65535", "255.255.255.254:65534")
	ev.Reply = inverseOf(ev.Orig)
	ev.Table = &event.Table{Count: 262144, Max: 262144}
	out, _ := text(t, TextOptions{}, func(x *Text) error { return x.Event(ev) })
	if strings.Count(out, "\n") != 1 {
		t.Errorf("wrapped: %s", out)
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"curl":                     "curl",
		"Ünï 字 😀":                  "Ünï 字 😀",
		"\x1b[31mred\x1b[0m":       "?[31mred?[0m",
		"a\nb\tc\rd\x00\x7f":       "a?b?c?d??",
		"\u009b31m":                "?31m",
		"\u202eabc\u2066\u200b":    "?abc??",
		"\xff\xfe":                 "??",
		"\ufffd":                   "\ufffd",
		"\u2028\u00a0\ue000\ufeff": "????",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestWord(t *testing.T) {
	for in, want := range map[string]string{
		"curl":             "curl",
		"":                 `""`,
		"a b":              `"a b"`,
		`x" [1]`:           `"x' [1]"`,
		"netns=evil":       `"netns=evil"`,
		"0123456789abcdef": "012345678…",
		"字字字字字字":           "字字字字…",
	} {
		if got := word(in, 10); got != want {
			t.Errorf("word(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("curl", "eth0", "client", uint8(6), uint8(4), []byte("\x0a\x00\x00\x01"), true)
	f.Add("\x1b[31m", "\u202e", "\xff\n", uint8(58), uint8(3), make([]byte, 16), false)
	f.Fuzz(func(t *testing.T, comm, dev, name string, proto, reason uint8, addr []byte, color bool) {
		a, _ := netip.AddrFromSlice(addr)
		tuple := event.Tuple{Src: a, Dst: a, Proto: proto, SrcPort: uint16(reason)}
		ev := example()
		ev.Reason, ev.Orig, ev.Owner.Comm, ev.Packet.In, ev.Packet.Out, ev.Netns.Name = event.Reason(reason), tuple, comm, dev, dev, name
		ev.Winner = &event.Entry{Orig: tuple, Status: event.Status(reason), Zone: uint16(proto)}
		out, diag := text(t, TextOptions{Color: color}, func(x *Text) error {
			_ = x.Event(ev)
			_ = x.Coverage(event.Coverage{Kernel: comm, Notes: []string{dev}, Detail: event.Detail{Mode: dev, Why: name},
				Reasons: []event.ReasonCoverage{{Missing: name}, {Hooks: []event.HookCoverage{{Function: comm, Backend: dev}}}}})
			return x.Summary(event.Summary{Netns: []event.NetnsSummary{{Netns: ev.Netns, Unread: dev, Kernel: &event.Counters{},
				Differences: []event.Difference{{Counter: comm, Kernel: 1}}}, {Unread: name}}})
		})
		if color { // its own escape sequences, and no others
			for _, sgr := range []string{"\x1b[31m", "\x1b[33m", "\x1b[36m", "\x1b[0m"} {
				out = strings.Replace(out, sgr, "", 1)
			}
		}
		for _, r := range out + diag {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Fatalf("%U in %q", r, out+diag)
			}
		}
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, "12:00:00") && width(line) > DefaultWidth+1 {
				t.Errorf("%d columns: %q", width(line), line)
			}
		}
	})
}
