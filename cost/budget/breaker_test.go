package budget

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// flaky is a store that fails when told to: not at all, without effect, or after the effect, as when the answer is lost.
type flaky struct {
	*Memory
	mu    sync.Mutex
	fault fault
	calls int
}

type fault int

const (
	healthy fault = iota
	unreachable
	answerLost
)

var errFlaky = errors.New("flaky")

func (f *flaky) set(fault fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

func (f *flaky) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func (f *flaky) now() fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	return f.fault
}

func (f *flaky) Spend(ctx context.Context, charges []Charge) (Receipt, error) {
	switch f.now() {
	case unreachable:
		return Receipt{Charges: charges}, &StoreError{Op: "spend", Err: errFlaky}
	case answerLost:
		receipt, err := f.Memory.Spend(ctx, charges)
		if err != nil {
			receipt = Receipt{Charges: charges}
		}
		return receipt, &StoreError{Op: "spend", Err: errFlaky}
	}
	return f.Memory.Spend(ctx, charges)
}

func (f *flaky) Settle(ctx context.Context, receipt Receipt, actual []float64) error {
	switch f.now() {
	case unreachable:
		return &StoreError{Op: "settle", Err: errFlaky}
	case answerLost:
		if err := f.Memory.Settle(ctx, receipt, actual); err != nil {
			return err
		}
		return &StoreError{Op: "settle", Err: errFlaky}
	}
	return f.Memory.Settle(ctx, receipt, actual)
}

func (f *flaky) probe(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault != healthy {
		return errFlaky
	}
	return nil
}

func newBreaker(t *testing.T, o BreakerOptions) (*flaky, *Breaker) {
	t.Helper()
	store := &flaky{Memory: NewMemory(MemoryOptions{})}
	o.Probe = store.probe
	b, err := NewBreaker(store, o)
	if err != nil {
		t.Fatal(err)
	}
	return store, b
}

func closeLedger(t *testing.T, l interface{ Close() error }) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

var breakerWindow = Window{Amount: 100, Per: 366 * 24 * time.Hour}

func charge(amount float64) []Charge {
	return []Charge{{Key: "k", Window: breakerWindow, Amount: amount}}
}

// left is whole units, since a little drains.
func left(t *testing.T, l ledgerUnderTest) float64 {
	t.Helper()
	b, err := l.Balance(t.Context(), "k", breakerWindow)
	if err != nil {
		t.Fatal(err)
	}
	return float64(int(b.Remaining + 1e-3))
}

func TestBreakerModes(t *testing.T) {
	for _, test := range []struct {
		mode FailureMode
		// of a call of 60 units that the store does not answer, and of a second one
		first, second string
	}{
		{FailDeny, "store", "store"},
		{"", "store", "store"},
		{FailAllow, "unmetered", "unmetered"},
		{FailLocal, "ok", "exceeded"},
	} {
		t.Run(string(test.mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, b := newBreaker(t, BreakerOptions{Mode: test.mode})
				defer closeLedger(t, b)
				store.set(unreachable)
				for range 2 { // the second time it is open and does not ask
					first, err := b.Spend(t.Context(), charge(60))
					if got := outcome(first, err); got != test.first {
						t.Errorf("first: %s, want %s (%v)", got, test.first, err)
					}
					second, err := b.Spend(t.Context(), charge(60))
					if got := outcome(second, err); got != test.second {
						t.Errorf("second: %s, want %s (%v)", got, test.second, err)
					}
					for _, receipt := range []Receipt{first, second} {
						if err := Cancel(t.Context(), b, receipt); err != nil {
							t.Error(err)
						}
					}
				}
				if _, err := b.Spend(t.Context(), charge(-1)); test.first != "store" && !errors.As(err, new(*ChargeError)) {
					t.Errorf("a mistake passed: %v", err)
				}
				if b.State().Phase != Open {
					t.Errorf("phase %s", b.State().Phase)
				}
				if n := left(t, store); n != 100 {
					t.Errorf("%g left in the store", n)
				}
			})
		})
	}
}

func outcome(receipt Receipt, err error) string {
	switch {
	case errors.As(err, new(*StoreError)):
		return "store"
	case errors.As(err, new(*ExceededError)):
		return "exceeded"
	case err != nil:
		return err.Error()
	case receipt.Unmetered:
		return "unmetered"
	}
	return "ok"
}

func TestBreakerOpensProbesAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var phases []Phase
		store, b := newBreaker(t, BreakerOptions{Threshold: 3, Interval: 100 * time.Millisecond, OnChange: func(s BreakerState) { phases = append(phases, s.Phase) }})
		defer closeLedger(t, b)
		store.set(unreachable)
		for range 2 {
			_, _ = b.Spend(t.Context(), charge(1))
		}
		if got := b.State(); got.Phase != Closed || got.Failures != 2 || got.Pending != 2 || !errors.Is(got.Err, errFlaky) {
			t.Fatalf("after two failures: %+v", got)
		}
		_, _ = b.Spend(t.Context(), charge(1))
		if got := b.State(); got.Phase != Open || got.Failures != 3 {
			t.Fatalf("after three: %+v", got)
		}
		asked := store.asked()
		for range 100 {
			if _, err := b.Spend(t.Context(), charge(1)); !errors.Is(err, errFlaky) {
				t.Fatalf("while open: %v", err)
			}
		}
		if n := store.asked() - asked; n != 0 {
			t.Errorf("an open breaker asked %d times", n)
		}
		time.Sleep(time.Hour)
		if got := b.State(); got.Phase != Open {
			t.Errorf("an hour later: %+v", got)
		}
		store.set(healthy)
		time.Sleep(101 * time.Millisecond)
		synctest.Wait()
		if got := b.State(); got.Phase != Closed || got.Pending != 0 || got.Lost != 0 {
			t.Errorf("after recovery: %+v", got)
		}
		if _, err := b.Spend(t.Context(), charge(1)); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]Phase{Open, Recovering, Closed}, phases); diff != "" {
			t.Error(diff)
		}
	})
}

// Whatever the store missed or answered in vain, in the end it has the sum of what was settled.
func TestBreakerLosesAndDoublesNothing(t *testing.T) {
	for _, fault := range []fault{unreachable, answerLost} {
		synctest.Test(t, func(t *testing.T) {
			store, b := newBreaker(t, BreakerOptions{})
			defer closeLedger(t, b)
			var open []Receipt
			for range 5 {
				receipt, err := b.Spend(t.Context(), charge(10))
				if err != nil {
					t.Fatal(err)
				}
				open = append(open, receipt)
			}
			store.set(fault)
			for range 3 { // undone in the end, whether it had an effect or not
				if _, err := b.Spend(t.Context(), charge(10)); !errors.As(err, new(*StoreError)) {
					t.Fatal(err)
				}
			}
			for _, receipt := range open {
				if err := b.Settle(t.Context(), receipt, []float64{4}); err != nil {
					t.Fatal(err)
				}
			}
			store.set(healthy)
			time.Sleep(time.Second)
			synctest.Wait()
			if state := b.State(); state.Phase != Closed || state.Pending != 0 || state.Lost != 0 {
				t.Errorf("%+v", state)
			}
			if n := left(t, store); n != 80 {
				t.Errorf("%g left, want 80", n)
			}
		})
	}
}

func TestBreakerBoundsWhatItKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, b := newBreaker(t, BreakerOptions{MaxPending: 2})
		defer closeLedger(t, b)
		var open []Receipt
		for range 3 {
			receipt, err := b.Spend(t.Context(), charge(10))
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, receipt)
		}
		store.set(unreachable)
		for i, receipt := range open {
			err := Cancel(t.Context(), b, receipt)
			if kept := i < 2; (err == nil) != kept || err != nil && !errors.As(err, new(*StoreError)) {
				t.Errorf("settlement %d: %v", i, err)
			}
		}
		if state := b.State(); state.Pending != 2 || state.Lost != 1 {
			t.Errorf("%+v", state)
		}
		store.set(healthy)
		time.Sleep(time.Second)
		synctest.Wait()
		if n := left(t, store); n != 90 {
			t.Errorf("%g left, want 90: two refunded, one lost", n)
		}
	})
}

// A settlement that the store refuses for a reason of its own is given up and holds up no other.
func TestBreakerGivesUpOneSettlement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &poisoned{Memory: NewMemory(MemoryOptions{})}
		b, err := NewBreaker(store, BreakerOptions{Probe: func(context.Context) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		defer closeLedger(t, b)
		bad, err := b.Spend(t.Context(), []Charge{{Key: "poison", Window: breakerWindow, Amount: 10}})
		if err != nil {
			t.Fatal(err)
		}
		if err := Cancel(t.Context(), b, bad); err != nil {
			t.Fatal(err)
		}
		good, err := b.Spend(t.Context(), charge(10))
		if err != nil {
			t.Fatal(err)
		}
		if err := Cancel(t.Context(), b, good); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if state := b.State(); state.Phase != Closed || state.Pending != 0 || state.Lost != 1 {
			t.Errorf("%+v", state)
		}
		if n := left(t, store); n != 100 {
			t.Errorf("%g left", n)
		}
	})
}

// poisoned fails to settle one key.
type poisoned struct{ *Memory }

func (p *poisoned) Settle(ctx context.Context, receipt Receipt, actual []float64) error {
	if receipt.Charges[0].Key == "poison" {
		return &StoreError{Op: "settle", Err: errFlaky}
	}
	return p.Memory.Settle(ctx, receipt, actual)
}

// A receipt given while the store failed is settled where it was given, also after the recovery.
func TestBreakerLocalReceiptAfterRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		local := NewMemory(MemoryOptions{})
		store, b := newBreaker(t, BreakerOptions{Mode: FailLocal, Local: local})
		defer closeLedger(t, b)
		store.set(unreachable)
		receipt, err := b.Spend(t.Context(), charge(30))
		if err != nil {
			t.Fatal(err)
		}
		store.set(healthy)
		time.Sleep(time.Second)
		if err := b.Settle(t.Context(), receipt, []float64{10}); err != nil {
			t.Fatal(err)
		}
		if inStore, inLocal := left(t, store), left(t, local); inStore != 100 || inLocal != 90 {
			t.Errorf("%g left in the store, %g locally; want 100, 90", inStore, inLocal)
		}
	})
}

// A caller whose own deadline is over says nothing about the store.
func TestBreakerIgnoresTheCallersOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, b := newBreaker(t, BreakerOptions{Threshold: 1})
		defer closeLedger(t, b)
		late := &slowStore{Memory: store.Memory}
		b.store = late
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := b.Spend(ctx, charge(10)); !errors.As(err, new(*StoreError)) {
			t.Errorf("got %v", err)
		}
		if state := b.State(); state.Phase != Closed || state.Failures != 0 || state.Pending != 1 {
			t.Errorf("%+v", state)
		}
	})
}

// slowStore answers when the caller's deadline has passed.
type slowStore struct{ *Memory }

func (s *slowStore) Spend(ctx context.Context, charges []Charge) (Receipt, error) {
	<-ctx.Done()
	return Receipt{Charges: charges}, &StoreError{Op: "spend", Err: ctx.Err()}
}

func TestBreakerAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, b := newBreaker(t, BreakerOptions{Mode: FailAllow})
		receipt, err := b.Spend(t.Context(), charge(10))
		if err != nil {
			t.Fatal(err)
		}
		store.set(unreachable)
		if err := Cancel(t.Context(), b, receipt); err != nil {
			t.Fatal(err)
		}
		closeLedger(t, b)
		if _, err := b.Spend(t.Context(), charge(10)); !errors.As(err, new(*StoreError)) {
			t.Errorf("got %v", err)
		}
		if state := b.State(); state.Pending != 0 || state.Lost != 1 {
			t.Errorf("%+v", state)
		}
	})
}

func TestBreakerOptionsAreChecked(t *testing.T) {
	store := NewMemory(MemoryOptions{})
	if _, err := NewBreaker(store, BreakerOptions{}); err == nil {
		t.Error("no probe was accepted")
	}
	if _, err := NewBreaker(store, BreakerOptions{Mode: "open", Probe: func(context.Context) error { return nil }}); err == nil {
		t.Error("an unknown mode was accepted")
	}
	var mode FailureMode
	for _, text := range []string{"deny", "allow", "local"} {
		if err := mode.UnmarshalText([]byte(text)); err != nil || string(mode) != text {
			t.Errorf("%q: %q, %v", text, mode, err)
		}
	}
	for _, text := range []string{"", "Deny", "open"} {
		if err := mode.UnmarshalText([]byte(text)); err == nil || mode != FailLocal {
			t.Errorf("%q: %q, %v", text, mode, err)
		}
	}
}
