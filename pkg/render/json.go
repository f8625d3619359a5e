package render

import (
	"io"
	"net/netip"

	"github.com/ctwhy/ctwhy/pkg/event"
)

// Schema is the version of the JSON format, the value of "schema" in every
// object. It changes when a field changes its meaning or goes away; new fields
// do not change it.
const Schema = 1

// JSON writes one JSON object a line, as docs/trace.schema.json describes them.
// What is unknown is absent. It is for one goroutine.
type JSON struct {
	w io.Writer
	e encoder
}

// NewJSON writes to w, with one call of Write for each object.
func NewJSON(w io.Writer) *JSON { return &JSON{w: w} }

func (j *JSON) begin(kind string) *encoder {
	j.e.b = j.e.b[:0]
	j.e.open("", '{')
	j.e.uint("schema", Schema)
	j.e.text("type", kind)
	return &j.e
}

func (j *JSON) end() error {
	j.e.close('}')
	j.e.b = append(j.e.b, '\n')
	_, err := j.w.Write(j.e.b)
	return err
}

// Event writes an event. Times are UTC, with nanoseconds.
func (j *JSON) Event(ev event.Event) error {
	e := j.begin("event")
	e.time("time", ev.Time)
	e.text("reason", ev.Reason.String())
	e.text("fate", string(ev.Reason.Fate()))
	if ev.Netlink {
		e.bool("netlink", true)
	}
	e.open("netns", '{')
	e.uint("id", uint64(ev.Netns.ID))
	e.text("name", ev.Netns.Name)
	e.close('}')
	e.uint("zone", uint64(ev.Zone))
	if f := family(ev.Orig.Src); f != "" {
		e.text("family", f)
		e.text("proto", event.ProtoName(ev.Orig.Proto))
		tuple(e, ev.Orig)
	}
	if ev.Reply.Src.IsValid() {
		e.open("reply", '{')
		tuple(e, ev.Reply)
		e.close('}')
	}
	if t := ev.Table; t != nil {
		e.open("table", '{')
		e.uint("count", uint64(t.Count))
		e.uint("max", uint64(t.Max))
		e.close('}')
	}
	e.uint("cpu", uint64(max(ev.CPU, 0)))
	if p := ev.Packet; p != nil {
		packet(e, p)
	}
	if o := ev.Owner; o != nil {
		e.open("owner", '{')
		e.uint("pid", uint64(o.PID))
		e.text("comm", o.Comm)
		e.close('}')
	}
	if ev.Winner != nil {
		entry(e, "winner", ev.Winner)
	}
	if ev.Victim != nil {
		entry(e, "victim", ev.Victim)
	}
	return j.end()
}

func family(a netip.Addr) string {
	switch {
	case a.Is4():
		return "ipv4"
	case a.Is6():
		return "ipv6"
	}
	return ""
}

func tuple(e *encoder, t event.Tuple) {
	e.addr("src", t.Src)
	e.addr("dst", t.Dst)
	switch {
	case t.HasPorts():
		e.uint("sport", uint64(t.SrcPort))
		e.uint("dport", uint64(t.DstPort))
	case t.IsICMP():
		e.uint("icmp_type", uint64(t.ICMPType))
		e.uint("icmp_code", uint64(t.ICMPCode))
		e.uint("icmp_id", uint64(t.ICMPID))
	case t.Proto == event.ProtoGRE:
		e.uint("srckey", uint64(t.SrcPort))
		e.uint("dstkey", uint64(t.DstPort))
	}
}

func packet(e *encoder, p *event.Packet) {
	if p.TCPFlags != nil {
		e.text("tcp_flags", p.TCPFlags.String())
	}
	if p.Hook != 0 {
		e.text("hook", p.Hook.String())
	}
	e.text("in", p.In)
	e.text("out", p.Out)
	e.uint("mark", uint64(p.Mark))
}

func entry(e *encoder, key string, v *event.Entry) {
	e.open(key, '{')
	for _, dir := range []struct {
		key string
		t   event.Tuple
	}{{"orig", v.Orig}, {"reply", v.Reply}} {
		if dir.t.Src.IsValid() {
			e.open(dir.key, '{')
			tuple(e, dir.t)
			e.close('}')
		}
	}
	e.open("status", '[')
	for _, n := range v.Status.Names() {
		e.text("", n)
	}
	e.close(']')
	e.uint("mark", uint64(v.Mark))
	e.uint("zone", uint64(v.Zone))
	e.close('}')
}
