//go:build linux

package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"

	"golang.org/x/sys/unix"
)

// open opens the network namespace at a path, and nothing else.
func open(path string) (fd int, id uint32, err error) {
	// O_NONBLOCK: the path may be a pipe that nobody writes to.
	fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, 0, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE) // ENOTTY for other files
	var st unix.Stat_t
	if err != nil || kind != unix.CLONE_NEWNET {
		err = errNotNetns
	} else {
		err = unix.Fstat(fd, &st)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, 0, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, uint32(st.Ino), nil
}

func inode(path string) (uint32, error) {
	fd, id, err := open(path)
	if err != nil {
		return 0, err
	}
	_ = unix.Close(fd)
	return id, nil
}

// enter runs f in the namespace at path. If want is not 0 the namespace's
// number must be that.
func enter(path string, want uint32, f func() error) error {
	fd, id, err := open(path)
	if want != 0 && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotNetns) || err == nil && id != want) {
		if err == nil {
			_ = unix.Close(fd)
		}
		return fmt.Errorf("enter netns %d at %s: %w", want, path, ErrGone)
	}
	if err != nil {
		return fmt.Errorf("enter netns: %w", err)
	}
	defer unix.Close(fd)
	done := make(chan error, 1)
	go onThread(path, fd, f, done)
	return <-done
}

// onThread runs f in the namespace fd and reports its error, on a thread that
// is given back to the runtime only after it has come back, and dies otherwise.
func onThread(path string, fd int, f func() error, done chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// Everyone sees the process where its main thread is. Holding that one
		// makes the runtime take another.
		inner := make(chan error, 1)
		go onThread(path, fd, f, inner)
		done <- <-inner
		runtime.UnlockOSThread()
		return
	}
	err := errors.New("netns: the function ended its goroutine")
	defer func() { done <- err }() // also after runtime.Goexit
	home, e := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if e != nil {
		runtime.UnlockOSThread()
		err = fmt.Errorf("open own netns: %w", e)
		return
	}
	defer unix.Close(home)
	if e := unix.Setns(fd, unix.CLONE_NEWNET); e != nil {
		runtime.UnlockOSThread()
		err = fmt.Errorf("enter netns %s: %w", path, e)
		return
	}
	defer func() {
		if e := unix.Setns(home, unix.CLONE_NEWNET); e == nil {
			runtime.UnlockOSThread()
		}
	}()
	err = f()
}
