package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// loaded are the modules that init loads before the command, as far as this
// kernel has them: the way out of the guest, and what the lab is about.
// (crc32c_generic is the soft dependency of libcrc32c.)
var loaded = []string{"virtio_pci", "virtio_console", "crc32c_generic", "nf_conntrack", "nf_conntrack_netlink"}

// packed are the modules that the kernel finds when somebody asks for a rule, a
// link or a socket that needs them, as on a real machine. Some kernels lack some.
var packed = strings.Fields(`
	nf_tables nft_chain_nat nft_compat nft_connlimit nft_ct nft_fib nft_fib_inet nft_fib_ipv4 nft_fib_ipv6 nft_flow_offload nft_hash
	nft_limit nft_log nft_masq nft_nat nft_numgen nft_queue nft_quota nft_redir nft_reject nft_reject_inet nft_reject_ipv4
	nft_reject_ipv6 nft_socket nft_synproxy nft_tproxy
	nf_conncount nf_conntrack_bridge nf_conntrack_ftp nf_conntrack_tftp nf_flow_table nf_flow_table_inet nf_flow_table_ipv4
	nf_flow_table_ipv6 nf_log_common nf_log_ipv4 nf_log_ipv6 nf_log_syslog nf_nat nf_nat_ftp nf_nat_tftp nf_reject_ipv4 nf_reject_ipv6
	nfnetlink nfnetlink_cthelper nfnetlink_cttimeout nfnetlink_log nfnetlink_queue
	8021q br_netfilter bridge dummy ifb ipvlan macvlan sch_netem veth vrf
	inet_diag netlink_diag raw_diag sctp sctp_diag tcp_diag udp_diag unix_diag af_packet packet_diag tun`)

// pack builds the initramfs of a run.
func pack(ctx context.Context, k Kernel, o Options, mark string) (archive, error) {
	a := archive{}
	for _, d := range strings.Fields("dev etc proc root run sys tmp var") {
		a.dir(d)
	}
	a.link("var/run", "/run")
	a.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
	a.write("etc/group", "root:x:0:\nnogroup:x:65534:\n")
	a.write("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
	a.write("etc/nsswitch.conf", "hosts: files dns\n")
	for _, name := range []string{"etc/protocols", "etc/services", "etc/iproute2"} {
		if exists("/" + name) {
			if err := a.copy(name, "/"+name); err != nil {
				return nil, err
			}
		}
	}

	if err := a.busybox(ctx); err != nil {
		return nil, err
	}
	// Busybox's own sh runs its applets whatever PATH says: its ip, and not the
	// real one that came along.
	if err := a.binary(ctx, "dash"); err != nil {
		return nil, err
	}
	a.link("bin/sh", "/usr/bin/dash")
	for _, name := range o.Binaries {
		if err := a.binary(ctx, name); err != nil {
			return nil, err
		}
	}
	for guest, host := range o.Files {
		if err := a.copy(guest, host); err != nil {
			return nil, fmt.Errorf("pack %s: %w", guest, err)
		}
	}
	load, err := a.modules(k, o.Modules)
	if err != nil {
		return nil, err
	}
	a.script("init", script(load, o, mark))
	return a, nil
}

// busybox adds busybox and a link for each of its applets.
func (a archive) busybox(ctx context.Context) error {
	host, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("%w (run scripts/setup lab)", err)
	}
	applets, err := output(ctx, host, "--list")
	if err != nil {
		return err
	}
	for _, applet := range strings.Fields(string(applets)) {
		a.link(path.Join("bin", applet), "busybox")
	}
	a.link("sbin/modprobe", "/bin/busybox") // where the kernel looks for it
	return a.copy("bin/busybox", host)
}

// binary adds a program of the host, found by name or path, as /usr/bin/NAME,
// where it comes before busybox's applet; and the shared libraries it needs, at
// their own paths.
func (a archive) binary(ctx context.Context, name string) error {
	host, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("%w (run scripts/setup lab)", err)
	}
	if err := a.copy(path.Join("usr/bin", filepath.Base(name)), host); err != nil {
		return err
	}
	// ldd fails on a static program, which needs nothing.
	out, _ := exec.CommandContext(ctx, "ldd", host).Output()
	for _, lib := range libraries(string(out)) {
		if err := a.copy(lib, lib); err != nil {
			return err
		}
	}
	return nil
}

// libraries are the paths in what ldd prints: "libc.so.6 => /lib/libc.so.6 (0x…)"
// or, for the loader, "/lib64/ld-linux-x86-64.so.2 (0x…)".
func libraries(ldd string) []string {
	var list []string
	for line := range strings.Lines(ldd) {
		for _, field := range strings.Fields(line) {
			if strings.HasPrefix(field, "/") {
				list = append(list, field)
				break
			}
		}
	}
	return list
}

// modules adds the modules and what modprobe needs to find them, and returns the
// guest's paths of those to load, in order.
func (a archive) modules(k Kernel, extra []string) (load []string, err error) {
	m, err := readModules(k.Modules)
	if err != nil {
		return nil, err
	}
	present := func(names []string) (list []string) {
		for _, name := range names {
			if m.has(name) {
				list = append(list, name)
			}
		}
		return list
	}
	first, err := m.closure(append(present(loaded), extra...))
	if err != nil {
		return nil, err
	}
	all, err := m.closure(append(append([]string{}, first...), present(packed)...))
	if err != nil {
		return nil, err
	}

	dir := path.Join("lib/modules", k.Release)
	var dep strings.Builder
	names := map[string]bool{}
	for _, name := range all {
		names[name] = true
		data, err := m.read(name)
		if err != nil {
			return nil, err
		}
		a.bytes(path.Join(dir, name+".ko"), data)
		fmt.Fprintf(&dep, "%s.ko:", name)
		for _, d := range m.deps[name] {
			if !m.builtin[d] {
				fmt.Fprintf(&dep, " %s.ko", d)
			}
		}
		dep.WriteByte('\n')
	}
	a.write(path.Join(dir, "modules.dep"), dep.String())
	aliases, err := m.aliases(names)
	if err != nil {
		return nil, fmt.Errorf("read module aliases: %w", err)
	}
	a.bytes(path.Join(dir, "modules.alias"), aliases)
	a.write(path.Join(dir, "modules.symbols"), "")
	if builtin, err := os.ReadFile(filepath.Join(k.Modules, "modules.builtin")); err == nil {
		a.bytes(path.Join(dir, "modules.builtin"), builtin)
	}
	for _, name := range first {
		load = append(load, "/"+path.Join(dir, name+".ko"))
	}
	return load, nil
}
