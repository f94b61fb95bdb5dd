package main

import (
	"context"
	stdlog "log"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/configfile"
)

type serveCommand struct {
	Config string `help:"Configuration to serve; watched, and read again on SIGHUP." placeholder:"FILE" default:"graphward.yaml"`
}

func (s *serveCommand) Run(ctx context.Context, c *console) error {
	log := zerolog.New(c.err).With().Timestamp().Str("component", "graphward").Logger()
	limitMemory(log)
	// What libraries say by the standard log, such as net/http of an upstream
	// that answers unasked, is one of ours and not a line of its own kind.
	stdlog.SetFlags(0)
	stdlog.SetOutput(log.With().Str("level", "debug").Logger())
	file, err := configfile.Load(s.Config)
	if err != nil {
		return notServed(err.Error())
	}
	f, err := firewall.New(ctx, file.Config, firewall.WithLogger(log))
	if err != nil {
		return notServed(lines(file.Problems(err)))
	}
	defer f.Close()
	server, err := f.Listen()
	if err != nil {
		return notServed(lines(file.Problems(err)))
	}
	for _, w := range f.Warnings() {
		log.Warn().Msg(w)
	}
	event := log.Info().Stringer("listen", server.Addr()).Str("path", file.Config.Path).Str("upstream", file.Config.Upstream.String())
	if a := server.AdminAddr(); a != nil {
		event = event.Stringer("admin", a)
	}
	event.Msg("serving")
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		s.follow(ctx, f, file, log)
	}()
	err = server.Serve(ctx)
	stop()
	<-watching
	if err != nil {
		return &exitError{exitFailed, "graphward: " + err.Error()}
	}
	log.Info().Msg("drained")
	return nil
}

func notServed(problems string) error {
	return &exitError{exitRefused, problems + "\ngraphward: nothing is served until this is mended"}
}

func lines(problems []configfile.Problem) string {
	out := make([]string, len(problems))
	for i, p := range problems {
		out[i] = p.String()
	}
	return strings.Join(out, "\n")
}

// follow reloads on SIGHUP and on changes of the files that the configuration
// names.
func (s *serveCommand) follow(ctx context.Context, f *firewall.Firewall, file *configfile.File, log zerolog.Logger) {
	var current atomic.Pointer[configfile.File]
	current.Store(file)
	reload := func() {
		next, err := configfile.Load(s.Config)
		if err != nil {
			f.RefuseReload(err)
			return
		}
		if err := f.Reload(ctx, next.Config); err == nil {
			current.Store(next)
			for _, w := range f.Warnings() {
				log.Warn().Msg(w)
			}
		}
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	changed := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := configfile.Watch(ctx, func() []string { return current.Load().Sources() }, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
		if err != nil {
			log.Warn().Err(err).Msg("files are not watched; send SIGHUP after a change")
		}
	}()
	refresh := refreshes(file)
	defer refresh.Stop()
	for {
		select {
		case <-ctx.Done():
			<-done
			return
		case <-hup:
			reload()
			if err := f.ReopenAudit(); err != nil {
				log.Error().Err(err).Msg("the audit output could not be opened anew")
			}
		case <-changed:
			reload()
		case <-refresh.C:
			_ = f.Refresh(ctx) // the log and /metrics have its error
		}
	}
}

// refreshes ticks at the shorter of schema.refresh and policy.bundle.poll;
// without them, never.
func refreshes(file *configfile.File) *time.Ticker {
	every := file.Config.Schema.Refresh.Std()
	if poll := file.Config.Policy.Bundle.Poll.Std(); poll > 0 && (every == 0 || poll < every) {
		every = poll
	}
	if every > 0 {
		return time.NewTicker(every)
	}
	t := time.NewTicker(time.Hour)
	t.Stop()
	return t
}
