package trace

import (
	"fmt"
	"time"

	"github.com/ctwhy/ctwhy/pkg/event"
)

// DetailMode is when packets are watched on their way into conntrack, which
// costs a little for every packet but tells what a refused one was.
type DetailMode string

const (
	DetailAuto   DetailMode = "auto" // from the first loss that needs it until a quiet time
	DetailAlways DetailMode = "always"
	DetailNever  DetailMode = "never"
)

// quietTime is how long no loss may have needed detail before it is disarmed.
const quietTime = 30 * time.Second

// armer is what detail needs of the probe.
type armer interface {
	ArmDetail() error
	DisarmDetail()
}

// detail decides when the probe is armed. It is used by one goroutine.
type detail struct {
	probe armer
	state event.Detail
	last  time.Time // of a loss that detail is for
}

func newDetail(mode DetailMode, probe armer) *detail {
	if mode == "" {
		mode = DetailAuto
	}
	return &detail{probe: probe, state: event.Detail{Mode: string(mode)}}
}

// start arms at once if that is the mode.
func (d *detail) start(now time.Time) {
	if d.state.Mode == string(DetailAlways) {
		d.arm(now, "")
	}
}

// seen takes note of an event. It reports whether the state has changed.
func (d *detail) seen(e event.Event, now time.Time) bool {
	if e.Netlink || (e.Reason != event.TableFull && e.Reason != event.NoMemory) {
		return false
	}
	d.last = now
	if d.state.Mode != string(DetailAuto) || d.state.Armed || d.probe == nil {
		return false
	}
	return d.arm(now, "first "+e.Reason.String())
}

// quiet disarms after a quiet time. It reports whether the state has changed.
func (d *detail) quiet(now time.Time) bool {
	if d.state.Mode != string(DetailAuto) || !d.state.Armed || now.Sub(d.last) < quietTime {
		return false
	}
	d.disarm()
	d.state.Why = fmt.Sprintf("quiet for %v", quietTime)
	return true
}

func (d *detail) arm(now time.Time, why string) bool {
	if err := d.probe.ArmDetail(); err != nil {
		d.state.Why = err.Error()
		d.state.Mode = string(DetailNever) // what failed once is not tried at every loss
		return true
	}
	d.last = now
	d.state.Armed, d.state.Why = true, why
	return true
}

func (d *detail) disarm() {
	d.probe.DisarmDetail()
	d.state.Armed = false
}
