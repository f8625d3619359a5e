//go:build linux

package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ctwhy/ctwhy/pkg/event"
)

// maxListed limits how many names an error lists.
const maxListed = 10

// Resolve finds the namespace that a user means: a name in /run/netns, a path,
// or an inode number as in "4026531840" or "net:[4026531840]", tried in this
// order.
func Resolve(arg string) (Ref, error) { return machine.resolve(arg) }

func (s scanner) resolve(arg string) (Ref, error) {
	if strings.Contains(arg, "/") {
		return s.atPath(arg)
	}
	if arg != "" && arg != "." && arg != ".." {
		for _, dir := range nameDirs {
			path := filepath.Join(s.root, dir, arg)
			if id, err := s.inode(path); err == nil {
				return Ref{event.Netns{ID: id, Name: arg}, path}, nil
			}
		}
	}
	id, ok := parseLink(arg)
	if n, err := strconv.ParseUint(arg, 10, 32); err == nil {
		id, ok = uint32(n), true
	}
	if ok {
		all, err := s.list()
		if r, found := all[id]; found {
			return r, nil
		}
		if err != nil {
			return Ref{}, err
		}
	}
	return Ref{}, fmt.Errorf("unknown network namespace %q: it is neither a name in /run/netns (%s), nor a path, nor the inode of a namespace that a process is in",
		arg, listNames(s.names()))
}

func (s scanner) atPath(path string) (Ref, error) {
	id, err := s.inode(path)
	switch {
	case errors.Is(err, errNotNetns):
		return Ref{}, fmt.Errorf("unknown network namespace %q: the file is not a network namespace", path)
	case errors.Is(err, fs.ErrNotExist):
		return Ref{}, fmt.Errorf("unknown network namespace %q: there is no such file", path)
	case err != nil:
		return Ref{}, fmt.Errorf("network namespace %q: %w", path, err)
	}
	return Ref{event.Netns{ID: id, Name: s.names()[id].Name}, path}, nil
}

// listNames lists names for an error, as they may be printed.
func listNames(refs map[uint32]Ref) string {
	names := make([]string, 0, len(refs))
	for _, r := range refs {
		if q := strconv.Quote(r.Name); len(q) > len(r.Name)+2 || strings.ContainsAny(r.Name, ", ") {
			names = append(names, q)
		} else {
			names = append(names, r.Name)
		}
	}
	if len(names) == 0 {
		return "which has none"
	}
	slices.Sort(names)
	if more := len(names) - maxListed; more > 0 {
		names = append(names[:maxListed], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}
