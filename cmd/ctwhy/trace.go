package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/ctwhy/ctwhy/pkg/event"
	"github.com/ctwhy/ctwhy/pkg/kernel"
	"github.com/ctwhy/ctwhy/pkg/netns"
	"github.com/ctwhy/ctwhy/pkg/probe"
	"github.com/ctwhy/ctwhy/pkg/render"
	"github.com/ctwhy/ctwhy/pkg/trace"
)

const traceHelp = `Attaches to conntrack's code, says on stderr what can be seen on this kernel,
and prints a line for each packet that conntrack loses or changes. Ends with
Ctrl-C, --for or --stop-after, and then compares what it counted with the
kernel's own counters, for each network namespace.

The filters choose what is shown; everything is counted. Nothing on the
machine is changed, and nothing stays behind, however ctwhy ends (but a
--ready-file, after kill -9).`

func traceCommand() *cli.Command {
	return &cli.Command{
		Name:         "trace",
		Usage:        "why packets are lost, live",
		UsageText:    "ctwhy trace [options]",
		Description:  traceHelp,
		OnUsageError: badFlag,
		Flags: append(filterFlags(),
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "text", Usage: "`FORMAT`: text or json (one object a line)"},
			&cli.Uint64Flag{Name: "rate", Value: 1000, Usage: "show at most `N` events a second for each reason, 0 is no limit; all are counted"},
			&cli.StringFlag{Name: "detail", Value: "auto", Usage: "watch packets on their way into conntrack, to tell flags, hook, interface, mark and sender of a refused one: `WHEN` is auto (from the first loss until 30s of quiet), always or never; costs a little for every packet"},
			&cli.StringFlag{Name: "backend", Value: "auto", Usage: "`HOW` to watch the kernel: fexit, kprobe, or auto for each function"},
			&cli.DurationFlag{Name: "for", DefaultText: "until Ctrl-C", Usage: "end after this `TIME`, such as 10s or 5m"},
			&cli.Uint64Flag{Name: "stop-after", DefaultText: "never", Usage: "end after `N` events"},
			&cli.BoolFlag{Name: "wait", Usage: "wait until conntrack is loaded"},
			&cli.StringFlag{Name: "ready-file", Usage: "create `FILE` once everything is attached, and remove it at the end"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "when the kernel refuses a program, show the whole of its reasons"},
		),
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			return traceAction(c)
		},
	}
}

func traceAction(c *cli.Context) error {
	opts, err := traceOptions(c)
	if err != nil {
		return err
	}
	sink, err := traceSink(c.String("output"), c.App.Writer, c.App.ErrWriter)
	if err != nil {
		return err
	}
	k := kernel.Kernel{}
	if err := canTrace(c.Context, k, c.Bool("wait"), c.App.ErrWriter); err != nil {
		if c.Context.Err() != nil {
			return nil // interrupted while waiting: there was nothing to tell
		}
		return err
	}
	if path := c.String("ready-file"); path != "" {
		done, err := readyFile(path, &opts)
		if err != nil {
			return err
		}
		defer done()
	}
	err = trace.Run(c.Context, k, opts, sink)
	if log := probe.VerifierLog(err); log != "" && c.Bool("verbose") {
		fmt.Fprintln(c.App.ErrWriter, log)
	}
	return err
}

// traceOptions takes the command line apart. All its errors are usage errors.
func traceOptions(c *cli.Context) (trace.Options, error) {
	filter, err := parseFilter(c)
	if err != nil {
		return trace.Options{}, err
	}
	opts := trace.Options{
		Probe: probe.Options{
			Backend: probe.Backend(c.String("backend")),
			Filter:  filter,
			Rate:    c.Uint64("rate"),
		},
		Detail:    trace.DetailMode(c.String("detail")),
		For:       c.Duration("for"),
		StopAfter: c.Uint64("stop-after"),
	}
	for _, choice := range []struct {
		flag   string
		values []string
	}{
		{"backend", []string{string(probe.Auto), string(probe.Fexit), string(probe.Kprobe)}},
		{"detail", []string{string(trace.DetailAuto), string(trace.DetailAlways), string(trace.DetailNever)}},
		{"output", []string{"text", "json"}},
	} {
		if value := c.String(choice.flag); !slices.Contains(choice.values, value) {
			return trace.Options{}, usagef("--%s %q: it is one of %s", choice.flag, value, strings.Join(choice.values, ", "))
		}
	}
	if opts.For < 0 {
		return trace.Options{}, usagef("--for %v: the time must be positive", opts.For)
	}
	return opts, nil
}

func traceSink(format string, stdout, stderr io.Writer) (trace.Sink, error) {
	if format == "json" {
		return render.NewJSON(stdout), nil
	}
	home, err := netns.Self()
	if err != nil {
		return nil, err
	}
	return render.NewText(stdout, stderr, render.TextOptions{Color: colour(stdout), Home: home.ID}), nil
}

// colour is for terminals, but for those who don't want it
// (https://no-color.org), and for those who say that what reads the output
// ends at one (https://bixense.com/clicolors).
func colour(w io.Writer) bool {
	if os.Getenv("NO_COLOR") != "" {
		return false
	}
	if force := os.Getenv("CLICOLOR_FORCE"); force != "" && force != "0" {
		return true
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// canTrace says in a sentence why this machine can't be traced, and what to do.
func canTrace(ctx context.Context, k kernel.Kernel, wait bool, stderr io.Writer) error {
	for _, f := range []kernel.Feature{k.Privileges(), k.Tracing(), k.BPF(), k.BTF()} {
		if err := f.Err(); err != nil {
			return err
		}
	}
	err := k.Conntrack().Err()
	if err == nil {
		return nil
	}
	if !wait {
		return err
	}
	fmt.Fprintln(stderr, "ctwhy: conntrack is not loaded: waiting for it")
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for k.Conntrack().Err() != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// readyFile makes the trace create a file when it is ready. The file must not
// be there: a script that waits for an old one would not wait at all.
func readyFile(path string, opts *trace.Options) (done func(), err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			return nil, usagef("--ready-file %s: the file is there already; remove it, or name another", path)
		}
		return nil, fmt.Errorf("--ready-file: %w", err)
	}
	created := false
	opts.Ready = func() error {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return fmt.Errorf("--ready-file: %w", err)
		}
		created = true
		return f.Close()
	}
	return func() {
		if created {
			os.Remove(path)
		}
	}, nil
}

// parseReasons takes --reason apart.
func parseReasons(list string) ([]event.Reason, error) {
	if list == "" {
		return nil, nil
	}
	var reasons []event.Reason
	for _, name := range strings.Split(list, ",") {
		r, err := event.ParseReason(strings.TrimSpace(name))
		if err != nil {
			return nil, usagef("--reason: %w", err)
		}
		reasons = append(reasons, r)
	}
	return reasons, nil
}
