package firewall_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphward/graphward/cost/budget"
	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/identity"
)

// remembered knows a few callers, from memory too.
type remembered struct {
	callers  map[string]*identity.Identity
	recalled *int
}

func (k remembered) Authenticate(r *http.Request) (*identity.Identity, error) {
	name := r.Header.Get("Authorization")
	if name == "" {
		return &identity.Identity{Method: identity.MethodAnonymous}, nil
	}
	if id := k.callers[name]; id != nil {
		return id, nil
	}
	return nil, &identity.UnauthenticatedError{Reason: "nobody", Challenge: "Bearer"}
}

func (k remembered) Recall(r *http.Request) *identity.Identity {
	id := k.callers[r.Header.Get("Authorization")]
	if id != nil {
		*k.recalled++
	}
	return id
}

// recordLines are records in a line each, without what differs from run to run.
type recordLines struct{ lines []string }

func (s *recordLines) Write(r *audit.Record) error {
	s.lines = append(s.lines, fmt.Sprint(r.ClientIP, r.Subject, r.Tier, r.Verdict, r.Status, r.Code, r.Stage, r.Reported))
	return nil
}

func (s *recordLines) Close() error { return nil }

// Callers who are recalled are served, refused and recorded as those who are
// identified anew, whatever is used up and whichever modes hold.
func TestRecalledAlike(t *testing.T) {
	for name, modes := range map[string]map[string]firewall.Mode{
		"enforced":          nil,
		"requests reported": {"BUDGET_EXCEEDED": firewall.Report},
		"slots off":         {"CONCURRENCY_LIMIT": firewall.Off},
		"duplicates":        {"BUDGET_EXCEEDED": firewall.Off, "CONCURRENCY_LIMIT": firewall.Report},
	} {
		t.Run(name, func(t *testing.T) {
			recalled := 0
			callers := remembered{map[string]*identity.Identity{}, &recalled}
			for _, subject := range []string{"alice", "bob", "carol"} {
				callers.callers[subject] = &identity.Identity{Authenticated: true, Subject: subject, Issuer: "x", Method: identity.MethodJWT}
			}
			callers.callers["carol"].Tier = "gold"
			callers.callers["none"] = &identity.Identity{Authenticated: true, Method: identity.MethodJWT} // who pays as an address
			with, without := alikeLines(t, modes, callers), alikeLines(t, modes, struct{ identity.Authenticator }{callers})
			if diff := cmp.Diff(without, with); diff != "" {
				t.Errorf("(-identified +recalled):\n%s", diff)
			}
			if recalled < 100 {
				t.Errorf("%d were recalled", recalled)
			}
			all := strings.Join(with, "\n")
			for _, code := range []string{"BUDGET_EXCEEDED", "UNAUTHENTICATED", "SHUT_BOOM", "BAD_REQUEST", "gold"} {
				if !strings.Contains(all, code) && !(code == "BUDGET_EXCEEDED" && modes[code] == firewall.Off) {
					t.Errorf("%s did not occur", code)
				}
			}
		})
	}
}

// alikeLines are the records of requests that are the same at each call.
func alikeLines(t *testing.T, modes map[string]firewall.Mode, a identity.Authenticator) []string {
	t.Helper()
	c, _ := laid(t, generationPolicy(0))
	hour := func(amount float64) budget.Window { return budget.Window{Amount: amount, Per: time.Hour} }
	c.Budgets.Tiers = map[string]firewall.TierConfig{
		"default": {Requests: hour(40), InFlight: 2}, "gold": {Requests: hour(25), Cost: hour(60), InFlight: 1},
	}
	c.Modes = modes
	records := &recordLines{}
	f, err := firewall.New(t.Context(), c, upstreamOK(), firewall.WithAuthenticator(a), firewall.WithAuditSink(records))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	for range 600 {
		r := httptest.NewRequest(http.MethodPost, "/graphql", strings.NewReader(pick(`{"query":"{ secret }"}`, `{"query":"{ secret }"}`, `{"query":"{ boom }"}`, `{"query":`)))
		r.RemoteAddr = pick("192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1", "192.0.2.4:1")
		r.Header.Set("Content-Type", "application/json")
		if caller := pick("", "alice", "alice", "bob", "carol", "none", "mallory"); caller != "" {
			r.Header.Set("Authorization", caller)
		}
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		records.lines = append(records.lines, fmt.Sprint(w.Code, w.Header()["Ratelimit-Policy"]))
	}
	return records.lines
}
