//go:build linux

package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tree is a root directory in which a "namespace" is a file that holds its number.
func tree(t *testing.T) (scanner, string) {
	t.Helper()
	root := t.TempDir()
	s := scanner{root: root, inode: func(path string) (uint32, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			return 0, err
		}
		id, err := strconv.ParseUint(string(b), 10, 32)
		if err != nil {
			return 0, &fs.PathError{Op: "open", Path: path, Err: errNotNetns}
		}
		return uint32(id), nil
	}}
	for _, dir := range []string{"proc", "run/netns", "var"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../run", filepath.Join(root, "var/run")); err != nil {
		t.Fatal(err)
	}
	return s, root
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func process(t *testing.T, root string, pid int, link string) {
	t.Helper()
	dir := filepath.Join(root, "proc", strconv.Itoa(pid), "ns")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(link, filepath.Join(dir, "net")); err != nil {
		t.Fatal(err)
	}
}

func sample(t *testing.T) (scanner, string) {
	s, root := tree(t)
	process(t, root, 1, "net:[4026531840]")
	process(t, root, 2, "net:[4026531840]")
	process(t, root, 30, "net:[4026532001]")
	process(t, root, 31, "net:[4026532100]")
	process(t, root, 32, "mnt:[4026532101]")
	if err := os.MkdirAll(filepath.Join(root, "proc/33"), 0o755); err != nil { // ended just now
		t.Fatal(err)
	}
	put(t, filepath.Join(root, "run/netns/client"), "4026532001")
	put(t, filepath.Join(root, "run/netns/a name"), "4026532002")
	put(t, filepath.Join(root, "run/netns/zz-again"), "4026532002")
	put(t, filepath.Join(root, "run/netns/half-made"), "")
	put(t, filepath.Join(root, "proc/self/mountinfo"),
		"22 1 8:1 / / rw - ext4 /dev/sda rw\n371 29 0:4 net:[4026532208] /run/docker/netns/1a\\0402b rw shared:194 - nsfs nsfs rw\n"+
			"372 29 0:4 net:[x] /y rw - nsfs nsfs rw\n373 net:[1]\n374 29 0:4 mnt:[4026532209] /z net:[7] rw - nsfs nsfs rw\n")
	return s, root
}

func TestList(t *testing.T) {
	s, root := sample(t)
	got, err := s.list()
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint32][2]string{
		4026531840: {"", "proc/1/ns/net"},
		4026532001: {"client", "run/netns/client"},
		4026532002: {"a name", "run/netns/a name"},
		4026532100: {"", "proc/31/ns/net"},
		4026532208: {"", "run/docker/netns/1a 2b"},
	}
	for id, w := range want {
		r := got[id]
		if r.ID != id || r.Name != w[0] || r.Path != filepath.Join(root, w[1]) && id != 4026531840 {
			t.Errorf("%d: %+v, want %v", id, r, w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d namespaces, want %d: %v", len(got), len(want), got)
	}
}

func TestResolve(t *testing.T) {
	s, root := sample(t)
	put(t, filepath.Join(root, "run/netns/4026532100"), "4026532003")
	for arg, want := range map[string]uint32{
		"client":                                4026532001,
		"a name":                                4026532002,
		"zz-again":                              4026532002, // a second name for it
		"4026532100":                            4026532003, // a name goes before a number
		"4026531840":                            4026531840,
		"net:[4026532208]":                      4026532208,
		filepath.Join(root, "run/netns/client"): 4026532001,
	} {
		if r, err := s.resolve(arg); err != nil || r.ID != want || r.Path == "" {
			t.Errorf("%q: %+v, %v, want %d", arg, r, err, want)
		}
	}
	const unknown = `unknown network namespace "x": it is neither a name in /run/netns ("a name", 4026532100, client), nor a path, nor the inode of a namespace that a process is in`
	if _, err := s.resolve("x"); err == nil || err.Error() != unknown {
		t.Errorf("got  %v\nwant %s", err, unknown)
	}
	for arg, says := range map[string]string{
		"":                                  "neither a name",
		"..":                                "neither a name",
		"4026599999":                        "neither a name",
		"half-made":                         "neither a name",
		"x\x1b[31m":                         `"x\x1b[31m"`,
		filepath.Join(root, "run/netns/no"): "no such file",
		filepath.Join(root, "proc/self/mountinfo"): "not a network namespace",
	} {
		if r, err := s.resolve(arg); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %+v, error %v does not say %q", arg, r, err, says)
		}
	}
}

func TestResolveListsFewNames(t *testing.T) {
	s, root := tree(t)
	if _, err := s.resolve("x"); err == nil || !strings.Contains(err.Error(), "/run/netns (which has none)") {
		t.Errorf("without names: %v", err)
	}
	for i := range 25 {
		put(t, filepath.Join(root, fmt.Sprintf("run/netns/pod\x1b%02d", i)), strconv.Itoa(100+i))
	}
	_, err := s.resolve("x")
	if err == nil || !strings.Contains(err.Error(), "and 15 more") || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("many hostile names: %q", err)
	}
}

func TestIndex(t *testing.T) {
	s, root := sample(t)
	now := time.Unix(1000, 0)
	x := Index{scanner: s, now: func() time.Time { return now }}
	check := func(what string, id uint32, name string, there, found bool) {
		t.Helper()
		r, ok := x.Lookup(id)
		if ok != found || r.ID != id || r.Name != name || (r.Path != "") != there {
			t.Errorf("%s: %+v, %v", what, r, ok)
		}
	}
	client := filepath.Join(root, "run/netns/client")
	check("named", 4026532001, "client", true, true)
	check("unknown", 77, "", false, false)

	put(t, filepath.Join(root, "run/netns/late"), "77")
	check("no second look within a second", 77, "", false, false)
	now = now.Add(rescan)
	check("found by the second look", 77, "late", true, true)

	// Deleted, and its number used again at once for another name.
	put(t, filepath.Join(root, "run/netns/other"), "4026532001")
	if err := os.Remove(client); err != nil {
		t.Fatal(err)
	}
	now = now.Add(recheck)
	check("number used again", 4026532001, "other", true, true)

	if err := os.Remove(filepath.Join(root, "run/netns/late")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(recheck)
	check("gone keeps its name", 77, "late", false, true)

	put(t, filepath.Join(root, "run/netns/named"), "4026532100")
	check("not named yet", 4026532100, "", true, true)
	now = now.Add(rename)
	check("named late", 4026532100, "named", true, true)
}

func TestIndexIsBounded(t *testing.T) {
	s, _ := tree(t)
	now := time.Unix(1000, 0)
	x := Index{scanner: s, now: func() time.Time { return now }, known: map[uint32]*seen{}}
	for i := range uint32(maxGone + 100) {
		r := Ref{Path: "/gone"}
		r.ID, r.Name = i, "pod"
		x.known[i] = &seen{Ref: r}
	}
	x.Lookup(1 << 31)
	if len(x.known) > maxGone {
		t.Errorf("%d remembered", len(x.known))
	}
}

func TestGoneRef(t *testing.T) {
	if err := (Ref{}).Do(func() error { return nil }); !errors.Is(err, ErrGone) {
		t.Errorf("a number without a path: %v", err)
	}
}
