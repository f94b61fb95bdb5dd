package firewall

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/graphward/graphward/cost/budget"
)

// shownBudget is one bucket as the admin listener shows it.
type shownBudget struct {
	Budget    string  `json:"budget"` // cost, requests, in_flight, operation:NAME, field:COORDINATE
	Tier      string  `json:"tier,omitempty"`
	Window    string  `json:"window"`
	Limit     float64 `json:"limit"`
	Remaining float64 `json:"remaining"`
	Debt      float64 `json:"debt"`
	// Reset is in seconds, until the bucket is full again.
	Reset float64 `json:"reset_seconds"`
}

// budgets shows (GET) or resets (DELETE) the buckets of one holder. A holder's
// buckets are those of every tier, since the tier is chosen by each request.
func (f *Firewall) budgets(w http.ResponseWriter, r *http.Request) {
	g := f.current.Load()
	inspector, ok := f.inspector()
	if !ok {
		http.Error(w, "the budget ledger cannot be looked into", http.StatusNotImplemented)
		return
	}
	query := r.URL.Query()
	holder, err := g.namedHolder(query.Get("client"), query.Get("issuer"), query.Has("issuer"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	buckets := g.buckets(holder)
	if r.Method == http.MethodDelete {
		keys := make([]string, 0, len(buckets))
		for _, b := range buckets {
			keys = append(keys, b.key)
		}
		if err := inspector.Reset(r.Context(), keys...); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		f.log.Info().Str("holder", holder).Msg("budgets were reset by the operator")
	}
	out, err := show(r.Context(), inspector, buckets)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.MarshalWrite(w, out)
}

func show(ctx context.Context, inspector budget.Inspector, buckets []bucket) ([]shownBudget, error) {
	out := make([]shownBudget, 0, len(buckets))
	for _, b := range buckets {
		balance, err := inspector.Balance(ctx, b.key, b.window)
		if err != nil {
			return nil, err
		}
		out = append(out, shownBudget{Budget: b.name, Tier: b.tier, Window: b.window.String(), Limit: balance.Limit,
			Remaining: balance.Remaining, Debt: balance.Debt, Reset: balance.Reset.Seconds()})
	}
	return out, nil
}

// inspector is the store behind the ledger that spends.
func (f *Firewall) inspector() (budget.Inspector, bool) {
	if i, ok := f.ledger.(budget.Inspector); ok {
		return i, true
	}
	if f.store != nil {
		return f.store, true
	}
	return nil, false
}

// namedHolder reads CLIENT of `graphward budgets`. Without a kind it is an
// address, where it can be one, else a subject: the budget that is asked for most.
// A subject's issuer that is not said is the only one of the config; said to be
// empty it is none, as of the subjects of API keys.
func (g *generation) namedHolder(client, issuer string, said bool) (string, error) {
	if addr, err := netip.ParseAddr(client); err == nil {
		return ipHolder(addr), nil
	}
	kind, id, ok := strings.Cut(client, ":")
	if !ok {
		kind, id = string(budget.KindSubject), client
	}
	if id == "" {
		return "", fmt.Errorf("client %q is not subject:ID, api_key:ID, certificate:FINGERPRINT or ip:ADDRESS", client)
	}
	switch budget.Kind(kind) {
	case budget.KindSubject:
		if !said && len(g.config.Identity.JWT) > 0 {
			if len(g.config.Identity.JWT) > 1 {
				return "", fmt.Errorf("there are %d issuers: name the subject's", len(g.config.Identity.JWT))
			}
			issuer = g.config.Identity.JWT[0].Issuer
		}
		return budget.Holder(budget.KindSubject, issuer, id), nil
	case budget.KindAPIKey, budget.KindCertificate:
		return budget.Holder(budget.Kind(kind), id), nil
	case budget.KindIP:
		addr, err := netip.ParseAddr(id)
		if err != nil {
			return "", fmt.Errorf("%q is not an IP address", id)
		}
		return ipHolder(addr), nil
	}
	return "", fmt.Errorf("%q is not one of subject, api_key, certificate, ip", kind)
}

type bucket struct {
	key, name, tier string
	window          budget.Window
}

// buckets lists those that a holder can have.
func (g *generation) buckets(holder string) []bucket {
	var out []bucket
	b := &g.config.Budgets
	for _, tier := range slices.Sorted(maps.Keys(b.Tiers)) {
		t := b.Tiers[tier]
		for _, m := range []struct {
			name   string
			window budget.Window
		}{{"cost", t.Cost}, {"requests", t.Requests}, {"in_flight", budget.Window{Amount: float64(t.InFlight)}}} {
			if m.window.Amount > 0 {
				out = append(out, bucket{budget.Key(holder, m.name), m.name, tier, m.window})
			}
		}
	}
	if tier := g.config.Operations.Unregistered.Tier; tier != "" && b.Tiers[tier].Cost.Amount > 0 {
		out = append(out, bucket{budget.Key(holder, "cost", "unregistered"), "cost:unregistered", tier, b.Tiers[tier].Cost})
	}
	for _, name := range slices.Sorted(maps.Keys(b.Overrides.Operations)) {
		out = append(out, bucket{budget.Key(holder, "operation", name), "operation:" + name, "", b.Overrides.Operations[name]})
	}
	if strings.HasPrefix(holder, "{"+string(budget.KindIP)+":") { // root fields are counted by address
		for _, name := range slices.Sorted(maps.Keys(b.Overrides.RootFields)) {
			out = append(out, bucket{budget.Key(holder, "field", name), "field:" + name, "", b.Overrides.RootFields[name]})
		}
	}
	slices.SortStableFunc(out, func(a, b bucket) int { return cmp.Compare(a.tier, b.tier) })
	return out
}
