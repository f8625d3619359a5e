package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Kernel is a kernel that can be booted.
type Kernel struct {
	// Series is the row of the matrix, such as "6.12"; empty for a kernel given by path.
	Series string
	// Release is what uname -r says there.
	Release string
	// Image is the path of the vmlinuz.
	Image string
	// Modules is the path of its lib/modules/RELEASE directory, with a modules.dep.
	Modules string

	// headers is the root under which the packages with its headers and kbuild are unpacked.
	headers string
}

// String names the kernel for people: its release.
func (k Kernel) String() string { return k.Release }

// FromEnv is the kernel that CTWHY_KERNEL (the path of a vmlinuz) and
// CTWHY_MODULES (the path of its lib/modules/RELEASE) name; ok is false if
// neither is set.
func FromEnv() (k Kernel, ok bool, err error) {
	image, modules := os.Getenv("CTWHY_KERNEL"), os.Getenv("CTWHY_MODULES")
	if image == "" && modules == "" {
		return Kernel{}, false, nil
	}
	if image == "" || modules == "" {
		return Kernel{}, true, errors.New("CTWHY_KERNEL and CTWHY_MODULES go together: a vmlinuz and its lib/modules/RELEASE")
	}
	k, err = FromPath(image, modules)
	return k, true, err
}

// FromPath is the kernel with this vmlinuz and this lib/modules/RELEASE
// directory, in which depmod has run.
func FromPath(image, modules string) (Kernel, error) {
	if _, err := os.Stat(image); err != nil {
		return Kernel{}, fmt.Errorf("find kernel: %w", err)
	}
	modules, err := filepath.EvalSymlinks(modules)
	if err != nil {
		return Kernel{}, fmt.Errorf("find kernel modules: %w", err)
	}
	if _, err := os.Stat(filepath.Join(modules, "modules.dep")); err != nil {
		return Kernel{}, fmt.Errorf("find kernel modules: %w (run depmod)", err)
	}
	return Kernel{Release: filepath.Base(modules), Image: image, Modules: modules}, nil
}

// Series lists the kernels of the test matrix, oldest first.
func Series() []string {
	names := make([]string, 0, len(matrix))
	for _, s := range matrix {
		names = append(names, s.name)
	}
	return names
}

// Open returns the kernel of a series from the cache, which it fills from
// Debian's packages first if need be. Only that needs the network; log is told
// of it.
func Open(ctx context.Context, name string, log io.Writer) (Kernel, error) {
	i := slices.IndexFunc(matrix, func(s series) bool { return s.name == name })
	if i < 0 {
		return Kernel{}, fmt.Errorf("open kernel %s: not in the matrix (%s)", name, strings.Join(Series(), ", "))
	}
	cache, err := CacheDir()
	if err != nil {
		return Kernel{}, err
	}
	dir := filepath.Join(cache, "kernel", name)
	k, err := cached(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = fetch(ctx, matrix[i], dir, log); err == nil {
			k, err = cached(dir)
		}
	}
	if err != nil {
		return Kernel{}, fmt.Errorf("open kernel %s: %w", name, err)
	}
	k.Series = name
	return k, nil
}

// CacheDir is where kernels are kept: CTWHY_CACHE, or ctwhy in the user's cache
// directory. Whatever is in it may be removed: it comes back when needed.
func CacheDir() (string, error) {
	if dir := os.Getenv("CTWHY_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache directory: %w (set CTWHY_CACHE)", err)
	}
	return filepath.Join(dir, "ctwhy"), nil
}

// cached reads a directory that fetch made.
func cached(dir string) (Kernel, error) {
	release, err := os.ReadFile(filepath.Join(dir, "release"))
	if err != nil {
		return Kernel{}, err
	}
	r := string(bytes.TrimSpace(release))
	return Kernel{
		Release: r,
		Image:   filepath.Join(dir, "vmlinuz"),
		Modules: filepath.Join(dir, "lib/modules", r),
		headers: filepath.Join(dir, "headers"),
	}, nil
}
