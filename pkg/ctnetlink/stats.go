//go:build linux

package ctnetlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/ctwhy/ctwhy/pkg/kernel"
	"github.com/ctwhy/ctwhy/pkg/netns"
)

const (
	getStatsCPU   = 4 // IPCTNL_MSG_CT_GET_STATS_CPU
	nfgenmsgLen   = 4 // struct nfgenmsg: family, version, res_id
	ctnetlinkName = "nf_conntrack_netlink"
	// procStats is per thread: /proc/net is the main thread's.
	procStats = "/proc/thread-self/net/stat/nf_conntrack"
)

// ReadStats reads the conntrack statistics of the netns at a path like
// /run/netns/NAME or /proc/PID/ns/net; "" is the calling thread's. They come
// from ctnetlink, or from /proc while the kernel has ctnetlink only as a module
// that is not loaded, since the request would load it. It takes CAP_NET_ADMIN,
// and CAP_SYS_ADMIN for another netns.
func ReadStats(path string) (Stats, error) {
	var s Stats
	err := netns.Do(path, func() (err error) {
		if available() {
			s, err = askKernel()
			return err
		}
		s, err = readProc()
		return err
	})
	if err != nil {
		return Stats{}, fmt.Errorf("read conntrack statistics: %w", err)
	}
	return s, nil
}

// builtIn does not change while the kernel runs.
var builtIn = sync.OnceValue(func() bool {
	syms, err := kernel.Kernel{}.Symbols("ctnetlink_get_conntrack")
	f, ok := syms.Lookup("ctnetlink_get_conntrack")
	return err == nil && ok && f.Module == ""
})

// available reports whether ctnetlink answers without loading a module.
func available() bool {
	k := kernel.Kernel{}
	if k.ModuleLoaded(ctnetlinkName) {
		return true
	}
	// Built-in code cannot depend on a module, and the symbols take a while.
	return !k.ModuleLoaded("nf_conntrack") && builtIn()
}

func askKernel() (Stats, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return Stats{}, fmt.Errorf("open ctnetlink: %w", err)
	}
	defer conn.Close()
	msgs, err := conn.Execute(netlink.Message{
		Header: netlink.Header{
			Type:  unix.NFNL_SUBSYS_CTNETLINK<<8 | getStatsCPU,
			Flags: netlink.Request | netlink.Dump,
		},
		Data: make([]byte, nfgenmsgLen),
	})
	if err != nil {
		return Stats{}, fmt.Errorf("ask ctnetlink: %w", err)
	}
	s := Stats{Source: "ctnetlink"}
	for _, m := range msgs {
		cpu, has, err := decodeCPU(m.Data)
		if err != nil {
			return Stats{}, err
		}
		s.CPUs = append(s.CPUs, cpu)
		s.Has |= has
	}
	if len(s.CPUs) == 0 {
		return Stats{}, errors.New("ctnetlink told of no CPU")
	}
	slices.SortFunc(s.CPUs, func(a, b CPU) int { return a.ID - b.ID })
	return s, nil
}

// decodeCPU decodes one message's payload: struct nfgenmsg, whose res_id is
// the CPU's number, and attributes of 32 bits, all big-endian.
func decodeCPU(b []byte) (CPU, Counters, error) {
	if len(b) < nfgenmsgLen {
		return CPU{}, 0, fmt.Errorf("ctnetlink statistics of %d bytes", len(b))
	}
	cpu := CPU{ID: int(binary.BigEndian.Uint16(b[2:]))}
	attrs, err := netlink.NewAttributeDecoder(b[nfgenmsgLen:])
	if err != nil {
		return CPU{}, 0, fmt.Errorf("decode ctnetlink statistics: %w", err)
	}
	var has Counters
	for attrs.Next() {
		c := Counter(min(attrs.Type(), 255))
		if c.String() == "" {
			continue // of a newer kernel, or a field long unused
		}
		v := attrs.Bytes()
		if len(v) != 4 {
			return CPU{}, 0, fmt.Errorf("decode ctnetlink statistics: %s has %d bytes, not 4", c, len(v))
		}
		cpu.Value[c] = binary.BigEndian.Uint32(v)
		has |= 1 << c
	}
	if err := attrs.Err(); err != nil {
		return CPU{}, 0, fmt.Errorf("decode ctnetlink statistics: %w", err)
	}
	return cpu, has, nil
}

func readProc() (Stats, error) {
	f, err := os.Open(procStats)
	if errors.Is(err, fs.ErrNotExist) {
		return Stats{}, &kernel.Problem{
			What: "module " + ctnetlinkName + " is not loaded and there is no /proc/net/stat/nf_conntrack",
			Do:   "run modprobe " + ctnetlinkName,
		}
	}
	if err != nil {
		return Stats{}, err
	}
	defer f.Close()
	return parseProc(f)
}
