package policy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/policy"
	"github.com/graphward/graphward/schema"
)

var reloads = flag.Int("reloads", 15, "reloads in the differential test under reloads; the task differential:policy does 300")

// drawn is an authenticator: the request names the round that its subject was drawn in.
type drawn struct{}

func (drawn) Authenticate(r *http.Request) (*identity.Identity, error) {
	round, err := strconv.ParseUint(r.Header.Get("Traceparent"), 10, 64)
	if err != nil {
		return nil, &identity.UnauthenticatedError{Reason: err.Error(), Challenge: "Bearer"}
	}
	s, _ := policy.Draw(1, round)
	return &identity.Identity{
		Authenticated: s.Authenticated, Subject: s.ID, Issuer: s.Issuer, Roles: s.Roles, Scopes: s.Scopes, Claims: s.Claims,
		Client: identity.Client{Name: s.Client.Name}, Method: s.Method,
	}, nil
}

// kept keeps what the firewall says of each request.
type kept struct {
	mu      sync.Mutex
	written sync.Cond // of mu
	records []audit.Record
	by      map[uint64]int // records of each generation
}

func newKept() *kept {
	k := &kept{by: map[uint64]int{}}
	k.written.L = &k.mu
	return k
}

func (k *kept) Write(r *audit.Record) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	one := *r
	one.Rules = append([]audit.Rule(nil), r.Rules...)
	k.records = append(k.records, one)
	k.by[r.Generation]++
	k.written.Broadcast()
	return nil
}

// await returns when a generation has answered n requests.
func (k *kept) await(generation uint64, n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.by[generation] < n {
		k.written.Wait()
	}
}

func (k *kept) Close() error { return nil }

// TestDifferentialUnderReload exchanges policy and data, now one, now both, while requests run, and compares each answer with what
// plain OPA says on the policy and the data of the generation that the audit names for it. So no request sees an answer of another
// generation, and none a part of two.
func TestDifferentialUnderReload(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	references := policy.References(t, 1, 6)
	lay := func(r *policy.Reference) {
		data, err := json.Marshal(r.Data)
		if err != nil {
			t.Fatal(err)
		}
		write("policy.rego", []byte(r.Policy))
		write("data.json", data)
	}
	write("schema.graphql", []byte(policy.DifferentialSchema))
	lay(references[0])
	c := firewall.DefaultConfig()
	c.Schema.Files = []string{filepath.Join(dir, "schema.graphql")}
	c.Policy.Paths, c.Policy.Data = []string{filepath.Join(dir, "policy.rego")}, []string{filepath.Join(dir, "data.json")}
	c.Policy.Timeout = firewall.Duration(time.Minute)
	c.Policy.Headers = []string{"tenant"}
	c.Operations.Adhoc, c.Identity.Anonymous = "allow", identity.Deny
	records := newKept()
	f, err := firewall.New(t.Context(), c, firewall.WithAuthenticator(drawn{}), firewall.WithAuditSink(records),
		firewall.WithHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"data":{"a":null,"b":null,"t":null}}`)
		})))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const answers = 100 // of a generation: all questions, as far as the workers go at the same pace
	served := map[uint64]*policy.Reference{f.Generation(): references[0]}

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for worker := range uint64(4) {
		wg.Go(func() {
			// A few subjects and variables over and over, so that caches have something to be wrong about.
			for n := uint64(0); ctx.Err() == nil; n++ {
				ask(t, f, worker*20+n%20)
			}
		})
	}
	for n := 1; n <= *reloads; n++ {
		r := references[n*5%len(references)] // now other data, now another policy
		if n%3 == 0 {
			r = references[(n*5+1)%len(references)]
		}
		lay(r)
		next := *c
		if err := f.Reload(t.Context(), &next); err != nil {
			t.Fatal(err)
		}
		served[f.Generation()] = r
		if n%2 == 1 { // the others are exchanged at once
			records.await(f.Generation(), answers)
		}
	}
	stop()
	wg.Wait()
	judgeRecords(t, records, served)
}

func ask(t *testing.T, f *firewall.Firewall, round uint64) {
	_, variables := policy.Draw(1, round)
	body, err := json.Marshal(map[string]any{"query": policy.DifferentialQuery, "variables": variables})
	if err != nil {
		t.Error(err)
		return
	}
	r := httptest.NewRequest(http.MethodPost, "/graphql", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Traceparent", strconv.FormatUint(round, 10))
	r.Header.Set("Tenant", "acme")
	f.ServeHTTP(httptest.NewRecorder(), r)
}

// judgeRecords compares verdicts with the reference of their generation.
func judgeRecords(t *testing.T, k *kept, served map[uint64]*policy.Reference) {
	t.Helper()
	s, err := schema.Load(schema.Source{Name: "schema.graphql", Text: policy.DifferentialSchema})
	if err != nil {
		t.Fatal(err)
	}
	op, err := s.Compile(policy.DifferentialQuery, "", schema.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	type question struct {
		generation uint64
		round      string
	}
	want := map[question]map[string]bool{}
	allowed, failed := 0, 0
	for _, rec := range k.records {
		q := question{rec.Generation, rec.TraceParent}
		reference, ok := served[rec.Generation]
		if !ok {
			t.Fatalf("generation %d was never loaded", rec.Generation)
		}
		if _, known := want[q]; !known {
			round, err := strconv.ParseUint(rec.TraceParent, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			sub, variables := policy.Draw(1, round)
			raw, err := json.Marshal(variables)
			if err != nil {
				t.Fatal(err)
			}
			vars, err := op.Coerce(raw, schema.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			req := &policy.Request{Method: "POST", Path: "/graphql", IP: rec.ClientIP.String(), Protocol: "http", Headers: map[string]string{"tenant": "acme"}}
			want[q], err = reference.Denied(t, sub, req, op, policy.OperationFacts{Cost: rec.Cost.Estimate}, vars)
			if err != nil {
				want[q] = nil
			}
		}
		if want[q] == nil {
			failed++
			if rec.Code != "INTERNAL" {
				t.Errorf("generation %d, round %s: an evaluation fails, and the answer is %s %s", rec.Generation, rec.TraceParent, rec.Verdict, rec.Code)
			}
			continue
		}
		got := map[string]bool{}
		for _, rule := range rec.Rules {
			got[rule.Coordinate] = true
		}
		if rec.Code != "" && rec.Code != "FORBIDDEN" {
			t.Fatalf("%s: %s", rec.Code, rec.Message)
		}
		if diff := cmp.Diff(want[q], got); diff != "" {
			t.Fatalf("generation %d, round %s: denied (-OPA +firewall):\n%s\n%s", rec.Generation, rec.TraceParent, diff, reference.Policy)
		}
		if len(got) < 5 {
			allowed++
		}
	}
	t.Logf("%d answers by %d generations, %d of them with something allowed, %d of evaluations that fail; %d distinct questions", len(k.records), len(k.by), allowed, failed, len(want))
	if len(k.by) < len(served)/2 || allowed == 0 {
		t.Errorf("%d of %d generations answered, %d answers allowed something", len(k.by), len(served), allowed)
	}
}
