package budget

import (
	"math"
	"sync"
	"time"
)

// pool is what a Leasing has in hand of one bucket. No I/O is done under its lock.
type pool struct {
	key   string
	users int // calls that hold a pointer to it; of Leasing.mu

	mu         sync.Mutex
	window     Window
	credit     float64       // charged to the store and not spent; below 0: spent and not charged
	slices     []slice       // that may still be returned, oldest first
	operations int           // that the last slice was for
	taken      time.Time     // when it was taken
	average    float64       // amount of a call, smoothed
	refill     chan struct{} // closed when the call that asks the store has its answer; nil = none asks
	known      level         // the bucket at the store, as of its last answer; of slots, how many are held
	full       time.Time     // when the store said that it is full again, unless charged

	refusal   *ExceededError // the store's last
	refused   float64        // the amount that it refused
	refusedAt time.Time

	closed      bool    // nothing is to be held any more
	first, last *node   // reservations, oldest first
	reserved    float64 // sum of them
}

// slice is a part of a budget taken ahead.
type slice struct {
	receipt Receipt
	amount  float64
	taken   time.Time
}

// grant is a Leasing's side of a Receipt: a node for each charge, without a pool for a final one.
type grant struct{ nodes []node }

// node is one reserved charge. Its fields are of the pool's lock.
type node struct {
	pool         *pool
	amount       float64
	expiry       time.Time
	open         bool
	older, newer *node
}

func (p *pool) push(n *node) {
	n.open, n.older = true, p.last
	if p.last == nil {
		p.first = n
	} else {
		p.last.newer = n
	}
	p.last = n
	p.reserved += n.amount
}

func (p *pool) unlink(n *node) {
	if n.older == nil {
		p.first = n.newer
	} else {
		n.older.newer = n.newer
	}
	if n.newer == nil {
		p.last = n.older
	} else {
		n.newer.older = n.older
	}
	n.open, n.older, n.newer = false, nil, nil
	p.reserved -= n.amount
	if p.first == nil {
		p.reserved = 0
	}
}

// expire ends the reservations whose lease is over.
func (p *pool) expire(now time.Time) {
	for p.first != nil && !now.Before(p.first.expiry) {
		n := p.first
		p.unlink(n)
		if p.window.Slots() {
			p.credit += n.amount
		}
	}
}

// limit is the most credit that is held ahead.
func (p *pool) limit(o *LeasingOptions) float64 {
	most := o.Share * p.window.capacity()
	if p.closed {
		return 0
	}
	if p.window.Slots() {
		return math.Min(maxSlotAmount, math.Max(1, math.Floor(most)))
	}
	return most
}

// slice is how much to ask the store for when a call needs need. Slices grow while they are spent within Hold.
func (p *pool) slice(need float64, now time.Time, o *LeasingOptions) float64 {
	switch age := now.Sub(p.taken); {
	case age < o.Hold:
		p.operations = min(2*p.operations, o.Operations)
	case age < 2*o.Hold:
		p.operations = max(1, p.operations/2)
	default:
		p.operations = 1
	}
	deficit := need - p.credit
	most := p.limit(o)
	if p.window.Slots() {
		return math.Min(maxSlotAmount, math.Max(deficit, math.Min(float64(p.operations), most)))
	}
	if left := p.window.capacity() - p.bucket(now).used; p.known.at != 0 {
		most = math.Min(most, left/16)
	}
	return math.Max(deficit, math.Min(most, float64(p.operations)*math.Max(need, p.average)))
}

// take adds a slice that the store gave.
func (p *pool) take(receipt Receipt, now time.Time, o *LeasingOptions) {
	amount := receipt.Charges[0].Amount
	p.credit += amount
	p.slices = append(p.slices, slice{receipt, amount, now})
	p.taken = now
	b := receipt.Balances[0]
	p.known = level{used: b.Limit - b.Remaining + b.Debt, at: now.UnixNano()}
	p.full = now.Add(b.Reset)
	p.refusal = nil
	p.prune(now, o)
}

// prune forgets the oldest slices that are neither needed to return the credit and what reservations may refund, nor known
// to the store any longer.
func (p *pool) prune(now time.Time, o *LeasingOptions) {
	if p.window.Slots() {
		return
	}
	keep, sum := len(p.slices), 0.0
	for keep > 0 && (sum < p.credit+p.reserved || sum == 0 && p.first != nil) && now.Sub(p.slices[keep-1].taken) < o.Lease {
		keep--
		sum += p.slices[keep].amount
	}
	p.slices = append(p.slices[:0], p.slices[keep:]...)
}

// giveBack takes up to amount from the credit and says how to return it. A slice settles once: of slots only whole slices
// go back, and of a window a part of one only while the others cover what is left, since what reservations refund must
// find slices to go back by.
func (p *pool) giveBack(amount float64) []settlement {
	var back []settlement
	sum := 0.0
	for _, s := range p.slices {
		sum += s.amount
	}
	kept := p.slices[:0]
	for _, s := range p.slices {
		part := math.Min(amount, s.amount)
		whole := part == s.amount
		if part <= 0 || !whole && (p.window.Slots() || sum-s.amount < p.credit-part+p.reserved) {
			kept = append(kept, s)
			continue
		}
		amount -= part
		sum -= s.amount
		p.credit -= part
		back = append(back, settlement{receipt: s.receipt, actual: []float64{s.amount - part}})
	}
	clear(p.slices[len(kept):])
	p.slices = kept
	return back
}

// stale takes away the credit that was held too long and says how to return it.
func (p *pool) stale(now time.Time, o *LeasingOptions) []settlement {
	fresh := 0.0
	for _, s := range p.slices {
		if now.Sub(s.taken) < o.Hold {
			fresh += s.amount
		}
	}
	back := p.giveBack(p.credit - fresh)
	p.prune(now, o)
	if len(p.slices) == 0 && p.first == nil {
		p.credit = math.Min(0, p.credit) // of slices that the store has forgotten
	}
	return back
}

// ageing takes the slices of slots that the store will soon forget: how to return them, and how many slots to take anew.
func (p *pool) ageing(now time.Time, o *LeasingOptions) ([]settlement, float64) {
	if !p.window.Slots() {
		return nil, 0
	}
	var back []settlement
	sum := 0.0
	for len(p.slices) > 0 && now.Sub(p.slices[0].taken) >= o.Lease/2 && sum+p.slices[0].amount <= maxSlotAmount {
		s := p.slices[0]
		p.slices = p.slices[1:]
		sum += s.amount
		back = append(back, settlement{receipt: s.receipt, actual: []float64{0}})
	}
	return back, sum
}

// settle corrects a reservation once, and says what the store must be told.
func (n *node) settle(actual float64, o *LeasingOptions) []settlement {
	p := n.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if !n.open {
		return nil
	}
	p.unlink(n)
	if p.window.Slots() {
		p.credit += n.amount
		if p.closed {
			return p.giveBack(p.credit)
		}
		return nil
	}
	p.credit += n.amount - actual
	if actual < n.amount {
		return p.giveBack(p.credit - p.limit(o))
	}
	return p.payBack()
}

// payBack says how to charge the store with what was spent beyond the credit by the newest slice, if it can be spared.
func (p *pool) payBack() []settlement {
	newest := len(p.slices) - 1
	if p.credit >= 0 || newest < 0 {
		return nil
	}
	sum := 0.0
	for _, s := range p.slices[:newest] {
		sum += s.amount
	}
	if sum < p.reserved {
		return nil
	}
	s := p.slices[newest]
	p.slices = p.slices[:newest]
	owed := settlement{receipt: s.receipt, actual: []float64{s.amount - p.credit}}
	p.credit = 0
	return []settlement{owed}
}

func (p *pool) refuse(e *ExceededError, now time.Time) {
	p.refusal, p.refused, p.refusedAt = e, e.Requested, now
}

// remembered is the store's refusal of as much or less, while it is fresh.
func (p *pool) remembered(need float64, now time.Time) *ExceededError {
	age := now.Sub(p.refusedAt)
	if p.refusal == nil || age >= min(refusalMemory, p.refusal.RetryAfter) || need-p.credit < p.refused {
		return nil
	}
	e := *p.refusal
	e.RetryAfter -= age
	return &e
}

// balance is what a client has: what the store knows as used, without what is in hand.
func (p *pool) balance(now time.Time) Balance {
	if p.window.Slots() {
		return slotBalance(p.window, math.Max(0, p.known.used-p.credit))
	}
	l := p.bucket(now)
	l.used = math.Max(0, l.used-p.credit)
	left := p.window.capacity() - l.used
	b := Balance{Limit: p.window.capacity(), Remaining: math.Max(0, left), Debt: math.Max(0, -left)}
	switch {
	case l.used <= 0:
	case p.window.capped():
		b.Reset = max(0, p.full.Sub(now))
	default:
		b.Reset = l.reset(p.window)
	}
	return b
}

// bucket is what the store's bucket holds now, if nobody else has charged it. What a window without a burst gives back, and when, only
// the store knows: all of it at its reset.
func (p *pool) bucket(now time.Time) level {
	switch {
	case !p.window.capped():
		return p.known.drain(p.window, now.UnixNano())
	case now.Before(p.full):
		return p.known
	}
	return level{at: now.UnixNano()}
}
