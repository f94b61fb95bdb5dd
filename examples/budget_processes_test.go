package examples_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graphward/graphward/porttest"
)

const (
	exactWindow   = 3 * time.Second
	exactAdmitted = 300 // operations a window
	exactProcs    = 3
	exactSenders  = 64
)

// Three firewalls with one Redis, one client that sends by 64 connections as fast as it can: in no interval of a window's length is
// more admitted than the budget, and in the first window, and in the one after it, at least 99 % of it. With leases up to a
// twentieth of it more for each firewall may be.
func TestBudgetAcrossProcesses(t *testing.T) {
	redis := redisServer(t)
	if redis == "" {
		return
	}
	binary := filepath.Join(t.TempDir(), "graphward")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/graphward").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":{"a":"1"}}`)
	}))
	t.Cleanup(up.Close)
	for _, tt := range []struct {
		lease string
		most  int
	}{
		{"off", exactAdmitted},
		{"on", exactAdmitted + exactProcs*exactAdmitted/20},
	} {
		t.Run("lease "+tt.lease, func(t *testing.T) {
			for try := 1; !admitsTheBudget(t, redis, binary, up.URL, tt.lease, tt.most, try == 10); try++ {
				t.Log("the machine stood still meanwhile: again, with another store")
			}
		})
	}
}

// admitsTheBudget judges one run. It reports whether the run says something: where a window ends before the senders have asked for more than
// the budget, or they stand still, as on a busy machine, less of it may be admitted; unless it is the last run.
func admitsTheBudget(t *testing.T, redis, binary, upstream, lease string, most int, last bool) bool {
	t.Helper()
	store := started(t, "Ready to accept connections", redis, "--port", port(t), "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "")
	var urls []string
	for i := range exactProcs {
		urls = append(urls, startGuard(t, binary, fmt.Sprintf("guard%d", i), upstream, store, lease))
	}
	h := hammer(t, urls, 2*exactWindow+exactWindow/2)
	if len(h.admitted) == 0 {
		t.Fatal("nothing was admitted")
	}
	first, worst := within(h.admitted, 0), 0
	for i := range h.admitted {
		worst = max(worst, within(h.admitted, i))
	}
	t.Logf("%d in the first window, at most %d in any, %d in two and a half, of %d a window; the first refusal came after %v, the longest silence was %v",
		first, worst, len(h.admitted), exactAdmitted, h.refused, h.silence)
	if worst > most {
		t.Errorf("%d operations were admitted in one window, the budget is for %d, with leases %d", worst, exactAdmitted, most)
	}
	if first*100 < 99*exactAdmitted || len(h.admitted)*100 < 99*2*exactAdmitted {
		if demanded := h.refused < exactWindow/2 && h.silence < exactWindow/10; !demanded && !last && !t.Failed() {
			return false
		}
		t.Errorf("less than 99 %% of the budget was admitted: %d in the first window, %d in two", first, len(h.admitted))
	}
	return true
}

// span is when an admitted operation was sent and when its answer was there: it was admitted in between.
type span struct{ from, to time.Time }

// within counts those that were admitted for certain in the window that begins when the i-th was sent.
func within(admitted []span, i int) int {
	n := 0
	for _, s := range admitted {
		if !s.from.Before(admitted[i].from) && s.to.Sub(admitted[i].from) <= exactWindow {
			n++
		}
	}
	return n
}

// hammered is what became of the operations that were sent.
type hammered struct {
	admitted []span        // by the time they were sent
	refused  time.Duration // until the first refusal
	silence  time.Duration // the longest without an answer
}

// hammer sends the same operation to each firewall in turn.
func hammer(t *testing.T, urls []string, d time.Duration) hammered {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: exactSenders}}
	defer client.CloseIdleConnections()
	ctx, stop := context.WithTimeout(t.Context(), d)
	defer stop()
	var mu sync.Mutex
	h := hammered{refused: d}
	begun := time.Now()
	latest := begun
	var wg sync.WaitGroup
	for sender := range exactSenders {
		wg.Go(func() {
			for n := sender; ctx.Err() == nil; n++ {
				s := span{from: time.Now()}
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, urls[n%len(urls)], strings.NewReader(`{"query":"{ a }"}`))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Content-Type", "application/json")
				req.Header.Set("Accept", "application/graphql-response+json")
				res, err := client.Do(req)
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				s.to = time.Now()
				mu.Lock()
				if silence := s.to.Sub(latest); silence > 0 {
					h.silence, latest = max(h.silence, silence), s.to
				}
				switch res.StatusCode {
				case http.StatusOK:
					h.admitted = append(h.admitted, s)
				case http.StatusTooManyRequests:
					h.refused = min(h.refused, s.to.Sub(begun))
				default:
					t.Errorf("status %d", res.StatusCode)
					stop()
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.SortFunc(h.admitted, func(a, b span) int { return a.from.Compare(b.from) })
	return h
}

// startGuard starts a firewall that admits exactAdmitted operations a window, and returns its URL.
func startGuard(t *testing.T, binary, name, upstream, store, lease string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + port(t)
	for file, text := range map[string]string{
		"schema.graphql": "type Query { a: String }\n",
		"graphward.yaml": fmt.Sprintf(`listen: %s
upstream: {url: %q}
schema: {files: [schema.graphql]}
allow_all: true
operations: {adhoc: allow}
identity: {anonymous: allow}
cost: {weights: {Query.a: 10}, profile: simple}
budgets: {store: "redis://%s/0", timeout: 1m, lease: %q, tiers: {default: {cost: %d/%s}}}
audit: {output: "off"}
`, address, upstream, store, lease, 10*exactAdmitted, exactWindow),
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	start(t, `"message":"serving"`, binary, "serve", "--config", filepath.Join(dir, "graphward.yaml"))
	return "http://" + address + "/graphql"
}

// started is start for a program that is told a port as its second argument; it returns the address.
func started(t *testing.T, ready, path string, args ...string) string {
	t.Helper()
	start(t, ready, path, args...)
	return "127.0.0.1:" + args[1]
}

// start returns when the program has written ready, and ends it with the test.
func start(t *testing.T, ready, path string, args ...string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = in, in
	err = cmd.Start()
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	lines, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		defer close(lines)
		var log []string
		for scan := bufio.NewScanner(out); scan.Scan(); {
			if log = append(log, scan.Text()); !strings.Contains(scan.Text(), ready) {
				continue
			}
			lines <- ""
			_, _ = io.Copy(io.Discard, out)
			return
		}
		lines <- strings.Join(log, "\n")
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if err := cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
			t.Error(err)
		}
		<-ended
		out.Close()
	})
	select {
	case failed := <-lines:
		if failed != "" {
			t.Fatalf("%s ended without %q:\n%s", path, ready, failed)
		}
	case <-time.After(time.Minute):
		t.Fatalf("%s did not say %q", path, ready)
	}
}

func port(t *testing.T) string {
	t.Helper()
	return strconv.Itoa(porttest.Free(t))
}

// redisServer is a server's program; "" when there is none, which the log then says. With GRAPHWARD_REQUIRE_TOOLS=1 it must be there.
func redisServer(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("GRAPHWARD_REQUIRE_TOOLS") == "1" {
		t.Fatal("no redis-server or valkey-server in PATH=" + os.Getenv("PATH"))
	}
	t.Log("no redis-server or valkey-server: budgets across processes were not tried (apt-get install redis-server)")
	return ""
}
