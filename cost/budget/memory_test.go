package budget

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMemoryReclaimsIdleBuckets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := NewMemory(MemoryOptions{MaxBuckets: 100_000})
		window := Window{Amount: 60, Per: time.Minute, Burst: 60}
		for round := range 20 {
			for i := range 10_000 {
				if _, err := ledger.Spend(t.Context(), []Charge{{Key: fmt.Sprint(round, ".", i), Window: window, Amount: 1, Final: true}}); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Second) // full again
		}
		if stats := ledger.Stats(); stats.Buckets > 50_000 {
			t.Errorf("%d buckets after 200,000 that were idle by tens of thousands", stats.Buckets)
		}
		if stats := ledger.Stats(); stats.Bytes > 10<<20 {
			t.Errorf("%d bytes for them", stats.Bytes)
		}
	})
}

// A client with many addresses does not lock out others: for want of room the ledger forgets who spent little, long before the
// window is over, but nobody who owes.
func TestMemoryUnderPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 10_000
		ledger := NewMemory(MemoryOptions{MaxBuckets: most})
		window := Window{Amount: 60, Per: time.Hour}
		spend := func(key string, amount float64) error {
			_, err := ledger.Spend(t.Context(), []Charge{{Key: key, Window: window, Amount: amount, Final: true}})
			return err
		}
		if err := spend("spender", 60); err != nil {
			t.Fatal(err)
		}
		for round := range 20 {
			for i := range most / 4 {
				if err := spend(fmt.Sprint(round, ".", i), 1); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(2 * time.Minute) // one to drain, one for what float64 cannot tell
		}
		if stats := ledger.Stats(); stats.Buckets > most+shardCount {
			t.Errorf("%d buckets, room for %d", stats.Buckets, most)
		}
		if err := spend("spender", 60); !errors.As(err, new(*ExceededError)) {
			t.Errorf("who spent all is forgotten: %v", err)
		}
	})
}

// A full ledger refuses what is new, keeps serving what it knows, and never forgets a live bucket.
func TestMemoryFailsClosedAtCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 1000
		ledger := NewMemory(MemoryOptions{MaxBuckets: most})
		window := Window{Amount: 2, Per: time.Hour}
		var known []string
		refused := 0
		for i := range 4 * most {
			key := strconv.Itoa(i)
			_, err := ledger.Spend(t.Context(), []Charge{{Key: key, Window: window, Amount: 2}})
			var full *CapacityError
			switch {
			case err == nil:
				known = append(known, key)
			case errors.As(err, &full):
				if diff := cmp.Diff(&CapacityError{What: "buckets", Max: most}, full); diff != "" {
					t.Fatal(diff)
				}
				refused++
			default:
				t.Fatal(err)
			}
		}
		if len(known) < most/2 || len(known) > most+shardCount || refused == 0 {
			t.Fatalf("%d admitted and %d refused of %d with room for %d", len(known), refused, 4*most, most)
		}
		for _, key := range known {
			if _, err := ledger.Spend(t.Context(), []Charge{{Key: key, Window: window, Amount: 2}}); !errors.As(err, new(*ExceededError)) {
				t.Fatalf("a live bucket was forgotten: %v", err)
			}
		}
		time.Sleep(time.Hour + time.Second)
		if _, err := ledger.Spend(t.Context(), []Charge{{Key: "new", Window: window, Amount: 2}}); err != nil {
			t.Errorf("still full an hour later: %v", err)
		}
	})
}

// A Spend that fails for want of room changes none of its other buckets.
func TestMemoryRollsBackAtCapacity(t *testing.T) {
	ledger := NewMemory(MemoryOptions{MaxBuckets: 1}) // one for each shard
	window := Window{Amount: 100, Per: time.Hour}
	var charges []Charge
	for i := range 2 * shardCount {
		charges = append(charges, Charge{Key: strconv.Itoa(i), Window: window, Amount: 10})
	}
	if _, err := ledger.Spend(t.Context(), charges); !errors.As(err, new(*CapacityError)) {
		t.Fatalf("got %v", err)
	}
	for _, c := range charges {
		if b, err := ledger.Balance(t.Context(), c.Key, window); err != nil || b.Remaining != 100 {
			t.Fatalf("%q: %+v, %v", c.Key, b, err)
		}
	}
	if stats := ledger.Stats(); stats.Reservations != 0 {
		t.Errorf("%d reservations", stats.Reservations)
	}
}

func TestMemoryBoundsReservations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := NewMemory(MemoryOptions{MaxReservations: 10, Lease: time.Minute})
		charge := []Charge{{Key: "k", Window: Window{Amount: 100, Per: time.Hour}, Amount: 1}}
		var last Receipt
		for range 10 {
			var err error
			if last, err = ledger.Spend(t.Context(), charge); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := ledger.Spend(t.Context(), charge); !errors.As(err, new(*CapacityError)) {
			t.Fatalf("got %v", err)
		}
		if err := ledger.Settle(t.Context(), last, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := ledger.Spend(t.Context(), charge); err != nil {
			t.Errorf("after one was settled: %v", err)
		}
		time.Sleep(time.Minute)
		for range 10 {
			if _, err := ledger.Spend(t.Context(), charge); err != nil {
				t.Fatalf("after the lease: %v", err)
			}
		}
	})
}

func TestMemoryReceiptsOfAnEarlierUseOfAPlace(t *testing.T) {
	ledger := NewMemory(MemoryOptions{})
	window := Window{Amount: 100, Per: 366 * 24 * time.Hour}
	charge := []Charge{{Key: "k", Window: window, Amount: 10}}
	first, err := ledger.Spend(t.Context(), charge)
	if err != nil {
		t.Fatal(err)
	}
	if err := ledger.Settle(t.Context(), first, nil); err != nil {
		t.Fatal(err)
	}
	second, err := ledger.Spend(t.Context(), charge) // takes the place of the first
	if err != nil {
		t.Fatal(err)
	}
	if err := Cancel(t.Context(), ledger, first); err != nil {
		t.Fatal(err)
	}
	if b, _ := ledger.Balance(t.Context(), "k", window); b.Remaining > 81 {
		t.Errorf("a settled receipt refunded another: %g left", b.Remaining)
	}
	if err := Cancel(t.Context(), ledger, second); err != nil {
		t.Fatal(err)
	}
	if b, _ := ledger.Balance(t.Context(), "k", window); b.Remaining < 90 || b.Remaining > 91 {
		t.Errorf("%g left after the second was cancelled", b.Remaining)
	}
}

func TestSpendStopsBeforeItBeginsWhenTheCallerIsGone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ledger := NewMemory(MemoryOptions{})
	charge := Charge{Key: "k", Window: Window{Amount: 1, Per: time.Hour}, Amount: 1}
	if _, err := ledger.Spend(ctx, []Charge{charge}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	receipt, err := ledger.Spend(t.Context(), []Charge{charge})
	if err != nil {
		t.Fatal(err)
	}
	if err := Cancel(ctx, ledger, receipt); err != nil {
		t.Errorf("a client that has gone keeps its reservation: %v", err)
	}
	if b, _ := ledger.Balance(t.Context(), "k", charge.Window); b.Remaining != 1 {
		t.Errorf("%g left", b.Remaining)
	}
}

// Calls over several shards at once, in all orders: no deadlock, nothing lost, nothing above the budgets.
func TestMemoryConcurrently(t *testing.T) {
	ledger := NewMemory(MemoryOptions{})
	const clients, workers, calls = 8, 16, 2000
	window := Window{Amount: 5000, Per: 366 * 24 * time.Hour}
	slots := Window{Amount: 3}
	var kept [clients]atomic.Int64
	var inFlight [clients]atomic.Int64
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			for range calls {
				of := []int{random.IntN(clients), random.IntN(clients)} // whose charge
				charges := []Charge{
					{Key: fmt.Sprint("cost", of[0]), Window: window, Amount: float64(random.IntN(10))},
					{Key: fmt.Sprint("slot", of[1]), Window: slots, Amount: 1},
				}
				if random.IntN(2) == 0 {
					charges[0], charges[1] = charges[1], charges[0]
					of[0], of[1] = of[1], of[0]
				}
				receipt, err := ledger.Spend(t.Context(), charges)
				if err != nil {
					if !errors.As(err, new(*ExceededError)) {
						t.Error(err)
					}
					continue
				}
				actual := make([]float64, 2)
				for i, c := range charges {
					if !c.Window.Slots() {
						actual[i] = float64(random.IntN(10))
						kept[of[i]].Add(int64(actual[i]))
						continue
					}
					if n := inFlight[of[i]].Add(1); n > 3 {
						t.Errorf("%d slots of 3 held", n)
					}
					inFlight[of[i]].Add(-1)
				}
				for range 2 {
					if err := ledger.Settle(t.Context(), receipt, actual); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	for i := range clients {
		b, err := ledger.Balance(t.Context(), fmt.Sprint("cost", i), window)
		used := b.Limit - b.Remaining + b.Debt
		if want := float64(kept[i].Load()); err != nil || used > want || used < want-1 {
			t.Errorf("client %d: %g used, %g settled, %v", i, used, want, err)
		}
		if b, err := ledger.Balance(t.Context(), fmt.Sprint("slot", i), slots); err != nil || b.Remaining != 3 {
			t.Errorf("client %d: %+v, %v", i, b, err)
		}
	}
	if stats := ledger.Stats(); stats.Reservations != 0 {
		t.Errorf("%d reservations open", stats.Reservations)
	}
}

// TestMemoryReserve spends and settles in the caller's memory alone.
func TestMemoryReserve(t *testing.T) {
	ledger := NewMemory(MemoryOptions{})
	charges := []Charge{
		{Key: "requests", Window: Window{Amount: 1 << 40, Per: time.Minute}, Amount: 1, Final: true},
		{Key: "in_flight", Window: Window{Amount: 1}, Amount: 1},
		{Key: "cost", Window: Window{Amount: 1 << 40, Per: time.Minute}, Amount: 100},
	}
	actual := []float64{1, 1, 40}
	var r Receipt
	cycle := func() {
		if err := Reserve(t.Context(), ledger, &r, charges); err != nil {
			t.Fatal(err)
		}
		if err := ledger.Settle(t.Context(), r, actual); err != nil {
			t.Fatal(err)
		}
	}
	cycle()
	if n := testing.AllocsPerRun(100, cycle); n != 0 {
		t.Errorf("%v allocations for a spend and its settlement, want none", n)
	}
	if err := Reserve(t.Context(), ledger, &r, charges); err != nil {
		t.Fatal(err)
	}
	var second Receipt
	if err := Reserve(t.Context(), ledger, &second, charges); !errors.As(err, new(*ExceededError)) {
		t.Fatalf("a second slot of one: %v", err)
	}
	if err := ledger.Settle(t.Context(), second, nil); err != nil || len(second.Charges) != 0 {
		t.Errorf("a refused receipt has %d charges to settle (%v)", len(second.Charges), err)
	}
	if n := ledger.Stats().Reservations; n != 2 {
		t.Errorf("%d reservations are open, want those of the first alone", n)
	}
}

// Ask says what Spend will, and leaves everything as it was: a ledger that is
// asked before each spend admits what another does.
func TestMemoryAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, other := NewMemory(MemoryOptions{Lease: 3 * time.Second}), NewMemory(MemoryOptions{Lease: 3 * time.Second})
		random := rand.New(rand.NewPCG(3, 4))
		windows := []Window{{Amount: 5, Per: time.Second}, {Amount: 3, Per: time.Second, Burst: 6}, {Amount: 2}}
		refused := 0
		for range 5000 {
			w := random.IntN(len(windows))
			c := Charge{Key: strconv.Itoa(random.IntN(3)) + "/" + strconv.Itoa(w), Window: windows[w], Amount: float64(random.IntN(4)), Final: w != 2 && random.IntN(2) == 0}
			said := asked.Ask(t.Context(), []Charge{c})
			done, err := asked.Spend(t.Context(), []Charge{c})
			alike, otherErr := other.Spend(t.Context(), []Charge{c})
			if diff := cmp.Diff(err, said); diff != "" {
				t.Fatalf("%+v (-spend +ask):\n%s", c, diff)
			}
			if diff := cmp.Diff(otherErr, err); diff != "" {
				t.Fatalf("%+v (-not asked +asked):\n%s", c, diff)
			}
			if err != nil {
				refused++
			} else if random.IntN(2) == 0 {
				if err := errors.Join(Cancel(t.Context(), asked, done), Cancel(t.Context(), other, alike)); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
		}
		if refused < 500 || refused > 4500 {
			t.Errorf("%d of 5000 were refused", refused)
		}
		for w, window := range windows {
			for k := range 3 {
				key := strconv.Itoa(k) + "/" + strconv.Itoa(w)
				a, errA := asked.Balance(t.Context(), key, window)
				b, errB := other.Balance(t.Context(), key, window)
				if a != b || errA != nil || errB != nil {
					t.Errorf("%s: asked %+v, %v, not asked %+v, %v", key, a, errA, b, errB)
				}
			}
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := asked.Ask(gone, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller who is gone got %v", err)
		}
		if _, wrong := errors.AsType[*ChargeError](asked.Ask(t.Context(), []Charge{{Window: windows[0]}})); !wrong {
			t.Error("a charge without a key was weighed")
		}
	})
}
