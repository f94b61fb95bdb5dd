package firewall_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/identity"
)

// TestMain fails where a goroutine is left. On a busy machine those that are about
// to end may take longer than goleak waits by itself.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		err := goleak.Find()
		for end := time.Now().Add(patience); err != nil && time.Now().Before(end); {
			err = goleak.Find()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "goroutines are left:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// laid writes the base configuration to a folder and returns its Config.
func laid(t *testing.T, policy string) (*firewall.Config, string) {
	t.Helper()
	dir := t.TempDir()
	schema, err := os.ReadFile("testdata/base/schema.graphql")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"schema.graphql": string(schema), "policy.rego": policy} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := firewall.DefaultConfig()
	c.Schema.Files = []string{filepath.Join(dir, "schema.graphql")}
	c.Policy.Paths = []string{filepath.Join(dir, "policy.rego")}
	patient(c)
	c.Operations.Adhoc = "allow"
	c.Identity.Anonymous = identity.Allow
	c.Audit.Output = audit.Off
	return c, dir
}

// generationPolicy lets exactly one of two fields through and refuses the
// other with a code that names the generation.
func generationPolicy(n int) string {
	open, shut := "secret", "boom"
	if n%2 == 1 {
		open, shut = shut, open
	}
	return fmt.Sprintf(`package graphward

import rego.v2

allow.Query.%s := true

error.Query.%s := {"code": "SHUT_%s", "message": "generation %d"}
`, open, shut, strings.ToUpper(shut), n)
}

// Under reloads with a policy that changes sides each time, no request fails
// and none sees half a generation: the verdict on one field always says the
// opposite of the verdict on the other in the same operation.
func TestReloadUnderLoad(t *testing.T) {
	c, dir := laid(t, generationPolicy(0))
	f, err := firewall.New(t.Context(), c, firewall.WithHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":{"ok":true}}`)
	})))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, stop := context.WithCancel(t.Context())
	var served, refused atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for going := true; going; going = ctx.Err() == nil {
				both := post(t, f, map[string]any{"query": "{ secret boom }"})
				one := codesOf(both.Body.Bytes())
				if both.Code != http.StatusForbidden || len(one) != 1 || (one[0] != "SHUT_SECRET" && one[0] != "SHUT_BOOM") {
					t.Errorf("status %d: %s", both.Code, both.Body)
					return
				}
				refused.Add(1)
				if res := post(t, f, map[string]any{"query": "{ posts { id } }"}); res.Code != http.StatusForbidden {
					t.Errorf("status %d: %s", res.Code, res.Body)
					return
				}
				served.Add(1)
			}
		})
	}
	for n := 1; n <= 20; n++ {
		if err := os.WriteFile(filepath.Join(dir, "policy.rego"), []byte(generationPolicy(n)), 0o644); err != nil {
			t.Fatal(err)
		}
		next := *c
		if err := f.Reload(t.Context(), &next); err != nil {
			t.Fatal(err)
		}
		open, shut := "secret", "boom"
		if n%2 == 1 {
			open, shut = shut, open
		}
		if res := post(t, f, map[string]any{"query": "{ " + open + " }"}); res.Code != http.StatusOK {
			t.Errorf("generation %d: %s is shut: %s", n, open, res.Body)
		}
		if res := post(t, f, map[string]any{"query": "{ " + shut + " }"}); res.Code != http.StatusForbidden {
			t.Errorf("generation %d: %s is open", n, shut)
		}
	}
	stop()
	wg.Wait()
	if f.Generation() != 21 || served.Load() == 0 || refused.Load() == 0 {
		t.Errorf("generation %d, %d and %d requests", f.Generation(), served.Load(), refused.Load())
	}
}

func codesOf(body []byte) (codes []string) {
	var answer struct {
		Errors []struct {
			Extensions struct{ Code string }
		}
	}
	if json.Unmarshal(body, &answer) == nil {
		for _, e := range answer.Errors {
			codes = append(codes, e.Extensions.Code)
		}
	}
	return codes
}

// A broken policy is refused: the old one keeps serving, readiness stays, and
// the failure stands in /readyz and /metrics.
func TestBadReload(t *testing.T) {
	c, dir := laid(t, generationPolicy(0))
	f, err := firewall.New(t.Context(), c, firewall.WithHandler(http.NotFoundHandler()))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.WriteFile(filepath.Join(dir, "policy.rego"), []byte("package graphward\n\nallow.Query.nothing := true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	next := *c
	if err := f.Reload(t.Context(), &next); err == nil {
		t.Fatal("a policy for a field that is not there was taken")
	}
	if f.Generation() != 1 {
		t.Errorf("generation %d", f.Generation())
	}
	admin, err := f.AdminHandler()
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		admin.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	if w := get("/readyz"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "failed_at") || !strings.Contains(w.Body.String(), "nothing") {
		t.Errorf("readyz: %d %s", w.Code, w.Body)
	}
	if w := get("/metrics"); !strings.Contains(w.Body.String(), `graphward_reloads_total{result="failure"} 1`) {
		t.Errorf("metrics: %s", w.Body)
	}
	if w := get("/healthz"); w.Code != http.StatusOK {
		t.Errorf("healthz: %d", w.Code)
	}
	moved := *c
	moved.Listen = "127.0.0.1:1"
	if err := f.Reload(t.Context(), &moved); err == nil || !strings.Contains(err.Error(), "listen") {
		t.Errorf("a reload that moves the listener: %v", err)
	}
}

// After its context ends a server takes no new connection, answers what is in
// flight and returns nil.
func TestDrain(t *testing.T) {
	c, _ := laid(t, "package graphward\n\nimport rego.v2\n\nallow[\"*\"][\"*\"] := true\n")
	c.Listen = "127.0.0.1:0"
	c.Admin.Listen = "localhost:0"
	entered, leave := make(chan struct{}), make(chan struct{})
	f, err := firewall.New(t.Context(), c, firewall.WithHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":null}`)
	})))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	server, err := f.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	status := make(chan int, 1)
	go func() {
		res, err := client.Post("http://"+server.Addr().String()+"/graphql", "application/json", strings.NewReader(`{"query":"{ secret }"}`))
		if err != nil {
			t.Error(err)
			status <- 0
			return
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		status <- res.StatusCode
	}()
	<-entered
	stop()
	for deadline := time.Now().Add(patience); ; {
		res, err := client.Get("http://" + server.AdminAddr().String() + "/readyz")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusServiceUnavailable {
				break
			}
		}
		if err != nil || time.Now().After(deadline) {
			break // the admin listener is closed too
		}
	}
	close(leave)
	if s := <-status; s != http.StatusOK {
		t.Errorf("the request in flight got status %d", s)
	}
	if err := <-done; err != nil {
		t.Errorf("drain: %v", err)
	}
	if _, err := client.Get("http://" + server.Addr().String() + "/graphql"); err == nil {
		t.Error("a new connection was taken after the drain")
	}
}

// A panic anywhere is that request's alone: 500, a record, nothing else.
func TestPanic(t *testing.T) {
	c, _ := laid(t, "package graphward\n\nimport rego.v2\n\nallow[\"*\"][\"*\"] := true\n")
	c.Upstream.URL = "http://127.0.0.1:1/graphql"
	records := &recorder{}
	log := audit.NewWriter(records, audit.Config{})
	calls := 0
	f, err := firewall.New(t.Context(), c, firewall.WithAuditSink(log), firewall.WithTransport(roundTrip(func(*http.Request) (*http.Response, error) {
		if calls++; calls == 1 {
			panic("a defect")
		}
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(`{"data":1}`)), ContentLength: 10, Request: &http.Request{}}, nil
	})))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if res := post(t, f, map[string]any{"query": "{ secret }"}); res.Code != http.StatusInternalServerError || codeOf(res.Body.Bytes()) != "INTERNAL" {
		t.Errorf("status %d: %s", res.Code, res.Body)
	}
	if res := post(t, f, map[string]any{"query": "{ secret }"}); res.Code != http.StatusOK {
		t.Errorf("after the panic: status %d: %s", res.Code, res.Body)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(records.text.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"panic":true`) || strings.Contains(lines[1], `"panic"`) {
		t.Errorf("records: %q", lines)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
