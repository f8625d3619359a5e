package vm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unpack lets cpio(1), which isn't ours, read an archive.
func unpack(t *testing.T, a archive) (dir string) {
	t.Helper()
	var buf bytes.Buffer
	if err := a.writeTo(&buf); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	cmd := exec.CommandContext(t.Context(), "cpio", "-id", "--quiet", "--no-absolute-filenames")
	cmd.Dir, cmd.Stdin = dir, &buf
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	return dir
}

func TestArchive(t *testing.T) {
	src := t.TempDir()
	for name, content := range map[string]string{"one": "1", "sub/two": strings.Repeat("2", 4097)} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(src, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(src, name), []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("one", filepath.Join(src, "link")); err != nil {
		t.Fatal(err)
	}
	a := archive{}
	a.dir("empty")
	a.script("deep/below/run", "#!/bin/sh\n")
	a.link("bin/sh", "/usr/bin/dash")
	if err := a.copy("/copied", src); err != nil {
		t.Fatal(err)
	}
	if err := a.copy("followed", filepath.Join(src, "link")); err != nil {
		t.Fatal(err)
	}

	dir := unpack(t, a)
	for name, want := range map[string]string{
		"deep/below/run": "#!/bin/sh\n",
		"copied/one":     "1",
		"copied/sub/two": strings.Repeat("2", 4097),
		"copied/link":    "1",
		"followed":       "1",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s is %.20q (%d bytes), %v", name, got, len(got), err)
		}
	}
	for name, want := range map[string]os.FileMode{
		"empty": os.ModeDir | 0o755, "deep/below/run": 0o755, "copied/one": 0o640, "bin/sh": os.ModeSymlink | 0o777,
	} {
		if info, err := os.Lstat(filepath.Join(dir, name)); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	if target, err := os.Readlink(filepath.Join(dir, "bin/sh")); err != nil || target != "/usr/bin/dash" {
		t.Errorf("bin/sh is a link to %q, %v", target, err)
	}
	if err := a.copy("x", filepath.Join(src, "nosuch")); err == nil {
		t.Error("copied what isn't there")
	}
}

// TestPack packs a whole initramfs, and runs a program of it with its own
// libraries and loader.
func TestPack(t *testing.T) {
	k := Kernel{Release: "9.9.9-test", Modules: fakeModules(t)}
	a, err := pack(t.Context(), k, Options{
		Command:  []string{"true"},
		Binaries: []string{"ip"},
		Modules:  []string{"nf-dashed"},
	}, newMark())
	if err != nil {
		t.Fatal(err)
	}
	dir := unpack(t, a)
	for name, want := range map[string]string{
		"lib/modules/9.9.9-test/nf_conntrack.ko": "nf_conntrack",
		"lib/modules/9.9.9-test/modules.alias":   "alias net-pf-16-proto-12-subsys-1 nf_conntrack_netlink\n",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v, want %q", name, got, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "lib/modules/9.9.9-test/other.ko")); err == nil {
		t.Error("packed a module that nobody needs")
	}
	init, err := os.ReadFile(filepath.Join(dir, "init"))
	if err != nil {
		t.Fatal(err)
	}
	var loads []string
	for line := range strings.Lines(string(init)) {
		if f, ok := strings.CutPrefix(line, "load '/lib/modules/9.9.9-test/"); ok {
			loads = append(loads, strings.TrimSuffix(f, ".ko'\n"))
		}
	}
	if want := []string{"nf_defrag_ipv4", "libcrc32c", "nf_conntrack", "nf_conntrack_netlink", "nf_dashed"}; !slices.Equal(loads, want) {
		t.Errorf("init loads %q, want %q", loads, want)
	}

	loader := filepath.Join(dir, "lib64/ld-linux-x86-64.so.2")
	libs := []string{filepath.Join(dir, "lib/x86_64-linux-gnu"), filepath.Join(dir, "usr/lib/x86_64-linux-gnu")}
	out, err := exec.CommandContext(t.Context(), loader, "--inhibit-cache", "--library-path", strings.Join(libs, ":"), filepath.Join(dir, "usr/bin/ip"), "-V").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "iproute2") {
		t.Errorf("the packed ip says %q, %v", out, err)
	}

	if _, err := pack(t.Context(), k, Options{Command: []string{"true"}, Binaries: []string{"no-such-program"}}, newMark()); err == nil {
		t.Error("packed a program that isn't there")
	}
}

func TestLibraries(t *testing.T) {
	const ldd = "\tlinux-vdso.so.1 (0x00007ffb92b4a000)\n" +
		"\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007ffb9294f000)\n" +
		"\t/lib64/ld-linux-x86-64.so.2 (0x00007ffb92b4c000)\n"
	want := []string{"/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"}
	if got := libraries(ldd); !slices.Equal(got, want) {
		t.Errorf("libraries: %q, want %q", got, want)
	}
}
