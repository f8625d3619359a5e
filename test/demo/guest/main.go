//go:build linux

// Command guest is the demonstration's part inside the machine: it prepares a
// small network, runs ctwhy trace, and makes conntrack lose packets.
package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"
)

const (
	client    = "10.244.1.5"
	service   = "10.96.0.10" // the resolver's address, as clients know it
	tableMax  = 512
	readyFile = "/tmp/ready"
)

// ruleset spreads the service over two backends, as a cluster does.
const ruleset = `
table ip demo {
	chain output {
		type nat hook output priority -100;
		ip daddr 10.96.0.10 udp dport 53 dnat to numgen random mod 2 map { 0 : 10.244.0.1, 1 : 10.244.0.2 }
	}
}
table inet watch {
	chain output {
		type filter hook output priority 0;
		ct state invalid counter
	}
}`

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run() error {
	if err := prepare(); err != nil {
		return err
	}
	tracer := exec.Command("/ctwhy", "trace", "--ready-file", readyFile)
	tracer.Stdout, tracer.Stderr = os.Stdout, os.Stderr
	say("ctwhy trace")
	if err := tracer.Start(); err != nil {
		return err
	}
	if err := until(func() bool { _, err := os.Stat(readyFile); return err == nil }); err != nil {
		return fmt.Errorf("wait for ctwhy: %w", err)
	}
	err := race()
	if err == nil {
		err = shrink()
	}
	if err == nil {
		err = evict()
	}
	if err == nil {
		err = overflow()
	}
	if err := tracer.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	return errors.Join(err, tracer.Wait())
}

// say announces what happens next, as the command that a person would type.
func say(format string, args ...any) {
	fmt.Printf("\n# %s\n", fmt.Sprintf(format, args...))
}

func prepare() error {
	nft := exec.Command("nft", "-f", "-")
	nft.Stdin = strings.NewReader(ruleset)
	for _, cmd := range []*exec.Cmd{
		exec.Command("ip", "address", "add", client+"/32", "dev", "lo"),
		exec.Command("ip", "address", "add", service+"/32", "dev", "lo"),
		exec.Command("ip", "address", "add", "10.244.0.1/32", "dev", "lo"),
		exec.Command("ip", "address", "add", "10.244.0.2/32", "dev", "lo"),
		nft,
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, out)
		}
	}
	return nil
}

// race sends DNS queries in pairs, as a resolver does, until some have clashed.
func race() error {
	say("two threads ask %s for A and AAAA at once, from one socket", service)
	before, err := counter("clash_resolve")
	if err != nil {
		return err
	}
	queries, err := pairOfQueries("example.com.")
	if err != nil {
		return err
	}
	for range 3000 {
		if err := sendPair(netip.MustParseAddr(client), netip.MustParseAddrPort(service+":53"), queries); err != nil {
			return err
		}
		now, err := counter("clash_resolve")
		if err != nil {
			return err
		}
		if now >= before+3 {
			return nil
		}
	}
	return errors.New("no clash in 3000 pairs")
}

// shrink makes the table small, with one bucket for each entry as by default.
func shrink() error {
	say("sysctl net.netfilter.nf_conntrack_max=%d", tableMax)
	for _, name := range []string{"buckets", "max"} {
		path := "/proc/sys/net/netfilter/nf_conntrack_" + name
		if err := os.WriteFile(path, []byte(strconv.Itoa(tableMax)), 0); err != nil {
			return err
		}
	}
	return nil
}

// evict fills the table with flows that nobody answers, and then some.
func evict() error {
	say("datagrams to %d addresses, none of which answers", tableMax+3)
	if err := flush(); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for i := range tableMax + 3 {
		to := &unix.SockaddrInet4{Addr: [4]byte{127, 1, byte(i >> 8), byte(i)}, Port: 9}
		// A port where nobody listens says so at the next call; a full table at this one.
		if err := unix.Sendto(fd, []byte("x"), 0, to); err != nil && err != unix.ECONNREFUSED && err != unix.EPERM {
			return err
		}
	}
	return nil
}

func flush() error {
	out, err := exec.Command("conntrack", "-F").CombinedOutput()
	if err != nil {
		return fmt.Errorf("conntrack -F: %w: %s", err, out)
	}
	return nil
}

// overflow fills the table with established connections, which can't be
// evicted, and tries to get in.
func overflow() error {
	say("%d established connections", tableMax)
	if err := flush(); err != nil {
		return err
	}
	c, err := conntrack.Dial(nil)
	if err != nil {
		return err
	}
	defer c.Close()
	for i := range tableMax {
		f := conntrack.NewFlow(unix.IPPROTO_TCP, conntrack.StatusConfirmed|conntrack.StatusSeenReply|conntrack.StatusAssured,
			netip.AddrFrom4([4]byte{10, 0, 3, byte(i)}), netip.MustParseAddr("10.0.9.1"), uint16(20000+i), 80, 3600, 0)
		f.ProtoInfo.TCP = &conntrack.ProtoInfoTCP{State: 3} // ESTABLISHED
		if err := c.Create(f); err != nil {
			return fmt.Errorf("create entry %d: %w", i+1, err)
		}
	}
	for _, host := range []string{"10.244.0.1", "10.244.0.1", "::1"} {
		say("nc %s 80", host)
		// Nobody listens there, but that is not why it fails.
		out, err := exec.Command("nc", "-w", "2", host, "80").CombinedOutput()
		fmt.Printf("%s", out)
		var failed *exec.ExitError
		if !errors.As(err, &failed) || failed.ExitCode() != 1 {
			return fmt.Errorf("nc into a full table: %w", err)
		}
	}
	say("conntrack -I, into the full table")
	out, err := exec.Command("conntrack", "-I", "-p", "udp", "-s", "10.0.3.7", "-d", "10.0.9.1",
		"--sport", "5060", "--dport", "5060", "-t", "60").CombinedOutput()
	fmt.Printf("%s", out)
	if err == nil {
		return errors.New("conntrack -I succeeded in a full table")
	}
	return nil
}

// counter sums up one of conntrack's counters, by Debian's conntrack(8).
func counter(name string) (sum int, err error) {
	out, err := exec.Command("conntrack", "-S").Output()
	if err != nil {
		return 0, fmt.Errorf("conntrack -S: %w", err)
	}
	for _, field := range strings.Fields(string(out)) {
		if value, ok := strings.CutPrefix(field, name+"="); ok {
			n, err := strconv.Atoi(value)
			if err != nil {
				return 0, err
			}
			sum += n
		}
	}
	return sum, nil
}

func until(done func() bool) error {
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("it took too long")
		}
	}
	return nil
}
