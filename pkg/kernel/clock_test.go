package kernel

import (
	"runtime"
	"testing"
	"time"
)

func TestBootClockFollowsSteps(t *testing.T) {
	now := time.Unix(1000, 0)
	offset, samples := int64(5_000_000), 0
	c := BootClock{
		now:    func() time.Time { return now },
		sample: func() (int64, int64) { samples++; return offset, 1000 },
	}
	check := func(what string, boot uint64, want int64, wantSamples int) {
		t.Helper()
		if got := c.Time(boot).UnixNano(); got != want || samples != wantSamples {
			t.Errorf("%s: %d after %d samples, want %d after %d", what, got, samples, want, wantSamples)
		}
	}
	check("first", 7, 5_000_007, 1)
	offset += 999
	now = now.Add(resample - 1)
	check("too soon", 8, 5_000_008, 1)
	now = now.Add(1)
	check("within the error", 9, 5_000_009, 2)
	offset = 9_000_000
	now = now.Add(resample)
	check("step forward", 10, 9_000_010, 3)
	offset = 2_000_000
	now = now.Add(resample)
	check("step back", 11, 2_000_011, 4)
}

func TestBootClockIsNow(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no boot clock")
	}
	var c BootClock
	offset, uncertainty := sampleClocks()
	boot := time.Now().UnixNano() - offset
	if d := time.Since(c.Time(uint64(boot))); d < -time.Second || d > time.Second || uncertainty > int64(time.Second) {
		t.Errorf("now is %v off, uncertainty %d ns", d, uncertainty)
	}
}
