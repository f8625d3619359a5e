package vm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// BuildModule builds the kernel module whose sources and Kbuild are in dir, with
// the machine's gcc, and returns the path of its .ko in the cache. What was built
// once, of the same sources for the same kernel, isn't built again.
func BuildModule(ctx context.Context, k Kernel, dir string) (ko string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("build module %s for Linux %s: %w", filepath.Base(dir), k.Release, err)
		}
	}()
	sources, sum, err := readSources(dir)
	if err != nil {
		return "", err
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	done := filepath.Join(cache, "module", k.Release+"-"+sum)
	if ko, err := findModule(done); err == nil {
		return ko, nil
	}
	if err := os.MkdirAll(filepath.Dir(done), 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(done), ".build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	for name, content := range sources {
		if err := os.WriteFile(filepath.Join(tmp, name), content, 0o644); err != nil {
			return "", err
		}
	}
	if err := compile(ctx, k, tmp); err != nil {
		return "", err
	}
	if _, err := findModule(tmp); err != nil {
		return "", err
	}
	if err := os.Rename(tmp, done); err != nil && !exists(done) { // or somebody else was quicker
		return "", err
	}
	return findModule(done)
}

// compile runs the kernel's own kbuild. The kernel was built by another gcc, and
// with tools that a test machine lacks, so what depends on them is turned off:
// nothing of it is part of the modules' ABI.
func compile(ctx context.Context, k Kernel, dir string) error {
	args := []string{"M=" + dir, "CC=gcc", "HOSTCC=gcc",
		"CONFIG_DEBUG_INFO_BTF_MODULES=",         // pahole
		"CONFIG_GCC_PLUGINS=",                    // built for the other gcc
		"CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=",  // gcc 13
		"CONFIG_CC_HAS_SANE_FUNCTION_ALIGNMENT=", // gcc 13
	}
	if k.headers == "" { // a kernel given by path
		args = append(args, "-C", filepath.Join(k.Modules, "build"))
	} else {
		// The package's Makefile names /usr/src; these are the two trees it means.
		src := filepath.Join(k.headers, "usr/src")
		common, err := filepath.Glob(filepath.Join(src, "linux-headers-*-common"))
		if err != nil || len(common) != 1 {
			return fmt.Errorf("find headers in %s: %q", src, common)
		}
		args = append(args, "-C", common[0], "O="+filepath.Join(src, "linux-headers-"+k.Release))
	}
	cmd := exec.CommandContext(ctx, "make", append(args, "modules")...)
	// A make that runs this one must not hand down its own flags and variables.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return hasAnyPrefix(v, "MAKEFLAGS=", "MFLAGS=", "MAKELEVEL=", "MAKEOVERRIDES=", "VERSION=", "CC=", "ARCH=")
	})
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make: %w\n%s", err, out)
	}
	return nil
}

// readSources reads a directory's files and sums them up.
func readSources(dir string) (files map[string][]byte, sum string, err error) {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, "", err
	}
	files, h := map[string][]byte{}, sha256.New()
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, "", err
		}
		files[e.Name()] = content
		io.WriteString(h, e.Name()+"\x00")
		h.Write(content)
	}
	if len(files) == 0 {
		return nil, "", errors.New("no sources")
	}
	return files, hex.EncodeToString(h.Sum(nil))[:16], nil
}

func findModule(dir string) (string, error) {
	ko, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err == nil && len(ko) != 1 {
		return "", fmt.Errorf("%w: one .ko in %s", fs.ErrNotExist, dir)
	}
	if err != nil {
		return "", err
	}
	return ko[0], nil
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}
