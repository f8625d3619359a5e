package kernel

import "strings"

// LockdownMode is the kernel's lockdown level (kernel_lockdown(7)): "none",
// "integrity", "confidentiality", or "" where it could not be read.
type LockdownMode string

// LockdownMode reads the level in force, the one in brackets.
func (k Kernel) LockdownMode() LockdownMode {
	s, err := k.read("sys/kernel/security/lockdown")
	if err != nil {
		return ""
	}
	_, s, ok := strings.Cut(s, "[")
	mode, _, end := strings.Cut(s, "]")
	if !ok || !end {
		return ""
	}
	return LockdownMode(mode)
}

// Tracing tells whether lockdown leaves BPF programs able to read kernel
// memory. Level integrity does (LOCKDOWN_BPF_READ_KERNEL and LOCKDOWN_KPROBES
// are confidentiality's, include/linux/security.h).
func (k Kernel) Tracing() Feature {
	switch k.LockdownMode() {
	case "confidentiality":
		return lacks("this kernel is in lockdown=confidentiality, which forbids BPF programs to read kernel memory",
			"boot with lockdown=integrity on the kernel command line, or without Secure Boot's lockdown")
	case "":
		return untold("/sys/kernel/security/lockdown cannot be read", "")
	}
	return has()
}

// BPF tells whether the kernel has the bpf system call.
func (k Kernel) BPF() Feature {
	// This sysctl exists exactly where CONFIG_BPF_SYSCALL is set
	// (kernel/bpf/syscall.c, before 5.17 kernel/sysctl.c).
	if k.exists("proc/sys/kernel/unprivileged_bpf_disabled") {
		return has()
	}
	if k.Release() == "" {
		return untold("/proc/sys/kernel cannot be read", "mount /proc")
	}
	return lacks("this kernel has no bpf system call", "boot a kernel with CONFIG_BPF_SYSCALL=y")
}

// JIT tells whether BPF programs are compiled, which fexit needs: its
// trampolines call native code.
func (k Kernel) JIT() Feature {
	v, err := k.read("proc/sys/net/core/bpf_jit_enable")
	switch {
	case err != nil:
		return untold("net.core.bpf_jit_enable cannot be read", "use a kernel with CONFIG_BPF_JIT=y")
	case v == "0":
		return lacks("the BPF compiler is switched off", "run: sysctl net.core.bpf_jit_enable=1")
	}
	return has()
}

// BTF tells whether the kernel describes its own types, without which no
// program here can find a field.
func (k Kernel) BTF() Feature {
	if k.exists("sys/kernel/btf/vmlinux") {
		return has()
	}
	if !k.exists("sys/kernel") {
		return untold("/sys cannot be read", "mount /sys")
	}
	return lacks("this kernel has no BTF (/sys/kernel/btf/vmlinux is missing)",
		"boot a kernel with CONFIG_DEBUG_INFO_BTF=y; Debian 11, Ubuntu 20.10, RHEL 8.2 and later have it")
}

// ModuleBTF tells whether the kernel describes the types and functions of a
// loaded module, which fexit on the module's functions needs (Linux 5.11 or later).
func (k Kernel) ModuleBTF(module string) Feature {
	if k.exists("sys/kernel/btf/" + module) {
		return has()
	}
	if !k.exists("sys/module/" + module + "/initstate") {
		return untold(module+" is not loaded as a module", "")
	}
	return lacks("this kernel has no BTF for module "+module, "use kprobes, or a kernel with CONFIG_DEBUG_INFO_BTF_MODULES=y")
}

// Conntrack tells whether connection tracking is in the kernel now: loaded as
// a module, or built in.
func (k Kernel) Conntrack() Feature {
	// A module being loaded has its directory before its functions.
	state, err := k.read("sys/module/nf_conntrack/initstate")
	if err == nil && state == "live" {
		return has()
	}
	if err == nil {
		return lacks("nf_conntrack is "+state, "start again in a moment, or wait for it with --wait")
	}
	// Built-in code has no initstate, and its directory only if it has
	// parameters.
	syms, err := k.Symbols("nf_conntrack_in")
	if err != nil {
		return untold("cannot tell whether nf_conntrack is loaded: "+err.Error(), "mount /proc")
	}
	if _, ok := syms.Lookup("nf_conntrack_in"); ok {
		return has()
	}
	return lacks("nf_conntrack is not loaded, so nothing is tracked and nothing is lost",
		"load a rule that uses it, run modprobe nf_conntrack, or wait for it with --wait")
}

// ModuleLoaded tells whether a module is loaded and live. Built-in code is
// not a module: for it the answer is no.
func (k Kernel) ModuleLoaded(module string) bool {
	state, err := k.read("sys/module/" + module + "/initstate")
	return err == nil && state == "live"
}

// Kprobes tells whether kprobes can be attached.
func (k Kernel) Kprobes() Feature {
	if v, err := k.read("sys/kernel/debug/kprobes/enabled"); err == nil && v == "0" {
		return lacks("kprobes are switched off", "run: echo 1 > /sys/kernel/debug/kprobes/enabled")
	}
	if k.LockdownMode() == "confidentiality" {
		return Feature{No, k.Tracing().Problem}
	}
	if k.exists("sys/bus/event_source/devices/kprobe") {
		return has()
	}
	if !k.exists("sys/bus/event_source/devices") {
		return untold("/sys/bus/event_source cannot be read", "mount /sys")
	}
	return lacks("this kernel has no kprobes", "boot a kernel with CONFIG_KPROBE_EVENTS=y, or use fexit")
}
