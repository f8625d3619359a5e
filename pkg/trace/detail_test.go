package trace

import (
	"errors"
	"testing"
	"time"

	"github.com/ctwhy/ctwhy/pkg/event"
)

type fakeProbe struct {
	armed bool
	err   error
	tries int
}

func (f *fakeProbe) ArmDetail() error {
	f.tries++
	if f.err == nil {
		f.armed = true
	}
	return f.err
}

func (f *fakeProbe) DisarmDetail() { f.armed = false }

func TestDetailArmsAtTheFirstLossAndDisarmsAfterQuiet(t *testing.T) {
	var p fakeProbe
	d := newDetail("", &p)
	now := time.Unix(1000, 0)
	d.start(now)
	if p.armed {
		t.Fatal("armed without a loss")
	}
	for _, e := range []event.Event{
		{Reason: event.ClashMerged},
		{Reason: event.TableFull, Netlink: true},
	} {
		if d.seen(e, now) || p.armed {
			t.Errorf("%v, netlink %v, armed it: it has no use of detail", e.Reason, e.Netlink)
		}
	}
	if !d.seen(event.Event{Reason: event.TableFull}, now) || !p.armed || !d.state.Armed {
		t.Fatal("a full table did not arm it")
	}
	if d.state.Why != "first table_full" {
		t.Errorf("why = %q", d.state.Why)
	}
	if d.seen(event.Event{Reason: event.TableFull}, now.Add(20*time.Second)) {
		t.Error("a second loss changed the state")
	}
	if d.quiet(now.Add(20*time.Second + quietTime - 1)) {
		t.Error("disarmed before the quiet time")
	}
	if !d.quiet(now.Add(20*time.Second+quietTime)) || p.armed || d.state.Armed {
		t.Error("not disarmed after the quiet time")
	}
	if !d.seen(event.Event{Reason: event.NoMemory}, now.Add(time.Hour)) || !p.armed {
		t.Error("not armed again")
	}
}

func TestDetailModes(t *testing.T) {
	now := time.Unix(1000, 0)
	var always fakeProbe
	d := newDetail(DetailAlways, &always)
	d.start(now)
	if !always.armed || d.quiet(now.Add(time.Hour)) || !always.armed {
		t.Error("always: not armed from start to end")
	}
	var never fakeProbe
	d = newDetail(DetailNever, &never)
	d.start(now)
	if d.seen(event.Event{Reason: event.TableFull}, now) || never.armed {
		t.Error("never: armed")
	}
}

func TestDetailThatCannotBeArmedSaysWhyOnce(t *testing.T) {
	p := fakeProbe{err: errors.New("no slot left")}
	d := newDetail(DetailAuto, &p)
	if !d.seen(event.Event{Reason: event.TableFull}, time.Unix(1, 0)) || d.state.Why != "no slot left" || d.state.Armed {
		t.Errorf("state = %+v", d.state)
	}
	d.seen(event.Event{Reason: event.TableFull}, time.Unix(2, 0))
	if p.tries != 1 {
		t.Errorf("tried %d times", p.tries)
	}
}
