package budget

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// tokens is a token bucket written the slow and obvious way: it fills in steps of one millisecond. It says what
// level means, and shares no arithmetic with it.
type tokens struct {
	perMillisecond, capacity, have float64
}

func (b *tokens) pass(ms int) {
	for range ms {
		b.have = min(b.capacity, b.have+b.perMillisecond)
	}
}

func (b *tokens) take(amount float64) bool {
	if amount > b.have {
		return false
	}
	b.have -= amount
	return true
}

// The amounts are multiples of the fill per millisecond, a dyadic number, so that both sides are exact.
func TestLevelIsATokenBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		perMS := float64(rapid.IntRange(1, 64).Draw(t, "units a millisecond")) / 16
		seconds := rapid.IntRange(1, 4).Draw(t, "seconds")
		w := Window{Amount: perMS * 1000 * float64(seconds), Per: time.Duration(seconds) * time.Second}
		if rapid.Bool().Draw(t, "has burst") {
			w.Burst = float64(rapid.IntRange(1, 2000).Draw(t, "burst"))
		}
		reference := &tokens{perMillisecond: perMS, capacity: w.capacity(), have: w.capacity()}
		var l level
		now := int64(1)
		var open []float64
		for step := range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				ms := rapid.IntRange(0, 700).Draw(t, "ms")
				now += int64(ms) * int64(time.Millisecond)
				reference.pass(ms)
			case 1, 2:
				amount := float64(rapid.IntRange(0, 2200).Draw(t, "amount"))
				l = l.drain(w, now)
				got, want := l.admits(w, amount), reference.take(amount)
				if got != want {
					t.Fatalf("step %d: %v admits %g = %v, reference %v with %v", step, l, amount, got, want, reference)
				}
				if got {
					l.used += amount
					open = append(open, amount)
				}
			case 3:
				if len(open) == 0 {
					continue
				}
				actual := float64(rapid.IntRange(0, 2500).Draw(t, "actual"))
				reserved := open[0]
				open = open[1:]
				l = l.drain(w, now).correct(actual - reserved)
				reference.have = min(reference.capacity, reference.have+reserved-actual)
			}
			if have := w.capacity() - l.drain(w, now).used; have != reference.have {
				t.Fatalf("step %d: %g left, reference %g", step, have, reference.have)
			}
		}
	})
}

// drawWindow draws windows of all sizes, most of them not round.
func drawWindow(t *rapid.T) Window {
	w := Window{
		Amount: rapid.Float64Range(0.001, 1e12).Draw(t, "amount"),
		Per:    time.Duration(rapid.Int64Range(int64(minPer), int64(maxPer)).Draw(t, "per")),
	}
	if rapid.Bool().Draw(t, "has burst") {
		w.Burst = rapid.Float64Range(0.001, 1e12).Draw(t, "burst")
	}
	return w
}

func TestWaitIsEnoughAndNotTooLong(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWindow(t)
		l := level{
			used: rapid.Float64Range(0, 2).Draw(t, "used") * w.capacity(),
			at:   rapid.Int64Range(1, int64(maxPer)).Draw(t, "at"),
		}
		amount := rapid.Float64Range(0, 1.1).Draw(t, "share") * w.capacity()
		wait, ever := l.wait(w, amount)
		if ever != (amount <= w.capacity()) {
			t.Fatalf("ever = %v for %g of %g", ever, amount, w.capacity())
		}
		if !ever || wait >= math.MaxInt64/4 {
			return
		}
		if !l.drain(w, l.at+int64(wait)).admits(w, amount) {
			t.Fatalf("%v after %v does not admit %g of %v", l, wait, amount, w)
		}
		// float64 tells levels of a full bucket apart by 2^-53 of it, which is as much of the time that it takes to drain.
		full := w.capacity() * float64(w.Per) / w.Amount
		slack := wait>>40 + 2 + time.Duration(full*0x1p-49)
		if wait > slack && l.drain(w, l.at+int64(wait-slack)).admits(w, amount) {
			t.Fatalf("%v admits %g of %v %v before the wait of %v is over", l, amount, w, slack, wait)
		}
	})
}

// Over any interval at most Burst + Amount*t/Per is admitted, whatever is asked for and when.
func TestAdmittedIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWindow(t)
		var l level
		now, total := int64(1), 0.0
		for range rapid.IntRange(1, 100).Draw(t, "charges") {
			now += rapid.Int64Range(0, int64(w.Per)/4).Draw(t, "gap")
			amount := rapid.Float64Range(0, 1).Draw(t, "share") * w.capacity()
			if l = l.drain(w, now); l.admits(w, amount) {
				l.used += amount
				total += amount
			}
			bound := w.capacity() + w.Amount*float64(now-1)/float64(w.Per)
			if total > bound*(1+1e-12) {
				t.Fatalf("%g admitted by %v, bound %g", total, time.Duration(now), bound)
			}
		}
	})
}

func TestSettlementAloneIsAsIfChargedAtFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := Window{Amount: float64(rapid.IntRange(1, 1000).Draw(t, "amount")), Per: time.Second}
		reserved := float64(rapid.IntRange(0, int(w.Amount)).Draw(t, "reserved"))
		actual := float64(rapid.IntRange(0, 2000).Draw(t, "actual"))
		between := rapid.Int64Range(0, int64(3*time.Second)).Draw(t, "between")
		got := level{used: reserved, at: 1}.drain(w, 1+between).correct(actual - reserved)
		want := level{used: actual, at: 1}.drain(w, 1+between)
		// When the reserved amount drained to nothing on the way, an excess is charged whole.
		if actual > reserved && float64(between)*w.Amount/1e9 > reserved {
			want.used = actual - reserved
		}
		if math.Abs(got.used-want.used) > 1e-9*(1+want.used) {
			t.Fatalf("reserved %g, actual %g, %v between: used %g, want %g", reserved, actual, time.Duration(between), got.used, want.used)
		}
	})
}

func TestClockThatRunsBack(t *testing.T) {
	w := Window{Amount: 60, Per: time.Minute}
	minute := int64(time.Minute)
	for _, test := range []struct {
		name string
		from level
		now  int64
		want level
	}{
		{"a little: nothing drains, the time stands", level{30, 10 * minute}, 10*minute - 1, level{30, 10 * minute}},
		{"a window: still stands", level{30, 10 * minute}, 9 * minute, level{30, 10 * minute}},
		{"more than a window: believed, nothing drains", level{30, 10 * minute}, 9*minute - 1, level{30, 9*minute - 1}},
		{"forward again: drains", level{30, 9 * minute}, 9*minute + minute/6, level{20, 9*minute + minute/6}},
	} {
		if got := test.from.drain(w, test.now); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
