package vm

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// archive is the files of an initramfs, by their path in the guest without the
// first slash.
type archive map[string]file

// file is one of them: its content is data, or that of the host's file src.
type file struct {
	mode uint32 // as st_mode, type included
	data []byte // of a symbolic link: its target
	src  string
}

const (
	typeDir  = 0o040000
	typeFile = 0o100000
	typeLink = 0o120000
)

func (a archive) dir(name string) { a.put(name, file{mode: typeDir | 0o755}) }
func (a archive) link(name, target string) {
	a.put(name, file{mode: typeLink | 0o777, data: []byte(target)})
}
func (a archive) write(name, text string) {
	a.put(name, file{mode: typeFile | 0o644, data: []byte(text)})
}
func (a archive) script(name, text string) {
	a.put(name, file{mode: typeFile | 0o755, data: []byte(text)})
}
func (a archive) bytes(name string, content []byte) {
	a.put(name, file{mode: typeFile | 0o644, data: content})
}

func (a archive) put(name string, f file) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	a[name] = f
	for d := path.Dir(name); d != "."; d = path.Dir(d) {
		if _, ok := a[d]; !ok {
			a[d] = file{mode: typeDir | 0o755}
		}
	}
}

// copy adds a file of the host, or a directory with all that is in it.
func (a archive) copy(name, src string) error {
	src, err := filepath.EvalSymlinks(src)
	if err != nil {
		return err
	}
	return filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, p)
		if err != nil {
			return err
		}
		to := path.Join(name, filepath.ToSlash(rel))
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			a.dir(to)
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			a.link(to, target)
		case d.Type().IsRegular():
			a.put(to, file{mode: typeFile | uint32(info.Mode().Perm()), src: p})
		}
		return nil
	})
}

// writeTo writes the archive in the format that the kernel unpacks: "newc" of
// cpio(5), uncompressed, because unpacking is what costs time under emulation.
func (a archive) writeTo(w io.Writer) error {
	names := make([]string, 0, len(a))
	for name := range a {
		names = append(names, name)
	}
	slices.Sort(names) // parents before what is in them
	out := &cpioWriter{w: w}
	for i, name := range names {
		if err := out.add(i+1, name, a[name]); err != nil {
			return fmt.Errorf("pack %s: %w", name, err)
		}
	}
	return out.add(0, "TRAILER!!!", file{})
}

type cpioWriter struct {
	w io.Writer
	n int64
}

func (c *cpioWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func (c *cpioWriter) add(ino int, name string, f file) error {
	content, size := io.Reader(strings.NewReader(string(f.data))), int64(len(f.data))
	if f.src != "" {
		src, err := os.Open(f.src)
		if err != nil {
			return err
		}
		defer src.Close()
		info, err := src.Stat()
		if err != nil {
			return err
		}
		content, size = io.LimitReader(src, info.Size()), info.Size()
	}
	const mtime, uid, gid, links = 0, 0, 0, 1
	_, err := fmt.Fprintf(c, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		ino, f.mode, uid, gid, links, mtime, size, 0, 0, 0, 0, len(name)+1, 0, name)
	if err != nil {
		return err
	}
	if err := c.align(); err != nil {
		return err
	}
	if n, err := io.Copy(c, content); err != nil {
		return err
	} else if n != size {
		return fmt.Errorf("%s: %d bytes instead of %d: it changed meanwhile", f.src, n, size)
	}
	return c.align()
}

func (c *cpioWriter) align() error {
	_, err := c.Write(make([]byte, (4-c.n%4)%4))
	return err
}
