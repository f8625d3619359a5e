package vm

import (
	"slices"
	"strings"
	"testing"
)

func TestPick(t *testing.T) {
	names := strings.Fields(`
		linux-image-5.10.0-9-cloud-amd64 linux-headers-5.10.0-9-cloud-amd64
		linux-image-5.10.0-46-cloud-amd64 linux-headers-5.10.0-46-cloud-amd64 linux-image-5.10.0-46-cloud-amd64-dbg
		linux-image-5.10.0-47-cloud-amd64 linux-image-5.10.0-46-amd64
		linux-image-6.1.0-56-cloud-amd64 linux-headers-6.1.0-56-cloud-amd64 linux-image-6.1-cloud-amd64
		linux-image-6.1.0-0.deb11.99-cloud-amd64 linux-headers-6.1.0-0.deb11.99-cloud-amd64
		linux-image-6.12.9+deb12-cloud-amd64 linux-headers-6.12.9+deb12-cloud-amd64
		linux-image-6.12.117+deb12-cloud-amd64 linux-headers-6.12.117+deb12-cloud-amd64
		linux-image-7.2.13+deb14-cloud-amd64 linux-headers-7.2.13+deb14-cloud-amd64
		linux-binary-7.2.13+deb14-cloud-amd64 linux-binary-unsigned-7.2.13+deb14-cloud-amd64`)
	for series, want := range map[string]string{
		"5.10": "5.10.0-46-cloud-amd64: linux-image-5.10.0-46-cloud-amd64", // 47 has no headers
		"6.1":  "6.1.0-56-cloud-amd64: linux-image-6.1.0-56-cloud-amd64",
		"6.12": "6.12.117+deb12-cloud-amd64: linux-image-6.12.117+deb12-cloud-amd64",
		"7.2": "7.2.13+deb14-cloud-amd64: linux-base-7.2.13+deb14-cloud-amd64 " +
			"linux-binary-7.2.13+deb14-cloud-amd64 linux-modules-7.2.13+deb14-cloud-amd64",
		"7.3": "",
	} {
		release, packages, err := pick(series, names)
		got := release + ": " + strings.Join(packages, " ")
		if want == "" && err == nil || want != "" && (err != nil || got != want) {
			t.Errorf("pick(%s) = %s, %v, want %s", series, got, err, want)
		}
	}
}

func TestCompare(t *testing.T) {
	ordered := []string{"5.10.0-9-cloud", "5.10.0-46-cloud", "6.1.0-1", "6.12.9+deb12", "6.12.90+deb12-cloud", "6.12.117+deb12"}
	if !slices.IsSortedFunc(ordered, compare) {
		t.Errorf("not in order: %q", ordered)
	}
	if compare("6.1.0-5", "6.1.0-5") != 0 {
		t.Error("unequal to itself")
	}
}
