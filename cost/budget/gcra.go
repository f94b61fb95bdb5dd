package budget

import (
	"math"
	"time"
)

// level is a bucket: what was used as of a moment. The zero level is a bucket never used, that is, full.
type level struct {
	used float64 // units not yet drained; above the window's capacity when in debt; never negative
	at   int64   // nanoseconds of the ledger's clock
}

// drain is the level at now. A clock that runs back drains nothing; one that was set back by more than a window is
// believed, so that a bucket never stands still for longer than that.
func (l level) drain(w Window, now int64) level {
	elapsed := now - l.at
	if elapsed <= 0 {
		if -elapsed > int64(w.Per) {
			l.at = now
		}
		return l
	}
	l.at = now
	l.used = max(0, l.used-float64(elapsed)*w.Amount/float64(w.Per))
	return l
}

// admits reports whether a charge conforms. l must be drained.
func (l level) admits(w Window, amount float64) bool { return l.used+amount <= w.capacity() }

// correct adds the difference that a settlement found: a refund stops at a full bucket, an excess goes into debt.
// l must be drained.
func (l level) correct(difference float64) level {
	l.used = max(0, l.used+difference)
	return l
}

// reset is the time until the bucket is full again.
func (l level) reset(w Window) time.Duration { return drainTime(w, l.used) }

// wait is the least time after which admits is true, if nothing else is charged; 0 when it is true now. The second
// result is false when the charge is above the capacity, so that no time is enough; the first is then reset.
func (l level) wait(w Window, amount float64) (time.Duration, bool) {
	if amount > w.capacity() {
		return l.reset(w), false
	}
	if l.admits(w, amount) {
		return 0, true
	}
	d := drainTime(w, l.used+amount-w.capacity())
	for range 4 { // the division may round below what drain then drains
		if d >= math.MaxInt64/4 || l.drain(w, l.at+int64(d)).admits(w, amount) {
			break
		}
		d += 1 + d>>48
	}
	return d, true
}

// drainTime is the time in which amount drains, rounded up; saturates.
func drainTime(w Window, amount float64) time.Duration {
	if amount <= 0 {
		return 0
	}
	ns := math.Ceil(amount * float64(w.Per) / w.Amount)
	if !(ns < math.MaxInt64/4) { // so that adding it to a clock cannot overflow
		return math.MaxInt64 / 4
	}
	return time.Duration(ns)
}
