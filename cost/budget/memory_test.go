package budget

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// holdless compares balances without a ledger's own marks.
var holdless = cmpopts.IgnoreUnexported(Balance{}, Receipt{})

func TestMemorySpendsAndSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := NewMemory(MemoryOptions{})
		window := Window{Amount: 60, Per: time.Minute}
		receipt, err := ledger.Spend(t.Context(), []Charge{{Key: "a", Window: window, Amount: 50}})
		if err != nil {
			t.Fatal(err)
		}
		want := []Balance{{Limit: 60, Remaining: 10, Reset: 50 * time.Second}}
		if diff := cmp.Diff(want, receipt.Balances, holdless); diff != "" {
			t.Errorf("balances (-want +got):\n%s", diff)
		}
		_, err = ledger.Spend(t.Context(), []Charge{{Key: "a", Window: window, Amount: 20}})
		wantErr := &ExceededError{Key: "a", Window: window, Requested: 20, RetryAfter: 10 * time.Second, Limit: 60, Remaining: 10, Reset: 50 * time.Second}
		var got *ExceededError
		if !errors.As(err, &got) {
			t.Fatalf("got %v, want %v", err, wantErr)
		}
		if diff := cmp.Diff(wantErr, got); diff != "" {
			t.Errorf("refusal (-want +got):\n%s", diff)
		}
		for range 2 {
			if err := ledger.Settle(t.Context(), receipt, []float64{5}); err != nil {
				t.Fatal(err)
			}
		}
		balance, err := ledger.Balance(t.Context(), "a", window)
		if err != nil {
			t.Fatal(err)
		}
		if want := (Balance{Limit: 60, Remaining: 55, Reset: 5 * time.Second}); balance != want {
			t.Errorf("after settling twice: %+v, want %+v", balance, want)
		}
	})
}
