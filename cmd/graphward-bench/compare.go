package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
)

type compareCommand struct {
	Graphward   string        `help:"The graphward binary; default: built from this module." placeholder:"FILE"`
	Rounds      int           `help:"Rounds; in each, every target is loaded once." default:"5"`
	Duration    time.Duration `help:"Length of one burst." default:"2s"`
	Warmup      time.Duration `help:"Length of the burst before the first round." default:"1s"`
	Connections int           `help:"Keep-alive connections, each with one request in flight." default:"16"`
	Workloads   []string      `help:"Which workloads, by name; default: all." placeholder:"NAME"`
	Latency     int           `help:"Rounds of the fixed-rate comparison; 0: none." default:"11"`
	Rate        float64       `help:"Its rate, as a share of the bare proxy's throughput on the first workload." default:"0.4"`
	Procs       int           `help:"GOMAXPROCS of every proxy; 0: Go's default."`
	Versus      string        `help:"A second graphward binary, to compare with the first in the same rounds." placeholder:"FILE"`
	OtherURL    string        `help:"Another proxy to compare, in front of a backend of its own." placeholder:"URL"`
	OtherPID    int           `help:"Its process." placeholder:"PID"`
	OtherGuards bool          `help:"It refuses the hostile requests too."`
	JSON        bool          `help:"Print one JSON object."`
	Keep        string        `help:"Keep the scene's files in this folder." placeholder:"DIR"`
	Profile     string        `help:"Write graphward's CPU and allocation profiles of each workload to this folder. They slow it: no ratio counts." placeholder:"DIR"`
}

// Validate bounds the run, so that a slip does not load the machine for hours.
func (c *compareCommand) Validate() error {
	switch {
	case c.Rounds < 1 || c.Rounds > 101 || c.Latency < 0 || c.Latency > 101:
		return errors.New("--rounds is 1 to 101, --latency 0 to 101")
	case c.Duration < 100*time.Millisecond || c.Duration > time.Minute || c.Warmup < 0 || c.Warmup > time.Minute:
		return errors.New("--duration is 100ms to 1m, --warmup at most 1m")
	case c.Connections < 1 || c.Connections > 4096:
		return errors.New("--connections is 1 to 4096")
	case c.Rate <= 0 || c.Rate > 1:
		return errors.New("--rate is above 0 and at most 1")
	case (c.OtherURL == "") != (c.OtherPID == 0):
		return errors.New("--other-url and --other-pid come together")
	}
	return nil
}

// Run builds what is missing, starts everything, and compares.
func (c *compareCommand) Run(ctx context.Context, out *console) error {
	dir := c.Keep
	if dir == "" {
		temporary, err := os.MkdirTemp("", "graphward-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temporary)
		dir = temporary
	}
	s, err := newScene(dir)
	if err != nil {
		return err
	}
	all := workloads(s)
	chosen := all
	if len(c.Workloads) > 0 {
		chosen = nil
		for _, name := range c.Workloads {
			i := slices.IndexFunc(all, func(w workload) bool { return w.name == name })
			if i < 0 {
				return fmt.Errorf("there is no workload %q", name)
			}
			chosen = append(chosen, all[i])
		}
	}
	binary := c.Graphward
	if binary == "" {
		binary = filepath.Join(dir, "graphward")
		build := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/graphward/graphward/cmd/graphward")
		if c.Profile != "" {
			build.Args = slices.Insert(build.Args, 2, "-tags", "siege") // which has pprof
		}
		if text, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("go build: %w\n%s", err, text)
		}
	}
	p := &processes{stderr: out.err}
	if c.Procs > 0 {
		p.environ = []string{fmt.Sprintf("GOMAXPROCS=%d", c.Procs)}
	}
	r := &comparison{command: c, scene: s, processes: p, binary: binary, out: out, started: map[string]*target{}}
	report, err := r.run(ctx, chosen)
	if err = errors.Join(err, p.stop()); err != nil {
		return err
	}
	if c.JSON {
		return json.MarshalWrite(out.out, report)
	}
	return report.print(out.out)
}

// comparison is one run of the program.
type comparison struct {
	command   *compareCommand
	scene     *scene
	processes *processes
	binary    string
	out       *console
	started   map[string]*target
	backend   string
	counter   atomic.Uint64
}

func (r *comparison) run(ctx context.Context, chosen []workload) (*report, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	_, address, err := r.processes.start(ctx, firstLine, nil, self, "backend")
	if err != nil {
		return nil, err
	}
	address, _, _ = strings.Cut(address, " ")
	r.backend = "http://" + address + "/graphql"
	cmd, address, err := r.processes.start(ctx, firstLine, nil, self, "bare", "--upstream", r.backend)
	if err != nil {
		return nil, err
	}
	bare := &target{name: "bare", pid: cmd.Process.Pid}
	bare.at(address)
	others := []*target{bare}
	if r.command.OtherURL != "" {
		u, err := url.Parse(r.command.OtherURL)
		if err != nil {
			return nil, err
		}
		others = append(others, &target{name: "other", address: u.Host, pid: r.command.OtherPID, guarded: r.command.OtherGuards})
	}
	report := newReport(r.command)
	for _, w := range chosen {
		targets := slices.Clone(others)
		for _, v := range w.variants {
			t, err := r.graphward(ctx, r.binary, v)
			if err != nil {
				return nil, err
			}
			targets = append(targets, t)
			if r.command.Versus == "" {
				continue
			}
			v.name += "-versus"
			if t, err = r.graphward(ctx, r.command.Versus, v); err != nil {
				return nil, err
			}
			targets = append(targets, t)
		}
		rows, err := r.compare(ctx, &w, targets, r.command.Rounds, 0)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		report.add(w.name, w.about, 0, rows)
	}
	if r.command.Latency > 0 {
		if err := r.latency(ctx, report, &chosen[0], others); err != nil {
			return nil, err
		}
	}
	return report, nil
}

// latency compares at a fixed rate, which is a share of what the bare proxy
// reached on the same workload.
func (r *comparison) latency(ctx context.Context, report *report, w *workload, others []*target) error {
	t, err := r.graphward(ctx, r.binary, w.variants[0])
	if err != nil {
		return err
	}
	rate := r.command.Rate * report.Workloads[0].Targets[0].Throughput
	rows, err := r.compare(ctx, w, append(slices.Clone(others), t), r.command.Latency, rate)
	if err != nil {
		return err
	}
	report.add(w.name+" at a fixed rate", w.about, rate, rows)
	return nil
}

// graphward starts a variant unless it runs.
func (r *comparison) graphward(ctx context.Context, binary string, v variant) (*target, error) {
	if t := r.started[v.name]; t != nil {
		return t, nil
	}
	config, err := r.scene.config(v, r.backend)
	if err != nil {
		return nil, err
	}
	t := &target{name: v.name, guarded: true}
	var environ []string
	if r.command.Profile != "" {
		if t.profile, err = freeAddress(); err != nil {
			return nil, err
		}
		environ = []string{"GRAPHWARD_PROFILES=" + t.profile}
	}
	cmd, address, err := r.processes.start(ctx, servingLine, environ, binary, "serve", "--config", config)
	if err != nil {
		return nil, err
	}
	t.at(address)
	t.pid = cmd.Process.Pid
	r.started[v.name] = t
	return t, nil
}

// burst is one target's part of one round.
type burst struct {
	throughput, p50, p99, cpu float64 // 1/s, s, s, CPU-seconds for 1,000 requests
	mallocs                   float64 // objects a request; NaN: not known
	rss                       int64
	requests                  int
}

// maxWarmups bounds the bursts before the first round.
const maxWarmups = 30

// compare loads the targets in turns; the answer has one row of bursts for
// each, in the order of the rounds. Who comes first changes from round to round.
func (r *comparison) compare(ctx context.Context, w *workload, targets []*target, rounds int, rate float64) ([]row, error) {
	rows := make([]row, len(targets))
	for i, t := range targets {
		rows[i].target = t
		t.resetPeak()
		// What turns through many documents is warm when all have been seen.
		for seen, bursts := 0, 0; r.command.Warmup > 0 && bursts < maxWarmups && (bursts == 0 || seen < w.distinct); bursts++ {
			b, err := r.burst(ctx, w, t, r.command.Warmup, rate)
			if err != nil {
				return nil, err
			}
			seen += b.requests
		}
	}
	for round := range rounds {
		for k := range targets {
			i := (k + round) % len(targets)
			stop := r.profile(ctx, targets[i], w)
			b, err := r.burst(ctx, w, targets[i], r.command.Duration, rate)
			if err = errors.Join(err, stop()); err != nil {
				return nil, err
			}
			rows[i].bursts = append(rows[i].bursts, *b)
		}
		fmt.Fprintf(r.out.err, "%s: round %d of %d\n", strings.TrimSpace(w.name), round+1, rounds)
	}
	return rows, nil
}

func (r *comparison) burst(ctx context.Context, w *workload, t *target, d time.Duration, rate float64) (*burst, error) {
	l := &load{name: t.name, address: t.address, connections: r.command.Connections, duration: d, rate: rate, guarded: t.guarded, next: w.next, counter: &r.counter}
	mallocs, err := t.mallocs(ctx)
	if err != nil {
		return nil, err
	}
	before, err := t.cpu()
	if err != nil {
		return nil, err
	}
	got, err := l.run(ctx)
	if err != nil {
		return nil, err
	}
	after, err := t.cpu()
	if err != nil {
		return nil, err
	}
	mallocsAfter, err := t.mallocs(ctx)
	if err != nil {
		return nil, err
	}
	rss, err := t.peakRSS()
	if err != nil {
		return nil, err
	}
	if got.requests == 0 {
		return nil, fmt.Errorf("%s answered nothing", t.name)
	}
	return &burst{
		throughput: float64(got.requests) / got.elapsed.Seconds(), p50: got.quantile(0.5).Seconds(), p99: got.quantile(0.99).Seconds(),
		cpu: (after - before).Seconds() * 1000 / float64(got.requests), mallocs: (mallocsAfter - mallocs) / float64(got.requests), rss: rss, requests: got.requests,
	}, nil
}
