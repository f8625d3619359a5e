package render

import (
	"fmt"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile("../../docs/trace.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(s *jsonschema.Schema, line string) error {
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
	if err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	return s.Validate(v)
}

func TestOutputFollowsSchema(t *testing.T) {
	s := schema(t)
	n := 0
	for line := range strings.Lines(rendered(t)) {
		n++
		if err := validate(s, line); err != nil {
			t.Errorf("%s\n%v", line, err)
		}
	}
	if want := len(coverages()) + len(samples()) + len(summaries()); n != want {
		t.Errorf("%d lines for %d objects", n, want)
	}
}

// What the schema must refuse: each case changes one thing of a valid line.
func TestSchemaRefuses(t *testing.T) {
	s := schema(t)
	lines := strings.Split(rendered(t), "\n")
	find := func(part string) string {
		for _, l := range lines {
			if strings.Contains(l, part) {
				return l
			}
		}
		t.Fatalf("no line has %s", part)
		return ""
	}
	for _, c := range []struct{ in, old, new string }{
		{`"type":"event"`, `"schema":1`, `"schema":2`},
		{`"type":"event"`, `"schema":1,`, ``},
		{`"type":"event"`, `"type":"event"`, `"type":"tuple"`},
		{`"type":"event"`, `"type":"event"`, `"type":"event","more":1`},
		{`"type":"event"`, `"reason":"table_full"`, `"reason":"tablefull"`},
		{`"type":"event"`, `"fate":"dropped"`, `"fate":"lost"`},
		{`"type":"event"`, `.123456789Z`, `.123Z`},
		{`"type":"event"`, `.123456789Z`, `.123456789+01:00`},
		{`"type":"event"`, `"name":""`, `"name":"","more":1`},
		{`"type":"event"`, `"src":"10.0.0.1"`, `"src":"10.0.0.256"`},
		{`"type":"event"`, `"sport":40000`, `"sport":65536`},
		{`"type":"event"`, `"sport":40000,`, ``},
		{`"type":"event"`, `"family":"ipv4"`, `"family":"ip4"`},
		{`"type":"event"`, `"family":"ipv4",`, ``},
		{`"type":"event"`, `"tcp_flags":"S"`, `"tcp_flags":"SYN-"`},
		{`"type":"event"`, `"tcp_flags":"S"`, `"tcp_flags":2`},
		{`"type":"event"`, `"hook":"output"`, `"hook":"ingress"`},
		{`"type":"event"`, `"out":"eth0",`, ``},
		{`"type":"event"`, `"count":512,"max":512`, `"count":512`},
		{`"type":"event"`, `"pid":812`, `"pid":"812"`},
		{`"type":"event"`, `"cpu":1`, `"cpu":-1`},
		{`"netlink":true`, `"netlink":true`, `"netlink":false`},
		{`"icmp_id":77`, `"icmp_id":77,`, ``},
		{`"winner":{`, `"status":["CONFIRMED"`, `"status":["IPS_CONFIRMED"`},
		{`"victim":{`, `"victim":{`, `"victim":{"proto":"tcp",`},
		{`"type":"coverage"`, `"backend":"fexit"`, `"backend":"magic"`},
		{`"type":"coverage"`, `"mode":"auto"`, `"mode":"sometimes"`},
		{`"type":"coverage"`, `"armed":false`, `"armed":"no"`},
		{`"type":"coverage"`, `"notes":[`, `"remarks":[`},
		{`"type":"summary"`, `"seconds":10.2`, `"seconds":-1`},
		{`"type":"summary"`, `"table_full":{`, `"table_fool":{`},
		{`"type":"summary"`, `"lost":0`, `"lost":null`},
		{`"type":"summary"`, `"reconciled":true`, `"reconciled":"yes"`},
		{`"type":"summary"`, `"drop":485,`, ``},
		{`"type":"summary"`, `"counter":"drop"`, `"counter":"drops"`},
		{`"type":"summary"`, `"missed":{`, `"missed":{"more":1,`},
		{`"type":"summary"`, `,"missed":{`, `,"miss":{`},
	} {
		line := find(c.in)
		if err := validate(s, line); err != nil {
			t.Fatalf("%s\n%v", line, err)
		}
		changed := strings.Replace(line, c.old, c.new, 1)
		if changed == line {
			t.Errorf("%s is not in %s", c.old, line)
		} else if err := validate(s, changed); err == nil {
			t.Errorf("accepted with %s instead of %s", c.new, c.old)
		}
	}
}
