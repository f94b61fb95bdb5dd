// Command graphward is a GraphQL-aware security firewall: a reverse proxy that
// understands each operation before the backend sees it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/graphward/graphward/firewall/configfile"
)

// Exit codes of every subcommand.
const (
	exitOK      = 0
	exitRefused = 1 // what was asked about is refused or wrong
	exitFailed  = 2 // it could not be found out
)

type cli struct {
	Demo        demoCommand        `cmd:"" help:"Run an example backend behind the firewall on this machine and print requests to try."`
	Serve       serveCommand       `cmd:"" help:"Serve a configuration."`
	Check       checkCommand       `cmd:"" help:"Check config, schema, policy and manifests; print every problem with its place."`
	Explain     explainCommand     `cmd:"" help:"Explain the decision for one operation, stage by stage."`
	Test        testCommand        `cmd:"" help:"Run the policy's Rego tests, with coverage of schema coordinates."`
	Budgets     budgetsCommand     `cmd:"" help:"Show or reset what a client has spent, by the admin listener."`
	Operations  operationsCommand  `cmd:"" help:"Registered operations: extract, check, diff, publish, unused."`
	Init        initCommand        `cmd:"" help:"Write a configuration, a policy and a first test for a schema."`
	Healthcheck healthcheckCommand `cmd:"" help:"Ask a running firewall whether it is ready (for containers)."`
	Version     versionCommand     `cmd:"" help:"Print version and build."`
}

// console is where a command writes.
type console struct{ out, err io.Writer }

// exitError ends the program with a code; its message, if any, is printed.
type exitError struct {
	code    int
	message string
}

func (e *exitError) Error() string { return e.message }

// loadConfig reads a configuration for a command that cannot go on without it.
func loadConfig(path string) (*configfile.File, error) {
	file, err := configfile.Load(path)
	if err != nil {
		return nil, &exitError{exitFailed, err.Error()}
	}
	return file, nil
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main without the process, for tests.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code := -1
	parser, err := kong.New(&cli{},
		kong.Name("graphward"),
		kong.Description("A GraphQL-aware security firewall in front of any GraphQL server. `graphward demo` shows what it does."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(c int) {
			if code < 0 {
				code = c
			}
		}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(&console{stdout, stderr}),
		kong.UsageOnError(),
	)
	if err != nil {
		fmt.Fprintln(stderr, "graphward:", err)
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if code >= 0 { // --help has printed and would have exited
		return code
	}
	if err != nil {
		fmt.Fprintf(stderr, "graphward: %v\nSee graphward --help.\n", err)
		return exitFailed
	}
	err = parsed.Run()
	var exit *exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		if exit.message != "" {
			fmt.Fprintln(stderr, exit.message)
		}
		return exit.code
	default:
		fmt.Fprintln(stderr, "graphward:", err)
		return exitFailed
	}
}
