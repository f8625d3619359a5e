// Command ctwhy tells why Linux connection tracking lost a packet.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// version is set by the Makefile; go install leaves it to the module's version.
var version = ""

// Exit codes, as conntrack(8)'s.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args, os.Stdout, os.Stderr))
}

// run is main without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := &cli.App{
		Name:            "ctwhy",
		Usage:           "why did Linux connection tracking lose this packet?",
		Version:         versionString(),
		HideHelpCommand: true,
		Writer:          stdout,
		ErrWriter:       stderr,
		Commands:        []*cli.Command{traceCommand()},
		OnUsageError:    badFlag,
		ExitErrHandler:  func(*cli.Context, error) {},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef("unknown command %q: see ctwhy --help", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
	}
	err := app.RunContext(ctx, args)
	if err == nil {
		return exitDone
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		fmt.Fprintf(stderr, "ctwhy: %s\n", line)
	}
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// usageError is a command line that can't be taken.
type usageError struct{ err error }

func (u *usageError) Error() string { return u.err.Error() }
func (u *usageError) Unwrap() error { return u.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// badFlag is what the flag parser could not take.
func badFlag(c *cli.Context, err error, _ bool) error {
	command := "ctwhy"
	if c.Command.Name != c.App.Name {
		command += " " + c.Command.Name
	}
	return usagef("%w; see %s --help", err, command)
}

// noArguments refuses arguments to a command that takes none. The flag parser
// would take everything after the first one for arguments, and so ignore the
// flags among them.
func noArguments(c *cli.Context) error {
	if !c.Args().Present() {
		return nil
	}
	stray := c.Args().First()
	rest := c.Args().Tail()
	given := os.Args
	kept := given[:len(given)-len(rest)-1]
	line := strings.Join(append(append([]string{}, kept...), rest...), " ")
	return usagef("%s takes no argument, but %q is one; options after it would be ignored; did you mean: %s", c.Command.FullName(), stray, line)
}

func versionString() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
