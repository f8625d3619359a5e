package kernel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Capability is one of capabilities(7), with the number that it has in
// uapi/linux/capability.h.
type Capability uint8

const (
	CapNetAdmin    Capability = 12 // ctnetlink
	CapSysAdmin    Capability = 21 // setns; before Linux 5.8 also BPF
	CapSysResource Capability = 24 // locked memory for BPF maps before Linux 5.11
	CapSyslog      Capability = 34 // addresses in /proc/kallsyms
	CapPerfmon     Capability = 38 // attaching BPF to kernel functions, Linux 5.8 or later
	CapBPF         Capability = 39 // Linux 5.8 or later
)

func (c Capability) String() string {
	switch c {
	case CapNetAdmin:
		return "CAP_NET_ADMIN"
	case CapSysAdmin:
		return "CAP_SYS_ADMIN"
	case CapSysResource:
		return "CAP_SYS_RESOURCE"
	case CapSyslog:
		return "CAP_SYSLOG"
	case CapPerfmon:
		return "CAP_PERFMON"
	case CapBPF:
		return "CAP_BPF"
	}
	return "capability " + strconv.Itoa(int(c))
}

// Capabilities is a set of capabilities.
type Capabilities uint64

// Has reports whether c is in the set.
func (s Capabilities) Has(c Capability) bool { return s&(1<<c) != 0 }

// Capabilities reads this process's effective capabilities (CapEff in
// /proc/self/status).
func (k Kernel) Capabilities() (Capabilities, error) {
	status, err := k.read("proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("read own capabilities: %w", err)
	}
	for line := range strings.Lines(status) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			if err != nil {
				return 0, fmt.Errorf("read own capabilities: %w", err)
			}
			return Capabilities(set), nil
		}
	}
	return 0, fmt.Errorf("read own capabilities: no CapEff in /proc/self/status")
}

// needed lists what tracing takes on this kernel.
func (k Kernel) needed() []Capability {
	need := []Capability{CapSysAdmin, CapNetAdmin, CapSyslog}
	if k.AtLeast(5, 8) != No {
		need = append(need, CapBPF, CapPerfmon)
	}
	if k.AtLeast(5, 11) == No {
		need = append(need, CapSysResource)
	}
	return need
}

// MissingCapabilities lists what tracing needs and this process lacks.
func (k Kernel) MissingCapabilities() ([]Capability, error) {
	own, err := k.Capabilities()
	if err != nil {
		return nil, err
	}
	missing := slices.DeleteFunc(k.needed(), func(c Capability) bool {
		// CAP_SYS_ADMIN still stands for the two split off from it
		// (bpf_capable and perfmon_capable, linux/capability.h).
		return own.Has(c) || (c == CapBPF || c == CapPerfmon) && own.Has(CapSysAdmin)
	})
	return missing, nil
}

// Privileges tells whether this process may trace: attach BPF programs, read
// kernel addresses, ask ctnetlink and enter other network namespaces.
func (k Kernel) Privileges() Feature {
	missing, err := k.MissingCapabilities()
	if err != nil {
		return untold(err.Error(), "run as root")
	}
	if len(missing) == len(k.needed()) {
		return lacks("not root", "run it with sudo")
	}
	if len(missing) > 0 {
		names := make([]string, len(missing))
		for i, c := range missing {
			names[i] = c.String()
		}
		list := strings.Join(names, ", ")
		return lacks("this process lacks "+list, "run it with sudo, or in a container started with --privileged or with these capabilities added")
	}
	// All capabilities in a user namespace of one's own are none in the
	// kernel's eyes.
	if m, err := k.read("proc/self/uid_map"); err == nil {
		if f := strings.Fields(m); len(f) != 3 || f[0] != "0" || f[1] != "0" || f[2] != "4294967295" {
			return lacks("root of a user namespace only, which may not load BPF programs", "run it as root of the machine itself")
		}
	}
	return has()
}
