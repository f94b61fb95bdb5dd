//go:build siege

package examples_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/graphward/graphward/examples/quickstart"
)

// TestChaos kills, pauses and restarts the backend and Redis at random, and
// reloads the policy every second, good and broken. Every request gets exactly
// one answer; a refused one is refused under every policy; nothing else than
// 502, 503 and 504 stands in for an allowed one; all charges settle; and when
// the chaos is over, all is as it was.
func TestChaos(t *testing.T) {
	length := duration(t, 5*time.Minute)
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	store := &process{path: redis, args: []string{"--bind", host, "--port", port, "--save", "", "--appendonly", "no", "--dir", t.TempDir()}}
	if err := store.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.end(os.Kill) })
	if err := eventually(10*time.Second, func() error { return reachable(address) }); err != nil {
		t.Fatal(err)
	}
	s := lay(t, func(config string) string {
		config = swap(t, config, "timeout: 90s", "timeout: 2s")
		return swap(t, config, "budgets:\n", "budgets:\n  store: redis://"+address+"/0\n")
	})

	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	var group sync.WaitGroup
	did := map[string]int{}
	var failed []error
	group.Go(func() {
		failed = disturb(ctx, did, map[string]*process{"backend": s.backend, "redis": store})
	})
	var written int
	group.Go(func() { written = s.rewritePolicy(t, ctx) })
	got := s.attack(ctx, 32, true)
	group.Wait()
	for _, err := range failed {
		t.Error(err)
	}
	fmt.Printf("%d requests in %v, %d answered 502, 503 or 504, %d wrong verdicts; done to them: %v; %d policies written\n",
		got.shots.Load(), length, got.late.Load(), got.wrong.Load(), did, written)
	for _, e := range got.examples {
		t.Error(e)
	}
	if got.late.Load() == got.shots.Load() || got.late.Load() == 0 {
		t.Errorf("%d of %d requests met a failure: this was no chaos", got.late.Load(), got.shots.Load())
	}
	s.calm(t)
}

// disturb does one thing at a time, then waits a moment. Each thing is undone
// before the next.
func disturb(ctx context.Context, did map[string]int, victims map[string]*process) (failed []error) {
	wait := func(longest time.Duration) {
		timer := time.NewTimer(rand.N(longest))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	names := []string{"backend", "redis"}
	for ctx.Err() == nil {
		name := names[rand.IntN(len(names))]
		p := victims[name]
		if rand.IntN(2) == 0 {
			did[name+" killed"]++
			if err := p.end(os.Kill); err != nil {
				failed = append(failed, err)
			}
			wait(2 * time.Second)
			if err := p.start(); err != nil {
				failed = append(failed, err)
			}
		} else {
			did[name+" paused"]++
			if err := p.signal(syscall.SIGSTOP); err != nil {
				failed = append(failed, err)
			}
			wait(4 * time.Second)
			if err := p.signal(syscall.SIGCONT); err != nil {
				failed = append(failed, err)
			}
		}
		wait(5 * time.Second)
	}
	return failed
}

// rewritePolicy puts a rule file beside the quickstart's each second: one of
// two that work, which deny a field under different codes, or a broken one.
func (s *siege) rewritePolicy(t *testing.T, ctx context.Context) (n int) {
	texts := []string{
		"package graphward\n\nimport rego.v2\n\nerror.Query.internalNotes := {\"code\": \"CHAOS_A\", \"message\": \"a\"}\n",
		"package graphward\n\nimport rego.v2\n\nallow.Query.nothing if {\n",
		"package graphward\n\nimport rego.v2\n\nerror.Query.internalNotes := {\"code\": \"CHAOS_B\", \"message\": \"b\"}\n",
		"package graphward\n\nimport rego.v2\n\nallow.Query.doesNotExist := true\n",
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	path := filepath.Join(s.dir, "policies", "chaos.rego")
	for {
		select {
		case <-ctx.Done():
			return n
		case <-tick.C:
		}
		next := path + ".next"
		if err := errors.Join(os.WriteFile(next, []byte(texts[n%len(texts)]), 0o644), os.Rename(next, path)); err != nil {
			t.Error(err)
		}
		n++
	}
}

// calm asks, with all restored, whether the firewall is ready with nothing
// pending, whether it has reloaded both ways, and whether every slot that was
// taken was given back.
func (s *siege) calm(t *testing.T) {
	t.Helper()
	ready := func() error {
		text, err := s.fromAdmin("/readyz")
		if err == nil && (!strings.Contains(text, `"pending":0`) || !strings.Contains(text, "redis: closed")) {
			err = fmt.Errorf("/readyz: %s", text)
		}
		return err
	}
	began := time.Now()
	if err := eventually(30*time.Second, func() error { return errors.Join(ready(), s.settled()) }); err != nil {
		t.Error(err)
	}
	fmt.Printf("ready, nothing pending and every slot free after %v\n", time.Since(began).Round(100*time.Millisecond))
	for _, result := range []string{"success", "failure"} {
		n, err := s.metric(`graphward_reloads_total{result="` + result + `"}`)
		if err != nil || n == 0 {
			t.Errorf("reloads by %s: %v, %v", result, n, err)
		}
		fmt.Printf("reloads by %s: %.0f\n", result, n)
	}
	for _, name := range []string{"graphward_panics_total", "graphward_requests_in_flight", "graphward_settle_failures_total"} {
		n, err := s.metric(name)
		fmt.Printf("%s: %.0f\n", name, n)
		if err != nil || n != 0 && name != "graphward_settle_failures_total" {
			t.Errorf("%s is %v, %v", name, n, err)
		}
	}
	last := s.arsenal().shot(2)
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	if late, err := s.fire(transport, &last); late != 0 || err != nil {
		t.Errorf("after the chaos: %d, %v", late, err)
	}
}

// settled looks at the slots of everybody who sent requests.
func (s *siege) settled() error {
	holders := []string{"ip:127.0.0.1"}
	for _, p := range quickstart.People {
		holders = append(holders, "subject:"+p.Subject)
	}
	for _, h := range holders {
		text, err := s.fromAdmin("/budgets?client=" + url.QueryEscape(h))
		if err != nil {
			return err
		}
		var buckets []struct {
			Budget           string
			Limit, Remaining float64
		}
		if err := json.NewDecoder(bytes.NewBufferString(text)).Decode(&buckets); err != nil {
			return fmt.Errorf("%s: %w: %s", h, err, text)
		}
		for _, b := range buckets {
			if b.Budget == "in_flight" && b.Remaining != b.Limit {
				return fmt.Errorf("%s holds %g slots though nothing is in flight", h, b.Limit-b.Remaining)
			}
		}
	}
	return nil
}
