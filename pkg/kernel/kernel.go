// Package kernel tells what this kernel is: its release and symbols, whether
// it lets BPF programs watch conntrack, what its conntrack limits are, and how
// its boot clock maps to wall-clock time. Everything is read from /proc and
// /sys. It loads and attaches nothing; that is package probe's work.
package kernel

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Kernel is a kernel seen through its /proc and /sys. The zero value is the
// running one.
type Kernel struct {
	// Root is the directory that holds proc and sys; "" is "/".
	Root string
}

func (k Kernel) path(name string) string {
	root := k.Root
	if root == "" {
		root = "/"
	}
	return filepath.Join(root, name)
}

// read returns a small file without the white space around it.
func (k Kernel) read(name string) (string, error) {
	b, err := os.ReadFile(k.path(name))
	return string(bytes.TrimSpace(b)), err
}

func (k Kernel) exists(name string) bool {
	_, err := os.Stat(k.path(name))
	return err == nil
}

// Release is the kernel's release as uname -r prints it, "" when /proc cannot
// be read.
func (k Kernel) Release() string {
	r, err := k.read("proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	return r
}

// AtLeast reports whether the kernel's release is major.minor or later, and
// whether that could be told. Distributions backport, so it may decide only
// what no file in /proc or /sys tells.
func (k Kernel) AtLeast(major, minor int) Answer {
	a, rest, ok := strings.Cut(k.Release(), ".")
	if !ok {
		return Unknown
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	ma, err := strconv.Atoi(a)
	if err != nil {
		return Unknown
	}
	mi, err := strconv.Atoi(rest[:end])
	if err != nil {
		return Unknown
	}
	if ma > major || ma == major && mi >= minor {
		return Yes
	}
	return No
}
