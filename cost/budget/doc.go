// Package budget spends a client's budget over time: requests, cost and operations in flight.
//
// A caller reserves before the work and settles after it:
//
//	receipt, err := ledger.Spend(ctx, []budget.Charge{{Key: key, Window: tier.Cost, Amount: estimate}})
//	var exceeded *budget.ExceededError
//	if errors.As(err, &exceeded) { … 429, budget.RetryAfter(exceeded.RetryAfter) … }
//	defer ledger.Settle(ctx, receipt, []float64{actual})
//
// # Arithmetic
//
// A window is AMOUNT/PER, and no interval of length Per admits more than Amount: the bucket keeps what was spent in each eighth
// of a window, and counts an eighth until its last charge is a window old. After a burst all of it is back at once when
// the window is over; a client who spends evenly may find up to an eighth of a window still counted, so that 8/9 of
// Amount each Per are always his.
//
// A window with a burst is a bucket that fills all the time: GCRA in its continuous-state leaky-bucket form (ITU-T I.371
// annex A, figure A.1, which defines it as equal to virtual scheduling). A bucket holds the amount used; it drains at
// Amount/Per and a charge is admitted when used+charge <= Burst. So over any interval of length t at most
// Burst + Amount*t/Per is admitted. The first kind has such a bucket too, of Burst = Amount: it never refuses what the
// window admits, but for debt.
//
// The level is held in the unit that is charged, not as a time, so that a window may change (another tier, a reload)
// without changing what a client has used, and a charge too small to be a clock tick is not lost.
//
// # Settlement
//
// Settle drains the bucket up to now and then adds actual-reserved. A refund stops at zero used: it never lifts the
// bucket above full. An excess is always charged, so the bucket may owe more than its burst ("debt"); until that has
// drained no charge is admitted, not even one of zero. With no other charge between reservation and settlement the
// bucket is exactly where it would have been had the actual amount been charged at first (an excess found only after the
// reserved amount has drained is charged as of then). With others in between it may
// hold less than that, at most by what drained from the reserved part meanwhile: capacity that the client was
// refused while the reservation stood is given back rather than lost. A window without a burst is corrected in the eighth
// that was charged. Hence the sum of the actual amounts spent over any
// interval of length t is at most what the window admits in it, plus debt, plus the refundable part of reservations open at its start.
//
// A reservation that is never settled expires after the ledger's lease: in-flight slots are released; a window charge
// stays spent at its reserved amount and drains like any other, because what the lost operation cost is not known.
//
// # Ledgers
//
// Memory serves one process; Redis serves many with one round trip an operation. Breaker wraps a store that may fail and
// answers for it (deny, allow, local); Leasing wraps one that is far away and takes slices ahead. They nest:
// Leasing(Breaker(Redis)). No lock is held across I/O.
package budget
