package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// apt is an apt with its own sources, lists and cache.
type apt struct {
	ctx      context.Context
	conf     string
	debs     string
	log      io.Writer
	warnings string // of the update: which suite failed
}

func newAPT(ctx context.Context, dir string, suites []string, log io.Writer) (*apt, error) {
	main, security, err := mirrors(ctx)
	if err != nil {
		return nil, err
	}
	var sources strings.Builder
	for _, suite := range suites {
		mirror := main
		if strings.HasSuffix(suite, "-security") {
			mirror = security
		}
		if mirror != "" {
			fmt.Fprintf(&sources, "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n", mirror, suite)
		}
	}
	a := &apt{ctx: ctx, conf: filepath.Join(dir, "apt.conf"), debs: filepath.Join(dir, "debs"), log: log}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "debs"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	conf := fmt.Sprintf(`Dir::Etc::SourceList "%[1]s/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State "%[1]s/state";
Dir::State::status "%[1]s/status";
Dir::Cache "%[1]s/cache";
APT::Sandbox::User "root";
APT::Architecture "amd64";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::Check-Valid-Until "false"; // a mirror that lags, or an archived suite, will do: signatures are checked
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
`, dir)
	for name, text := range map[string]string{"apt.conf": conf, "sources.list": sources.String(), "status": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}

	fmt.Fprintf(log, "reading Debian's package lists of %s\n", strings.Join(suites, ", "))
	cmd := exec.CommandContext(ctx, "apt-get", "-c", a.conf, "-q", "update")
	out, err := cmd.CombinedOutput()
	// One dead suite isn't the end: the kernel may be in the other. So what apt
	// complains of is told at once, and again if the kernel isn't found.
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "E:") || strings.HasPrefix(line, "W:") || strings.HasPrefix(line, "Err:") {
			a.warnings += "\n  " + strings.TrimSpace(line)
		}
	}
	if a.warnings != "" {
		fmt.Fprintf(log, "apt-get update:%s\n", a.warnings)
	}
	if err != nil && a.warnings == "" {
		return nil, fmt.Errorf("apt-get update: %w\n%s", err, out)
	}
	return a, nil
}

func (a *apt) names(prefix string) ([]string, error) {
	out, err := output(a.ctx, "apt-cache", "-c", a.conf, "pkgnames", prefix)
	return strings.Fields(string(out)), err
}

// depends is a package and what it depends on, to any depth, as far as names
// begin with prefix.
func (a *apt) depends(name, prefix string) ([]string, error) {
	out, err := output(a.ctx, "apt-cache", "-c", a.conf, "depends", "--recurse", "--important", name)
	if err != nil {
		return nil, err
	}
	var list []string
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, prefix) && !strings.Contains(line, " ") {
			list = append(list, line)
		}
	}
	return list, nil
}

// unpack downloads packages and extracts their files below root.
func (a *apt) unpack(root string, names ...string) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	for _, name := range names {
		cmd := exec.CommandContext(a.ctx, "apt-get", "-c", a.conf, "-q", "download", name)
		cmd.Dir = a.debs
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get download %s: %w\n%s", name, err, out)
		}
		deb, err := filepath.Glob(filepath.Join(a.debs, name+"_*.deb"))
		if err != nil || len(deb) != 1 {
			return fmt.Errorf("apt-get download %s: found %q", name, deb)
		}
		if _, err := output(a.ctx, "dpkg", "-x", deb[0], root); err != nil {
			return err
		}
	}
	return nil
}

// mirrors finds Debian's mirrors in the machine's own apt configuration, or in
// CTWHY_MIRROR where that isn't Debian's; security is empty if there is none.
func mirrors(ctx context.Context) (main, security string, err error) {
	if main = os.Getenv("CTWHY_MIRROR"); main != "" {
		return main, os.Getenv("CTWHY_MIRROR_SECURITY"), nil
	}
	out, err := output(ctx, "apt-get", "indextargets", "--format", "$(ORIGIN)|$(RELEASE)|$(REPO_URI)", "Created-By: Packages")
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 3 {
			continue
		}
		// The origin is known only once the machine has run apt-get update.
		u, err := url.Parse(f[2])
		if err != nil || f[0] != "Debian" && (f[0] != "" || !strings.HasPrefix(path.Base(u.Path), "debian")) {
			continue
		}
		if strings.HasSuffix(f[1], "-security") {
			security = f[2]
		} else if main == "" {
			main = f[2]
		}
	}
	if main == "" {
		return "", "", errors.New("apt's configuration names no Debian mirror (set CTWHY_MIRROR and CTWHY_MIRROR_SECURITY)")
	}
	return main, security, nil
}

// output runs a command; what it wrote to stderr is in the error.
func output(ctx context.Context, name string, args ...string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
