package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/goleak"
)

// TestMain is also the program: compare starts its own executable.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "backend" || os.Args[1] == "bare") {
		main()
		return
	}
	code := m.Run()
	if code == 0 {
		// On a busy machine goroutines that are about to end may take longer than goleak waits by itself.
		err := goleak.Find()
		for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); {
			err = goleak.Find()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "goroutines are left:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// The whole comparison with bursts as short as can be: every request of every
// workload gets the answer that it must get, and every figure is there.
func TestCompare(t *testing.T) {
	var out bytes.Buffer
	c := compareCommand{Rounds: 1, Duration: 100 * time.Millisecond, Connections: 2, Latency: 1, Rate: 0.1, JSON: true}
	if err := c.Run(context.Background(), &console{&out, io.Discard}); err != nil {
		t.Fatal(err)
	}
	var got report
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Workloads) != 9 {
		t.Errorf("%d workloads", len(got.Workloads))
	}
	for _, w := range got.Workloads {
		for _, target := range w.Targets {
			if target.Throughput <= 0 || target.P99 <= 0 || target.PeakRSS <= 0 {
				t.Errorf("%s: %+v", w.Name, target)
			}
		}
	}
}
