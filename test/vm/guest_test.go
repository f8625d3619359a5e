package vm

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
)

func TestDemux(t *testing.T) {
	mark := newMark()
	for _, test := range []struct {
		name, stream string
		out, rest    string
		exit         int
		err          string
	}{
		{name: "nothing", stream: mark + "exit 0\n"},
		{name: "output", stream: "hello\n" + mark + "exit 7\n", out: "hello\n", exit: 7},
		{name: "no newline at the end", stream: "hello" + mark + "exit 1\n", out: "hello", exit: 1},
		{name: "files after it", stream: "x" + mark + "exit 0\ntar\x00" + mark, out: "x", rest: "tar\x00" + mark},
		{name: "half a mark", stream: mark[:9] + mark[:9] + mark + "exit 0\n", out: mark[:9] + mark[:9]},
		{name: "another run's mark", stream: newMark() + "exit 3\n" + mark + "exit 0\n", out: "other"},
		{name: "no mark", stream: "hello" + mark[:5], out: "hello" + mark[:5], err: errNoMark.Error()},
		{name: "half a line", stream: "hello" + mark + "exit 1", out: "hello", err: errNoMark.Error()},
		{name: "not a number", stream: mark + "exit x\n", err: `strange end "exit x"`},
		{name: "guest's complaint", stream: "oh" + mark + "error cannot load x\n", out: "oh", err: "guest: cannot load x"},
	} {
		for how, reader := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "by bytes": iotest.OneByteReader, "with EOF": iotest.DataErrReader,
		} {
			t.Run(test.name+" "+how, func(t *testing.T) {
				var out bytes.Buffer
				exit, rest, err := demux(&out, reader(strings.NewReader(test.stream)), mark)
				switch {
				case test.err == "" && err != nil, test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
					t.Fatalf("error %v, want %q", err, test.err)
				case exit != test.exit:
					t.Errorf("exit %d, want %d", exit, test.exit)
				}
				if test.out == "other" { // random: all that matters is that it wasn't taken
					test.out = strings.TrimSuffix(test.stream, mark+"exit 0\n")
				}
				if got := strings.TrimSuffix(out.String(), mark+"exit 1"); got != test.out {
					t.Errorf("output %q, want %q", got, test.out)
				}
				if err != nil {
					return
				}
				if got, err := io.ReadAll(rest); err != nil || string(got) != test.rest {
					t.Errorf("rest %q, %v, want %q", got, err, test.rest)
				}
			})
		}
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestDemuxWriteError(t *testing.T) {
	mark := newMark()
	if _, _, err := demux(failingWriter{}, strings.NewReader("hello"+mark+"exit 0\n"), mark); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("error %v, want disk full", err)
	}
}

// TestScript lets the shell that runs it in the guest check what it is.
func TestScript(t *testing.T) {
	mark := newMark()
	for name, o := range map[string]Options{
		"quotes": {Command: []string{"sh", "-c", `echo 'it'"'"'s'; echo "$HOME"`}},
		"stdin":  {Command: []string{"cat"}, Stdin: strings.NewReader("")},
		"out":    {Command: []string{"true"}, Out: map[string]string{"/tmp/a file": "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := script([]string{"/lib/modules/x/y.ko"}, o, mark)
			cmd := exec.CommandContext(t.Context(), "sh", "-n")
			cmd.Stdin = strings.NewReader(s)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s\n%s", err, out, s)
			}
			if strings.Contains(s, mark) {
				t.Error("the mark is in the script as it is in the stream: cat /init would end the run")
			}
		})
	}
}

func TestQuote(t *testing.T) {
	for _, s := range []string{"", "a b", `it's`, `$HOME`, "`id`", `\`, "a\nb", `''`} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+quote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("quote(%q) is %q for the shell, %v", s, out, err)
		}
	}
}
