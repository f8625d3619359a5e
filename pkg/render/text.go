package render

import (
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/ctwhy/ctwhy/pkg/event"
)

// DefaultWidth is how many columns a line of text may take.
const DefaultWidth = 160

// TextOptions say how text looks. The zero value is for a file.
type TextOptions struct {
	Color bool // colour the reasons by fate, with ANSI escape sequences
	Width int  // columns, 0 is DefaultWidth
	// Home is the inode number of the netns that goes without saying: events
	// there do not name it. 0 is none.
	Home uint32
	// Location is the zone of the times shown, nil the local one.
	Location *time.Location
}

// Text writes lines for people: events and the summary as data, the coverage as
// diagnostics. It is for one goroutine.
type Text struct {
	out, diag io.Writer
	opt       TextOptions
	proto     int // width of its column
	columns   columns
	coverage  *event.Coverage // as last told
	events    bool            // one was written
}

// NewText writes events and the summary to out, the coverage to diag.
func NewText(out, diag io.Writer, opt TextOptions) *Text {
	if opt.Width <= 0 {
		opt.Width = DefaultWidth
	}
	if opt.Location == nil {
		opt.Location = time.Local
	}
	return &Text{out: out, diag: diag, opt: opt, proto: 4, columns: columns{{34, 50}, {0, 34}, {0, 26}}}
}

// Event writes a line; what does not fit goes to further lines, indented. A
// field is never split.
func (t *Text) Event(ev event.Event) error {
	t.events = true
	head, proto := flow(ev.Orig), "?"
	if ev.Orig.Src.IsValid() {
		proto = event.ProtoName(ev.Orig.Proto)
	}
	if p := ev.Packet; p != nil && p.TCPFlags != nil {
		head += " [" + p.TCPFlags.String() + "]"
	}
	line := newLine(t.opt.Width, len("00:00:00.000000 "))
	line.start(ev.Time.In(t.opt.Location).Format("15:04:05.000000"))
	line.start(" " + paint(pad(ev.Reason.String(), 16), t.color(ev.Reason)))
	line.start(" " + pad(string(ev.Reason.Fate()), 8))
	t.proto = max(t.proto, len(proto))
	line.start(" " + pad(proto, t.proto))
	line.fields(t.columns.align([]string{head, way(ev), fill(ev.Table)}, t.details(ev)))
	_, err := io.WriteString(t.out, line.String())
	return err
}

func (t *Text) color(r event.Reason) string {
	if !t.opt.Color {
		return ""
	}
	switch r.Fate() {
	case event.Dropped:
		return "31" // red
	case event.Gone:
		return "33" // yellow
	}
	return "36" // cyan
}

// details are the fields after the aligned ones, only those that tell something.
func (t *Text) details(ev event.Event) []string {
	var f []string
	if ev.Zone != 0 {
		f = append(f, "zone "+utoa(ev.Zone))
	}
	if p := ev.Packet; p != nil && p.Mark != 0 {
		f = append(f, "mark 0x"+strconv.FormatUint(uint64(p.Mark), 16))
	}
	if o := ev.Owner; o != nil {
		f = append(f, word(o.Comm, 16)+"["+utoa(o.PID)+"]")
	}
	if n := ev.Netns; n.Name != "" {
		f = append(f, "netns "+word(n.Name, 32))
	} else if n.ID != t.opt.Home {
		f = append(f, "netns "+utoa(n.ID))
	}
	switch {
	case ev.Winner != nil:
		f = append(f, clash(ev)...)
	case ev.Victim != nil:
		f = append(f, "was "+state(ev.Victim.Status&^event.StatusDying, ev.Victim.Mark))
		fallthrough
	default:
		if ev.Reply.Src.IsValid() && !inverse(ev.Reply, ev.Orig) {
			f = append(f, "reply "+flow(ev.Reply))
		}
	}
	return f
}

// clash tells who was first, and in what it differs from the loser.
func clash(ev event.Event) []string {
	w := ev.Winner
	s := "won by "
	if w.Orig == ev.Orig {
		s += "the same flow"
	} else {
		s += flow(w.Orig)
	}
	f := []string{s + " (" + state(w.Status, w.Mark) + ")"}
	switch {
	case !w.Reply.Src.IsValid():
	case w.Reply == ev.Reply && inverse(ev.Reply, ev.Orig): // no NAT, nothing to tell
	case w.Reply == ev.Reply:
		f = append(f, "same reply "+flow(w.Reply))
	default:
		f = append(f, "its reply "+flow(w.Reply))
		if ev.Reply.Src.IsValid() {
			f = append(f, "own reply "+flow(ev.Reply))
		}
	}
	if w.Zone != ev.Zone {
		f = append(f, "its zone "+utoa(w.Zone))
	}
	return f
}

// state is what an entry's status bits and mark say, in conntrack(8)'s words.
func state(status event.Status, mark uint32) string {
	s := "unreplied"
	switch {
	case status&event.StatusAssured != 0:
		s = "assured"
	case status&event.StatusSeenReply != 0:
		s = "replied"
	}
	if status&event.StatusDying != 0 {
		s += ", dying"
	}
	if mark != 0 {
		s += ", mark 0x" + strconv.FormatUint(uint64(mark), 16)
	}
	return s
}

// way is the packet's way through the machine.
func way(ev event.Event) string {
	var s []string
	if ev.Netlink {
		s = append(s, "by ctnetlink")
	}
	if p := ev.Packet; p != nil {
		if p.Hook != 0 {
			s = append(s, p.Hook.String())
		}
		if p.In != "" {
			s = append(s, "in="+word(p.In, 15))
		}
		if p.Out != "" {
			s = append(s, "out="+word(p.Out, 15))
		}
	}
	return strings.Join(s, " ")
}

func fill(t *event.Table) string {
	if t == nil {
		return ""
	}
	return "table " + utoa(t.Count) + "/" + utoa(t.Max)
}
