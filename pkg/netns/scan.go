//go:build linux

package netns

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ctwhy/ctwhy/pkg/event"
)

// scanner looks for namespaces beneath a root directory.
type scanner struct {
	root string
	// inode tells the number of the network namespace at a path, and whether
	// there is one.
	inode func(path string) (uint32, error)
}

var machine = scanner{root: "/", inode: inode}

// nameDirs is where ip(8) and container runtimes name namespaces; the second
// is an old name of the first on most systems.
var nameDirs = []string{"run/netns", "var/run/netns"}

// list looks at the names last, since a named path outlives a process and is
// what a user knows.
func (s scanner) list() (map[uint32]Ref, error) {
	all := make(map[uint32]Ref)
	err := s.processes(all)
	s.mounts(all)
	for id, r := range s.names() {
		all[id] = r
	}
	return all, err
}

// names lists the named namespaces. Of several names for one the first in
// alphabetical order is taken.
func (s scanner) names() map[uint32]Ref {
	found := make(map[uint32]Ref)
	var seen []fs.FileInfo
	for _, dir := range nameDirs {
		dir = filepath.Join(s.root, dir)
		fi, err := os.Stat(dir)
		if err != nil || slices.ContainsFunc(seen, func(o fs.FileInfo) bool { return os.SameFile(o, fi) }) {
			continue
		}
		seen = append(seen, fi)
		files, _ := os.ReadDir(dir) // what can be read is taken
		for _, f := range files {
			path := filepath.Join(dir, f.Name())
			// ip netns makes the file first and mounts the namespace on it next.
			id, err := s.inode(path)
			if _, taken := found[id]; err == nil && !taken {
				found[id] = Ref{event.Netns{ID: id, Name: f.Name()}, path}
			}
		}
	}
	return found
}

// processes adds the namespace of every process that may be looked at.
func (s scanner) processes(to map[uint32]Ref) error {
	dir, err := os.Open(filepath.Join(s.root, "proc"))
	if err != nil {
		return fmt.Errorf("list network namespaces: %w", err)
	}
	defer dir.Close()
	pids, err := dir.Readdirnames(-1)
	for _, pid := range pids {
		if pid[0] < '0' || pid[0] > '9' {
			continue
		}
		r, err := s.process(pid) // it may have ended meanwhile
		if _, taken := to[r.ID]; err == nil && !taken {
			to[r.ID] = r
		}
	}
	if err != nil {
		return fmt.Errorf("list network namespaces: %w", err)
	}
	return nil
}

// process reads the namespace of one process from its link, which needs no
// right to open it.
func (s scanner) process(pid string) (Ref, error) {
	path := filepath.Join(s.root, "proc", pid, "ns/net")
	link, err := os.Readlink(path)
	if err != nil {
		return Ref{}, fmt.Errorf("read network namespace: %w", err)
	}
	id, ok := parseLink(link)
	if !ok {
		return Ref{}, fmt.Errorf("read network namespace: %s links to %q", path, link)
	}
	return Ref{event.Netns{ID: id}, path}, nil
}

// mounts adds namespaces that are mounted elsewhere (/run/docker/netns for
// one), from lines of proc_pid_mountinfo(5) like
// "371 29 0:4 net:[4026532208] /run/docker/netns/1a2b rw shared:194 - nsfs nsfs rw".
func (s scanner) mounts(to map[uint32]Ref) {
	f, err := os.Open(filepath.Join(s.root, "proc/self/mountinfo"))
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if !strings.Contains(lines.Text(), " net:[") {
			continue
		}
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		if id, ok := parseLink(fields[3]); ok {
			to[id] = Ref{event.Netns{ID: id}, filepath.Join(s.root, unescape(fields[4]))}
		}
	}
}

// parseLink reads "net:[4026531840]".
func parseLink(link string) (uint32, bool) {
	num, ok := strings.CutPrefix(link, "net:[")
	num, end := strings.CutSuffix(num, "]")
	id, err := strconv.ParseUint(num, 10, 32)
	return uint32(id), ok && end && err == nil
}

// unescape undoes mountinfo's octal escapes (\040 for a space).
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

var errNotNetns = errors.New("not a network namespace")
