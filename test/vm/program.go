package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Programs builds Go programs, static ones, into dir, for [Options].Files:
// packages are by their path in the guest.
func Programs(ctx context.Context, dir string, packages map[string]string) (files map[string]string, err error) {
	files = map[string]string{}
	for guest, pkg := range packages {
		bin := filepath.Join(dir, filepath.Base(guest))
		build := exec.CommandContext(ctx, "go", "build", "-o", bin, pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w: %s", pkg, err, out)
		}
		files[guest] = bin
	}
	return files, nil
}
