package budget

import (
	"math"
	"testing"
	"time"
)

func TestRateLimitFields(t *testing.T) {
	minute := Window{Amount: 100, Per: time.Minute}
	for _, test := range []struct {
		name         string
		items        []Item
		policy, rate string
	}{
		{"none", nil, "", ""},
		{"the draft's form", []Item{{"p", minute, 50, 30 * time.Second}}, `"p";q=100;w=60`, `"p";r=50;t=30`},
		{"remaining is rounded down, time up", []Item{{"p", minute, 49.99, 29*time.Second + 1}}, `"p";q=100;w=60`, `"p";r=49;t=30`},
		{"a full bucket has no t", []Item{{"p", minute, 100, 0}}, `"p";q=100;w=60`, `"p";r=100`},
		{"several", []Item{{"requests", minute, 1, time.Second}, {"cost", Window{Amount: 20000, Per: time.Hour, Burst: 500}, 500, 0}},
			`"requests";q=100;w=60, "cost";q=20000;w=3600`, `"requests";r=1;t=1, "cost";r=500`},
		{"slots", []Item{{"in_flight", Window{Amount: 50}, 3, 0}}, `"in_flight";q=50;qu="concurrent-requests"`, `"in_flight";r=3`},
		{"a window that is not whole seconds", []Item{{"p", Window{Amount: 5, Per: 1500 * time.Millisecond}, 5, 0}}, `"p";q=5`, `"p";r=5`},
		{"a name with quotes and bytes that no field may hold", []Item{{"a\"b\\c\r\nSet-Cookie: é", minute, 1, 0}},
			`"a\"b\\c__Set-Cookie: __";q=100;w=60`, `"a\"b\\c__Set-Cookie: __";r=1`},
		{"numbers beyond a structured integer", []Item{{"p", Window{Amount: 1 << 53, Per: time.Second}, math.Inf(1), 0}},
			`"p";q=999999999999999;w=1`, `"p";r=999999999999999`},
		{"numbers below it", []Item{{"p", minute, -3, 0}}, `"p";q=100;w=60`, `"p";r=0`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := RateLimitPolicy(test.items...); got != test.policy {
				t.Errorf("RateLimit-Policy %s, want %s", got, test.policy)
			}
			if got := RateLimit(test.items...); got != test.rate {
				t.Errorf("RateLimit %s, want %s", got, test.rate)
			}
		})
	}
}

// PROTOCOLS.md: Retry-After is not earlier than t.
func TestRefusalsItemEndsWithRetryAfter(t *testing.T) {
	e := &ExceededError{Window: Window{Amount: 60, Per: time.Minute}, Remaining: 10, RetryAfter: 9500 * time.Millisecond, Reset: 50 * time.Second}
	if got := RateLimit(e.Item("cost")); got != `"cost";r=10;t=10` { // gqlhttp rounds Retry-After up, too
		t.Errorf("RateLimit %s", got)
	}
}

func TestReceiptItem(t *testing.T) {
	w := Window{Amount: 60, Per: time.Minute}
	receipt := Receipt{Charges: []Charge{{Key: "k", Window: w}}, Balances: []Balance{{Limit: 60, Remaining: 7, Reset: time.Second}}}
	item, ok := receipt.Item(0, "cost")
	if want := (Item{"cost", w, 7, time.Second}); !ok || item != want {
		t.Errorf("%+v, %v; want %+v", item, ok, want)
	}
	if item, ok := (Receipt{Charges: receipt.Charges, Unmetered: true}).Item(0, "cost"); ok {
		t.Errorf("an unmetered receipt has %+v", item)
	}
}
