package budget

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"pgregory.net/rapid"
)

// model is a Ledger as its documentation reads: a map of buckets, no shards, no scripts, one call after the other.
type model struct {
	now      int64
	lease    time.Duration
	windows  map[string]bucket
	slots    map[string]map[[2]int]int64 // receipt and charge -> number held, while the lease lasts
	expiries map[int]int64               // of receipts
	receipts map[int][]Charge
	charged  map[int]int64
}

func newModel(lease time.Duration, now int64) *model {
	return &model{
		now: now, lease: lease, windows: map[string]bucket{}, slots: map[string]map[[2]int]int64{},
		expiries: map[int]int64{}, receipts: map[int][]Charge{}, charged: map[int]int64{},
	}
}

func (m *model) held(key string) float64 {
	sum := 0.0
	for holder, n := range m.slots[key] {
		if m.expiries[holder[0]] <= m.now {
			delete(m.slots[key], holder)
			continue
		}
		sum += float64(n)
	}
	return sum
}

// spend returns what is left after each charge, or false.
func (m *model) spend(id int, charges []Charge) ([]float64, bool) {
	windows, taken := map[string]bucket{}, map[string]float64{}
	var remaining []float64
	for _, c := range charges {
		if c.Window.Slots() {
			taken[c.Key] += c.Amount
			free := c.Window.Amount - m.held(c.Key) - taken[c.Key]
			if free < 0 {
				return nil, false
			}
			remaining = append(remaining, free)
			continue
		}
		b, ok := windows[c.Key]
		if !ok {
			b = m.windows[c.Key]
			b.drain(c.Window, m.now)
		}
		if !b.admits(c.Window, c.Amount) {
			return nil, false
		}
		b.charge(c.Amount)
		windows[c.Key] = b
		remaining = append(remaining, b.left(c.Window))
	}
	for key, b := range windows {
		m.windows[key] = b
	}
	m.receipts[id], m.charged[id], m.expiries[id] = charges, m.now, m.now+int64(m.lease)
	for i, c := range charges {
		if c.Window.Slots() {
			if m.slots[c.Key] == nil {
				m.slots[c.Key] = map[[2]int]int64{}
			}
			m.slots[c.Key][[2]int{id, i}] = int64(c.Amount)
		}
	}
	return remaining, true
}

func (m *model) settle(id int, actual []float64) {
	charges, ok := m.receipts[id]
	if !ok || m.expiries[id] <= m.now {
		return
	}
	delete(m.receipts, id)
	for i, c := range charges {
		if c.Window.Slots() {
			delete(m.slots[c.Key], [2]int{id, i})
		} else if !c.Final && actual != nil {
			b := m.windows[c.Key]
			b.drain(c.Window, m.now)
			b.correct(c.Window, actual[i]-c.Amount, m.charged[id])
			m.windows[c.Key] = b
		}
	}
}

func (m *model) left(key string, w Window) float64 {
	if w.Slots() {
		return w.Amount - m.held(key)
	}
	b := m.windows[key]
	b.drain(w, m.now)
	return b.left(w)
}

var modelBuckets = []struct {
	key    string
	window Window
}{
	{"{c}fast", Window{Amount: 100, Per: time.Second}},
	{"{c}slow", Window{Amount: 50, Per: time.Hour, Burst: 70}},
	{"{d}odd", Window{Amount: 7.3, Per: 1234567 * time.Microsecond}},
	{"{c}slots", Window{Amount: 4}},
	{"{d}slots", Window{Amount: 9}},
}

var runs atomic.Int64

// compare drives a ledger and the model with the same calls and the same clock, which is the ledger's: windows are cut into parts at the
// same moments on both sides only when both count from the same one. It draws whole milliseconds, which all clocks can tell.
func compare(t *rapid.T, tt *testing.T, ledger ledgerUnderTest, lease time.Duration, clock func() int64, wait func(time.Duration)) {
	m := newModel(lease, clock())
	prefix := fmt.Sprint(runs.Add(1), ":") // each run, also of the shrinker, begins with full buckets
	receipts := map[int]Receipt{}
	near := func(got, want float64) bool { return math.Abs(got-want) < 1e-6*(1+math.Abs(want)) }
	for step := range rapid.IntRange(1, 40).Draw(t, "steps") {
		switch verb := rapid.SampledFrom([]string{"spend", "spend", "settle", "move", "wait", "balance"}).Draw(t, "verb"); verb {
		case "wait":
			d := time.Duration(rapid.IntRange(1, 900).Draw(t, "ms")) * time.Millisecond
			wait(d)
			m.now = clock()
		case "spend", "move":
			var charges []Charge
			for range rapid.IntRange(1, 4).Draw(t, "charges") {
				b := rapid.SampledFrom(modelBuckets).Draw(t, "bucket")
				c := Charge{Key: prefix + b.key, Window: b.window, Amount: float64(rapid.IntRange(0, 5).Draw(t, "amount"))}
				if !b.window.Slots() {
					c.Amount *= 7.25
					c.Final = rapid.Bool().Draw(t, "final")
				}
				charges = append(charges, c)
			}
			var receipt Receipt
			var err error
			if verb == "spend" {
				receipt, err = ledger.Spend(tt.Context(), charges)
			} else {
				// Of one that is settled, or was never spent, nothing is given back.
				id := rapid.IntRange(0, step).Draw(t, "from")
				m.settle(id, make([]float64, len(m.receipts[id])))
				err = Move(tt.Context(), ledger, receipts[id], &receipt, charges)
			}
			want, ok := m.spend(step, charges)
			if ok != (err == nil) || err != nil && !errors.As(err, new(*ExceededError)) {
				t.Fatalf("step %d: %s %v: %v, model admits: %v", step, verb, charges, err, ok)
			}
			if !ok {
				continue
			}
			receipts[step] = receipt
			for i, b := range receipt.Balances {
				if !near(b.Remaining-b.Debt, want[i]) {
					t.Fatalf("step %d: %v left of %v, model %g", step, b, charges[i], want[i])
				}
			}
		case "settle":
			if len(receipts) == 0 {
				continue
			}
			id := rapid.IntRange(0, step).Draw(t, "receipt")
			receipt, ok := receipts[id]
			if !ok {
				continue
			}
			var actual []float64
			if rapid.Bool().Draw(t, "corrects") {
				for range receipt.Charges {
					actual = append(actual, float64(rapid.IntRange(0, 60).Draw(t, "actual")))
				}
			}
			m.settle(id, actual)
			if err := ledger.Settle(tt.Context(), receipt, actual); err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
		}
		for _, b := range modelBuckets {
			got, err := ledger.Balance(tt.Context(), prefix+b.key, b.window)
			if want := m.left(prefix+b.key, b.window); err != nil || !near(got.Remaining-got.Debt, want) {
				t.Fatalf("step %d: %q has %+v, model %g (%v)", step, b.key, got, want, err)
			}
		}
	}
}

// noDeadline hides (*testing.T).Deadline, which panics in a synctest bubble.
type noDeadline struct{ testing.TB }

func TestMemoryIsTheModel(t *testing.T) {
	const lease = 1500 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		ledger := NewMemory(MemoryOptions{Lease: lease})
		rapid.Check(noDeadline{t}, func(r *rapid.T) { compare(r, t, ledger, lease, ledger.now, time.Sleep) })
	})
}

func TestRedisIsTheModel(t *testing.T) {
	isTheModel(t, func(r *Redis) ledgerUnderTest { return r })
}

func TestBreakerIsTheModel(t *testing.T) {
	isTheModel(t, func(r *Redis) ledgerUnderTest { return behindBreaker(t, r) })
}

func isTheModel(t *testing.T, of func(*Redis) ledgerUnderTest) {
	const lease = 1500 * time.Millisecond
	server := miniredis.RunT(t)
	now := time.Unix(1_700_000_000, 0)
	server.SetTime(now)
	ledger := of(mustRedis(t, RedisOptions{URL: "redis://" + server.Addr(), Lease: lease, Timeout: patience}))
	// A server that has yet to be told the scripts may be asked twice, and then gives one balance for all charges on a bucket.
	loading, err := ledger.Spend(t.Context(), []Charge{{Key: "scripts", Window: still, Amount: 1}})
	if err != nil {
		t.Fatal(err)
	}
	if err := Cancel(t.Context(), ledger, loading); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(r *rapid.T) {
		compare(r, t, ledger, lease, func() int64 { return now.UnixNano() }, func(d time.Duration) {
			now = now.Add(d)
			server.SetTime(now)
			server.FastForward(d)
		})
	})
}

func FuzzParseWindow(f *testing.F) {
	for _, text := range []string{"20000/1m", "20000/1m burst 5000", "1/1d", "600/m", "0.5/1h30m", "9007199254740992/366d", "1e9/1s", "5/1µs"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w, err := ParseWindow(text)
		if err != nil {
			return
		}
		if why := w.problem(); why != "" {
			t.Errorf("%q gives %#v, which no ledger takes: %s", text, w, why)
		}
		if back, err := ParseWindow(w.String()); err != nil || back != w {
			t.Errorf("%q is written as %q, which reads %#v, %v", text, w, back, err)
		}
	})
}
