package budget

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// FailureMode is what is answered while the store fails (config key budgets.on_store_failure).
type FailureMode string

const (
	FailDeny  FailureMode = "deny"  // refuse with *StoreError; the zero FailureMode too
	FailAllow FailureMode = "allow" // admit without counting: receipts are Unmetered
	FailLocal FailureMode = "local" // count in this process's memory: n processes admit up to n budgets until the store is back
)

// UnmarshalText accepts deny, allow and local.
func (m *FailureMode) UnmarshalText(text []byte) error {
	switch mode := FailureMode(text); mode {
	case FailDeny, FailAllow, FailLocal:
		*m = mode
		return nil
	}
	return fmt.Errorf("%q is not a failure mode: want deny, allow or local", text)
}

// Phase is where a Breaker stands.
type Phase string

const (
	Closed     Phase = "closed"     // the store is asked
	Open       Phase = "open"       // the store failed and is not asked, only probed
	Recovering Phase = "recovering" // the store is asked again; settlements that it missed are being made up
)

// BreakerState is a Breaker seen from outside, for metrics, the log and readiness.
type BreakerState struct {
	Phase    Phase
	Mode     FailureMode
	Since    time.Time // when Phase began
	Err      error     // the store's last failure; nil when it never failed
	Failures uint64    // of the store, all told
	Pending  int       // settlements to be made up
	Lost     uint64    // settlements given up: past MaxPending, or open at Close
}

// BreakerOptions shape a Breaker. Only Probe has no default.
type BreakerOptions struct {
	Mode FailureMode // "" = deny
	// Probe asks the store whether it works, in bounded time, with no effect on budgets: (*Redis).Probe.
	Probe func(context.Context) error
	// Local counts while the store fails, in mode local; nil = a Memory of default options.
	Local Ledger
	// Threshold is how many failures in a row open the breaker; 0 means 3. Before it, every call tries the store
	// and takes up to its timeout.
	Threshold int
	// Interval between probes and between attempts to make up settlements; 0 means 100ms.
	Interval time.Duration
	// MaxPending bounds the settlements kept for later; 0 means 100,000. Past it they are lost: the store then keeps the
	// reserved amounts.
	MaxPending int
	// OnChange is told of each change of Phase, in order, from the goroutine that caused it; it must not block and must
	// not call the Breaker. nil = nobody.
	OnChange func(BreakerState)
}

// Breaker is a Ledger over a store that may fail. What the store could not be told is kept and made up when it answers
// again: a Settle that failed, and the cancelling of a Spend whose outcome is unknown. So a failure loses and doubles no
// refund as long as the process lives and the reservation's lease lasts. It recovers by itself within one Interval, one
// Probe and the time to make up one settlement. While all is well it has no goroutine.
type Breaker struct {
	store   Ledger
	options BreakerOptions
	local   Ledger
	stop    context.CancelFunc
	ctx     context.Context
	worker  sync.WaitGroup

	mu      sync.Mutex
	state   BreakerState
	streak  int // failures since the last success
	pending []settlement
	working bool // a worker runs
	closed  bool
}

// settlement is a Settle that the store has not seen.
type settlement struct {
	receipt Receipt
	actual  []float64
	tries   int
}

// maxTries ends a settlement that the store refuses although it answers others; each try follows a probe that succeeded or
// is made while the breaker is not open.
const maxTries = 20

// route says which ledger a receipt is of.
type route uint8

const (
	routeStore route = iota
	routeLocal
)

var _ Ledger = (*Breaker)(nil)

// NewBreaker guards store, which it does not own: Close leaves it open.
func NewBreaker(store Ledger, o BreakerOptions) (*Breaker, error) {
	if o.Probe == nil {
		return nil, errors.New("budget breaker: no Probe")
	}
	switch o.Mode {
	case "":
		o.Mode = FailDeny
	case FailDeny, FailAllow, FailLocal:
	default:
		return nil, fmt.Errorf("budget breaker: mode %q is not known", o.Mode)
	}
	if o.Threshold <= 0 {
		o.Threshold = 3
	}
	if o.Interval <= 0 {
		o.Interval = 100 * time.Millisecond
	}
	if o.MaxPending <= 0 {
		o.MaxPending = 100_000
	}
	b := &Breaker{store: store, options: o, local: o.Local}
	if b.local == nil && o.Mode == FailLocal {
		b.local = NewMemory(MemoryOptions{})
	}
	b.ctx, b.stop = context.WithCancel(context.Background())
	b.state = BreakerState{Phase: Closed, Mode: o.Mode, Since: time.Now()}
	return b, nil
}

// Close ends the worker and gives up what is pending. The Breaker then refuses every Spend.
func (b *Breaker) Close() error {
	b.mu.Lock()
	b.closed = true
	b.state.Lost += uint64(len(b.pending))
	b.pending = nil
	b.mu.Unlock()
	b.stop()
	b.worker.Wait()
	return nil
}

// State is the present state.
func (b *Breaker) State() BreakerState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.snapshot()
}

func (b *Breaker) snapshot() BreakerState {
	s := b.state
	s.Pending = len(b.pending)
	return s
}

var errBreakerClosed = errors.New("the breaker is closed for good")

// Spend implements Ledger.
func (b *Breaker) Spend(ctx context.Context, charges []Charge) (Receipt, error) {
	b.mu.Lock()
	open, cause, closed := b.state.Phase == Open, b.state.Err, b.closed
	b.mu.Unlock()
	if closed {
		return Receipt{}, &StoreError{Op: "spend", Err: errBreakerClosed}
	}
	if open {
		if err := ctx.Err(); err != nil {
			return Receipt{}, err
		}
		return b.without(ctx, charges, &StoreError{Op: "spend", Err: fmt.Errorf("not asked since it failed: %w", cause)})
	}
	receipt, err := b.store.Spend(ctx, charges)
	return b.spent(ctx, charges, receipt, err)
}

// spent makes what the store said of a Spend the answer.
func (b *Breaker) spent(ctx context.Context, charges []Charge, receipt Receipt, err error) (Receipt, error) {
	var failure *StoreError
	if !errors.As(err, &failure) {
		if err == nil || errors.As(err, new(*ExceededError)) {
			b.succeeded()
		}
		return receipt, err
	}
	// A caller's own short deadline says nothing about the store.
	if ctx.Err() == nil {
		b.failed(failure)
	}
	if len(receipt.Charges) > 0 {
		b.keep(settlement{receipt: receipt, actual: make([]float64, len(charges))})
	}
	return b.without(ctx, charges, failure)
}

// without answers a Spend that the store did not.
func (b *Breaker) without(ctx context.Context, charges []Charge, failure *StoreError) (Receipt, error) {
	switch b.options.Mode {
	case FailAllow:
		if err := checkCharges(charges); err != nil {
			return Receipt{}, err
		}
		return Receipt{Charges: charges, Unmetered: true}, nil
	case FailLocal:
		receipt, err := b.local.Spend(ctx, charges)
		receipt.route = routeLocal
		return receipt, err
	}
	return Receipt{}, failure
}

// Settle implements Ledger. It returns nil for a settlement that is kept for later, and *StoreError for one that cannot be.
func (b *Breaker) Settle(ctx context.Context, receipt Receipt, actual []float64) error {
	if err := checkActual(receipt.Charges, actual); err != nil {
		return err
	}
	if receipt.Unmetered {
		return nil
	}
	if receipt.route == routeLocal {
		return b.local.Settle(ctx, receipt, actual)
	}
	b.mu.Lock()
	open := b.state.Phase == Open
	cause := b.state.Err
	b.mu.Unlock()
	if !open {
		err := b.store.Settle(ctx, receipt, actual)
		var failure *StoreError
		if !errors.As(err, &failure) {
			return err
		}
		b.failed(failure)
		cause = failure
	}
	if actual != nil {
		actual = append(make([]float64, 0, len(actual)), actual...)
	}
	if !b.keep(settlement{receipt: receipt, actual: actual}) {
		return &StoreError{Op: "settle", Err: fmt.Errorf("not kept for later: %w", cause)}
	}
	return nil
}

// move is of a receipt of the store, while it is asked; else each goes its own way. A cancellation that the store may not have seen is kept.
func (b *Breaker) move(ctx context.Context, from Receipt, charges []Charge) (Receipt, error, error) {
	store, ok := b.store.(mover)
	b.mu.Lock()
	open := b.state.Phase == Open || b.closed
	b.mu.Unlock()
	if !ok || open || from.Unmetered || from.route != routeStore {
		return moveEach(ctx, b, from, charges)
	}
	receipt, cancelled, err := store.move(ctx, from, charges)
	if failure, ok := errors.AsType[*StoreError](cancelled); ok {
		cancelled = nil
		if !errors.As(err, new(*StoreError)) && ctx.Err() == nil { // else it is one failure, told below, or the caller's own deadline
			b.failed(failure)
		}
		if !b.keep(settlement{receipt: from, actual: make([]float64, len(from.Charges))}) {
			cancelled = &StoreError{Op: "settle", Err: fmt.Errorf("not kept for later: %w", failure)}
		}
	}
	receipt, err = b.spent(ctx, charges, receipt, err)
	return receipt, cancelled, err
}

// settleAll is of receipts of the store; others, and all while it fails, are settled one by one.
func (b *Breaker) settleAll(ctx context.Context, settlements []Settlement) error {
	store, ok := b.store.(together)
	for _, s := range settlements {
		ok = ok && !s.Receipt.Unmetered && s.Receipt.route == routeStore && checkActual(s.Receipt.Charges, s.Actual) == nil
	}
	if !ok || b.State().Phase == Open {
		return settleEach(ctx, b, settlements)
	}
	err := store.settleAll(ctx, settlements)
	failure, ok := errors.AsType[*StoreError](err)
	if !ok {
		return err
	}
	b.failed(failure)
	var lost error
	for _, s := range settlements { // one that it was told all the same has its effect once
		if s.Actual != nil {
			s.Actual = slices.Clone(s.Actual)
		}
		if len(s.Receipt.Charges) > 0 && !b.keep(settlement{receipt: s.Receipt, actual: s.Actual}) {
			lost = &StoreError{Op: "settle", Err: fmt.Errorf("not kept for later: %w", failure)}
		}
	}
	return lost
}

func (b *Breaker) succeeded() {
	b.mu.Lock()
	b.streak = 0
	b.mu.Unlock()
}

func (b *Breaker) failed(failure error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state.Failures++
	b.state.Err = failure
	b.streak++
	if b.streak >= b.options.Threshold && b.state.Phase != Open {
		b.enter(Open)
	}
	b.work()
}

// enter changes the phase. b.mu is held, which keeps OnChange in order.
func (b *Breaker) enter(phase Phase) {
	b.state.Phase, b.state.Since = phase, time.Now()
	if b.options.OnChange != nil {
		b.options.OnChange(b.snapshot())
	}
}

// keep holds a settlement for later; false when there is no room.
func (b *Breaker) keep(s settlement) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || len(b.pending) >= b.options.MaxPending {
		b.state.Lost++
		return false
	}
	b.pending = append(b.pending, s)
	b.work()
	return true
}

// work starts the worker when there is something to do. b.mu is held.
func (b *Breaker) work() {
	if b.working || b.closed || b.state.Phase == Closed && len(b.pending) == 0 {
		return
	}
	b.working = true
	b.worker.Go(b.recover)
}

// recover probes until the store answers, makes up what it missed, and ends.
func (b *Breaker) recover() {
	tick := time.NewTicker(b.options.Interval)
	defer tick.Stop()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-tick.C:
		}
		if b.State().Phase == Open {
			if err := b.options.Probe(b.ctx); err != nil {
				b.mu.Lock()
				b.state.Err = err
				b.mu.Unlock()
				continue
			}
			b.mu.Lock()
			b.streak = 0
			b.enter(Recovering)
			b.mu.Unlock()
		}
		if b.makeUp() && b.finish() {
			return
		}
	}
}

// makeUp settles what is pending, oldest first, and reports whether the store took it all.
func (b *Breaker) makeUp() bool {
	for b.ctx.Err() == nil {
		b.mu.Lock()
		if len(b.pending) == 0 {
			b.pending = nil
			b.mu.Unlock()
			return true
		}
		s := b.pending[0]
		b.mu.Unlock()
		err := b.store.Settle(b.ctx, s.receipt, s.actual)
		var failure *StoreError
		b.mu.Lock()
		if len(b.pending) > 0 { // Close may have emptied it
			b.pending = b.pending[1:]
		}
		b.mu.Unlock()
		if errors.As(err, &failure) {
			b.failed(failure)
			b.again(s)
			return false
		}
	}
	return false
}

// again puts a settlement that failed behind the others.
func (b *Breaker) again(s settlement) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.tries++; b.closed || s.tries >= maxTries {
		b.state.Lost++
		return
	}
	b.pending = append(b.pending, s)
}

// finish ends the recovery unless something came up meanwhile.
func (b *Breaker) finish() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.pending) > 0 || b.state.Phase == Open {
		return false
	}
	if b.state.Phase == Recovering {
		b.enter(Closed)
	}
	b.working = false
	return true
}
