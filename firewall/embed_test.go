package firewall_test

import (
	"context"
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

// byHeader is an authenticator of an embedder's own.
type byHeader struct{}

func (byHeader) Authenticate(r *http.Request) (*identity.Identity, error) {
	name := r.Header.Get("X-Badge")
	if name == "" {
		return nil, &identity.UnauthenticatedError{Reason: "no badge", Challenge: "Badge"}
	}
	return &identity.Identity{Authenticated: true, Subject: name, Method: "badge", Key: name}, nil
}

// countingLedger admits its first spends and counts what is settled.
type countingLedger struct {
	admits, spent, settled int
}

func (l *countingLedger) Spend(_ context.Context, charges []budget.Charge) (budget.Receipt, error) {
	if l.spent == l.admits {
		return budget.Receipt{}, &budget.ExceededError{Window: charges[0].Window, Requested: 1, RetryAfter: 7 * time.Second}
	}
	l.spent++
	return budget.Receipt{Charges: charges, Balances: make([]budget.Balance, len(charges))}, nil
}

func (l *countingLedger) Settle(context.Context, budget.Receipt, []float64) error {
	l.settled++
	return nil
}

// An embedder's authenticator and ledger take the place of the configured ones, also after a reload.
func TestEmbeddedParts(t *testing.T) {
	c := firewall.DefaultConfig()
	c.Schema.Files = []string{"testdata/base/schema.graphql"}
	c.AllowAll, c.Operations.Adhoc, c.Identity.Anonymous, c.Audit.Output = true, "allow", identity.Allow, audit.Off
	per, err := budget.ParseWindow("1000/1m")
	if err != nil {
		t.Fatal(err)
	}
	c.Budgets.Tiers = map[string]firewall.TierConfig{"default": {Cost: per}}
	ledger := &countingLedger{admits: 100}
	f, err := firewall.New(t.Context(), c, firewall.WithHandler(&answering{}), firewall.WithAuthenticator(byHeader{}), firewall.WithLedger(ledger))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ask := func(badge string) *http.Response {
		r := httptest.NewRequest(http.MethodPost, "/graphql", strings.NewReader(`{"query":"{ posts { id } }"}`))
		r.Header.Set("Content-Type", "application/json")
		if badge != "" {
			r.Header.Set("X-Badge", badge)
		}
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		return w.Result()
	}
	for _, when := range []string{"new", "reloaded"} {
		before := ledger.spent
		if res := ask("7"); res.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d with a badge", when, res.StatusCode)
		}
		if ledger.spent == before || ledger.settled == 0 {
			t.Errorf("%s: %d spent, %d settled: the ledger is not asked", when, ledger.spent-before, ledger.settled)
		}
		res := ask("")
		if diff := cmp.Diff([]any{http.StatusUnauthorized, "Badge"}, []any{res.StatusCode, res.Header.Get("WWW-Authenticate")}); diff != "" {
			t.Errorf("%s: without a badge: %s", when, diff)
		}
		next := *c
		next.Limits.Depth--
		if err := f.Reload(t.Context(), &next); err != nil {
			t.Fatal(err)
		}
	}
	ledger.admits = ledger.spent
	res := ask("7")
	if diff := cmp.Diff([]any{http.StatusTooManyRequests, "7"}, []any{res.StatusCode, res.Header.Get("Retry-After")}); diff != "" {
		t.Errorf("an empty ledger: %s", diff)
	}
}
