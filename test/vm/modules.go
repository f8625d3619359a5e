package vm

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// modules is what depmod wrote about a kernel's modules.
type modules struct {
	dir     string
	path    map[string]string   // name -> path below dir
	deps    map[string][]string // name -> names it needs
	builtin map[string]bool
}

func readModules(dir string) (*modules, error) {
	m := &modules{dir: dir, path: map[string]string{}, deps: map[string][]string{}, builtin: map[string]bool{}}
	err := eachLine(filepath.Join(dir, "modules.dep"), func(line string) {
		file, deps, _ := strings.Cut(line, ":")
		name := moduleName(file)
		m.path[name] = file
		for _, dep := range strings.Fields(deps) {
			m.deps[name] = append(m.deps[name], moduleName(dep))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read module dependencies: %w", err)
	}
	err = eachLine(filepath.Join(dir, "modules.builtin"), func(line string) { m.builtin[moduleName(line)] = true })
	if err != nil {
		return nil, fmt.Errorf("read built-in modules: %w", err)
	}
	return m, nil
}

func (m *modules) has(name string) bool {
	name = moduleName(name)
	return m.builtin[name] || m.path[name] != ""
}

// closure lists the modules that names need, each after those it depends on.
// What is built in needs no loading and isn't listed.
func (m *modules) closure(names []string) ([]string, error) {
	var list []string
	seen := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		name = moduleName(name)
		if seen[name] || m.builtin[name] {
			return nil
		}
		seen[name] = true
		if m.path[name] == "" {
			return fmt.Errorf("module %s: not in %s", name, m.dir)
		}
		for _, dep := range m.deps[name] {
			if err := add(dep); err != nil {
				return fmt.Errorf("%w, needed by %s", err, name)
			}
		}
		list = append(list, name)
		return nil
	}
	for _, name := range names {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// read is a module's content, decompressed.
func (m *modules) read(name string) ([]byte, error) {
	file := filepath.Join(m.dir, m.path[name])
	tool, ok := map[string]string{".xz": "xz", ".zst": "zstd", ".gz": "gzip"}[filepath.Ext(file)]
	if !ok {
		return os.ReadFile(file)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(tool, "-dcq", file)
	cmd.Stderr = &stderr
	data, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("decompress %s: %w: %s", file, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return data, nil
}

// aliases is the part of modules.alias that leads to one of names, so that the
// guest's kernel can ask modprobe for them.
func (m *modules) aliases(names map[string]bool) ([]byte, error) {
	var out bytes.Buffer
	err := eachLine(filepath.Join(m.dir, "modules.alias"), func(line string) {
		if f := strings.Fields(line); len(f) == 3 && names[moduleName(f[2])] {
			fmt.Fprintln(&out, line)
		}
	})
	return out.Bytes(), err
}

// moduleName is the name that the kernel gives to a module's file: modprobe(8)
// takes - and _ for the same.
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

func eachLine(name string, f func(line string)) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		f(lines.Text())
	}
	return lines.Err()
}
