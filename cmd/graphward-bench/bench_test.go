package main

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// The interval is that of the sign test; its tables are in any book on
// distribution-free statistics (n = 11: ranks 2 and 10, 0.988; n = 8: 1 and 8,
// 0.992; n = 5: all, 0.938).
func TestRatio(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   ratio
	}{
		{[]float64{2}, ratio{Median: 2, Min: 2, Max: 2, Low: 2, High: 2, Confidence: 0}},
		{[]float64{5, 1, 4, 2, 3}, ratio{Median: 3, Min: 1, Max: 5, Low: 1, High: 5, Confidence: 0.9375}},
		{[]float64{1, 2, 3, 4, 5, 6, 7, 8}, ratio{Median: 4.5, Min: 1, Max: 8, Low: 1, High: 8, Confidence: 0.9921875}},
		{[]float64{11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, ratio{Median: 6, Min: 1, Max: 11, Low: 2, High: 10, Confidence: 1 - 24.0/2048}},
	} {
		if diff := cmp.Diff(test.want, newRatio(test.values), cmpopts.EquateApprox(0, 1e-9)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", test.values, diff)
		}
	}
}

func TestReportPairsRounds(t *testing.T) {
	bare, other := &target{name: "bare"}, &target{name: "other"}
	r := newReport(&compareCommand{Rounds: 2})
	r.add("w", "about", 0, []row{
		{bare, []burst{{100, 1, 2, 4, 30, 10, 1}, {50, 1, 4, 8, 30, 10, 1}}},
		{other, []burst{{50, 2, 2, 2, 20, 30, 1}, {50, 1, 1, 4, 20, 20, 1}}},
	})
	got := r.Workloads[0].Targets[1]
	if got.CPURatio.Median != 0.5 || got.CPURatio.Max != 0.5 || got.ThroughputRatio.Median != 0.75 || got.P99Ratio.Min != 0.25 || got.PeakRSS != 30 || got.Mallocs != 20 {
		t.Errorf("got %+v", got)
	}
	var text strings.Builder
	if err := r.print(&text); err != nil || !strings.Contains(text.String(), "0.50 [0.50 0.50]") {
		t.Errorf("print: %v\n%s", err, text.String())
	}
}

func TestNeverRepeats(t *testing.T) {
	s, err := newScene(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	next, seen := s.never(), map[string]bool{}
	for n := range uint64(1000) {
		r := next(nil, n*subjects) // one caller, so that only the document differs
		if seen[string(r.raw)] {
			t.Fatalf("request %d came before", n)
		}
		seen[string(r.raw)] = true
	}
}

func TestPolicyHasHundredRules(t *testing.T) {
	rules := 0
	for line := range strings.Lines(policyText()) {
		if strings.Contains(line, " if ") {
			rules++
		}
	}
	if rules != 100 {
		t.Errorf("the policy has %d rules", rules)
	}
}

func TestValidateBounds(t *testing.T) {
	good := compareCommand{Rounds: 5, Duration: 1e9, Connections: 16, Rate: 0.4}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*compareCommand){
		"no rounds":     func(c *compareCommand) { c.Rounds = 0 },
		"an hour":       func(c *compareCommand) { c.Duration = 3600e9 },
		"all ports":     func(c *compareCommand) { c.Connections = 65535 },
		"rate":          func(c *compareCommand) { c.Rate = math.Inf(1) },
		"other, no PID": func(c *compareCommand) { c.OtherURL = "http://127.0.0.1:1" },
	} {
		c := good
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s: allowed", name)
		}
	}
}
