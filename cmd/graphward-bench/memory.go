package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

type memoryCommand struct {
	Graphward   string   `help:"The graphward binary; default: built from this module." placeholder:"FILE"`
	Corpus      string   `help:"Folder with schema.graphql and operations.json." default:"schema/testdata/corpora/artsy" type:"existingdir"`
	Plans       int      `help:"Distinct operations: the corpus's, renamed until there are as many." default:"10000"`
	Connections int      `help:"Keep-alive connections, all open until the end, each with one request in flight." default:"1000"`
	PlanCache   []string `help:"Values of limits.plan_cache, each with a process of its own." default:"8MiB,64MiB,256MiB,1GiB"`
}

// Validate bounds the run.
func (c *memoryCommand) Validate() error {
	if c.Plans < 1 || c.Plans > 1_000_000 || c.Connections < 1 || c.Connections > 4096 {
		return errors.New("--plans is 1 to 1,000,000, --connections 1 to 4,096")
	}
	return nil
}

// memoryRow is what one process held, in bytes.
type memoryRow struct {
	planCache  string
	idle       int64 // after the start
	peak       int64
	hits, miss float64 // of the plan cache, over all requests
	refused    int64
}

// memoryRounds is how often each operation is sent: a plan is kept from the
// second time on.
const memoryRounds = 3

// Run prints the resident set of graphward with many plans and connections, for
// several sizes of its plan cache.
func (c *memoryCommand) Run(ctx context.Context, out *console) error {
	dir, err := os.MkdirTemp("", "graphward-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	requests, err := c.requests()
	if err != nil {
		return err
	}
	binary := c.Graphward
	if binary == "" {
		binary = filepath.Join(dir, "graphward")
		if text, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/graphward/graphward/cmd/graphward").CombinedOutput(); err != nil {
			return fmt.Errorf("go build: %w\n%s", err, text)
		}
	}
	var rows []memoryRow
	for _, size := range c.PlanCache {
		row, err := c.measure(ctx, out, dir, binary, size, requests)
		if err != nil {
			return fmt.Errorf("plan_cache %s: %w", size, err)
		}
		rows = append(rows, *row)
	}
	fmt.Fprintf(out.out, "%d operations, each sent %d times, over %d connections; resident set in MB\n", c.Plans, memoryRounds, c.Connections)
	t := tabwriter.NewWriter(out.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "limits.plan_cache\tidle\tpeak\tplan hits\tmisses\trefused\t\n")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.0f\t%.0f\t%d\t\n", r.planCache, float64(r.idle)/1e6, float64(r.peak)/1e6, r.hits, r.miss, r.refused)
	}
	return t.Flush()
}

// requests are as many as there are to be plans.
func (c *memoryCommand) requests() ([][]byte, error) {
	text, err := os.ReadFile(filepath.Join(c.Corpus, "operations.json"))
	if err != nil {
		return nil, err
	}
	var operations []struct {
		Name      string         `json:"name"`
		Query     string         `json:"query"`
		Variables jsontext.Value `json:"variables"`
	}
	if err := json.Unmarshal(text, &operations); err != nil {
		return nil, fmt.Errorf("operations.json: %w", err)
	}
	if len(operations) == 0 {
		return nil, errors.New("operations.json has no operations")
	}
	requests := make([][]byte, c.Plans)
	for i := range requests {
		op := &operations[i%len(operations)]
		query := op.Query
		if n := i / len(operations); n > 0 {
			query = strings.Replace(query, " "+op.Name, " "+op.Name+"_"+strconv.Itoa(n), 1)
		}
		body, err := json.Marshal(map[string]any{"query": query, "variables": op.Variables})
		if err != nil {
			return nil, err
		}
		requests[i] = fmt.Appendf(nil, "POST /graphql HTTP/1.1\r\nHost: api.bench.example\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	return requests, nil
}

func (c *memoryCommand) config(dir, upstream, size string) (string, error) {
	schema, err := filepath.Abs(filepath.Join(c.Corpus, "schema.graphql"))
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "memory-"+size+".yaml")
	return path, os.WriteFile(path, fmt.Appendf(nil, `listen: 127.0.0.1:0
admin: {listen: "localhost:0"}
path: /graphql
upstream: {url: %q, timeout: 10s}
schema: {files: [%q]}
allow_all: true
operations: {adhoc: allow}
cost: {max: 1000000000}
limits: {plan_cache: %s, in_flight: 4096}
identity: {anonymous: allow}
audit: {output: %q}
`, upstream, schema, size, filepath.Join(dir, size+".audit.jsonl")), 0o600)
}

func (c *memoryCommand) measure(ctx context.Context, out *console, dir, binary, size string, requests [][]byte) (*memoryRow, error) {
	p := &processes{stderr: out.err}
	row, err := c.under(ctx, p, dir, binary, size, requests)
	return row, errors.Join(err, p.stop())
}

func (c *memoryCommand) under(ctx context.Context, p *processes, dir, binary, size string, requests [][]byte) (*memoryRow, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	_, address, err := p.start(ctx, firstLine, nil, self, "backend")
	if err != nil {
		return nil, err
	}
	address, _, _ = strings.Cut(address, " ")
	config, err := c.config(dir, "http://"+address+"/graphql", size)
	if err != nil {
		return nil, err
	}
	cmd, addresses, err := p.start(ctx, servingLine, nil, binary, "serve", "--config", config)
	if err != nil {
		return nil, err
	}
	t := &target{name: size, pid: cmd.Process.Pid}
	t.at(addresses)
	row := &memoryRow{planCache: size}
	if row.idle, err = t.peakRSS(); err != nil {
		return nil, err
	}
	if row.refused, err = c.send(ctx, t.address, requests); err != nil {
		return nil, err
	}
	if row.peak, err = t.peakRSS(); err != nil {
		return nil, err
	}
	if row.hits, err = t.metric(ctx, `graphward_plan_cache_total{result="hit"}`); err != nil {
		return nil, err
	}
	row.miss, err = t.metric(ctx, `graphward_plan_cache_total{result="miss"}`)
	return row, err
}

// send opens all connections, then sends every request memoryRounds times. It
// returns how many were refused.
func (c *memoryCommand) send(ctx context.Context, address string, requests [][]byte) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var dialer net.Dialer
	clients := make([]*client, c.Connections)
	for i := range clients {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Minute))
		clients[i] = &client{conn: conn, in: bufio.NewReaderSize(conn, 4<<10)}
	}
	var next, refused atomic.Int64
	var group sync.WaitGroup
	for _, k := range clients {
		group.Go(func() {
			for ctx.Err() == nil {
				n := int(next.Add(1) - 1)
				if n >= memoryRounds*len(requests) {
					return
				}
				status, err := k.exchange(requests[n%len(requests)])
				if err != nil {
					cancel(err)
					return
				}
				if status >= 400 {
					refused.Add(1)
				}
			}
		})
	}
	group.Wait()
	return refused.Load(), context.Cause(ctx)
}

func (c *client) exchange(request []byte) (status int, err error) {
	if _, err := c.conn.Write(request); err != nil {
		return 0, err
	}
	status, err = c.answer()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return status, err
}
