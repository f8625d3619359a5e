package render

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/ctwhy/ctwhy/pkg/event"
)

// line builds one event's line, and goes to a further one, indented, where a
// field does not fit.
type line struct {
	b             strings.Builder
	width, indent int
	at            int // column
}

func newLine(width, indent int) line { return line{width: width, indent: indent} }

// start appends to the line's beginning, which always fits.
func (l *line) start(s string) {
	l.b.WriteString(s)
	l.at += shown(s)
}

// field is a field with the spaces that come before it: those it needs, and
// those that put it into its column.
type field struct {
	text       string
	gap, align int
}

// fields appends fields. Alignment is given up where that saves a second line,
// and on the second line.
func (l *line) fields(fs []field) {
	compact, full := l.at, l.at
	for _, f := range fs {
		compact += f.gap + width(f.text)
		full += f.gap + f.align + width(f.text)
	}
	straight := full <= l.width || compact > l.width
	for _, f := range fs {
		w, space := width(f.text), f.gap
		if straight && l.at+space+f.align+w <= l.width {
			space += f.align
		}
		if l.at+space+w > l.width {
			l.b.WriteString("\n" + strings.Repeat(" ", l.indent))
			l.at, space, straight = l.indent, 0, false
		}
		l.b.WriteString(strings.Repeat(" ", space) + f.text)
		l.at += space + w
	}
}

// String is the line with its newline.
func (l *line) String() string { return l.b.String() + "\n" }

// columns are the aligned fields: each column is as wide as its widest field so
// far, up to a limit, so that lines line up without wasting space on fields
// that never come.
type columns []struct{ width, limit int }

// align puts the fields into their columns, "" is none, and what follows behind
// the last column.
func (c columns) align(texts []string, more []string) []field {
	fields := make([]field, 0, len(texts)+len(more))
	gap, owed := 1, 0
	for i, s := range texts {
		col, w := &c[i], width(s)
		col.width = max(col.width, min(w, col.limit))
		switch {
		case s != "":
			fields = append(fields, field{s, gap, owed})
			owed = max(0, col.width-w)
		case col.width > 0:
			owed += gap + col.width
		}
		gap = 2
	}
	for _, s := range more {
		fields = append(fields, field{s, gap, owed})
		owed = 0
	}
	return fields
}

// paint colours a text with an ANSI sequence, "" is none.
func paint(s, sgr string) string {
	if sgr == "" {
		return s
	}
	return "\x1b[" + sgr + "m" + s + "\x1b[0m"
}

// shown is the width without the sequences of [paint].
func shown(s string) int {
	if before, rest, ok := strings.Cut(s, "\x1b["); ok {
		_, rest, _ = strings.Cut(rest, "m")
		rest, _, _ = strings.Cut(rest, "\x1b[")
		return width(before) + width(rest)
	}
	return width(s)
}

func pad(s string, n int) string { return s + strings.Repeat(" ", max(0, n-len(s))) }

func utoa[T uint16 | uint32](n T) string { return strconv.FormatUint(uint64(n), 10) }

// flow writes a tuple: source > destination, and what its protocol adds.
func flow(t event.Tuple) string {
	if !t.Src.IsValid() {
		return "?"
	}
	switch {
	case t.HasPorts():
		return netip.AddrPortFrom(t.Src, t.SrcPort).String() + " > " + netip.AddrPortFrom(t.Dst, t.DstPort).String()
	case t.IsICMP():
		return t.Src.String() + " > " + t.Dst.String() + " type " + utoa(uint16(t.ICMPType)) + " code " + utoa(uint16(t.ICMPCode)) + " id " + utoa(t.ICMPID)
	case t.Proto == event.ProtoGRE:
		return t.Src.String() + " > " + t.Dst.String() + " keys " + utoa(t.SrcPort) + " " + utoa(t.DstPort)
	}
	return t.Src.String() + " > " + t.Dst.String()
}

// inverse reports whether a reply goes back the very way that a packet came,
// that is, without NAT.
func inverse(reply, orig event.Tuple) bool {
	return reply.Src == orig.Dst && reply.Dst == orig.Src &&
		(!orig.HasPorts() || reply.SrcPort == orig.DstPort && reply.DstPort == orig.SrcPort) && reply.ICMPID == orig.ICMPID
}
