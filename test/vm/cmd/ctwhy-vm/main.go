// Command ctwhy-vm runs a command in a virtual machine of the lab, by hand.
//
//	go run ./test/vm/cmd/ctwhy-vm -kernel 6.12 -with conntrack,nft -- conntrack -C
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/ctwhy/ctwhy/test/vm"
)

const usage = `usage: ctwhy-vm [flags] [--] COMMAND [ARG...]

Boots a kernel under emulation and runs COMMAND there, with its exit code.
ctwhy, conntrack, nft and ip are there if the host has them (see -with), busybox
always. "-- sh" gives a shell.

`

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	exit, err := run(ctx, os.Args[1:])
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "ctwhy-vm:", err)
		exit = 125
	}
	os.Exit(exit)
}

func run(ctx context.Context, args []string) (exit int, err error) {
	o := vm.Options{Files: map[string]string{}, Out: map[string]string{}, Stdout: os.Stdout}
	f := flag.NewFlagSet("ctwhy-vm", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(f.Output(), usage)
		f.PrintDefaults()
	}
	kernel := f.String("kernel", "6.12", "`SERIES` of the kernel, or all; without it, CTWHY_KERNEL and CTWHY_MODULES by path if set")
	list := f.Bool("list", false, "list the kernels")
	fetch := f.Bool("fetch", false, "fetch the kernels into the cache and stop")
	with := f.String("with", "conntrack,nft,ip", "programs of the host to take along, with their libraries")
	modules := f.String("modules", "", "modules to load first, besides conntrack")
	appendArgs := f.String("append", "", "more arguments for the kernel")
	console := f.Bool("console", false, "show the kernel's messages on stderr")
	timeout := f.Duration("timeout", 0, "end the machine after this time")
	f.IntVar(&o.CPUs, "cpus", 2, "CPUs")
	f.IntVar(&o.Memory, "mem", 512, "memory in MiB")
	f.BoolVar(&o.ICount, "icount", false, "let guest time be the count of instructions, on one CPU")
	f.Func("file", "take along a file or directory, `HOST[:GUEST]` (several times)", pairs(o.Files, func(host string) string {
		return "/" + host[strings.LastIndex(host, "/")+1:]
	}))
	f.Func("out", "bring back a file, `HOST:GUEST` (several times)", pairs(o.Out, nil))
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0, nil
		}
		return 2, nil
	}
	o.Command = f.Args()
	o.Binaries = strings.FieldsFunc(*with, comma)
	o.Modules = strings.FieldsFunc(*modules, comma)
	o.Append = strings.Fields(*appendArgs)
	if *console {
		o.Console = os.Stderr
	}
	if *timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *timeout)
		defer cancel()
	}
	if info, err := os.Stdin.Stat(); err == nil && (len(o.Command) > 0 && o.Command[0] == "sh" || info.Mode()&os.ModeCharDevice == 0) {
		o.Stdin = os.Stdin
	}

	given := false
	f.Visit(func(f *flag.Flag) { given = given || f.Name == "kernel" })
	kernels, err := open(ctx, *kernel, given, *fetch || *list)
	if err != nil {
		return 0, err
	}
	if *fetch || *list {
		for _, k := range kernels {
			fmt.Printf("%-6s %s\n", k.Series, k.Release)
		}
		return 0, nil
	}
	if len(o.Command) == 0 {
		f.Usage()
		return 2, nil
	}
	for _, k := range kernels {
		if len(kernels) > 1 {
			fmt.Fprintf(os.Stderr, "--- Linux %s\n", k.Release)
		}
		start := time.Now()
		code, err := vm.Run(ctx, k, o)
		if err != nil {
			return 0, err
		}
		if len(kernels) > 1 {
			fmt.Fprintf(os.Stderr, "--- exit %d after %.1f s\n", code, time.Since(start).Seconds())
		}
		exit = max(exit, code)
	}
	return exit, nil
}

// open finds the kernels to run: by series, or from the environment.
func open(ctx context.Context, name string, given, all bool) ([]vm.Kernel, error) {
	if !given {
		if k, ok, err := vm.FromEnv(); ok {
			return []vm.Kernel{k}, err
		}
	}
	series := []string{name}
	if name == "all" || all && !given {
		series = vm.Series()
	}
	var kernels []vm.Kernel
	for _, s := range series {
		k, err := vm.Open(ctx, s, os.Stderr)
		if err != nil {
			return nil, err
		}
		kernels = append(kernels, k)
	}
	return kernels, nil
}

// pairs parses HOST:GUEST into a map from the guest's path to the host's.
func pairs(to map[string]string, guest func(host string) string) func(string) error {
	return func(s string) error {
		h, g, ok := strings.Cut(s, ":")
		if !ok && guest != nil {
			g = guest(h)
		} else if !ok {
			return errors.New("want HOST:GUEST")
		}
		to[g] = h
		return nil
	}
}

func comma(r rune) bool { return r == ',' }
