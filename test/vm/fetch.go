package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// series is a row of the matrix: a kernel series, and the Debian suites that
// carry its newest version, or the libc of its tools.
type series struct {
	name   string
	suites []string
}

var matrix = []series{
	{"5.10", []string{"bullseye", "bullseye-security"}},
	{"6.1", []string{"bookworm", "bookworm-security"}},
	{"6.12", []string{"bookworm", "bookworm-backports", "bookworm-security"}},
	{"7.2", []string{"sid", "trixie", "trixie-backports"}},
}

// fetch downloads the newest kernel of a series, with the headers to build
// modules for it, and unpacks both into dir. It has its own apt state, so the
// machine's is neither used nor changed, except that it tells where mirrors are.
func fetch(ctx context.Context, s series, dir string, log io.Writer) error {
	if runtime.GOARCH != "amd64" {
		return errors.New("the lab's kernels are for amd64")
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	unlock, err := lock(dir + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := cached(dir); err == nil { // somebody else was quicker
		return nil
	}

	tmp, err := os.MkdirTemp(filepath.Dir(dir), "."+s.name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	a, err := newAPT(ctx, filepath.Join(tmp, "apt"), s.suites, log)
	if err != nil {
		return err
	}
	names, err := a.names("linux-")
	if err != nil {
		return err
	}
	release, packages, err := pick(s.name, names)
	if err != nil {
		return fmt.Errorf("%w in %s%s", err, strings.Join(s.suites, ", "), a.warnings)
	}
	headers, err := a.depends("linux-headers-"+release, "linux-")
	if err != nil {
		return err
	}
	fmt.Fprintf(log, "downloading Linux %s\n", release)

	root := filepath.Join(tmp, "root")
	if err := a.unpack(root, packages...); err != nil {
		return err
	}
	headers = slices.DeleteFunc(headers, func(name string) bool { return slices.Contains(packages, name) })
	if err := a.unpack(filepath.Join(root, "headers"), headers...); err != nil {
		return err
	}
	if err := adaptTools(a, filepath.Join(root, "headers")); err != nil {
		return err
	}
	if err := tidy(ctx, root, release); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(root, dir)
}

// tidy brings the layouts of Debian's packages, old and new, into the one that
// cached reads.
func tidy(ctx context.Context, root, release string) error {
	if usr := filepath.Join(root, "usr/lib/modules", release); exists(usr) {
		if err := os.MkdirAll(filepath.Join(root, "lib/modules"), 0o755); err != nil {
			return err
		}
		if err := os.Rename(usr, filepath.Join(root, "lib/modules", release)); err != nil {
			return err
		}
	}
	image := filepath.Join(root, "boot/vmlinuz-"+release)
	if !exists(image) {
		image = filepath.Join(root, "lib/modules", release, "vmlinuz")
	}
	if err := os.Rename(image, filepath.Join(root, "vmlinuz")); err != nil {
		return err
	}
	for _, d := range []string{"usr", "boot"} {
		if err := os.RemoveAll(filepath.Join(root, d)); err != nil {
			return err
		}
	}
	if _, err := output(ctx, "depmod", "-b", root, release); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, "release"), []byte(release+"\n"), 0o644)
}

// adaptTools makes kbuild's programs run here. Those of a newer Debian want its
// libc: they get it, from the same suites, and a wrapper each that uses it.
func adaptTools(a *apt, headers string) error {
	var tools []string
	err := filepath.WalkDir(filepath.Join(headers, "usr/lib"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if info, err := d.Info(); err != nil || info.Mode()&0o111 == 0 {
			return err
		}
		// For a script ldd fails, and says something else.
		out, _ := exec.CommandContext(a.ctx, "ldd", name).CombinedOutput()
		if strings.Contains(string(out), "not found") {
			tools = append(tools, name)
		}
		return nil
	})
	if err != nil || len(tools) == 0 {
		return err
	}
	if err := a.unpack(filepath.Join(headers, "libc"), "libc6"); err != nil {
		return err
	}
	for _, name := range tools {
		libs, err := filepath.Rel(filepath.Dir(name), filepath.Join(headers, "libc/usr/lib/x86_64-linux-gnu"))
		if err != nil {
			return err
		}
		if err := os.Rename(name, name+".elf"); err != nil {
			return err
		}
		wrapper := fmt.Sprintf("#!/bin/sh\nlibs=${0%%/*}/%s\nexec \"$libs/ld-linux-x86-64.so.2\" --library-path \"$libs\" \"$0.elf\" \"$@\"\n", libs)
		if err := os.WriteFile(name, []byte(wrapper), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// pick chooses the newest release of a series among package names, and says
// which packages hold its files. A release whose headers are gone is passed over.
func pick(series string, names []string) (release string, packages []string, err error) {
	image := regexp.MustCompile(`^linux-(image|binary)-(` + regexp.QuoteMeta(series) + `\..*-cloud-amd64)$`)
	for _, name := range names {
		m := image.FindStringSubmatch(name)
		// 6.1.0-0.deb11.52 and its like are one suite's rebuilds of another's kernel.
		if m == nil || strings.Contains(m[2], "-0.deb") || !slices.Contains(names, "linux-headers-"+m[2]) {
			continue
		}
		if release == "" || compare(m[2], release) > 0 {
			release = m[2]
		}
	}
	switch {
	case release == "":
		return "", nil, fmt.Errorf("no linux-image-%s.*-cloud-amd64", series)
	case slices.Contains(names, "linux-binary-"+release): // 6.19 and later: linux-image is empty
		return release, []string{"linux-base-" + release, "linux-binary-" + release, "linux-modules-" + release}, nil
	}
	return release, []string{"linux-image-" + release}, nil
}

var digits = regexp.MustCompile(`\d+|\D+`)

// compare orders releases: runs of digits by value, the rest by bytes.
func compare(a, b string) int {
	return slices.CompareFunc(digits.FindAllString(a, -1), digits.FindAllString(b, -1), func(x, y string) int {
		n, errX := strconv.Atoi(x)
		m, errY := strconv.Atoi(y)
		if errX == nil && errY == nil {
			return n - m
		}
		return strings.Compare(x, y)
	})
}

// lock holds a file's lock until the returned function is called.
func lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return func() { f.Close() }, nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
