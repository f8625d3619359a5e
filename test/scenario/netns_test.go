//go:build guest

package scenario

import (
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// netns is a network namespace of its own, so with an empty table and
// counters at zero.
type netns struct {
	name  string
	inode uint32
	fd    int
}

var netnsSerial atomic.Uint32

// newNetns makes one whose loopback is up and that tracks connections. It has
// a name in /run/netns that no other test uses.
func newNetns(t *testing.T) *netns {
	t.Helper()
	name := fmt.Sprintf("ns%d", netnsSerial.Add(1))
	run(t, "ip", "netns", "add", name)
	n := openNetns(t, "/run/netns/"+name)
	n.name = name
	t.Cleanup(func() {
		_ = unix.Close(n.fd)
		run(t, "ip", "netns", "del", name)
	})
	n.ip(t, "link set lo up")
	// A netns tracks nothing until a rule needs it to. One in inet is enough
	// for both families and all hooks.
	n.nft(t, `
		table inet track {
			chain output {
				type filter hook output priority 0
				ct state invalid accept
			}
		}`)
	return n
}

func openNetns(t *testing.T, path string) *netns {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatalf("stat %s: %v", path, err)
	}
	return &netns{inode: uint32(st.Ino), fd: fd}
}

// do runs f in the netns, on a thread of its own whose name is comm (as
// /proc/PID/task/TID/comm has it) unless that is "". The thread ends with f:
// a locked goroutine that returns takes its thread along.
func (n *netns) do(comm string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("setns: %w", err)
			return
		}
		if comm != "" {
			name, err := unix.BytePtrFromString(comm)
			if err == nil {
				err = unix.Prctl(unix.PR_SET_NAME, uintptr(ptr(name)), 0, 0, 0)
			}
			if err != nil {
				done <- fmt.Errorf("name thread: %w", err)
				return
			}
		}
		done <- f()
	}()
	return <-done
}

// must is do, and the test fails with f.
func (n *netns) must(t *testing.T, comm string, f func() error) {
	t.Helper()
	if err := n.do(comm, f); err != nil {
		t.Fatal(err)
	}
}

// run runs a command in the netns and returns its output and its error.
func (n *netns) run(name string, args ...string) (out string, err error) {
	err = n.do("", func() error {
		b, err := exec.Command(name, args...).CombinedOutput()
		out = string(b)
		return err
	})
	return out, err
}

// ip runs iproute2 in the netns.
func (n *netns) ip(t *testing.T, args string) {
	t.Helper()
	if out, err := n.run("ip", strings.Fields(args)...); err != nil {
		t.Fatalf("ip %s: %v\n%s", args, err, out)
	}
}

// nft loads a ruleset in the netns.
func (n *netns) nft(t *testing.T, rules string) {
	t.Helper()
	if out, err := n.run("nft", rules); err != nil {
		t.Fatalf("nft %s: %v\n%s", rules, err, out)
	}
}

// sink gives the netns a default route into a device that swallows
// everything, so that no packet sent is ever answered, nor asks a neighbour
// for its address first.
func (n *netns) sink(t *testing.T) {
	t.Helper()
	n.ip(t, "link add dummy0 type dummy")
	n.ip(t, "addr add 10.77.0.1/24 dev dummy0")
	n.ip(t, "-6 addr add fd77::1/64 dev dummy0 nodad")
	n.ip(t, "link set dummy0 up")
	n.ip(t, "route add default dev dummy0")
	n.ip(t, "-6 route add default dev dummy0")
}

// wire connects a and b by a veth pair with these names and addresses.
func wire(t *testing.T, a *netns, aDev, aAddr string, b *netns, bDev, bAddr string) {
	t.Helper()
	a.ip(t, fmt.Sprintf("link add %s type veth peer name %s netns %s", aDev, bDev, b.name))
	for _, end := range []struct {
		n         *netns
		dev, addr string
	}{{a, aDev, aAddr}, {b, bDev, bAddr}} {
		if strings.Contains(end.addr, ":") {
			end.n.ip(t, fmt.Sprintf("-6 addr add %s dev %s nodad", end.addr, end.dev))
		} else {
			end.n.ip(t, fmt.Sprintf("addr add %s dev %s", end.addr, end.dev))
		}
		end.n.ip(t, fmt.Sprintf("link set %s up", end.dev))
	}
}
