//go:build linux

package netns

import (
	"sync"
	"time"

	"github.com/ctwhy/ctwhy/pkg/event"
)

const (
	// rescan is the least time between two looks for an unknown namespace.
	rescan = time.Second
	// recheck is how long a known one is taken to be the same, since numbers
	// of dead namespaces are used again at once.
	recheck = time.Second
	// rename is how long names are believed: a namespace may be named late.
	rename = 10 * time.Second
	// maxGone limits how many dead namespaces keep their names.
	maxGone = 4096
)

// Index finds namespaces by their numbers and remembers them. Its zero value
// is ready for use by several goroutines.
type Index struct {
	mu      sync.Mutex
	known   map[uint32]*seen
	scanned time.Time
	scanner scanner
	now     func() time.Time // tests set it
}

type seen struct {
	Ref
	checked time.Time
}

// Lookup finds the namespace with this inode number. The machine is looked
// through again, which costs about a microsecond a process, for a number that
// is not known, but at most once a second. A namespace that has gone keeps its
// name, without a path, until its number is used again.
func (x *Index) Lookup(id uint32) (Ref, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.now == nil {
		x.now = time.Now
	}
	if x.scanner.inode == nil {
		x.scanner = machine
	}
	now := x.now()
	age := now.Sub(x.scanned)
	if s, ok := x.known[id]; ok && s.Path != "" && age < rename && x.still(s, now) {
		return s.Ref, true
	}
	if x.known == nil || age >= rescan {
		x.scan(now)
	}
	if s, ok := x.known[id]; ok {
		return s.Ref, true
	}
	return Ref{Netns: event.Netns{ID: id}}, false
}

// still reports whether the namespace is where it was found.
func (x *Index) still(s *seen, now time.Time) bool {
	if now.Sub(s.checked) < recheck {
		return true
	}
	id, err := x.scanner.inode(s.Path)
	if err != nil || id != s.ID {
		// The name may be an older namespace's.
		s.Path = ""
		return false
	}
	s.checked = now
	return true
}

func (x *Index) scan(now time.Time) {
	found, _ := x.scanner.list() // what was found is right in any case
	next := make(map[uint32]*seen, len(found))
	for id, r := range found {
		next[id] = &seen{r, now}
	}
	gone := 0
	for id, s := range x.known {
		if next[id] == nil && s.Name != "" && gone < maxGone {
			s.Path = ""
			next[id] = s
			gone++
		}
	}
	x.known, x.scanned = next, now
}
