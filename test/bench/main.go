// Command bench measures what tracing costs, in guest instructions: a machine
// of the lab whose clock is the count of its instructions runs the same
// workloads without a tracer, with empty BPF programs on the same functions,
// with ctwhy and with bpftrace. It prints a table and fails when a bar is
// missed.
//
//	go run ./test/bench [-kernel 6.12]
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/ctwhy/ctwhy/test/bench/result"
	"github.com/ctwhy/ctwhy/test/vm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	series := flag.String("kernel", "6.12", "`SERIES` of the kernel")
	bpftrace := flag.Bool("bpftrace", true, "measure bpftrace too")
	flag.Parse()
	ok, err := run(ctx, *series, *bpftrace)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(1)
	}
}

func run(ctx context.Context, series string, bpftrace bool) (ok bool, err error) {
	dir, err := os.MkdirTemp("", "ctwhy-bench-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	files, err := vm.Programs(ctx, dir, map[string]string{"/ctwhy": "./cmd/ctwhy", "/bench": "./test/bench/guest"})
	if err != nil {
		return false, err
	}
	kernel, err := vm.Open(ctx, series, os.Stderr)
	if err != nil {
		return false, err
	}
	opts := vm.Options{
		Command:  []string{"/bench"},
		Binaries: []string{"nft", "conntrack"},
		Files:    files,
		Memory:   1024,
		ICount:   true,
	}
	if bpftrace {
		opts.Binaries = append(opts.Binaries, "bpftrace")
	}
	var out bytes.Buffer
	opts.Stdout = &out
	fmt.Fprintf(os.Stderr, "bench: measuring on %s, some minutes\n", kernel)
	exit, err := vm.Run(ctx, kernel, opts)
	if err != nil {
		return false, err
	}
	if exit != 0 {
		return false, fmt.Errorf("the guest's exit code is %d: %s", exit, out.Bytes())
	}
	var r result.Result
	last := bytes.TrimSpace(out.Bytes())
	last = last[bytes.LastIndexByte(last, '\n')+1:]
	if err := json.Unmarshal(last, &r); err != nil {
		return false, fmt.Errorf("read the guest's result: %w: %s", err, out.Bytes())
	}
	fmt.Printf("Linux %s, guest instructions (-icount)\n\n", kernel.Release)
	return r.Report(os.Stdout), nil
}
