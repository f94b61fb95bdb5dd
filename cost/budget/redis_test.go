package budget

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// still is a window that drains less than a unit while a test runs.
var still = Window{Amount: 1_000_000, Per: 366 * 24 * time.Hour}

// patience bounds what must happen soon but on a busy machine may not.
const patience = time.Minute

// used is what a bucket holds, in whole units.
func used(t *testing.T, l ledgerUnderTest, key string) float64 {
	t.Helper()
	b, err := l.Balance(t.Context(), key, still)
	if err != nil {
		t.Fatal(err)
	}
	return math.Round(b.Limit - b.Remaining + b.Debt)
}

// roundTrips counts the commands that a client sends.
type roundTrips struct{ commands, connects atomic.Int64 }

func (r *roundTrips) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		r.connects.Add(1)
		return next(ctx, network, addr)
	}
}

func (r *roundTrips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		r.commands.Add(1)
		return next(ctx, cmd)
	}
}

func (r *roundTrips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		r.commands.Add(1)
		return next(ctx, cmds)
	}
}

func TestRedisTakesOneRoundTrip(t *testing.T) {
	server := miniredis.RunT(t)
	r := mustRedis(t, RedisOptions{URL: "redis://" + server.Addr(), Timeout: patience})
	trips := new(roundTrips)
	r.client.AddHook(trips)
	spendAndSettle := func() {
		t.Helper()
		receipt, err := r.Spend(t.Context(), append(operation("alice", 10), Charge{Key: Key(Holder(KindIP, "192.0.2.1/32"), "requests"), Window: still, Amount: 1}))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Settle(t.Context(), receipt, []float64{1, 1, 5, 1}); err != nil {
			t.Fatal(err)
		}
	}
	spendAndSettle() // loads the scripts
	trips.commands.Store(0)
	for range 100 {
		spendAndSettle()
	}
	if n := trips.commands.Load(); n != 200 {
		t.Errorf("%d round trips for 100 spends and 100 settlements", n)
	}
	if err := r.client.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	trips.commands.Store(0)
	spendAndSettle()
	spendAndSettle()
	if n := trips.commands.Load(); n != 6 {
		t.Errorf("%d round trips for 2 spends and 2 settlements after a script flush, want 6", n)
	}
	receipt, err := r.Spend(t.Context(), []Charge{{Key: "k", Window: still, Amount: 1, Final: true}})
	if err != nil {
		t.Fatal(err)
	}
	trips.commands.Store(0)
	if err := r.Settle(t.Context(), receipt, nil); err != nil || trips.commands.Load() != 0 {
		t.Errorf("%d round trips to settle what is final, %v", trips.commands.Load(), err)
	}
}

// A call that arrives twice, or after it was cancelled, has an effect once, or none.
// Settlements of several receipts are one round trip, also through a breaker, and have the effect of as many Settles; also where the
// server has lost the script, where the store fails, and where one of them is no good.
func TestSettleAll(t *testing.T) {
	server := miniredis.RunT(t)
	r := mustRedis(t, RedisOptions{URL: "redis://" + server.Addr(), Timeout: patience})
	trips := new(roundTrips)
	r.client.AddHook(trips)
	breaker, err := NewBreaker(r, BreakerOptions{Probe: r.Probe, Interval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer breaker.Close()
	slots := Window{Amount: 5}
	both := func(l Ledger) []Settlement {
		t.Helper()
		admitted, err := l.Spend(t.Context(), []Charge{{Key: "requests", Window: still, Amount: 1, Final: true}, {Key: "slots", Window: slots, Amount: 1}})
		if err != nil {
			t.Fatal(err)
		}
		charged, err := l.Spend(t.Context(), []Charge{{Key: "cost", Window: still, Amount: 100}})
		if err != nil {
			t.Fatal(err)
		}
		return []Settlement{{Receipt: charged, Actual: []float64{7}}, {Receipt: admitted}, {}}
	}
	check := func(what string, n float64) {
		t.Helper()
		held, err := r.Balance(t.Context(), "slots", slots)
		if err != nil {
			t.Fatal(err)
		}
		if cost, requests := used(t, r, "cost"), used(t, r, "requests"); cost != 7*n || requests != n || held.Remaining != 5 {
			t.Errorf("%s: %v cost, %v requests, %v slots left; want %v, %v, 5", what, cost, requests, held.Remaining, 7*n, n)
		}
	}
	for i, l := range []Ledger{r, breaker} {
		all := both(l)
		settleAllOnce(t, l, all)
		trips.commands.Store(0)
		settleAllOnce(t, l, all) // again, without effect
		if n := trips.commands.Load(); n != 1 {
			t.Errorf("%d round trips for two settlements", n)
		}
		check(fmt.Sprintf("%T", l), float64(1+i))
	}
	all := both(breaker)
	if err := r.client.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	settleAllOnce(t, breaker, all)
	check("after a script flush", 3)

	all = both(breaker)
	server.SetError("LOADING")
	settleAllOnce(t, breaker, all)
	server.SetError("")
	for deadline := time.Now().Add(patience); breaker.State().Pending > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d settlements are pending", breaker.State().Pending)
		}
	}
	check("after the store failed", 4)

	all = both(breaker)
	all[0].Actual = []float64{1, 2}
	if err := SettleAll(t.Context(), breaker, all); !errors.As(err, new(*ChargeError)) {
		t.Errorf("two amounts for one charge: %v", err)
	}
	all[0].Actual = []float64{7}
	settleAllOnce(t, breaker, all)
	check("after a mistake in one of them", 5)

	memory := NewMemory(MemoryOptions{})
	settleAllOnce(t, memory, both(memory))
	if n := memory.Stats().Reservations; n != 0 {
		t.Errorf("%d reservations are open", n)
	}
}

func settleAllOnce(t *testing.T, l Ledger, all []Settlement) {
	t.Helper()
	if err := SettleAll(t.Context(), l, all); err != nil {
		t.Fatal(err)
	}
}

func TestRedisCallsThatArriveTwiceOrLate(t *testing.T) {
	server := miniredis.RunT(t)
	r := mustRedis(t, RedisOptions{URL: "redis://" + server.Addr(), Timeout: patience})
	charges := []Charge{{Key: "k", Window: still, Amount: 10}, {Key: "n", Window: Window{Amount: 3}, Amount: 1}, {Key: "k", Window: still, Amount: 5}}
	receipt, err := r.Spend(t.Context(), charges)
	if err != nil {
		t.Fatal(err)
	}
	group := &r.groups(charges)[0]
	again := Receipt{Charges: charges, Balances: make([]Balance, 3), id: receipt.id}
	err = r.spendGroup(t.Context(), &again, group)
	for i, want := range []float64{still.Amount - 15, 2, still.Amount - 15} {
		if got := math.Round(again.Balances[i].Remaining); err != nil || got != want {
			t.Errorf("charge %d of the same call again: %v left, want %v, %v", i, got, want, err)
		}
	}
	if n := used(t, r, "k"); n != 15 {
		t.Errorf("%g used after the same call twice", n)
	}
	if err := Cancel(t.Context(), r, receipt); err != nil {
		t.Fatal(err)
	}
	late := Receipt{Charges: charges, Balances: make([]Balance, 3), id: receiptID{1, 1}}
	for _, cancelled := range []Receipt{receipt, late} {
		if err := Cancel(t.Context(), r, cancelled); err != nil {
			t.Fatal(err)
		}
		copied := Receipt{Charges: charges, Balances: make([]Balance, 3), id: cancelled.id}
		if err := r.spendGroup(t.Context(), &copied, group); !errors.As(err, new(*StoreError)) {
			t.Errorf("a spend after its cancellation: %v", err)
		}
	}
	if b, err := r.Balance(t.Context(), "n", Window{Amount: 3}); err != nil || used(t, r, "k") != 0 || b.Remaining != 3 {
		t.Errorf("%g used, slots %+v, %v", used(t, r, "k"), b, err)
	}
}

// What somebody else wrote under a key is an error, never a full bucket.
func TestRedisForeignValues(t *testing.T) {
	server := miniredis.RunT(t)
	r := mustRedis(t, RedisOptions{URL: "redis://" + server.Addr(), Timeout: patience})
	for _, value := range []string{"", "x", "1", "1 x", "nan nan", "1 2 3", "1 2 3 x", "1 2 3 4 5"} {
		if err := server.Set(r.bucketKey("k"), value); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Spend(t.Context(), []Charge{{Key: "k", Window: still, Amount: 1}}); !errors.As(err, new(*StoreError)) {
			t.Errorf("%q: %v", value, err)
		}
	}
	server.Del(r.bucketKey("k"))
	server.HSet(r.bucketKey("k"), "field", "value")
	for _, window := range []Window{still, {Amount: 3}} {
		if _, err := r.Spend(t.Context(), []Charge{{Key: "k", Window: window, Amount: 1}}); !errors.As(err, new(*StoreError)) {
			t.Errorf("%v: %v", window, err)
		}
	}
}

// Nothing stays in the store for good.
func TestRedisKeysExpire(t *testing.T) {
	server := miniredis.RunT(t)
	r := mustRedis(t, RedisOptions{URL: "redis://" + server.Addr(), Timeout: 10 * time.Second, Lease: time.Minute})
	window := Window{Amount: 100, Per: time.Hour}
	for i := range 4 {
		charges := []Charge{{Key: "k", Window: window, Amount: 10, Final: i == 3}}
		if i < 3 {
			charges = append(charges, Charge{Key: "n", Window: Window{Amount: 5}, Amount: 1})
		}
		receipt, err := r.Spend(t.Context(), charges)
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			if err := Cancel(t.Context(), r, receipt); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, key := range server.Keys() {
		if ttl := server.TTL(key); ttl <= 0 || ttl > time.Hour+time.Second {
			t.Errorf("%s lives for %v", key, ttl)
		}
	}
	server.FastForward(2 * time.Minute)
	if keys := server.Keys(); len(keys) != 1 || keys[0] != r.bucketKey("k") {
		t.Errorf("after the lease: %q", keys)
	}
	server.FastForward(time.Hour)
	if keys := server.Keys(); len(keys) != 0 {
		t.Errorf("after the window: %q", keys)
	}
}

func TestRedisOptionsAreChecked(t *testing.T) {
	for _, test := range []struct{ url, problem string }{
		{"redis://h:1/0", ""},
		{"redis://", ""},
		{"rediss://user:secret@h/3", ""},
		{"redis://h?cluster=true&addr=i:1", ""},
		{"redis://h/1?master_name=m&addr=i:1", ""},
		{"http://h", `scheme "http" is not known`},
		{"h:6379", `scheme "h" is not known`},
		{"", `scheme "" is not known`},
		{"redis://user:secret@h:port", "cannot be parsed"},
		{"redis://h/x", `database "x" is not a number`},
		{"redis://h/-1", `database "-1" is not a number`},
		{"redis://h?db=1", `parameter "db" is not known`},
		{"redis://h?cluster=maybe", `cluster="maybe"`},
		{"redis://h/1?cluster=true", "no numbered databases"},
		{"redis://h?cluster=true&master_name=m", "exclude each other"},
		{"redis://h?addr=i:1", "several addresses"},
	} {
		r, err := NewRedis(RedisOptions{URL: test.url})
		switch {
		case err == nil:
			closeLedger(t, r)
			if test.problem != "" {
				t.Errorf("%q was accepted", test.url)
			}
		case test.problem == "" || !strings.Contains(err.Error(), test.problem):
			t.Errorf("%q: %v, want %q", test.url, err, test.problem)
		case strings.Contains(err.Error(), "secret"):
			t.Errorf("%q: the error shows the password: %v", test.url, err)
		}
	}
	if _, err := NewRedis(RedisOptions{URL: "redis://h", Prefix: "{x}"}); err == nil {
		t.Error("a prefix with a hash tag was accepted")
	}
}

// largest is the most that one call of exactness charges.
const largest = 30

// exactness spends from three ledgers of one server with 64 goroutines until all are refused. What then is left is less than a call asked
// for: at the store, or with leases in the hands of each ledger, which is less than 1 % of the window.
func exactness(t *testing.T, ledgers []Ledger, window Window, over float64) {
	t.Helper()
	if held := float64(largest * len(ledgers)); held > 0.01*window.capacity() {
		t.Fatalf("%g may be left of %g", held, window.capacity())
	}
	var admitted atomic.Int64
	start := time.Now()
	var wg sync.WaitGroup
	for worker := range 64 {
		ledger := ledgers[worker%len(ledgers)]
		wg.Go(func() {
			random := rand.New(rand.NewPCG(3, uint64(worker)))
			for refused := 0; refused < 5; {
				amount := 1 + random.IntN(largest)
				receipt, err := ledger.Spend(t.Context(), []Charge{{Key: "{client}cost", Window: window, Amount: float64(amount)}})
				if errors.As(err, new(*ExceededError)) {
					refused++
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				actual := random.IntN(amount + 1)
				admitted.Add(int64(actual))
				if err := ledger.Settle(t.Context(), receipt, []float64{float64(actual)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	most := window.capacity() + window.Amount*float64(time.Since(start))/float64(window.Per) + over
	got := float64(admitted.Load())
	if got > most+1e-6 {
		t.Errorf("%g admitted of %g", got, most)
	}
	if got < 0.99*window.capacity() {
		t.Errorf("%g admitted of %g, less than 99 %%", got, window.capacity())
	}
	t.Logf("%g admitted of %g", got, most)
}

func TestRedisIsExact(t *testing.T) {
	run := func(name, url string, window Window) {
		t.Run(name, func(t *testing.T) {
			var ledgers []Ledger
			for range 3 {
				ledgers = append(ledgers, mustRedis(t, RedisOptions{URL: url, Timeout: patience, Prefix: name + ":"}))
			}
			exactness(t, ledgers, window, 0)
		})
		t.Run(name+" leasing", func(t *testing.T) {
			var ledgers []Ledger
			const share = 0.01
			for range 3 {
				ledger := NewLeasing(mustRedis(t, RedisOptions{URL: url, Timeout: patience, Prefix: name + "-leasing:"}), LeasingOptions{Share: share, Hold: 100 * time.Millisecond})
				t.Cleanup(func() { closeLedger(t, ledger) })
				ledgers = append(ledgers, ledger)
			}
			exactness(t, ledgers, window, 3*share*window.Amount)
		})
	}
	run("miniredis", "redis://"+miniredis.RunT(t).Addr(), Window{Amount: 9_000, Per: 24 * time.Hour})
	if binary := redisBinary(t); binary != "" {
		run("redis", startRedis(t, binary).url(), Window{Amount: 20_000, Per: 24 * time.Hour})
	}
}

// guarded is a Breaker over a Redis, with the phases it goes through. Its Redis is waited for patiently, save between hurry and recovered.
type guarded struct {
	t       *testing.T
	redis   *Redis
	ledger  *Breaker
	phases  chan Phase
	slowest time.Duration // spend
}

func guard(t *testing.T, url string, mode FailureMode) *guarded {
	t.Helper()
	g := &guarded{t: t, phases: make(chan Phase, 1000)}
	g.redis = mustRedis(t, RedisOptions{URL: url, Timeout: patience})
	var err error
	g.ledger, err = NewBreaker(g.redis, BreakerOptions{Mode: mode, Probe: g.redis.Probe, OnChange: func(s BreakerState) { g.phases <- s.Phase }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLedger(t, g.ledger) })
	return g
}

// hurry makes the ledger give up soon on a store that does not answer. Both ways nothing may be under way or pending.
func (g *guarded) hurry() { g.redis.timeout = 750 * time.Millisecond }

func (g *guarded) patient() { g.redis.timeout = patience }

// move gives a receipt back, charges 10 units and returns what the ledger said.
func (g *guarded) move(from Receipt) (receipt Receipt, err error) {
	g.t.Helper()
	start := time.Now()
	err = Move(g.t.Context(), g.ledger, from, &receipt, []Charge{{Key: "{c}k", Window: still, Amount: 10}, {Key: "{c}n", Window: Window{Amount: 1000}, Amount: 1}})
	if g.slowest = max(g.slowest, time.Since(start)); g.slowest > patience {
		g.t.Errorf("a spend took %v", g.slowest)
	}
	return receipt, err
}

func (g *guarded) mustSpend() Receipt { return g.mustMove(Receipt{}) }

func (g *guarded) mustMove(from Receipt) Receipt {
	g.t.Helper()
	receipt, err := g.move(from)
	if err != nil || receipt.route != routeStore || receipt.Unmetered {
		g.t.Fatalf("%+v, %v", receipt, err)
	}
	return receipt
}

func (g *guarded) settle(receipt Receipt, actual float64) {
	g.t.Helper()
	if err := g.ledger.Settle(g.t.Context(), receipt, []float64{actual, 1}); err != nil {
		g.t.Error(err)
	}
}

// await returns when the breaker has entered the phase.
func (g *guarded) await(phase Phase) {
	g.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case p := <-g.phases:
			if p == phase {
				return
			}
		case <-timeout:
			g.t.Fatalf("not %s after %v: %+v", phase, patience, g.ledger.State())
		}
	}
}

// failing moves what was given before and spends until the breaker is open, and checks that the mode is followed all the while.
func (g *guarded) failing(mode FailureMode, given ...Receipt) {
	g.t.Helper()
	for i := range 10 {
		from := Receipt{}
		if i < len(given) {
			from = given[i]
		}
		receipt, err := g.move(from)
		var failure *StoreError
		switch {
		case mode == FailDeny && !errors.As(err, &failure),
			mode == FailAllow && (err != nil || !receipt.Unmetered),
			mode == FailLocal && (err != nil || receipt.route != routeLocal):
			g.t.Errorf("%s: %+v, %v", mode, receipt, err)
		}
		if err == nil {
			g.settle(receipt, 10)
		}
	}
	g.await(Open)
}

func (g *guarded) recovered() {
	g.t.Helper()
	start := time.Now()
	g.await(Closed)
	g.patient()
	g.t.Logf("closed %v after the store was back; no spend took longer than %v", time.Since(start).Round(time.Millisecond), g.slowest.Round(time.Millisecond))
	if state := g.ledger.State(); state.Pending != 0 || state.Lost != 0 {
		g.t.Errorf("%+v", state)
	}
}

func (g *guarded) want(units float64) {
	g.t.Helper()
	if got := used(g.t, g.redis, "{c}k"); got != units {
		g.t.Errorf("%g used at the store, want %g", got, units)
	}
	if b, err := g.redis.Balance(g.t.Context(), "{c}n", Window{Amount: 1000}); err != nil || b.Remaining != 1000 {
		g.t.Errorf("slots at the store: %+v, %v", b, err)
	}
}

func TestRedisFaults(t *testing.T) {
	binary := redisBinary(t)
	if binary == "" {
		return
	}
	for _, mode := range []FailureMode{FailDeny, FailAllow, FailLocal} {
		for _, fault := range []struct {
			name      string
			start     func(*server, *forwarder)
			end       func(*server, *forwarder)
			forgets   bool // the store loses its data
			unnoticed bool // calls go on
		}{
			{"stopped and started empty", func(s *server, _ *forwarder) { s.kill() }, func(s *server, _ *forwarder) { s.start() }, true, false},
			{"paused", func(s *server, _ *forwarder) { s.signal(syscall.SIGSTOP) }, func(s *server, _ *forwarder) { s.signal(syscall.SIGCONT) }, false, false},
			{"slow", func(_ *server, f *forwarder) { f.delay.Store(int64(4 * time.Second)) }, func(_ *server, f *forwarder) { f.delay.Store(0) }, false, false},
			{"cut off", func(_ *server, f *forwarder) { f.point("") }, func(s *server, f *forwarder) { f.point(s.addr()) }, false, false},
			{"flushed", func(s *server, _ *forwarder) { s.command("FLUSHALL") }, func(*server, *forwarder) {}, true, true},
			{"scripts flushed", func(s *server, _ *forwarder) { s.command("SCRIPT", "FLUSH") }, func(*server, *forwarder) {}, false, true},
		} {
			t.Run(string(mode)+"/"+fault.name, func(t *testing.T) {
				t.Parallel()
				s := startRedis(t, binary)
				address := newForwarder(t, s.addr())
				g := guard(t, "redis://"+address.addr(), mode)
				before, held := g.mustSpend(), g.mustSpend()
				given := []Receipt{g.mustSpend(), g.mustSpend(), g.mustSpend(), g.mustSpend(), g.mustSpend()}
				if !fault.unnoticed {
					g.hurry()
				}
				fault.start(s, address)
				if !fault.unnoticed {
					g.failing(mode, given...)
				} else {
					for _, from := range given {
						g.settle(g.mustMove(from), 0)
					}
				}
				g.settle(before, 4)
				fault.end(s, address)
				if !fault.unnoticed {
					g.recovered()
				}
				after := g.mustSpend()
				g.settle(held, 25) // of before the fault
				g.settle(held, 25)
				g.settle(after, 3)
				if fault.forgets {
					g.want(3)
				} else {
					g.want(4 + 25 + 3)
				}
			})
		}
	}
}

// Under load the server is paused again and again. In the end it knows the sum of what was settled.
func TestRedisSumsUnderFaults(t *testing.T) {
	binary := redisBinary(t)
	if binary == "" {
		return
	}
	s := startRedis(t, binary)
	var settled, calls, failures atomic.Int64
	var ledgers []*guarded
	for range 3 {
		g := guard(t, s.url(), FailDeny)
		g.hurry()
		ledgers = append(ledgers, g)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for worker := range 24 {
		ledger := ledgers[worker%3].ledger
		wg.Go(func() {
			random := rand.New(rand.NewPCG(5, uint64(worker)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				charges := []Charge{{Key: "{c}k", Window: still, Amount: float64(random.IntN(3))}, {Key: "{c}n", Window: Window{Amount: 1000}, Amount: 1}}
				receipt, err := ledger.Spend(t.Context(), charges)
				calls.Add(1)
				if err == nil && random.IntN(2) == 0 {
					err = Move(t.Context(), ledger, receipt, &receipt, slices.Clone(charges))
				}
				if err != nil {
					failures.Add(1)
					time.Sleep(time.Millisecond) // an open breaker refuses at once
					continue
				}
				actual := random.IntN(5)
				settled.Add(int64(actual))
				if err := ledger.Settle(t.Context(), receipt, []float64{float64(actual), 1}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 3 {
		time.Sleep(200 * time.Millisecond)
		s.signal(syscall.SIGSTOP)
		for _, g := range ledgers {
			g.await(Open)
		}
		s.signal(syscall.SIGCONT)
		for _, g := range ledgers {
			g.await(Closed)
		}
	}
	close(stop)
	wg.Wait()
	for _, g := range ledgers {
		for deadline := time.Now().Add(patience); g.ledger.State().Pending > 0 && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
		if state := g.ledger.State(); state.Pending != 0 || state.Lost != 0 {
			t.Errorf("%+v", state)
		}
		g.patient()
	}
	t.Logf("%d calls, %d failed, %d settled", calls.Load(), failures.Load(), settled.Load())
	if failures.Load() == 0 {
		t.Error("no call failed: the test shows nothing")
	}
	ledgers[0].want(float64(settled.Load()))
}

// A replica takes over: the address moves, and nothing that was replicated is lost.
func TestRedisFailover(t *testing.T) {
	binary := redisBinary(t)
	if binary == "" {
		return
	}
	primary := startRedis(t, binary)
	replica := startRedis(t, binary)
	replica.command("REPLICAOF", "127.0.0.1", strconv.Itoa(primary.port))
	replica.await("Finished with success")
	address := newForwarder(t, primary.addr())
	g := guard(t, "redis://"+address.addr(), FailDeny)
	before, held, given := g.mustSpend(), g.mustSpend(), g.mustSpend()
	g.settle(before, 4)
	primary.replicate()
	g.hurry()
	primary.kill()
	address.point(replica.addr()) // which does not take writes yet
	g.failing(FailDeny, given)
	g.settle(held, 7)
	replica.command("REPLICAOF", "NO", "ONE")
	g.recovered()
	after := g.mustSpend()
	g.settle(after, 3)
	g.want(4 + 7 + 3)
}

// A sentinel replaces the primary, and the ledger follows it.
func TestRedisSentinel(t *testing.T) {
	binary := redisBinary(t)
	if binary == "" {
		return
	}
	primary := startRedis(t, binary)
	replica := startRedis(t, binary)
	replica.command("REPLICAOF", "127.0.0.1", strconv.Itoa(primary.port))
	replica.await("Finished with success")
	sentinel := startSentinel(t, binary, primary)
	sentinel.await("+slave")
	g := guard(t, "redis://"+sentinel.addr()+"?master_name=budgets", FailDeny)
	before, held, given := g.mustSpend(), g.mustSpend(), g.mustSpend()
	g.settle(before, 4)
	primary.replicate()
	g.hurry()
	primary.kill()
	sentinel.mourn()
	g.failing(FailDeny, given)
	g.settle(held, 7)
	sentinel.await("+switch-master")
	g.recovered()
	after := g.mustSpend()
	g.settle(after, 3)
	g.want(4 + 7 + 3)
}

// forwarder is an address whose server can be exchanged and delayed.
type forwarder struct {
	listener net.Listener
	delay    atomic.Int64 // nanoseconds, of what the server sends
	mu       sync.Mutex
	target   string
	open     map[net.Conn]bool
	wg       sync.WaitGroup
}

func newForwarder(t *testing.T, target string) *forwarder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{listener: l, target: target, open: map[net.Conn]bool{}}
	f.wg.Go(f.accept)
	t.Cleanup(func() {
		_ = l.Close()
		f.point("")
		f.wg.Wait()
	})
	return f
}

func (f *forwarder) addr() string { return f.listener.Addr().String() }

// point ends all connections and sends new ones to target.
func (f *forwarder) point(target string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.target = target
	for conn := range f.open {
		_ = conn.Close()
	}
	clear(f.open)
}

func (f *forwarder) accept() {
	for {
		in, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		out, err := net.Dial("tcp", f.target)
		if err != nil {
			f.mu.Unlock()
			_ = in.Close()
			continue
		}
		f.open[in], f.open[out] = true, true
		f.mu.Unlock()
		f.wg.Go(func() {
			_, _ = io.Copy(out, in)
			_ = out.Close()
		})
		f.wg.Go(func() {
			_, _ = io.Copy(slowly{in, f}, out)
			_ = in.Close()
		})
	}
}

// slowly writes after the forwarder's delay.
type slowly struct {
	to net.Conn
	f  *forwarder
}

func (s slowly) Write(p []byte) (int, error) {
	time.Sleep(time.Duration(s.f.delay.Load()))
	return s.to.Write(p)
}
