package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// machine is a running QEMU.
type machine struct {
	ctx      context.Context
	cmd      *exec.Cmd
	emulated bool
	port     *os.File // what the guest sends
	console  *tail
	exited   chan error    // how QEMU ended
	done     chan struct{} // closed then
}

// boot starts QEMU.
func boot(ctx context.Context, k Kernel, o Options, initrd string) (*machine, error) {
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return nil, fmt.Errorf("%w (run scripts/setup lab)", err)
	}
	accel := os.Getenv("CTWHY_ACCEL")
	if accel == "" {
		accel = "tcg"
	}
	args, err := arguments(accel, k, o, initrd)
	if err != nil {
		return nil, err
	}
	m := &machine{ctx: ctx, emulated: accel == "tcg" && !o.ICount, console: &tail{w: o.Console}, exited: make(chan error, 1), done: make(chan struct{})}
	m.cmd = exec.CommandContext(ctx, qemu, args...)
	m.cmd.Stdout, m.cmd.Stderr = m.console, m.console
	// An orphaned QEMU would burn a CPU until its guest's command ends.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	port, remote, err := socketpair()
	if err != nil {
		return nil, err
	}
	defer remote.Close()
	m.port = port
	m.cmd.ExtraFiles = []*os.File{remote}
	var stdin *os.File
	if o.Stdin != nil {
		in, remote, err := socketpair()
		if err != nil {
			port.Close()
			return nil, err
		}
		defer remote.Close()
		stdin = in
		m.cmd.ExtraFiles = append(m.cmd.ExtraFiles, remote)
	}

	started := make(chan error)
	go func() {
		// Pdeathsig is about the thread that started the process: keep it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := m.cmd.Start()
		started <- err
		if err == nil {
			m.exited <- m.cmd.Wait()
			close(m.done)
		}
	}()
	if err := <-started; err != nil {
		port.Close()
		if stdin != nil {
			stdin.Close()
		}
		return nil, err
	}
	if stdin != nil {
		go func() {
			defer stdin.Close()
			// The guest says when it listens: to close before that would leave it
			// waiting. Then copy until the end of either side.
			if _, err := stdin.Read(make([]byte, 1)); err == nil {
				io.Copy(stdin, o.Stdin)
				// Not Close: QEMU would drop what it hasn't yet read.
				syscall.Shutdown(int(stdin.Fd()), syscall.SHUT_WR)
			}
			<-m.done
		}()
	}
	return m, nil
}

// arguments is QEMU's command line. The guest's ends are descriptor 3, its
// output, and 4, its input if there is any.
func arguments(accel string, k Kernel, o Options, initrd string) ([]string, error) {
	cpus, memory := o.CPUs, o.Memory
	if cpus == 0 {
		cpus = 2
	}
	if memory == 0 {
		memory = 512
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-device", "virtio-serial-pci",
		"-chardev", "socket,id=out,fd=3", "-device", "virtserialport,chardev=out,nr=1",
	}
	if o.Stdin != nil {
		args = append(args, "-chardev", "socket,id=in,fd=4", "-device", "virtserialport,chardev=in,nr=2")
	}
	switch {
	case accel == "kvm" && !o.ICount:
		args = append(args, "-accel", "kvm", "-cpu", "host")
	case accel == "kvm":
		return nil, errors.New("instructions can be counted under emulation only: unset CTWHY_ACCEL")
	case accel == "tcg":
		// QEMU 7.2 emulates cmpxchg16b wrongly; since 6.12 the slab allocator
		// crashes on that, in every other boot.
		args = append(args, "-cpu", "max,-cx16")
		if o.ICount {
			cpus = 1
			args = append(args, "-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off")
		} else {
			args = append(args, "-accel", "tcg,thread=multi")
		}
	default:
		return nil, fmt.Errorf("CTWHY_ACCEL=%s: use tcg or kvm", accel)
	}
	cmdline := append([]string{"console=ttyS0", "quiet", "panic=-1", "oops=panic", "mitigations=off"}, o.Append...)
	return append(args,
		"-smp", strconv.Itoa(cpus), "-m", strconv.Itoa(memory),
		"-kernel", k.Image, "-initrd", initrd, "-append", strings.Join(cmdline, " ")), nil
}

// ErrEmulation says that the guest was killed by a known fault of the emulator:
// the run tells nothing, and may be repeated.
//
// When a guest's CPU changes code (a static key, a probe) that another is about
// to run for the first time, QEMU may keep a translation of the int3 that Linux
// puts there meanwhile, and the kernel doesn't know of it later. QEMU before 8.1
// does it once in some hundred changes, later ones once in many thousand.
var ErrEmulation = errors.New("the emulator ran an int3 that was no longer there")

// stop ends the machine. It returns err with what is known of its cause; nil if
// err is nil.
func (m *machine) stop(err error) error {
	select {
	case exit := <-m.exited: // by itself: a panic, or QEMU's own complaint
		err = errors.Join(err, exit)
	default:
		if errors.Is(err, errNoMark) { // it is on its way out: hear its last words
			err = errors.Join(err, <-m.exited)
		} else {
			m.cmd.Process.Kill()
			<-m.exited
		}
	}
	m.port.Close()
	if err == nil {
		return nil
	}
	if cause := context.Cause(m.ctx); cause != nil {
		err = cause
	} else if m.emulated && strings.Contains(m.console.String(), "Oops: int3:") {
		err = fmt.Errorf("%w: %w", ErrEmulation, err)
	}
	return fmt.Errorf("%w\nthe console's end:\n%s", err, m.console)
}

// socketpair makes a stream between this process and QEMU.
func socketpair() (local, remote *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "guest"), os.NewFile(uintptr(fds[1]), "qemu"), nil
}

// tail keeps the last lines of what is written to it, and passes it on.
type tail struct {
	w io.Writer

	mu  sync.Mutex
	buf []byte
}

const tailSize = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	clean := bytes.ReplaceAll(p, []byte("\r"), nil) // the serial line's
	t.mu.Lock()
	t.buf = append(t.buf, clean...)
	if n := len(t.buf) - tailSize; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	t.mu.Unlock()
	if t.w != nil {
		if _, err := t.w.Write(clean); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}
