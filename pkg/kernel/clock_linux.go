package kernel

import "golang.org/x/sys/unix"

// sampleClocks measures the offset between the clocks: the boot clock is read
// between two readings of the wall clock, and the closest of some tries taken.
func sampleClocks() (offset, uncertainty int64) {
	best := int64(-1)
	for range 5 {
		before := clock(unix.CLOCK_REALTIME)
		boot := clock(unix.CLOCK_BOOTTIME)
		after := clock(unix.CLOCK_REALTIME)
		width := after - before
		if width < 0 { // the wall clock was set back just then
			width = -width
		}
		if best < 0 || width < best {
			best, offset = width, before+width/2-boot
		}
	}
	// Twice the error of one sample, since two are compared.
	return offset, max(2*best, 1000)
}

func clock(id int32) int64 {
	var ts unix.Timespec
	// It cannot fail for these clocks (clock_gettime(2)).
	_ = unix.ClockGettime(id, &ts)
	return ts.Nano()
}
