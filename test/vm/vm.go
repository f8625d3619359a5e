// Package vm boots a Linux kernel under QEMU and runs one command there: the
// lab in which everything that needs BPF, modules or sysctls is tested, whatever
// the machine underneath allows.
//
//	k, err := vm.Open(ctx, "6.12", os.Stderr)
//	exit, err := vm.Run(ctx, k, vm.Options{
//		Command:  []string{"conntrack", "-C"},
//		Binaries: []string{"conntrack"},
//		Stdout:   os.Stdout,
//	})
//
// The guest is a busybox with the kernel's modules and the files and programs
// asked for. It has no disk and no network but its own; nf_conntrack and
// nf_conntrack_netlink are loaded, and other modules come when the kernel asks
// for them. Commands see CTWHY_GUEST=1, and limits as they are after boot: in
// particular, 5.10 charges BPF maps against RLIMIT_MEMLOCK.
//
// It isn't a general runner of virtual machines: amd64 only, one command a boot.
package vm

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// Options say what to run in the guest. Only Command is needed.
type Options struct {
	// Command is looked up in the guest: in Binaries' names and busybox's applets.
	Command []string
	// Binaries are programs of the host, by name or path, that come along with
	// their shared libraries.
	Binaries []string
	// Files are other files or directories: path in the guest -> path on the host.
	Files map[string]string
	// Out are files to bring back: path in the guest -> path on the host. One that
	// doesn't exist in the end is an error.
	Out map[string]string
	// Modules are loaded before the command, after conntrack.
	Modules []string

	Memory int      // in MiB; 512 if 0
	CPUs   int      // 2 if 0
	Append []string // more arguments for the kernel

	// ICount makes guest time the count of the guest's instructions, one a
	// nanosecond, on one CPU: the way to measure what code costs.
	ICount bool

	// Stdout gets what the command writes to stdout and stderr, unchanged.
	Stdout io.Writer
	// Stdin is given to the command; /dev/null if nil.
	Stdin io.Reader
	// Console gets the kernel's messages. Their end is in the error anyway.
	Console io.Writer
}

// Run boots the kernel, runs the command and returns its exit code. The error
// says that there is none: the guest didn't boot, or panicked, or the context
// ended first; it ends with what the kernel said last.
//
// CTWHY_ACCEL=kvm makes it use KVM instead of emulation.
func Run(ctx context.Context, k Kernel, o Options) (exit int, err error) {
	if len(o.Command) == 0 {
		return 0, errors.New("run in vm: no command")
	}
	if o.Stdout == nil {
		o.Stdout = io.Discard
	}
	exit, err = run(ctx, k, o)
	if err != nil {
		return 0, fmt.Errorf("run in vm, Linux %s: %w", k.Release, err)
	}
	return exit, nil
}

func run(ctx context.Context, k Kernel, o Options) (exit int, err error) {
	mark := newMark()
	files, err := pack(ctx, k, o, mark)
	if err != nil {
		return 0, err
	}
	initrd, err := os.CreateTemp("", "ctwhy-initramfs-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(initrd.Name())
	err = files.writeTo(initrd)
	if err := errors.Join(err, initrd.Close()); err != nil {
		return 0, err
	}

	m, err := boot(ctx, k, o, initrd.Name())
	if err != nil {
		return 0, err
	}
	exit, rest, err := demux(o.Stdout, m.port, mark)
	if err == nil {
		err = extract(rest, o.Out)
	}
	return exit, m.stop(err)
}

// extract writes the files of a tar archive that are asked for.
func extract(r io.Reader, out map[string]string) error {
	missing := map[string]string{} // name in the archive -> path on the host
	for guest, host := range out {
		missing[strings.TrimPrefix(path.Clean("/"+guest), "/")] = host
	}
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read the guest's files: %w", err)
		}
		host, ok := missing[h.Name]
		if !ok {
			continue
		}
		delete(missing, h.Name)
		if err := save(host, archive); err != nil {
			return err
		}
	}
	for guest := range missing {
		return fmt.Errorf("the guest has no file /%s", guest)
	}
	return nil
}

func save(name string, r io.Reader) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
