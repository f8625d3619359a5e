// Command demo shows ctwhy's main job on real traffic: it boots a machine of
// the lab, where it is safe to fill the conntrack table, and runs ctwhy trace
// beside programs that lose packets there.
//
//	go run ./test/demo [-kernel 6.12]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/term"

	"github.com/ctwhy/ctwhy/test/vm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	series := flag.String("kernel", "6.12", "`SERIES` of the kernel")
	flag.Parse()
	if err := run(ctx, *series); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, series string) error {
	dir, err := os.MkdirTemp("", "ctwhy-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	files, err := vm.Programs(ctx, dir, map[string]string{"/ctwhy": "./cmd/ctwhy", "/demo": "./test/demo/guest"})
	if err != nil {
		return err
	}
	kernel, err := vm.Open(ctx, series, os.Stderr)
	if err != nil {
		return err
	}
	command := []string{"/demo"}
	if term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == "" {
		command = []string{"env", "CLICOLOR_FORCE=1", "/demo"}
	}
	opts := vm.Options{
		Command:  command,
		Binaries: []string{"ip", "nft", "conntrack"},
		Files:    files,
		Stdout:   os.Stdout,
	}
	for try := 1; ; try++ {
		fmt.Fprintf(os.Stderr, "demo: booting Linux %s\n", kernel.Release)
		exit, err := vm.Run(ctx, kernel, opts)
		switch {
		case errors.Is(err, vm.ErrEmulation) && try < 3:
			fmt.Fprintf(os.Stderr, "demo: %v: once more\n", err)
			continue
		case err == nil && exit != 0:
			err = fmt.Errorf("the guest's exit code is %d", exit)
		}
		return err
	}
}
