package firewall_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphward/graphward/cost/budget"
	"github.com/graphward/graphward/firewall"
)

// A client that has spent its budget is told how much there is and at what rate it comes back, also where responses.explain is off.
func TestThrottleStatus(t *testing.T) {
	c, _ := laid(t, generationPolicy(0))
	window, err := budget.ParseWindow("8/1h")
	if err != nil {
		t.Fatal(err)
	}
	c.Cost.Weights = map[string]float64{"Query.secret": 5}
	c.Budgets.Tiers = map[string]firewall.TierConfig{"default": {Cost: window}}
	f, err := firewall.New(t.Context(), c, upstreamOK())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if res := post(t, f, map[string]any{"query": "{ secret }"}); res.Code != http.StatusOK {
		t.Fatalf("%d: %s", res.Code, res.Body)
	}
	res := post(t, f, map[string]any{"query": "{ secret }"})
	type status struct{ MaximumAvailable, CurrentlyAvailable, RestoreRate float64 }
	var answer struct {
		Errors []struct {
			Extensions struct {
				Cost struct {
					Requested      float64
					ThrottleStatus status
				}
			}
		}
	}
	if err := json.Unmarshal(res.Body.Bytes(), &answer); err != nil || res.Code != http.StatusTooManyRequests || len(answer.Errors) != 1 {
		t.Fatalf("%d: %s", res.Code, res.Body)
	}
	told := answer.Errors[0].Extensions.Cost
	if diff := cmp.Diff(status{8, 8 - told.Requested, 8.0 / 3600}, told.ThrottleStatus); diff != "" || told.Requested < 5 {
		t.Errorf("requested %g (-want +got):\n%s", told.Requested, diff)
	}
}
