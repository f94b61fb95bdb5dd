package firewall_test

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graphward/graphward/cost/budget"
	"github.com/graphward/graphward/firewall"
)

// Codes that no request text alone provokes; the others are in testdata/cases.

// A caller's second request is refused while his first, the only one that his
// tier allows at once, is with the upstream.
func TestConcurrencyLimit(t *testing.T) {
	c, _ := laid(t, "package graphward\n\nimport rego.v2\n\nallow[\"*\"][\"*\"] := true\n")
	c.Budgets.Tiers = map[string]firewall.TierConfig{"default": {InFlight: 1, Requests: budget.Window{Amount: 100, Per: time.Minute}}}
	entered, leave := make(chan struct{}, 2), make(chan struct{})
	var touched atomic.Int64
	f, err := firewall.New(t.Context(), c, firewall.WithHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		touched.Add(1)
		entered <- struct{}{}
		<-leave
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":null}`)
	})))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	body := map[string]any{"query": "{ secret }"}
	first := make(chan int, 1)
	go func() { first <- post(t, f, body).Code }()
	<-entered
	res := post(t, f, body)
	if res.Code != http.StatusTooManyRequests || codeOf(res.Body.Bytes()) != "CONCURRENCY_LIMIT" || res.Header().Get("Retry-After") == "" {
		t.Errorf("status %d, Retry-After %q: %s", res.Code, res.Header().Get("Retry-After"), res.Body)
	}
	close(leave)
	if status := <-first; status != http.StatusOK || touched.Load() != 1 {
		t.Errorf("the first got status %d, upstream was asked %d times", status, touched.Load())
	}
	if res := post(t, f, body); res.Code != http.StatusOK {
		t.Errorf("the slot was not given back: status %d: %s", res.Code, res.Body)
	}
}

// A decision that takes longer than policy.timeout refuses, and nothing is
// forwarded.
func TestPolicyTimeout(t *testing.T) {
	c, _ := laid(t, `package graphward

import rego.v2

allow.Query.secret if {
	some x in numbers.range(1, 3000)
	some y in numbers.range(1, 3000)
	x * y == count(input.subject.roles) - 1
}
`)
	c.Policy.Timeout = firewall.Duration(5 * time.Millisecond)
	var touched atomic.Int64
	f, err := firewall.New(t.Context(), c, firewall.WithHandler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { touched.Add(1) })))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	res := post(t, f, map[string]any{"query": "{ secret }"})
	if res.Code != http.StatusInternalServerError || codeOf(res.Body.Bytes()) != "POLICY_TIMEOUT" || touched.Load() != 0 {
		t.Errorf("status %d, upstream asked %d times: %s", res.Code, touched.Load(), res.Body)
	}
}
