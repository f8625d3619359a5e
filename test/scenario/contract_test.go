//go:build guest

package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// What ctwhy prints with -o json, as its readers know it: written down here a
// second time, on purpose, so that a change of the contract fails a test. A
// field that is not listed is an error.

type event struct {
	Schema int       `json:"schema"`
	Type   string    `json:"type"`
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
	Fate   string    `json:"fate"`
	Netns  struct {
		ID   uint32 `json:"id"`
		Name string `json:"name"`
	} `json:"netns"`
	Zone   uint16 `json:"zone"`
	Family string `json:"family"`
	Proto  string `json:"proto"`
	tuple
	Reply *tuple `json:"reply"`
	Table *struct {
		Count uint32 `json:"count"`
		Max   uint32 `json:"max"`
	} `json:"table"`
	CPU      *int    `json:"cpu"`
	TCPFlags *string `json:"tcp_flags"`
	Hook     *string `json:"hook"`
	In       *string `json:"in"`
	Out      *string `json:"out"`
	Mark     *uint32 `json:"mark"`
	Owner    *struct {
		PID  int    `json:"pid"`
		Comm string `json:"comm"`
	} `json:"owner"`
	Netlink bool   `json:"netlink"`
	Winner  *entry `json:"winner"`
	Victim  *entry `json:"victim"`
}

type tuple struct {
	Src      netip.Addr `json:"src"`
	Dst      netip.Addr `json:"dst"`
	Sport    *uint16    `json:"sport"`
	Dport    *uint16    `json:"dport"`
	ICMPType *uint8     `json:"icmp_type"`
	ICMPCode *uint8     `json:"icmp_code"`
	ICMPID   *uint16    `json:"icmp_id"`
}

type entry struct {
	Orig   tuple    `json:"orig"`
	Reply  tuple    `json:"reply"`
	Status []string `json:"status"`
	Mark   *uint32  `json:"mark"`
	Zone   *uint16  `json:"zone"`
}

type summary struct {
	Schema  int               `json:"schema"`
	Type    string            `json:"type"`
	Seconds float64           `json:"seconds"`
	Netns   []netnsSummary    `json:"netns"`
	Missed  map[string]uint64 `json:"missed"`
}

type netnsSummary struct {
	ID          uint32            `json:"id"`
	Name        string            `json:"name"`
	Reasons     map[string]tally  `json:"reasons"`
	Kernel      map[string]uint64 `json:"kernel"`
	Reconciled  *bool             `json:"reconciled"` // absent where the counters could not be read
	Unread      string            `json:"unread"`
	Slack       map[string]uint64 `json:"slack"`
	Differences []struct {
		Counter  string `json:"counter"`
		Kernel   uint64 `json:"kernel"`
		Expected uint64 `json:"expected"`
	} `json:"differences"`
}

type tally struct {
	Count      uint64 `json:"count"`
	Netlink    uint64 `json:"netlink"`
	Filtered   uint64 `json:"filtered"`
	Shown      uint64 `json:"shown"`
	Suppressed uint64 `json:"suppressed"`
	Lost       uint64 `json:"lost"`
}

// flow is the tuple in the workload's words.
func (t tuple) flow(proto string) flow {
	f := flow{proto: proto, src: t.Src, dst: t.Dst}
	switch {
	case t.ICMPID != nil:
		f.sport = *t.ICMPID
	case t.Sport != nil && t.Dport != nil:
		f.sport, f.dport = *t.Sport, *t.Dport
	}
	return f
}

func (e *event) flow() flow { return e.tuple.flow(e.Proto) }

// document is all that one run of ctwhy printed.
type document struct {
	coverage []coverage
	events   []event
	summary  *summary
}

// parse reads one line into the document, strictly.
func (d *document) parse(line []byte) error {
	var head struct {
		Schema int    `json:"schema"`
		Type   string `json:"type"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return fmt.Errorf("not a line of JSON: %w: %q", err, line)
	}
	if head.Schema != 1 {
		return fmt.Errorf("schema is %d, want 1: %s", head.Schema, line)
	}
	if d.summary != nil {
		return fmt.Errorf("a line after the summary: %s", line)
	}
	switch head.Type {
	case "coverage":
		var c coverage
		if err := strict(line, &c); err != nil {
			return err
		}
		d.coverage = append(d.coverage, c)
		return nil
	case "event":
		var e event
		if err := strict(line, &e); err != nil {
			return err
		}
		d.events = append(d.events, e)
		return nil
	case "summary":
		d.summary = &summary{}
		return strict(line, d.summary)
	}
	return fmt.Errorf("unknown type %q: %s", head.Type, line)
}

func strict(line []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%w in %s", err, line)
	}
	return nil
}

type coverage struct {
	Schema  int              `json:"schema"`
	Type    string           `json:"type"`
	Kernel  string           `json:"kernel"`
	Reasons []reasonCoverage `json:"reasons"`
	Detail  struct {
		Mode  string `json:"mode"`
		Armed bool   `json:"armed"`
		Why   string `json:"why"`
	} `json:"detail"`
	Notes []string `json:"notes"`
}

type reasonCoverage struct {
	Reason string `json:"reason"`
	Hooks  []struct {
		Function string `json:"function"`
		Backend  string `json:"backend"`
	} `json:"hooks"`
	Missing string `json:"missing"`
}
