package budget

import (
	"math"
	"math/bits"
	"time"
)

// parts is how many parts of a window are counted apart. What was spent in one comes back when the last of it is a window
// old: at once after a burst, and up to a part late for a steady client, who has parts/(parts+1) of his amount at least.
const parts = 8

// bucket is the state of one window: the leaky bucket, and what was spent in the last window, by parts of it. The second
// is what keeps a window without a burst of its own at or below its amount over any interval of its length; the first
// carries debt from window to window and is all that a window with a burst asks. The zero bucket is full.
type bucket struct {
	level
	held  spanSet         // every span that is not zero; others may be in it
	spans [parts + 1]span // by age of the part: spans[0] is the part that level.at lies in
}

// spanSet is a set of spans by their age, so that the many buckets with one or two are not searched for nine.
type spanSet uint16

const allSpans spanSet = 1<<(parts+1) - 1

// youngest and oldest are of a set that is not empty.
func (s spanSet) youngest() int { return bits.TrailingZeros16(uint16(s)) }
func (s spanSet) oldest() int   { return bits.Len16(uint16(s)) - 1 }

// span is what was spent in one part of a window. The zero span is nothing.
type span struct {
	spent float64 // not negative
	last  int64   // time of the last charge
}

// capped reports whether no interval of Per may admit more than Amount.
func (w Window) capped() bool { return w.Per > 0 && w.Burst == 0 }

// part is the length of one part in nanoseconds: whole microseconds, which a store's clock may count in, and rounded up, so
// that the parts cover the window.
func (w Window) part() int64 {
	const unit = parts * int64(time.Microsecond)
	return (int64(w.Per) + unit - 1) / unit * int64(time.Microsecond)
}

// drain is the bucket at now; see level.drain for clocks that run back.
func (b *bucket) drain(w Window, now int64) {
	before := b.at
	b.level = b.level.drain(w, now)
	if b.held == 0 {
		return
	}
	part := w.part()
	if start := b.at / part * part; before < start {
		if aged := start/part - before/part; aged > parts {
			b.held, b.spans = 0, [parts + 1]span{}
		} else {
			copy(b.spans[aged:], b.spans[:])
			clear(b.spans[:aged])
			b.held = b.held << aged & allSpans
		}
	}
	for b.held != 0 {
		age := b.held.oldest()
		if b.spans[age].last > b.at-int64(w.Per) {
			break
		}
		b.spans[age] = span{}
		b.held &^= 1 << age
	}
}

// spent is what was spent in the last window, and what before it still counts because it shares a part with that.
func (b *bucket) spent() float64 {
	sum := 0.0
	for held := b.held; held != 0; held &= held - 1 {
		sum += b.spans[held.youngest()].spent
	}
	return sum
}

// left is what can be spent now; negative in debt. b must be drained, here and below.
func (b *bucket) left(w Window) float64 {
	left := w.capacity() - b.used
	if w.capped() {
		left = min(left, w.Amount-b.spent())
	}
	return left
}

// admits reports whether a charge conforms.
func (b *bucket) admits(w Window, amount float64) bool {
	return b.level.admits(w, amount) && (!w.capped() || b.spent()+amount <= w.Amount)
}

// charge spends what admits admitted.
func (b *bucket) charge(amount float64) {
	b.used += amount
	b.spend(amount)
}

// spend counts an amount in the current part.
func (b *bucket) spend(amount float64) {
	if amount > 0 {
		b.spans[0] = span{b.spans[0].spent + amount, b.at}
		b.held |= 1
	}
}

// correct adds the difference that a settlement found to what was spent at the time of the charge. What has left the
// window since has nothing to refund there, and its excess is spent now.
func (b *bucket) correct(w Window, difference float64, charged int64) {
	b.level = b.level.correct(difference)
	part := w.part()
	start, age := b.at/part*part, int64(0)
	if charged < start {
		age = (start-charged-1)/part + 1
	}
	switch {
	case age <= parts && b.spans[age].last >= charged:
		b.spans[age].spent = max(0, b.spans[age].spent+difference)
	case difference > 0:
		b.spend(difference)
	}
}

// wait is the least time after which admits is true, if nothing else is charged; 0 when it is true now. The second
// result is false when the charge is above the capacity, so that no time is enough; the first is then reset.
func (b *bucket) wait(w Window, amount float64) (time.Duration, bool) {
	if amount > w.capacity() {
		return b.reset(w), false
	}
	d, _ := b.level.wait(w, amount)
	if !w.capped() {
		return d, true
	}
	rest := *b
	for age := parts; age >= 0 && rest.spent()+amount > w.Amount; age-- {
		if rest.spans[age].spent > 0 {
			rest.spans[age] = span{}
			d = max(d, b.leaves(w, age))
		}
	}
	return d, true
}

// leaves is the time after which what was spent in the part of an age counts no more.
func (b *bucket) leaves(w Window, age int) time.Duration {
	return time.Duration(b.spans[age].last-b.at) + w.Per
}

// reset is the time until the bucket is full again.
func (b *bucket) reset(w Window) time.Duration {
	d := b.level.reset(w)
	if !w.capped() {
		return d
	}
	for held := b.held; held != 0; held &= held - 1 {
		if age := held.youngest(); b.spans[age].spent > 0 {
			return max(d, b.leaves(w, age))
		}
	}
	return d
}

// balance is what a client is told of a window's bucket.
func (b *bucket) balance(w Window) Balance {
	left := b.left(w)
	return Balance{
		Limit:     w.capacity(),
		Remaining: max(0, left),
		Debt:      max(0, -left),
		Reset:     b.reset(w),
	}
}

// never is a time that does not come.
const never = math.MaxInt64
