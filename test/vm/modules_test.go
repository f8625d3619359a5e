package vm

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeModules is a lib/modules/RELEASE with the files that depmod makes, and
// modules whose content is their name.
func fakeModules(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "9.9.9-test")
	files := map[string]string{
		"modules.dep": "kernel/net/nf_conntrack.ko: kernel/net/nf_defrag_ipv4.ko kernel/lib/libcrc32c.ko\n" +
			"kernel/net/nf_defrag_ipv4.ko:\n" +
			"kernel/lib/libcrc32c.ko:\n" +
			"kernel/net/nf_conntrack_netlink.ko: kernel/net/nf_conntrack.ko kernel/net/nf_defrag_ipv4.ko kernel/lib/libcrc32c.ko\n" +
			"kernel/net/nf-dashed.ko: kernel/net/nf_conntrack.ko\n" +
			"kernel/net/broken.ko: kernel/net/gone.ko\n" +
			"kernel/net/other.ko:\n",
		"modules.builtin": "kernel/drivers/virtio/virtio_pci.ko\nkernel/drivers/char/virtio_console.ko\n",
		"modules.alias": "# Aliases extracted from modules themselves.\n" +
			"alias net-pf-16-proto-12-subsys-1 nf_conntrack_netlink\nalias other-alias other\n",
		"kernel/net/nf_conntrack.ko":         "nf_conntrack",
		"kernel/net/nf_defrag_ipv4.ko":       "nf_defrag_ipv4",
		"kernel/lib/libcrc32c.ko":            "libcrc32c",
		"kernel/net/nf_conntrack_netlink.ko": "nf_conntrack_netlink",
		"kernel/net/nf-dashed.ko":            "nf_dashed",
	}
	for name, content := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestClosure(t *testing.T) {
	m, err := readModules(fakeModules(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ names, want, err string }{
		{"", "", ""},
		{"nf_defrag_ipv4", "nf_defrag_ipv4", ""},
		{"nf_conntrack_netlink", "nf_defrag_ipv4 libcrc32c nf_conntrack nf_conntrack_netlink", ""},
		{"libcrc32c nf_conntrack libcrc32c", "libcrc32c nf_defrag_ipv4 nf_conntrack", ""},
		{"virtio_pci", "", ""},
		{"nf-dashed", "nf_defrag_ipv4 libcrc32c nf_conntrack nf_dashed", ""},
		{"nosuch", "", "module nosuch: not in"},
		{"broken", "", "needed by broken"},
	} {
		got, err := m.closure(strings.Fields(test.names))
		if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("closure(%s): error %v, want %q", test.names, err, test.err)
		}
		if want := strings.Fields(test.want); err == nil && !slices.Equal(got, want) {
			t.Errorf("closure(%s) = %q, want %q", test.names, got, want)
		}
	}
}

func TestModuleName(t *testing.T) {
	for file, want := range map[string]string{
		"kernel/net/nf_conntrack.ko":       "nf_conntrack",
		"kernel/net/nf_conntrack.ko.xz":    "nf_conntrack",
		"kernel/drivers/net/virtio-net.ko": "virtio_net",
		"8021q":                            "8021q",
	} {
		if got := moduleName(file); got != want {
			t.Errorf("moduleName(%s) = %s, want %s", file, got, want)
		}
	}
}
