package budget

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// LeasingOptions shape a Leasing. The zero value is usable.
type LeasingOptions struct {
	// Operations is how many operations a slice is meant to last for; 0 means 256. A key's first slice is of one operation
	// and each further one of twice as many while they are spent within Hold, so that a client seen once leaves nothing behind.
	Operations int
	// Share is the most of a window's capacity that is taken ahead, above 0 and at most 1; 0 means 0.05. Of slots at least one is taken.
	Share float64
	// Hold is how long what was taken ahead may stay unspent before it is returned; 0 means one second.
	Hold time.Duration
	// Lease is the store's own lease; 0 means 5 minutes.
	Lease time.Duration
	// MaxKeys is the most buckets that are leased at once; 0 means 65,536. Others are spent from the store directly.
	MaxKeys int
}

// refusalMemory is how long a refusal by the store is repeated without asking, at most.
const refusalMemory = 50 * time.Millisecond

// Leasing is a Ledger that takes slices of a store's budgets ahead and spends from them without a round trip. A slice
// is charged to the store when it is taken, so the total that n processes admit is never above what the store
// gave. What changes is when: credit in hand was charged at most Hold earlier (a refund: Hold after its settlement). So over any interval of length t all processes
// together admit at most
//
//	what the window admits in it (see the package's Arithmetic) + the credit in hand at its start
//
// and that credit is at most Share of the Amount or Burst for each process, plus
// what Ledger says of reservations open at the start. Too little may be admitted while another process holds
// credit that it does not use: at most its Share, for at most 1.5 Hold; slices shrink to a sixteenth of what is left as
// the budget runs out.
//
// Slots are leased alike and stay with the process while it uses them. An operation that holds a slot for more than half the
// Lease may see as many slots as one slice given to others.
//
// Balances in receipts are the store's last word, drained since, plus the credit in hand. Settle of an excess beyond
// the credit is passed to the store. Leasing goes outside a Breaker: Leasing(Breaker(Redis)).
type Leasing struct {
	store   Ledger
	options LeasingOptions
	ctx     context.Context
	stop    context.CancelFunc
	janitor sync.WaitGroup

	mu    sync.Mutex
	pools map[string]*pool
}

var _ Ledger = (*Leasing)(nil)

// NewLeasing leases from store, which it does not own: Close leaves it open.
func NewLeasing(store Ledger, o LeasingOptions) *Leasing {
	if o.Operations <= 0 {
		o.Operations = 256
	}
	if !(o.Share > 0 && o.Share <= 1) {
		o.Share = 0.05
	}
	if o.Hold <= 0 {
		o.Hold = time.Second
	}
	if o.Lease <= 0 {
		o.Lease = defaultLease
	}
	if o.MaxKeys <= 0 {
		o.MaxKeys = 1 << 16
	}
	l := &Leasing{store: store, options: o, pools: make(map[string]*pool)}
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.janitor.Go(l.tidy)
	return l
}

// Close returns what is unspent to the store and ends the janitor. A Spend after Close goes to the store.
func (l *Leasing) Close() error {
	l.stop()
	l.janitor.Wait()
	l.mu.Lock()
	pools := l.pools
	l.pools = nil
	l.mu.Unlock()
	var failed error
	for _, p := range pools {
		p.mu.Lock()
		p.closed = true
		back := p.giveBack(p.credit)
		p.mu.Unlock()
		if err := errors.Join(l.give(context.Background(), back), l.owe(context.Background(), p)); err != nil {
			failed = err
		}
	}
	return failed
}

// demand is what one Spend wants of one pool.
type demand struct {
	pool   *pool
	charge int     // the first that is of this pool
	amount float64 // of all charges on it
}

// Spend implements Ledger.
func (l *Leasing) Spend(ctx context.Context, charges []Charge) (Receipt, error) {
	if err := ctx.Err(); err != nil {
		return Receipt{}, err
	}
	if err := checkCharges(charges); err != nil {
		return Receipt{}, err
	}
	demands := l.demands(charges)
	if demands == nil {
		return l.store.Spend(ctx, charges)
	}
	defer l.done(demands)
	// Several rounds are needed only when other calls take the credit meanwhile.
	for range 16 {
		lockAll(demands)
		now := time.Now()
		wait, lacking := lack(charges, demands, now)
		if lacking == nil {
			receipt := l.grant(charges, demands, now)
			unlockAll(demands)
			return receipt, nil
		}
		if wait != nil {
			unlockAll(demands)
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return Receipt{}, ctx.Err()
			}
		}
		if refusal := remembered(charges, lacking, now); refusal != nil {
			unlockAll(demands)
			return Receipt{}, refusal
		}
		asked := l.plan(lacking, now)
		unlockAll(demands)
		if receipt, err := l.refill(ctx, charges, lacking, asked); err != nil || receipt.Unmetered {
			return receipt, err
		}
	}
	return l.store.Spend(ctx, charges)
}

// demands finds or makes the pool of each key, sorted by key so that all calls lock in one order; nil when some
// charge has to go to the store.
func (l *Leasing) demands(charges []Charge) []demand {
	demands := make([]demand, 0, len(charges))
next:
	for i := range charges {
		c := &charges[i]
		for j := range demands {
			if charges[demands[j].charge].Key == c.Key {
				demands[j].amount += c.Amount
				continue next
			}
		}
		demands = append(demands, demand{charge: i, amount: c.Amount})
	}
	slices.SortFunc(demands, func(a, b demand) int {
		return strings.Compare(charges[a.charge].Key, charges[b.charge].Key)
	})
	for i := range demands {
		// The store alone knows how to refuse what can never be admitted; credit must not help it over the burst.
		if demands[i].amount > charges[demands[i].charge].Window.capacity() {
			return nil
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pools == nil {
		return nil
	}
	missing := 0
	for i := range demands {
		if l.pools[charges[demands[i].charge].Key] == nil {
			missing++
		}
	}
	if len(l.pools)+missing > l.options.MaxKeys {
		return nil
	}
	for i := range demands {
		c := &charges[demands[i].charge]
		p := l.pools[c.Key]
		if p == nil {
			p = &pool{key: c.Key, operations: 1}
			l.pools[c.Key] = p
		}
		p.users++
		demands[i].pool = p
	}
	return demands
}

// done lets the janitor remove the pools again.
func (l *Leasing) done(demands []demand) {
	l.mu.Lock()
	for i := range demands {
		demands[i].pool.users--
	}
	l.mu.Unlock()
}

func lockAll(demands []demand) {
	for i := range demands {
		demands[i].pool.mu.Lock()
	}
}

func unlockAll(demands []demand) {
	for i := range demands {
		demands[i].pool.mu.Unlock()
	}
}

// lack is the demands that credit does not cover, and what to wait for when another call is asking for one of them.
// The pools are locked.
func lack(charges []Charge, demands []demand, now time.Time) (wait <-chan struct{}, lacking []demand) {
	for i := range demands {
		d := &demands[i]
		d.pool.window = charges[d.charge].Window
		d.pool.expire(now)
		if d.pool.credit >= d.amount {
			continue
		}
		lacking = append(lacking, *d)
		if d.pool.refill != nil {
			wait = d.pool.refill
		}
	}
	return wait, lacking
}

// remembered is a refusal that the store gave a moment ago to as much or less. The pools are locked.
func remembered(charges []Charge, lacking []demand, now time.Time) *ExceededError {
	var refusal *ExceededError
	for _, d := range lacking {
		if e := d.pool.remembered(d.amount, now); e != nil {
			refusal = worse(refusal, e.about(charges, d.charge))
		}
	}
	return refusal
}

// about is the store's refusal of a slice as the caller's charge sees it.
func (e *ExceededError) about(charges []Charge, i int) *ExceededError {
	mine := *e
	mine.Index, mine.Key, mine.Window, mine.Requested = i, charges[i].Key, charges[i].Window, charges[i].Amount
	return &mine
}

// plan chooses the slices to ask for and marks the pools, whose locks are held.
func (l *Leasing) plan(lacking []demand, now time.Time) []Charge {
	asked := make([]Charge, len(lacking))
	for i, d := range lacking {
		d.pool.refill = make(chan struct{})
		asked[i] = Charge{Key: d.pool.key, Window: d.pool.window, Amount: d.pool.slice(d.amount, now, &l.options)}
	}
	return asked
}

// refill asks the store for one slice after the other: a receipt settles whole, and slices are returned one by one. When one
// is refused the credit that others gained stays in hand. It returns an Unmetered receipt when the store gave one.
func (l *Leasing) refill(ctx context.Context, charges []Charge, lacking []demand, asked []Charge) (Receipt, error) {
	var refusal *ExceededError
	var failed error
	unmetered := false
	for i, d := range lacking {
		var receipt Receipt
		var err error
		if failed == nil && !unmetered {
			receipt, err = l.ask(ctx, d, asked[i])
		}
		var refused *ExceededError
		d.pool.mu.Lock()
		close(d.pool.refill)
		d.pool.refill = nil
		switch now := time.Now(); {
		case errors.As(err, &refused):
			d.pool.refuse(refused, now)
			refusal = worse(refusal, refused.about(charges, d.charge))
		case err != nil:
			failed = err
		case receipt.Unmetered:
			unmetered = true
		case len(receipt.Charges) > 0:
			d.pool.take(receipt, now, &l.options)
		}
		d.pool.mu.Unlock()
	}
	switch {
	case failed != nil:
		return Receipt{}, failed
	case refusal != nil:
		return Receipt{}, refusal
	case unmetered:
		return Receipt{Charges: charges, Unmetered: true}, nil
	}
	return Receipt{}, nil
}

// ask takes a slice, or, when the store refuses it, what is lacking alone.
func (l *Leasing) ask(ctx context.Context, d demand, asked Charge) (Receipt, error) {
	receipt, err := l.store.Spend(ctx, []Charge{asked})
	if !errors.As(err, new(*ExceededError)) {
		return receipt, err
	}
	d.pool.mu.Lock()
	deficit := d.amount - d.pool.credit
	d.pool.mu.Unlock()
	if deficit <= 0 || deficit >= asked.Amount {
		return receipt, err
	}
	asked.Amount = deficit
	return l.store.Spend(ctx, []Charge{asked})
}

// grant spends from credit that covers all demands. The pools are locked.
func (l *Leasing) grant(charges []Charge, demands []demand, now time.Time) Receipt {
	g := &grant{nodes: make([]node, len(charges))}
	receipt := Receipt{Charges: charges, Balances: make([]Balance, len(charges)), grant: g}
	for i := range demands {
		p := demands[i].pool
		p.credit -= demands[i].amount
		p.average += (demands[i].amount - p.average) / 8
	}
	for i := range charges {
		c := &charges[i]
		var p *pool
		for j := range demands {
			if demands[j].pool.key == c.Key {
				p = demands[j].pool
			}
		}
		if !c.Final {
			g.nodes[i] = node{pool: p, amount: c.Amount, expiry: now.Add(l.options.Lease)}
			p.push(&g.nodes[i])
		}
		receipt.Balances[i] = p.balance(now)
	}
	return receipt
}

// Settle implements Ledger. It takes a round trip only when an excess is beyond the credit, or a refund beyond the Share.
func (l *Leasing) Settle(ctx context.Context, receipt Receipt, actual []float64) error {
	if receipt.grant == nil {
		return l.store.Settle(ctx, receipt, actual)
	}
	if err := checkActual(receipt.Charges, actual); err != nil {
		return err
	}
	var failed error
	for i := range receipt.grant.nodes {
		n := &receipt.grant.nodes[i]
		if n.pool == nil {
			continue
		}
		amount := n.amount
		if actual != nil {
			amount = actual[i]
		}
		if err := errors.Join(l.give(ctx, n.settle(amount, &l.options)), l.owe(ctx, n.pool)); err != nil {
			failed = err
		}
	}
	return failed
}

// owe charges the store for what was spent beyond the credit when no slice can be spared whose settlement would tell it. A bucket in debt
// takes no new charge: then it stays with the pool and the next call here pays it.
func (l *Leasing) owe(ctx context.Context, p *pool) error {
	p.mu.Lock()
	owed, w := -p.credit, p.window
	if owed <= 0 || w.Slots() {
		p.mu.Unlock()
		return nil
	}
	p.credit = 0
	p.mu.Unlock()
	receipt, err := l.store.Spend(context.WithoutCancel(ctx), []Charge{{Key: p.key, Window: w}})
	if err == nil {
		return l.store.Settle(ctx, receipt, []float64{owed})
	}
	p.mu.Lock()
	p.credit -= owed
	p.mu.Unlock()
	if errors.As(err, new(*ExceededError)) {
		return nil
	}
	return err
}

// give tells the store what a pool does not need, or owes.
func (l *Leasing) give(ctx context.Context, back []settlement) error {
	var failed error
	for _, s := range back {
		if err := l.store.Settle(ctx, s.receipt, s.actual); err != nil {
			failed = err
		}
	}
	return failed
}

// tidy returns what was held too long and forgets idle pools.
func (l *Leasing) tidy() {
	tick := time.NewTicker(l.options.Hold / 2)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
		}
		l.mu.Lock()
		pools := make([]*pool, 0, len(l.pools))
		for _, p := range l.pools {
			pools = append(pools, p)
		}
		l.mu.Unlock()
		now := time.Now()
		for _, p := range pools {
			if l.ctx.Err() != nil {
				return
			}
			l.tidyPool(p, now)
		}
	}
}

func (l *Leasing) tidyPool(p *pool, now time.Time) {
	p.mu.Lock()
	p.expire(now)
	back := p.stale(now, &l.options)
	old, renew := p.ageing(now, &l.options)
	back = append(back, old...)
	idle := len(p.slices) == 0 && p.credit >= 0 && p.first == nil && renew == 0
	w := p.window
	p.mu.Unlock()
	// A Breaker below keeps what fails; without one the store keeps a slice as spent, and a debt is tried again.
	_ = l.give(l.ctx, back)
	_ = l.owe(l.ctx, p)
	if renew > 0 {
		receipt, err := l.store.Spend(l.ctx, []Charge{{Key: p.key, Window: w, Amount: renew}})
		p.mu.Lock()
		p.credit -= renew
		if err == nil && !receipt.Unmetered {
			p.take(receipt, now, &l.options)
		}
		p.mu.Unlock()
	}
	if !idle {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users == 0 && len(p.slices) == 0 && p.credit >= 0 && p.first == nil && l.pools != nil {
		delete(l.pools, p.key)
	}
}
