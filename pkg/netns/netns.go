//go:build linux

// Package netns finds the network namespaces of this machine and runs code in
// them. It makes none, and never keeps one alive: no file of a namespace stays
// open after a call. Namespaces that only a socket or an open file keeps alive
// cannot be found.
//
// Names are the file names in /run/netns, which anyone with the right to make
// a namespace chooses: hostile text.
package netns

import (
	"errors"
	"fmt"

	"github.com/ctwhy/ctwhy/pkg/event"
)

// ErrGone says that a namespace is not there any more, or not at the path
// where it was found.
var ErrGone = errors.New("network namespace is gone")

// Ref is a network namespace and a path by which it can be opened.
type Ref struct {
	event.Netns
	// Path is a file in /run/netns, another mount of the namespace, or
	// /proc/PID/ns/net; "" when the namespace is known by its number only.
	Path string
}

// Do runs f in the namespace, as [Do]. It fails with [ErrGone] when another
// namespace has taken its path.
func (r Ref) Do(f func() error) error {
	if r.Path == "" {
		return fmt.Errorf("enter netns %d: %w", r.ID, ErrGone)
	}
	return enter(r.Path, r.ID, f)
}

// Do runs f in the network namespace at path, on a thread that leaves it
// afterwards; "" is where the caller is. Goroutines that f starts are not in
// the namespace, and neither is what /proc/self/net and /proc/net show: f
// reads /proc/thread-self/net. It takes CAP_SYS_ADMIN.
func Do(path string, f func() error) error {
	if path == "" {
		return f()
	}
	return enter(path, 0, f)
}

// List finds the network namespaces that have a name, are mounted somewhere or
// have a process in them, by inode number.
func List() (map[uint32]Ref, error) { return machine.list() }

// Self is the network namespace of this process.
func Self() (Ref, error) { return machine.process("self") }

// Initial is the network namespace of process 1, which is the initial one
// unless this process is in a container with a PID namespace of its own. It
// takes every capability that process 1 has (ptrace(2), access mode checking).
func Initial() (Ref, error) { return machine.process("1") }
