package budget

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"time"
)

// Charge is one bucket to be spent from.
type Charge struct {
	// Key names the bucket (see Key); never empty. One key should be charged under one window: under another, the amount used
	// is kept and drains at the new rate. A key is either of slots or of a window over time, never both.
	Key    string
	Window Window
	// Amount is what is reserved, in the window's unit; not negative. +Inf is refused as exceeded. Of slots it is a
	// whole number, at most 1000.
	Amount float64
	// Final says that the amount is spent for good: no reservation is kept and Settle leaves it alone. For counts of
	// requests. Not allowed for slots.
	Final bool
}

// Balance is the state of one bucket after a spend.
type Balance struct {
	Limit     float64       // the window's burst, else its amount, or its number of slots
	Remaining float64       // what could be spent now, 0 when in debt
	Debt      float64       // what is owed beyond Limit, 0 when not in debt
	Reset     time.Duration // until the bucket is full again; 0 for slots, whose end is not known

	hold handle // Memory's reservation; 0 = none
}

// Receipt stands for an admitted Spend until it is settled. It is a value and may be copied; copies settle once
// between them. The zero Receipt has nothing to settle.
type Receipt struct {
	Charges  []Charge  // as given to Spend; not to be changed until settled
	Balances []Balance // of each charge, in order; nil when Unmetered
	// Unmetered is set when the store failed and the mode is to allow: nothing was counted.
	Unmetered bool

	id    receiptID
	route route  // Breaker's
	grant *grant // Leasing's
}

// Ledger spends and settles. Implementations are safe for concurrent use. Amounts and their units are the caller's.
type Ledger interface {
	// Spend reserves every charge or none, in one atomic step. Errors: *ExceededError names a bucket that refuses;
	// *ChargeError is a caller's mistake; *CapacityError and *StoreError mean that the ledger cannot decide, which a caller
	// treats as a refusal. It fails with ctx's error when ctx is done before it begins. The same key may occur twice;
	// the amounts then add up. No charges at all are admitted.
	Spend(ctx context.Context, charges []Charge) (Receipt, error)

	// Settle corrects each reserved charge to actual (same order and length as the charges) and releases its slots, whose
	// actual is not read. nil keeps the reserved amounts; zeros cancel. It has an effect once: a receipt already
	// settled, or whose lease is over, is left alone without an error. It runs even when ctx is done, because a client that
	// has gone must not keep its reservation. Errors: *ChargeError when actual is of another length, negative or not
	// finite (nothing is settled then), *CapacityError, *StoreError. actual is neither changed nor kept.
	Settle(ctx context.Context, receipt Receipt, actual []float64) error
}

// Reserve is Spend of a ledger with the receipt in r, whose Balances' room is used again; what r held before must be settled. Then a Memory
// allocates nothing. What wraps a Memory is asked by its own Spend. On an error r is what Spend returned beside it.
func Reserve(ctx context.Context, ledger Ledger, r *Receipt, charges []Charge) error {
	if m, ok := ledger.(*Memory); ok {
		return m.reserve(ctx, r, charges)
	}
	var err error
	*r, err = ledger.Spend(ctx, charges)
	return err
}

// room is that of Balances for n of them, all zero.
func (r *Receipt) room(n int) []Balance {
	if cap(r.Balances) < n {
		return make([]Balance, n)
	}
	room := r.Balances[:n]
	clear(room)
	return room
}

// Inspector shows and resets the buckets of a store, for its operator.
type Inspector interface {
	// Balance is the state of a bucket now; it charges nothing. A bucket that is not known is full.
	Balance(ctx context.Context, key string, w Window) (Balance, error)
	// Reset makes buckets of windows full. Slots stay with those who hold them: Settle releases them.
	Reset(ctx context.Context, keys ...string) error
}

// Cancel settles a receipt at nothing: the operation did not run. Final charges stay spent.
func Cancel(ctx context.Context, ledger Ledger, receipt Receipt) error {
	nothing := zeros[:]
	if len(receipt.Charges) > len(nothing) {
		nothing = make([]float64, len(receipt.Charges))
	}
	return ledger.Settle(ctx, receipt, nothing[:len(receipt.Charges)])
}

var zeros [8]float64

// Settlement is a receipt and what to settle it at; see Ledger's Settle.
type Settlement struct {
	Receipt Receipt
	Actual  []float64
}

// together is a Ledger for which several settlements are one round trip.
type together interface {
	settleAll(ctx context.Context, settlements []Settlement) error
}

// SettleAll settles receipts of one ledger, by one round trip where the ledger's settlements take one each. Each has the effect of a Settle
// of its own; the error is of one that failed.
func SettleAll(ctx context.Context, ledger Ledger, settlements []Settlement) error {
	if l, ok := ledger.(together); ok {
		return l.settleAll(ctx, settlements)
	}
	return settleEach(ctx, ledger, settlements)
}

func settleEach(ctx context.Context, ledger Ledger, settlements []Settlement) error {
	var failed error
	for _, s := range settlements {
		if err := ledger.Settle(ctx, s.Receipt, s.Actual); err != nil {
			failed = err
		}
	}
	return failed
}

// mover is a Ledger for which a cancellation and the spend after it are one round trip.
type mover interface {
	// move is of charges that can be spent, a ctx that is not done and a receipt with charges. cancelled is nil when from is
	// settled, or will be; the receipt and err are those of the Spend, and err is not nil where it was not tried.
	move(ctx context.Context, from Receipt, charges []Charge) (receipt Receipt, cancelled, err error)
}

// Move cancels a receipt and then spends charges, by one round trip where each would take one: Cancel of from and then Reserve in r, in
// that order, so that what is given back can be spent again. from is settled also when the charges are refused. r may hold from; from's
// charges and the new ones must not share memory. Errors are those of Cancel, after which nothing is spent but what is final, and of Reserve.
func Move(ctx context.Context, ledger Ledger, from Receipt, r *Receipt, charges []Charge) error {
	if m, ok := ledger.(*Memory); ok {
		if err := Cancel(ctx, m, from); err != nil {
			*r = Receipt{}
			return err
		}
		return m.reserve(ctx, r, charges)
	}
	var cancelled, err error
	l, ok := ledger.(mover)
	switch {
	case len(from.Charges) == 0:
		*r, err = ledger.Spend(ctx, charges)
	case !ok || ctx.Err() != nil || checkCharges(charges) != nil:
		*r, cancelled, err = moveEach(ctx, ledger, from, charges)
	default:
		*r, cancelled, err = l.move(ctx, from, charges)
	}
	if cancelled != nil && err == nil {
		if undone := Cancel(ctx, ledger, *r); undone == nil {
			*r = Receipt{}
		}
	}
	return cmp.Or(cancelled, err)
}

// moveEach is a move by a Cancel and, unless that fails, a Spend.
func moveEach(ctx context.Context, ledger Ledger, from Receipt, charges []Charge) (receipt Receipt, cancelled, err error) {
	if err := Cancel(ctx, ledger, from); err != nil {
		return Receipt{}, err, err
	}
	receipt, err = ledger.Spend(ctx, charges)
	return receipt, nil, err
}

// ExceededError says which bucket refused a Spend. Of several it is the one with the longest wait.
type ExceededError struct {
	Index      int           // of the charge
	Key        string        // of the charge
	Window     Window        // of the charge; Window.Slots() tells a concurrency limit from a spent budget
	Requested  float64       // the amount that was refused
	RetryAfter time.Duration // least wait until the same Spend could be admitted; a second, by convention, for slots
	Limit      float64       // the window's burst, else its amount, or its number of slots
	Remaining  float64       // what could be spent now, 0 when in debt
	Debt       float64       // what is owed beyond Limit
	Reset      time.Duration // until the bucket is full again; 0 for slots
	Never      bool          // Requested is above Limit: waiting does not help; RetryAfter is then Reset
}

func (e *ExceededError) Error() string {
	unit := "budget"
	if e.Window.Slots() {
		unit = "slots"
	}
	text := fmt.Sprintf("%s %s of %q exceeded: %g requested, %g of %g left", unit, e.Window, e.Key, e.Requested, e.Remaining, e.Limit)
	if e.Never {
		return text + ", which can never be admitted"
	}
	return text + ", retry after " + e.RetryAfter.String()
}

// ChargeError is a mistake of the caller: the charge cannot be spent or settled by any ledger.
type ChargeError struct {
	Index  int    // of the charge; -1 when it concerns all
	Key    string // of the charge; may be empty
	Reason string
}

func (e *ChargeError) Error() string {
	return fmt.Sprintf("charge %d (%q): %s", e.Index, e.Key, e.Reason)
}

// CapacityError says that a ledger holds as many live buckets or reservations as it may and can take no new one.
type CapacityError struct {
	What string // "buckets" or "reservations"
	Max  int
}

func (e *CapacityError) Error() string {
	return fmt.Sprintf("the ledger holds its maximum of %d live %s", e.Max, e.What)
}

// slotRetry is the wait told to a client that holds all its slots: when one comes free is not known.
const slotRetry = time.Second

const maxSlotAmount = 1000

// receiptID is unique over all processes: a random number of the process and a count.
type receiptID struct{ process, count uint64 }

// checkCharges finds the first charge that no ledger can take.
func checkCharges(charges []Charge) *ChargeError {
	for i := range charges {
		c := &charges[i]
		why := c.Window.problem()
		switch {
		case why != "":
		case c.Key == "":
			why = "the key is empty"
		case !(c.Amount >= 0):
			why = "the amount is negative or not a number"
		case c.Window.Per != 0:
		case c.Final:
			why = "slots cannot be final"
		case c.Amount > maxSlotAmount || c.Amount != math.Trunc(c.Amount):
			why = "slots are a whole number up to 1000"
		}
		if why != "" {
			return &ChargeError{Index: i, Key: c.Key, Reason: why}
		}
	}
	return nil
}

// checkActual finds an actual amount that cannot be settled.
func checkActual(charges []Charge, actual []float64) *ChargeError {
	if actual == nil {
		return nil
	}
	if len(actual) != len(charges) {
		return &ChargeError{Index: -1, Reason: fmt.Sprintf("%d actual amounts for %d charges", len(actual), len(charges))}
	}
	for i, v := range actual {
		if !(v >= 0) || !finite(v) {
			return &ChargeError{Index: i, Key: charges[i].Key, Reason: "the actual amount is negative or not finite"}
		}
	}
	return nil
}

// worse picks the refusal that a client has to wait longer for.
func worse(a, b *ExceededError) *ExceededError {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.Never != b.Never:
		if a.Never {
			return a
		}
		return b
	case b.RetryAfter > a.RetryAfter:
		return b
	}
	return a
}

// exceeded describes a refusal by a bucket that stands at balance.
func exceeded(index int, c *Charge, b Balance, wait time.Duration, never bool) *ExceededError {
	return &ExceededError{
		Index: index, Key: c.Key, Window: c.Window, Requested: c.Amount, RetryAfter: wait,
		Limit: b.Limit, Remaining: b.Remaining, Debt: b.Debt, Reset: b.Reset, Never: never,
	}
}

// slotBalance is the Balance of slots of which held are taken.
func slotBalance(w Window, held float64) Balance {
	return Balance{Limit: w.Amount, Remaining: max(0, w.Amount-held), Debt: max(0, held-w.Amount)}
}
