package budget

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// log is a sliding window written the slow and obvious way: every charge with its time.
type log []struct {
	at     int64
	amount float64
}

// within sums what was spent after since.
func (l log) within(since int64) float64 {
	sum := 0.0
	for _, c := range l {
		if c.at > since {
			sum += c.amount
		}
	}
	return sum
}

// drawCapped draws a window without a burst; its amount is whole, so that sums are exact.
func drawCapped(t *rapid.T) Window {
	return Window{
		Amount: float64(rapid.IntRange(1, 10_000).Draw(t, "amount")),
		Per:    time.Duration(rapid.Int64Range(int64(minPer), int64(maxPer)).Draw(t, "per")),
	}
}

// No interval of a window's length has more than its amount, whatever is asked for and when; and what a window and one part of it leave
// free is not refused.
func TestCappedWindowIsASlidingWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawCapped(t)
		per := int64(w.Per)
		var b bucket
		var spent log
		now := rapid.Int64Range(1, int64(maxPer)).Draw(t, "start")
		for range rapid.IntRange(1, 80).Draw(t, "charges") {
			now += rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, per/16), rapid.Int64Range(0, 2*per)).Draw(t, "gap")
			amount := float64(rapid.IntRange(0, int(w.Amount)).Draw(t, "charge"))
			b.drain(w, now)
			admitted := b.admits(w, amount)
			if admitted {
				b.charge(amount)
				spent = append(spent, struct {
					at     int64
					amount float64
				}{now, amount})
			}
			if sum := spent.within(now - per); sum > w.Amount {
				t.Fatalf("%g in a window of %v", sum, w)
			}
			if !admitted && spent.within(now-per-w.part())+amount <= w.Amount {
				t.Fatalf("%g refused: %g spent in a window and a part of %v", amount, spent.within(now-per-w.part()), w)
			}
		}
	})
}

// After a burst all of it is back when the window is over, and nothing before.
func TestBurstComesBackAtOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawCapped(t)
		start := rapid.Int64Range(1, int64(maxPer)).Draw(t, "start")
		var b bucket
		b.drain(w, start)
		b.charge(w.Amount)
		if d, rounding := b.reset(w), 1+w.Per>>50; d < w.Per || d > w.Per+rounding { // the leaky bucket counts in float64
			t.Fatalf("full after %v, window %v", d, w)
		}
		before := b
		before.drain(w, start+int64(w.Per)-1)
		if left := before.left(w); left != 0 {
			t.Fatalf("%g left before the window is over", left)
		}
		b.drain(w, start+int64(w.Per))
		if left := b.left(w); left < w.Amount*(1-1e-12) || left > w.Amount {
			t.Fatalf("%g of %g left when the window is over", left, w.Amount)
		}
	})
}

// The wait that a client is told is enough, and much less is not; so is the reset.
func TestCappedWait(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawCapped(t)
		var b bucket
		now := rapid.Int64Range(1, int64(maxPer)).Draw(t, "start")
		for range rapid.IntRange(1, 20).Draw(t, "charges") {
			now += rapid.Int64Range(0, int64(w.Per)/4).Draw(t, "gap")
			b.drain(w, now)
			if amount := float64(rapid.IntRange(0, int(w.Amount)).Draw(t, "charge")); b.admits(w, amount) {
				b.charge(amount)
			}
		}
		amount := float64(rapid.IntRange(0, int(w.Amount)+1).Draw(t, "wanted"))
		wait, ever := b.wait(w, amount)
		if ever != (amount <= w.Amount) {
			t.Fatalf("ever = %v for %g of %v", ever, amount, w)
		}
		if !ever {
			return
		}
		after := b
		if after.drain(w, now+int64(wait)); !after.admits(w, amount) {
			t.Fatalf("%g not admitted after %v", amount, wait)
		}
		if slack := wait>>40 + 2; wait > slack {
			early := b
			if early.drain(w, now+int64(wait-slack)); early.admits(w, amount) {
				t.Fatalf("%g admitted %v before the wait of %v is over", amount, slack, wait)
			}
		}
		full := b
		if full.drain(w, now+int64(b.reset(w))); full.left(w) < w.Amount*(1-1e-12) {
			t.Fatalf("%g of %g left at the reset", full.left(w), w.Amount)
		}
	})
}

// What is settled counts as if it had been charged at first, while the charge is in the window.
func TestCappedSettlement(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawCapped(t)
		start := rapid.Int64Range(1, int64(maxPer)).Draw(t, "start")
		between := rapid.Int64Range(0, int64(w.Per)-1).Draw(t, "between")
		reserved := float64(rapid.IntRange(1, int(w.Amount)).Draw(t, "reserved"))
		actual := float64(rapid.IntRange(0, 2*int(w.Amount)).Draw(t, "actual"))
		var got bucket
		got.drain(w, start)
		got.charge(reserved)
		got.drain(w, start+between)
		got.correct(w, actual-reserved, start)
		if spent := got.spent(); spent != actual {
			t.Fatalf("%g counts as spent, %g was", spent, actual)
		}
		got.drain(w, start+int64(w.Per))
		if spent := got.spent(); spent != 0 {
			t.Fatalf("%g counts as spent when the charge has left the window", spent)
		}
	})
}

// Debt outlives the window: it is paid at the window's rate.
func TestDebtIsPaid(t *testing.T) {
	w := Window{Amount: 60, Per: time.Minute}
	var b bucket
	b.drain(w, 1)
	b.charge(10)
	b.correct(w, 590, 1) // 600: ten minutes' worth
	for minutes, want := range map[int64]float64{1: -480, 5: -240, 9: 0, 10: 60} {
		at := b
		at.drain(w, 1+minutes*int64(time.Minute))
		if left := at.left(w); math.Abs(left-want) > 1e-6 {
			t.Errorf("%g left after %d minutes, want %g", left, minutes, want)
		}
	}
}

// A window may change: what was spent is kept for as long as the new one looks back.
func TestBucketUnderAnotherWindow(t *testing.T) {
	minute, hour := Window{Amount: 10, Per: time.Minute}, Window{Amount: 100, Per: time.Hour}
	var b bucket
	b.drain(minute, 1)
	b.charge(10)
	b.drain(hour, 1+int64(30*time.Second))
	if left := b.left(hour); left != 90 {
		t.Errorf("%g of %v left, want 90", left, hour)
	}
	b.drain(hour, 1+int64(59*time.Minute))
	if left := b.left(hour); left != 90 {
		t.Errorf("%g of %v left after 59 minutes, want 90", left, hour)
	}
	b.drain(minute, 1+int64(59*time.Minute))
	if left := b.left(minute); left != 10 {
		t.Errorf("%g of %v left, want 10", left, minute)
	}
}
