package budget

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// A move is one round trip, also through a breaker; a server that has lost a script, or both, is told again, the cancellation first all the
// same: the new charges are on the same bucket, which has room for one of them alone.
func TestMoveIsOneRoundTrip(t *testing.T) {
	server := miniredis.RunT(t)
	r := mustRedis(t, RedisOptions{URL: "redis://" + server.Addr(), Timeout: patience})
	trips := new(roundTrips)
	r.client.AddHook(trips)
	breaker := behindBreaker(t, r).(breakerOver)
	for _, test := range []struct {
		lost   string
		loaded []*redis.Script
		trips  int64
	}{
		{"nothing", []*redis.Script{settleScript, spendScript}, 1},
		{"spend", []*redis.Script{settleScript}, 1 + 2},
		{"settle", []*redis.Script{spendScript}, 1 + 2 + 1},
		{"both", nil, 1 + 2 + 2},
	} {
		for i, l := range []Ledger{r, breaker.Breaker} {
			key := fmt.Sprint(test.lost, i)
			half := []Charge{{Key: key, Window: still, Amount: still.Amount * 0.6}, {Key: key + "n", Window: Window{Amount: 1}, Amount: 1}}
			from, err := l.Spend(t.Context(), half)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.client.ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			for _, script := range test.loaded {
				if err := script.Load(t.Context(), r.client).Err(); err != nil {
					t.Fatal(err)
				}
			}
			trips.commands.Store(0)
			var to Receipt
			if err := Move(t.Context(), l, from, &to, append([]Charge{}, half...)); err != nil {
				t.Errorf("%s is lost: %v", test.lost, err)
			}
			if n := trips.commands.Load(); n != test.trips {
				t.Errorf("%s is lost: %d round trips, want %d", test.lost, n, test.trips)
			}
			if n := used(t, r, key); n != 600_000 || len(to.Balances) != 2 || to.Balances[1].Remaining != 0 {
				t.Errorf("%s is lost: %g used, receipt %+v", test.lost, n, to)
			}
			if err := Cancel(t.Context(), l, to); err != nil {
				t.Error(err)
			}
			if n := used(t, r, key); n != 0 {
				t.Errorf("%s is lost: %g used in the end", test.lost, n)
			}
		}
	}
}

// What is not to be cancelled by the store, or not to be spent, costs no round trip of its own.
func TestMoveWithoutOneHalf(t *testing.T) {
	server := miniredis.RunT(t)
	r := mustRedis(t, RedisOptions{URL: "redis://" + server.Addr(), Timeout: patience})
	trips := new(roundTrips)
	r.client.AddHook(trips)
	breaker := behindBreaker(t, r).(breakerOver).Breaker
	ended, end := context.WithCancel(t.Context())
	end()
	for _, l := range []Ledger{r, breaker} {
		spent := func(final bool) Receipt {
			t.Helper()
			receipt, err := l.Spend(t.Context(), []Charge{{Key: "k", Window: still, Amount: 1, Final: final}})
			if err != nil {
				t.Fatal(err)
			}
			return receipt
		}
		spend := []Charge{{Key: "m", Window: still, Amount: 1, Final: true}}
		mistake := []Charge{{Key: "m", Window: still, Amount: -1}}
		if err := Cancel(t.Context(), l, spent(false)); err != nil { // loads the scripts
			t.Fatal(err)
		}
		for _, test := range []struct {
			name    string
			ctx     context.Context
			from    Receipt
			charges []Charge
			trips   int64
			is      func(error) bool
		}{
			{"no receipt", t.Context(), Receipt{}, spend, 1, nil},
			{"a final receipt", t.Context(), spent(true), spend, 1, nil},
			{"an unmetered receipt", t.Context(), Receipt{Charges: mistake, Unmetered: true}, spend, 1, nil},
			{"no charges", t.Context(), spent(false), nil, 1, nil},
			{"neither", t.Context(), Receipt{}, nil, 0, nil},
			{"a mistake", t.Context(), spent(false), mistake, 1, func(err error) bool { return errors.As(err, new(*ChargeError)) }},
			{"a caller who is gone", ended, spent(false), spend, 1, func(err error) bool { return errors.Is(err, context.Canceled) }},
		} {
			trips.commands.Store(0)
			var to Receipt
			err := Move(test.ctx, l, test.from, &to, test.charges)
			if test.is == nil && err != nil || test.is != nil && !test.is(err) {
				t.Errorf("%T, %s: %v", l, test.name, err)
			}
			if n := trips.commands.Load(); n != test.trips {
				t.Errorf("%T, %s: %d round trips, want %d", l, test.name, n, test.trips)
			}
			if err == nil && len(to.Balances) != len(test.charges) {
				t.Errorf("%T, %s: %+v", l, test.name, to)
			}
		}
	}
	if n := used(t, r, "k"); n != 2 { // the final ones
		t.Errorf("%g used of what was cancelled, want 2", n)
	}
	if n := used(t, r, "m"); n != 2*3 {
		t.Errorf("%g used of what was spent, want 6", n)
	}
}

// Where the store cannot cancel, nothing is spent.
func TestMoveOfWhatCannotBeCancelled(t *testing.T) {
	server := miniredis.RunT(t)
	r := mustRedis(t, RedisOptions{URL: "redis://" + server.Addr(), Timeout: patience})
	from, err := r.Spend(t.Context(), []Charge{{Key: "k", Window: still, Amount: 10}})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Set(r.bucketKey("k"), "not a bucket"); err != nil {
		t.Fatal(err)
	}
	to := Receipt{Charges: from.Charges}
	err = Move(t.Context(), r, from, &to, []Charge{{Key: "m", Window: still, Amount: 1}})
	if failure, ok := errors.AsType[*StoreError](err); !ok || failure.Op != "settle" || to.Charges != nil {
		t.Errorf("%v, %+v", err, to)
	}
	if n := used(t, r, "m"); n != 0 {
		t.Errorf("%g used", n)
	}
}

// movingStore is a store that a breaker asks to move; each half of a move may fail by itself.
type movingStore struct {
	*flaky
	cancels, spends fault // of a move, while the store is healthy otherwise
	moves           int
}

func (s *movingStore) move(ctx context.Context, from Receipt, charges []Charge) (receipt Receipt, cancelled, err error) {
	s.moves++
	s.set(s.cancels)
	cancelled = Cancel(ctx, s.flaky, from)
	s.set(s.spends)
	receipt, err = s.flaky.Spend(ctx, charges)
	s.set(healthy)
	return receipt, cancelled, err
}

// Whichever half of a move failed, with an effect or without, the mode is followed and in the end the store has the sum of what was settled.
func TestBreakerMovesLoseAndDoubleNothing(t *testing.T) {
	faults := []fault{healthy, unreachable, answerLost}
	for _, mode := range []FailureMode{FailDeny, FailAllow, FailLocal} {
		for _, cancels := range faults {
			for _, spends := range faults {
				synctest.Test(t, func(t *testing.T) {
					store := &movingStore{flaky: &flaky{Memory: NewMemory(MemoryOptions{})}}
					b, err := NewBreaker(store, BreakerOptions{Mode: mode, Probe: store.probe})
					if err != nil {
						t.Fatal(err)
					}
					defer closeLedger(t, b)
					from, err := b.Spend(t.Context(), charge(60))
					if err != nil {
						t.Fatal(err)
					}
					var to Receipt
					store.cancels, store.spends = cancels, spends
					err = Move(t.Context(), b, from, &to, []Charge{{Key: "m", Window: breakerWindow, Amount: 7}})
					want := "ok"
					if spends != healthy {
						want = map[FailureMode]string{FailDeny: "store", FailAllow: "unmetered", FailLocal: "ok"}[mode]
					}
					name := fmt.Sprintf("%s, cancels %d, spends %d", mode, cancels, spends)
					if got := outcome(to, err); got != want {
						t.Errorf("%s: %s, want %s (%v)", name, got, want, err)
					}
					failures := uint64(0)
					if cancels != healthy || spends != healthy {
						failures = 1
					}
					if got := b.State(); got.Failures != failures || got.Phase != Closed || store.moves != 1 {
						t.Errorf("%s: %+v after %d moves", name, got, store.moves)
					}
					time.Sleep(time.Second)
					synctest.Wait()
					if err := b.Settle(t.Context(), to, to.reserved()); err != nil {
						t.Error(err)
					}
					atStore := 100.0
					if spends == healthy {
						atStore = 93
					}
					m, err := store.Balance(t.Context(), "m", breakerWindow)
					if err != nil || float64(int(m.Remaining+1e-3)) != atStore || left(t, store) != 100 {
						t.Errorf("%s: %g left of what was given back, %+v of what was spent, %v", name, left(t, store), m, err)
					}
					if state := b.State(); state.Pending != 0 || state.Lost != 0 {
						t.Errorf("%s: %+v", name, state)
					}
				})
			}
		}
	}
}

// reserved settles a receipt at what was reserved.
func (r *Receipt) reserved() []float64 {
	amounts := make([]float64, len(r.Charges))
	for i := range amounts {
		amounts[i] = r.Charges[i].Amount
	}
	return amounts
}

// A cancellation that there is no room to keep fails the move, and nothing is spent.
func TestBreakerMovesWithinMaxPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &movingStore{flaky: &flaky{Memory: NewMemory(MemoryOptions{})}}
		b, err := NewBreaker(store, BreakerOptions{MaxPending: 1, Probe: store.probe, Interval: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer closeLedger(t, b)
		var open [2]Receipt
		for i := range open {
			if open[i], err = b.Spend(t.Context(), charge(10)); err != nil {
				t.Fatal(err)
			}
		}
		store.cancels = unreachable
		var to Receipt
		if err := Move(t.Context(), b, open[0], &to, charge(1)); err != nil {
			t.Fatal(err)
		}
		err = Move(t.Context(), b, open[1], &to, charge(1))
		if failure, ok := errors.AsType[*StoreError](err); !ok || failure.Op != "settle" || to.Charges != nil {
			t.Errorf("%v, %+v", err, to)
		}
		if state := b.State(); state.Pending != 1 || state.Lost != 1 {
			t.Errorf("%+v", state)
		}
		if n := left(t, store); n != 79 {
			t.Errorf("%g left, want 79: two of ten yet to be cancelled, and one that was moved", n)
		}
	})
}

// While a breaker is open a move asks the store nothing.
func TestBreakerMovesWhileOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &movingStore{flaky: &flaky{Memory: NewMemory(MemoryOptions{})}}
		b, err := NewBreaker(store, BreakerOptions{Mode: FailLocal, Threshold: 1, Probe: store.probe})
		if err != nil {
			t.Fatal(err)
		}
		defer closeLedger(t, b)
		from, err := b.Spend(t.Context(), charge(60))
		if err != nil {
			t.Fatal(err)
		}
		store.set(unreachable)
		first, err := b.Spend(t.Context(), charge(30))
		if err != nil || b.State().Phase != Open {
			t.Fatalf("%v, %+v", err, b.State())
		}
		asked := store.asked()
		for _, receipt := range []*Receipt{&from, &first} { // of the store, and local
			if err := Move(t.Context(), b, *receipt, receipt, charge(70)); err != nil {
				t.Fatal(err)
			}
			if err := Cancel(t.Context(), b, *receipt); err != nil {
				t.Fatal(err)
			}
		}
		if n := store.asked() - asked; n != 0 || store.moves != 0 {
			t.Errorf("an open breaker asked %d times, moved %d times", n, store.moves)
		}
		store.set(healthy)
		time.Sleep(time.Second)
		synctest.Wait()
		if n := left(t, store); n != 100 {
			t.Errorf("%g left", n)
		}
	})
}

// A lease is given back and taken without a round trip.
func TestLeasingMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newCounted()
		ledger := NewLeasing(store, LeasingOptions{})
		move := func() {
			t.Helper()
			receipt, err := ledger.Spend(t.Context(), operation("address", 10))
			if err != nil {
				t.Fatal(err)
			}
			if err := Move(t.Context(), ledger, receipt, &receipt, operation("alice", 10)); err != nil {
				t.Fatal(err)
			}
			if err := ledger.Settle(t.Context(), receipt, []float64{1, 1, 4}); err != nil {
				t.Fatal(err)
			}
		}
		for range 100 { // slices grow
			move()
		}
		before := store.calls.Load()
		for range 10_000 {
			move()
		}
		if n := store.calls.Load() - before; n > 200 {
			t.Errorf("%d round trips for 10,000 moves", n)
		}
		closeLedger(t, ledger)
		b, err := store.Balance(t.Context(), operation("alice", 0)[2].Key, operation("alice", 0)[2].Window)
		if err != nil {
			t.Fatal(err)
		}
		if spent := b.Limit - b.Remaining; spent < 4*10_100-1 || spent > 4*10_100+1 {
			t.Errorf("%g spent at the store, want %d", spent, 4*10_100)
		}
	})
}

func TestMemoryMovesAllocateNothing(t *testing.T) {
	ledger := NewMemory(MemoryOptions{})
	rooms := [2][]Charge{operation("address", 10), operation("alice", 10)}
	var receipt Receipt
	if err := Reserve(t.Context(), ledger, &receipt, rooms[0]); err != nil {
		t.Fatal(err)
	}
	i := 0
	if n := testing.AllocsPerRun(100, func() {
		i++
		if err := Move(t.Context(), ledger, receipt, &receipt, rooms[i%2]); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a move", n)
	}
	if n := ledger.Stats().Reservations; n != 2 {
		t.Errorf("%d reservations are open, want the last one's slot and cost", n)
	}
}
