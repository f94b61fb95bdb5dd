package budget

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// counted counts the calls of a store, each of which would be a round trip, and takes a while for each.
type counted struct {
	*Memory
	calls atomic.Int64
	delay time.Duration
}

func (c *counted) Spend(ctx context.Context, charges []Charge) (Receipt, error) {
	c.calls.Add(1)
	time.Sleep(c.delay)
	return c.Memory.Spend(ctx, charges)
}

func (c *counted) Settle(ctx context.Context, receipt Receipt, actual []float64) error {
	c.calls.Add(1)
	time.Sleep(c.delay)
	return c.Memory.Settle(ctx, receipt, actual)
}

func newCounted() *counted {
	return &counted{Memory: NewMemory(MemoryOptions{}), delay: time.Millisecond}
}

// operation is what the pipeline spends at once.
func operation(client string, cost float64) []Charge {
	holder := Holder(KindClient, client)
	return []Charge{
		{Key: Key(holder, "requests"), Window: Window{Amount: 600_000, Per: time.Minute}, Amount: 1, Final: true},
		{Key: Key(holder, "in_flight"), Window: Window{Amount: 50}, Amount: 1},
		{Key: Key(holder, "cost"), Window: Window{Amount: 6_000_000, Per: time.Minute}, Amount: cost},
	}
}

func TestLeasingSparesRoundTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newCounted()
		ledger := NewLeasing(store, LeasingOptions{})
		defer closeLedger(t, ledger)
		spend := func(operations int) {
			var wg sync.WaitGroup
			for range operations {
				time.Sleep(time.Millisecond)
				wg.Go(func() {
					receipt, err := ledger.Spend(t.Context(), operation("alice", 10))
					if err != nil {
						t.Error(err)
						return
					}
					time.Sleep(5 * time.Millisecond)
					if err := ledger.Settle(t.Context(), receipt, []float64{1, 1, 7}); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
		spend(1000) // slices grow
		before := store.calls.Load()
		spend(20_000)
		if calls := store.calls.Load() - before; calls > 20_000/100 {
			t.Errorf("%d round trips for 20,000 operations", calls)
		}
		time.Sleep(2 * time.Second)
		if b, err := store.Balance(t.Context(), operation("alice", 0)[1].Key, Window{Amount: 50}); err != nil || b.Remaining != 50 {
			t.Errorf("slots at the store: %+v, %v", b, err)
		}
	})
}

// In the end the store has what was settled, no more and no less: refunds, excess and what was taken ahead all told.
func TestLeasingAccountsForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newCounted()
		window := Window{Amount: 1_000_000, Per: 366 * 24 * time.Hour}
		slots := Window{Amount: 20}
		var ledgers []*Leasing
		for range 3 {
			ledgers = append(ledgers, NewLeasing(store, LeasingOptions{}))
		}
		var settled, inFlight, final atomic.Int64
		var wg sync.WaitGroup
		for worker := range 24 {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(7, uint64(worker)))
				ledger := ledgers[worker%3]
				for range 200 {
					time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
					charges := []Charge{
						{Key: "{k}n", Window: slots, Amount: 1},
						{Key: "{k}cost", Window: window, Amount: float64(random.IntN(100))},
						{Key: "{k}requests", Window: window, Amount: 1, Final: true},
					}
					receipt, err := ledger.Spend(t.Context(), charges)
					if err != nil {
						if !errors.As(err, new(*ExceededError)) {
							t.Error(err)
						}
						continue
					}
					final.Add(1)
					if n := inFlight.Add(1); n > 20 {
						t.Errorf("%d of 20 slots held", n)
					}
					time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
					inFlight.Add(-1)
					actual := random.IntN(150)
					settled.Add(int64(actual))
					for range 2 {
						if err := ledger.Settle(t.Context(), receipt, []float64{1, float64(actual), 0}); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		for _, ledger := range ledgers {
			closeLedger(t, ledger)
		}
		for _, test := range []struct {
			key    string
			window Window
			want   int64
		}{{"{k}cost", window, settled.Load()}, {"{k}requests", window, final.Load()}, {"{k}n", slots, 0}} {
			b, err := store.Balance(t.Context(), test.key, test.window)
			used := b.Limit - b.Remaining + b.Debt
			if err != nil || used > float64(test.want)+1e-6 || used < float64(test.want)-20 { // some drains in 20 s
				t.Errorf("%s: %g used, want %d (%v)", test.key, used, test.want, err)
			}
		}
	})
}

// Three processes that ask for more than there is admit the budget, within the documented bound and to 99 %.
func TestLeasingAdmitsTheBudget(t *testing.T) {
	for _, window := range []Window{
		{Amount: 20_000, Per: time.Minute},
		{Amount: 20_000, Per: 10 * time.Second, Burst: 2_000},
		{Amount: 300, Per: time.Second},
	} {
		t.Run(window.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newCounted()
				const seconds, share = 8, 0.05
				hold := 500 * time.Millisecond
				start := time.Now()
				var admitted atomic.Int64
				var wg sync.WaitGroup
				stop := start.Add(seconds * time.Second)
				for process := range 3 {
					ledger := NewLeasing(store, LeasingOptions{Share: share, Hold: hold})
					var mine sync.WaitGroup
					for worker := range 21 {
						mine.Go(func() {
							random := rand.New(rand.NewPCG(uint64(process), uint64(worker)))
							for time.Now().Before(stop) {
								amount := 1 + random.IntN(20)
								receipt, err := ledger.Spend(t.Context(), []Charge{{Key: "k", Window: window, Amount: float64(amount)}})
								if err == nil {
									if sum := float64(admitted.Add(int64(amount))); sum > most(window, time.Since(start))+1e-6 {
										t.Errorf("%g admitted after %v", sum, time.Since(start))
									}
									if err := ledger.Settle(t.Context(), receipt, nil); err != nil {
										t.Error(err)
									}
								} else if !errors.As(err, new(*ExceededError)) {
									t.Error(err)
								}
								time.Sleep(time.Duration(1+random.IntN(10)) * time.Millisecond)
							}
						})
					}
					wg.Go(func() {
						mine.Wait()
						closeLedger(t, ledger)
					})
				}
				wg.Wait()
				budget := most(window, seconds*time.Second-1)
				if got := float64(admitted.Load()); got < 0.99*budget {
					t.Errorf("%g admitted of %g", got, budget)
				}
			})
		})
	}
}

// most is what a window admits to one who spends all he can, from a full bucket on.
func most(w Window, t time.Duration) float64 {
	if w.capped() {
		return w.Amount * float64(t/w.Per+1)
	}
	return w.Burst + w.Amount*float64(t)/float64(w.Per)
}

// The bound over any interval: credit in hand at its start comes on top, at most Share of the burst a process.
func TestLeasingBoundOfCreditInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newCounted()
		const share, processes = 0.05, 3
		window := Window{Amount: 60_000, Per: time.Minute}
		var ledgers []*Leasing
		for range processes {
			ledger := NewLeasing(store, LeasingOptions{Share: share, Hold: 10 * time.Second})
			defer closeLedger(t, ledger)
			ledgers = append(ledgers, ledger)
		}
		// Each takes slices ahead, and the store's bucket fills again.
		for range 100 {
			for _, ledger := range ledgers {
				if _, err := ledger.Spend(t.Context(), []Charge{{Key: "k", Window: window, Amount: 10}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		time.Sleep(5 * time.Second)
		inHand := 0.0
		for _, ledger := range ledgers {
			credit := ledger.pools["k"].credit
			if credit > share*window.capacity() {
				t.Errorf("%g in hand, more than the share", credit)
			}
			inHand += credit
		}
		start, admitted := time.Now(), 0.0
		for refused := 0; refused < 100*processes; {
			for _, ledger := range ledgers {
				_, err := ledger.Spend(t.Context(), []Charge{{Key: "k", Window: window, Amount: 10}})
				if err == nil {
					admitted += 10
				} else {
					refused++
				}
			}
		}
		plain := window.capacity() + window.Amount*float64(time.Since(start))/float64(window.Per)
		if admitted > plain+inHand {
			t.Errorf("%g admitted, bound %g + %g", admitted, plain, inHand)
		}
		if admitted <= plain-window.capacity() || inHand == 0 {
			t.Errorf("%g admitted with %g in hand: the test shows nothing", admitted, inHand)
		}
	})
}

func TestLeasingReturnsWhatIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newCounted()
		ledger := NewLeasing(store, LeasingOptions{})
		defer closeLedger(t, ledger)
		window := Window{Amount: 100_000, Per: 366 * 24 * time.Hour}
		for range 100 {
			if _, err := ledger.Spend(t.Context(), []Charge{{Key: "k", Window: window, Amount: 1, Final: true}}); err != nil {
				t.Fatal(err)
			}
		}
		if b, _ := store.Balance(t.Context(), "k", window); b.Remaining > 99_899 {
			t.Fatalf("nothing was taken ahead: %+v", b)
		}
		time.Sleep(1500*time.Millisecond + 10*time.Millisecond)
		synctest.Wait()
		if b, _ := store.Balance(t.Context(), "k", window); b.Remaining < 99_900 || b.Remaining > 99_901 {
			t.Errorf("%+v at the store after 100 units", b)
		}
		time.Sleep(time.Second)
		if len(ledger.pools) != 0 {
			t.Errorf("%d pools kept", len(ledger.pools))
		}
	})
}

func TestLeasingSlotsOfLostReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &counted{Memory: NewMemory(MemoryOptions{Lease: time.Minute})}
		ledger := NewLeasing(store, LeasingOptions{Lease: time.Minute})
		defer closeLedger(t, ledger)
		charges := []Charge{{Key: "n", Window: Window{Amount: 4}, Amount: 1}}
		var late Receipt
		for range 4 { // never settled
			var err error
			if late, err = ledger.Spend(t.Context(), charges); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := ledger.Spend(t.Context(), charges); !errors.As(err, new(*ExceededError)) {
			t.Fatalf("got %v", err)
		}
		time.Sleep(50 * time.Second) // the store's leases are renewed meanwhile
		if _, err := ledger.Spend(t.Context(), charges); !errors.As(err, new(*ExceededError)) {
			t.Fatalf("a slot in use was given away: %v", err)
		}
		time.Sleep(11 * time.Second)
		for range 4 {
			if _, err := ledger.Spend(t.Context(), charges); err != nil {
				t.Fatalf("after the lease: %v", err)
			}
		}
		if err := Cancel(t.Context(), ledger, late); err != nil {
			t.Fatal(err)
		}
		if _, err := ledger.Spend(t.Context(), charges); !errors.As(err, new(*ExceededError)) {
			t.Errorf("a late settlement released a slot of another: %v", err)
		}
	})
}

func TestLeasingRefusesLikeTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newCounted()
		ledger := NewLeasing(store, LeasingOptions{})
		defer closeLedger(t, ledger)
		window := Window{Amount: 60, Per: time.Minute}
		spend := func(amount float64) *ExceededError {
			t.Helper()
			_, err := ledger.Spend(t.Context(), []Charge{{Key: "k", Window: window, Amount: amount}})
			var e *ExceededError
			if err != nil && !errors.As(err, &e) {
				t.Fatal(err)
			}
			return e
		}
		if e := spend(61); e == nil || !e.Never || e.Requested != 61 {
			t.Errorf("above the burst: %+v", e)
		}
		if e := spend(60); e != nil {
			t.Fatal(e)
		}
		e := spend(5)
		if e == nil || e.Requested != 5 || e.Never || e.RetryAfter > time.Minute || e.RetryAfter < 59900*time.Millisecond {
			t.Fatalf("%+v", e)
		}
		calls := store.calls.Load()
		for range 100 {
			if e := spend(5); e == nil {
				t.Fatal("admitted")
			}
		}
		if n := store.calls.Load() - calls; n > 0 {
			t.Errorf("%d round trips for refusals a moment after one", n)
		}
		time.Sleep(e.RetryAfter)
		if e := spend(5); e != nil {
			t.Errorf("after RetryAfter: %v", e)
		}
	})
}

// What is in hand is spent while the store is away, and its failure is passed on.
func TestLeasingOverAStoreThatFails(t *testing.T) {
	for _, mode := range []FailureMode{FailDeny, FailAllow, FailLocal} {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, b := newBreaker(t, BreakerOptions{Mode: mode})
				defer closeLedger(t, b)
				ledger := NewLeasing(b, LeasingOptions{Hold: time.Minute})
				defer closeLedger(t, ledger)
				window := Window{Amount: 10_000, Per: 366 * 24 * time.Hour}
				one := func() (Receipt, error) {
					return ledger.Spend(t.Context(), []Charge{{Key: "k", Window: window, Amount: 1}})
				}
				for range 200 {
					if _, err := one(); err != nil {
						t.Fatal(err)
					}
				}
				store.set(unreachable)
				n, counted := 0, 0
				var receipt Receipt
				var err error
				for ; n < 1000 && err == nil; n++ {
					if receipt, err = one(); err == nil && !receipt.Unmetered {
						counted++
					}
					if err := ledger.Settle(t.Context(), receipt, nil); err != nil {
						t.Fatal(err)
					}
				}
				if counted == 0 {
					t.Error("nothing in hand was spent")
				}
				switch outcome := outcome(receipt, err); {
				case mode == FailDeny && outcome != "store",
					mode == FailAllow && outcome != "unmetered",
					mode == FailLocal && outcome != "ok":
					t.Errorf("after %d: %s, %v", n, outcome, err)
				}
			})
		})
	}
}

func TestLeasingBeyondMaxKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newCounted()
		ledger := NewLeasing(store, LeasingOptions{MaxKeys: 2})
		defer closeLedger(t, ledger)
		window := Window{Amount: 100, Per: time.Hour}
		for i := range 4 {
			key := fmt.Sprint("k", i)
			receipt, err := ledger.Spend(t.Context(), []Charge{{Key: key, Window: window, Amount: 10}})
			if err != nil {
				t.Fatal(err)
			}
			if err := Cancel(t.Context(), ledger, receipt); err != nil {
				t.Fatal(err)
			}
		}
		if len(ledger.pools) != 2 {
			t.Errorf("%d pools", len(ledger.pools))
		}
		if b, _ := store.Balance(t.Context(), "k3", window); b.Remaining != 100 {
			t.Errorf("a key without a pool: %+v", b)
		}
	})
}

func TestLeasingChecksCharges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := NewLeasing(newCounted(), LeasingOptions{})
		defer closeLedger(t, ledger)
		if _, err := ledger.Spend(t.Context(), charge(-1)); !errors.As(err, new(*ChargeError)) {
			t.Errorf("got %v", err)
		}
		receipt, err := ledger.Spend(t.Context(), charge(1))
		if err != nil {
			t.Fatal(err)
		}
		if err := ledger.Settle(t.Context(), receipt, []float64{1, 2}); !errors.As(err, new(*ChargeError)) {
			t.Errorf("got %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := ledger.Spend(ctx, charge(1)); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
