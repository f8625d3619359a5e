package kernel

import (
	"sync"
	"time"
)

// resample is how old a BootClock's offset may grow.
const resample = time.Second

// BootClock maps CLOCK_BOOTTIME, the clock of bpf_ktime_get_boot_ns, to
// wall-clock time. Its zero value is ready, and it may be used by several
// goroutines.
type BootClock struct {
	mu      sync.Mutex
	offset  int64 // CLOCK_REALTIME minus CLOCK_BOOTTIME, ns
	sampled time.Time
	sample  func() (offset, uncertainty int64) // tests set it
	now     func() time.Time
}

// Time is the wall-clock time at which CLOCK_BOOTTIME read ns nanoseconds. The
// offset between the two is measured again at most once a second, so that a
// step of the wall clock is followed; it stays exactly the same otherwise, so
// that times of events never change their order.
func (c *BootClock) Time(ns uint64) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil {
		c.now = time.Now
	}
	if c.sample == nil {
		c.sample = sampleClocks
	}
	if now := c.now(); c.sampled.IsZero() || now.Sub(c.sampled) >= resample {
		offset, uncertainty := c.sample()
		// Both clocks run at one rate and NTP slews both, so the offset only
		// ever steps: a difference within the measurement's error is no step.
		if d := offset - c.offset; c.sampled.IsZero() || d > uncertainty || d < -uncertainty {
			c.offset = offset
		}
		c.sampled = now
	}
	return time.Unix(0, c.offset+int64(ns))
}
