package kernel

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// edited copies the healthy sample and changes files in it; "" removes one.
func edited(t *testing.T, changes map[string]string) Kernel {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS("testdata/healthy")); err != nil {
		t.Fatal(err)
	}
	for name, text := range changes {
		path := filepath.Join(root, name)
		if text == "" {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Kernel{Root: root}
}

func TestRelease(t *testing.T) {
	if r := (Kernel{Root: "testdata/healthy"}).Release(); r != "6.1.0-50-cloud-amd64" {
		t.Errorf("release %q", r)
	}
	if r := (Kernel{Root: t.TempDir()}).Release(); r != "" {
		t.Errorf("release %q of no kernel", r)
	}
}

func TestAtLeast(t *testing.T) {
	for _, c := range []struct {
		release      string
		major, minor int
		want         Answer
	}{
		{"5.10.0-30-amd64", 5, 8, Yes},
		{"5.10.0-30-amd64", 5, 10, Yes},
		{"5.10.0-30-amd64", 5, 11, No},
		{"5.4.0-216-generic", 5, 8, No},
		{"6.1", 5, 11, Yes},
		{"7.2-rc1", 7, 2, Yes},
		{"4.19.1", 5, 8, No},
		{"mine", 5, 8, Unknown},
		{"6.x", 5, 8, Unknown},
		{"", 5, 8, Unknown},
	} {
		k := edited(t, map[string]string{"proc/sys/kernel/osrelease": c.release})
		if got := k.AtLeast(c.major, c.minor); got != c.want {
			t.Errorf("%q at least %d.%d: %v, want %v", c.release, c.major, c.minor, got, c.want)
		}
	}
}

func TestChecks(t *testing.T) {
	type check = func(Kernel) Feature
	status := func(capEff string) map[string]string {
		return map[string]string{"proc/self/status": "Name:\tx\nCapEff:\t" + capEff + "\n"}
	}
	for _, c := range []struct {
		name    string
		check   check
		changes map[string]string
		want    Answer
		says    string // part of the problem's text
	}{
		{"root", Kernel.Privileges, nil, Yes, ""},
		{"nobody", Kernel.Privileges, status("0000000000000000"), No, "not root: run it with sudo"},
		{"no sys_admin", Kernel.Privileges, status("000001ffffdfffff"), No, "CAP_SYS_ADMIN"},
		{"container", Kernel.Privileges, status("00000000a80435fb"), No, "lacks CAP_SYS_ADMIN, CAP_SYSLOG, CAP_BPF, CAP_PERFMON"},
		{"sys_admin for bpf", Kernel.Privileges, status("0000000400201000"), Yes, ""},
		{"no status", Kernel.Privileges, map[string]string{"proc/self/status": ""}, Unknown, "own capabilities"},
		{"broken status", Kernel.Privileges, status("zz"), Unknown, "own capabilities"},
		{"no CapEff", Kernel.Privileges, map[string]string{"proc/self/status": "Name:\tx\n"}, Unknown, "CapEff"},
		{"user namespace", Kernel.Privileges, map[string]string{"proc/self/uid_map": "0 1000 1"}, No, "user namespace"},

		{"integrity", Kernel.Tracing, nil, Yes, ""},
		{"confidentiality", Kernel.Tracing, map[string]string{"sys/kernel/security/lockdown": "none integrity [confidentiality]\n"}, No, "lockdown"},
		{"no lockdown", Kernel.Tracing, map[string]string{"sys/kernel/security/lockdown": "[none] integrity confidentiality\n"}, Yes, ""},
		{"no securityfs", Kernel.Tracing, map[string]string{"sys/kernel/security": ""}, Unknown, ""},
		{"odd lockdown", Kernel.Tracing, map[string]string{"sys/kernel/security/lockdown": "none [inte"}, Unknown, ""},

		{"bpf", Kernel.BPF, nil, Yes, ""},
		{"no bpf", Kernel.BPF, map[string]string{"proc/sys/kernel/unprivileged_bpf_disabled": ""}, No, "CONFIG_BPF_SYSCALL"},
		{"no proc", Kernel.BPF, map[string]string{"proc": ""}, Unknown, "mount /proc"},
		{"jit", Kernel.JIT, nil, Yes, ""},
		{"jit off", Kernel.JIT, map[string]string{"proc/sys/net/core/bpf_jit_enable": "0\n"}, No, "net.core.bpf_jit_enable=1"},
		{"no jit", Kernel.JIT, map[string]string{"proc/sys/net/core": ""}, Unknown, "CONFIG_BPF_JIT"},

		{"btf", Kernel.BTF, nil, Yes, ""},
		{"no btf", Kernel.BTF, map[string]string{"sys/kernel/btf": ""}, No, "CONFIG_DEBUG_INFO_BTF"},
		{"no sys", Kernel.BTF, map[string]string{"sys": ""}, Unknown, "mount /sys"},

		{"conntrack", Kernel.Conntrack, nil, Yes, ""},
		{"coming", Kernel.Conntrack, map[string]string{"sys/module/nf_conntrack/initstate": "coming\n"}, No, "is coming"},
		{"built in", Kernel.Conntrack, map[string]string{
			"sys/module/nf_conntrack/initstate": "",
			"proc/kallsyms":                     "ffffffff81f8ea20 T nf_conntrack_in\n",
		}, Yes, ""},
		{"not loaded", Kernel.Conntrack, map[string]string{
			"sys/module/nf_conntrack": "",
			"proc/kallsyms":           "ffffffff81f8ea20 T _text\n",
		}, No, "--wait"},
		{"no kallsyms", Kernel.Conntrack, map[string]string{"sys/module/nf_conntrack": "", "proc/kallsyms": ""}, Unknown, "symbols"},

		{"kprobes", Kernel.Kprobes, nil, Yes, ""},
		{"kprobes off", Kernel.Kprobes, map[string]string{"sys/kernel/debug/kprobes/enabled": "0\n"}, No, "kprobes/enabled"},
		{"kprobes, no debugfs", Kernel.Kprobes, map[string]string{"sys/kernel/debug": ""}, Yes, ""},
		{"no kprobes", Kernel.Kprobes, map[string]string{"sys/bus/event_source/devices/kprobe": ""}, No, "CONFIG_KPROBE_EVENTS"},
		{"kprobes, no sysfs", Kernel.Kprobes, map[string]string{"sys/bus": ""}, Unknown, ""},
		{"kprobes in lockdown", Kernel.Kprobes, map[string]string{"sys/kernel/security/lockdown": "none integrity [confidentiality]\n"}, No, "lockdown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := c.check(edited(t, c.changes))
			if f.Answer != c.want {
				t.Fatalf("%v, want %v (%v)", f.Answer, c.want, f.Problem)
			}
			if (f.Err() != nil) != (c.want == No) {
				t.Errorf("error %v for answer %v", f.Err(), f.Answer)
			}
			if (f.Problem == nil) != (c.want == Yes) {
				t.Fatalf("problem %v for answer %v", f.Problem, f.Answer)
			}
			if f.Problem != nil && !strings.Contains(f.Problem.Error(), c.says) {
				t.Errorf("%q does not say %q", f.Problem, c.says)
			}
			var p *Problem
			if f.Err() != nil && (!errors.As(f.Err(), &p) || p.What == "" || p.Do == "") {
				t.Errorf("a no must name cause and remedy: %+v", f.Problem)
			}
		})
	}
}

func TestPrivilegesByRelease(t *testing.T) {
	for release, want := range map[string]string{
		"5.4.0":  "CAP_SYS_RESOURCE",
		"5.10.0": "CAP_BPF, CAP_PERFMON, CAP_SYS_RESOURCE",
		"6.1.0":  "CAP_BPF, CAP_PERFMON",
	} {
		k := edited(t, map[string]string{
			"proc/sys/kernel/osrelease": release,
			"proc/self/status":          "CapEff:\t0000000400001000\n", // SYSLOG and NET_ADMIN
		})
		want = "lacks CAP_SYS_ADMIN, " + want + ":"
		if got := k.Privileges().Err(); got == nil || !strings.Contains(got.Error(), want) {
			t.Errorf("%s: %v, want %q", release, got, want)
		}
	}
}

func TestModuleBTF(t *testing.T) {
	if f := edited(t, nil).ModuleBTF("nf_conntrack"); f.Answer != Yes {
		t.Errorf("with BTF: %v", f)
	}
	if f := edited(t, map[string]string{"sys/kernel/btf/nf_conntrack": ""}).ModuleBTF("nf_conntrack"); f.Answer != No {
		t.Errorf("without BTF: %v", f)
	}
	if f := edited(t, nil).ModuleBTF("nf_nat"); f.Answer != Unknown {
		t.Errorf("not a module: %v", f)
	}
}

func TestTable(t *testing.T) {
	got, err := Kernel{Root: "testdata/healthy"}.Table()
	if want := (Table{Max: 262144, Count: 17, Buckets: 65536}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if _, err := (Kernel{Root: t.TempDir()}).Table(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v where conntrack is not loaded", err)
	}
	k := edited(t, map[string]string{"proc/sys/net/netfilter/nf_conntrack_count": "many"})
	if _, err := k.Table(); err == nil || !strings.Contains(err.Error(), "nf_conntrack_count") {
		t.Errorf("error %v for a broken file", err)
	}
}
