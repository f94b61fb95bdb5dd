// Command graphward-bench compares the graphward binary, with everything on,
// with a bare httputil.ReverseProxy on the same machine in the same run. It
// starts a backend, the proxy and graphward as processes of their own, loads
// them in turns over loopback, and prints what each costs as ratios.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

type cli struct {
	Compare compareCommand `cmd:"" default:"withargs" help:"Compare graphward with a bare reverse proxy (Linux: reads /proc)."`
	Memory  memoryCommand  `cmd:"" help:"Print the resident set with many plans and connections (Linux: reads /proc)."`
	Backend backendCommand `cmd:"" hidden:"" help:"The backend that compare starts: fixed answers."`
	Bare    bareCommand    `cmd:"" hidden:"" help:"The bare reverse proxy that compare starts."`
}

// console is where a command writes: results to out, progress to err.
type console struct{ out, err io.Writer }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	parsed := kong.Parse(&cli{},
		kong.Name("graphward-bench"),
		kong.Description("Side-by-side load comparison of graphward and a bare httputil.ReverseProxy."),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(&console{os.Stdout, os.Stderr}),
		kong.UsageOnError(),
	)
	if err := parsed.Run(); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "graphward-bench:", err)
		os.Exit(1)
	}
}
