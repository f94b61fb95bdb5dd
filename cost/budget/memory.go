package budget

import (
	"context"
	"hash/maphash"
	"sync/atomic"
	"time"
)

// MemoryOptions bound a Memory ledger. The zero value is usable.
type MemoryOptions struct {
	// MaxBuckets is the most live buckets; 0 means 1,398,016. A bucket that is full again is not live and makes room, at most a second later; for want
	// of other room so does one that a burst would have filled by now though its window is not over. With all live, a Spend that needs a new bucket fails with *CapacityError: to evict a live bucket would hand its
	// client a fresh budget, and an attacker with many addresses could do it to himself. Buckets are spread over 256
	// shards by hash and each shard holds its part, so the first such error may come some percent early.
	MaxBuckets int
	// MaxReservations is the most charges open at once, up to 16,777,216; 0 means 1,048,576. Past it Spend fails with *CapacityError.
	MaxReservations int
	// Lease is how long a reservation may stay open; 0 means 5 minutes. It should exceed the longest operation.
	Lease time.Duration
}

const (
	defaultMaxBuckets      = 256 * 5461 // so that 8,192 places do in each of 256 shards: 134 MB, and 128 bytes more for a bucket spent from all the time
	defaultMaxReservations = 1 << 20
	defaultLease           = 5 * time.Minute
	shardCount             = 256
)

// Memory is the Ledger of one process. It keeps 96-bit keyed hashes of keys rather than the keys, so that a bucket's size
// does not depend on what clients send; the hash keys are random per ledger. It starts no goroutine: what is idle is
// reclaimed by the calls that need its room. Its clock is monotonic.
type Memory struct {
	seeds [2]maphash.Seed
	start time.Time
	lease int64
	max   MemoryOptions
	open  atomic.Int64 // reservations
	plots plots
	shard [shardCount]shard
}

var (
	_ Ledger    = (*Memory)(nil)
	_ Inspector = (*Memory)(nil)
)

// NewMemory makes an empty ledger. Negative options are taken as 0.
func NewMemory(o MemoryOptions) *Memory {
	if o.MaxBuckets <= 0 {
		o.MaxBuckets = defaultMaxBuckets
	}
	if o.MaxReservations <= 0 {
		o.MaxReservations = defaultMaxReservations
	}
	o.MaxReservations = min(o.MaxReservations, 1<<24)
	if o.Lease <= 0 {
		o.Lease = defaultLease
	}
	m := &Memory{
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		start: time.Now(),
		lease: int64(o.Lease),
		max:   o,
	}
	for i := range m.shard {
		m.shard[i].table.plots = &m.plots
		m.shard[i].table.shard = uint8(i)
		m.shard[i].table.limit = (o.MaxBuckets + shardCount - 1) / shardCount
		m.shard[i].holds.oldest = none
		m.shard[i].holds.newest = none
		m.shard[i].holds.free = none
	}
	return m
}

// Close frees nothing that the collector would not and never fails; it makes Memory an io.Closer like the other ledgers.
func (m *Memory) Close() error { return nil }

// now is nanoseconds since the ledger was made, and never 0, which is the time of a level that was never used.
func (m *Memory) now() int64 { return int64(time.Since(m.start)) + 1 }

// fingerprint hashes a key. Its second half leaves out the bits that choose the shard, which all its entries share.
func (m *Memory) fingerprint(key string) fingerprint {
	f := fingerprint{high: maphash.String(m.seeds[0], key), low: uint32(maphash.String(m.seeds[1], key))}
	if f == (fingerprint{}) {
		f.low = 1 // the zero fingerprint marks an empty place
	}
	return f
}

// touch is one charge of a Spend on its way.
type touch struct {
	print fingerprint
	place int    // of the bucket, or absent; good until a table is rebuilt
	after bucket // drained and charged
}

// Spend implements Ledger.
func (m *Memory) Spend(ctx context.Context, charges []Charge) (Receipt, error) {
	var r Receipt
	err := m.reserve(ctx, &r, charges)
	return r, err
}

// reserve is Spend in memory of the caller; it allocates nothing when r.Balances has room for the charges.
func (m *Memory) reserve(ctx context.Context, r *Receipt, charges []Charge) error {
	balances := r.room(len(charges))
	*r = Receipt{Balances: balances[:0]}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkCharges(charges); err != nil {
		return err
	}
	if err := m.spend(charges, balances); err != nil {
		return err
	}
	r.Charges, r.Balances = charges, balances
	return nil
}

// Ask reports what Spend would refuse, each charge by itself, and changes nothing. Its errors are Spend's, but for *CapacityError,
// since it needs no room.
func (m *Memory) Ask(ctx context.Context, charges []Charge) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkCharges(charges); err != nil {
		return err
	}
	var refusal *ExceededError
	now := m.now()
	for i := range charges {
		if e := m.ask(&charges[i], now); e != nil {
			e.Index = i
			refusal = worse(refusal, e)
		}
	}
	if refusal != nil {
		return refusal
	}
	return nil
}

func (m *Memory) ask(c *Charge, now int64) *ExceededError {
	t := touch{print: m.fingerprint(c.Key)}
	s := &m.shard[t.print.shard()]
	s.mu.Lock()
	defer s.mu.Unlock()
	now = s.reach(now)
	m.expire(s, now)
	t.find(&s.table)
	var balance Balance
	return t.weigh(c, &balance, now)
}

// spend gives each call no more memory than it needs, because memory is cleared.
func (m *Memory) spend(charges []Charge, balances []Balance) error {
	switch n := len(charges); {
	case n == 1:
		return m.spendOne(&charges[0], &balances[0])
	case n == 2:
		var touches [2]touch
		return m.spendAll(charges, touches[:], balances)
	case n <= 4:
		var touches [4]touch
		return m.spendAll(charges, touches[:n], balances)
	default:
		return m.spendAll(charges, make([]touch, n), balances)
	}
}

// spendOne is spendAll of one charge.
func (m *Memory) spendOne(c *Charge, balance *Balance) error {
	t := touch{print: m.fingerprint(c.Key)}
	s := &m.shard[t.print.shard()]
	now := m.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	now = s.reach(now)
	m.expire(s, now)
	t.find(&s.table)
	if refusal := t.weigh(c, balance, now); refusal != nil {
		return refusal
	}
	if !c.Final && !m.openMore(1) {
		return &CapacityError{What: "reservations", Max: m.max.MaxReservations}
	}
	idle := idleFrom(c, &t, balance)
	if t.place != absent {
		s.table.set(&s.table.entries[t.place], &t.after, idle)
	} else if !s.table.put(t.print, &t.after, idle, now) {
		if !c.Final {
			m.open.Add(-1)
		}
		return &CapacityError{What: "buckets", Max: m.max.MaxBuckets}
	}
	if !c.Final {
		balance.hold = s.holds.open(t.print, t.place, c, now+m.lease)
	}
	return nil
}

// openMore counts n more reservations unless they are too many.
func (m *Memory) openMore(n int) bool {
	if m.open.Add(int64(n)) <= int64(m.max.MaxReservations) {
		return true
	}
	m.open.Add(-int64(n))
	return false
}

func (m *Memory) spendAll(charges []Charge, touches []touch, balances []Balance) error {
	for i := range charges {
		touches[i].print = m.fingerprint(charges[i].Key)
	}
	var room [8]uint8
	now := m.now()
	locked := m.lock(touches, room[:0])
	defer m.unlock(locked)
	for _, s := range locked {
		now = m.shard[s].reach(now)
	}
	for _, s := range locked {
		m.expire(&m.shard[s], now)
	}
	if refusal := m.weigh(charges, touches, balances, now); refusal != nil {
		return refusal
	}
	return m.commit(charges, touches, balances, now)
}

// expire ends the reservations of a locked shard whose lease is over.
func (m *Memory) expire(s *shard, now int64) {
	if n := s.expire(now); n > 0 {
		m.open.Add(-int64(n))
	}
}

// lock takes the shards of touches in ascending order, each once, so that no two calls wait for each other.
func (m *Memory) lock(touches []touch, shards []uint8) []uint8 {
	for i := range touches {
		s := touches[i].print.shard()
		at := len(shards)
		for at > 0 && shards[at-1] > s {
			at--
		}
		if at > 0 && shards[at-1] == s {
			continue
		}
		shards = append(shards, 0)
		copy(shards[at+1:], shards[at:])
		shards[at] = s
	}
	for _, s := range shards {
		m.shard[s].mu.Lock()
	}
	return shards
}

func (m *Memory) unlock(shards []uint8) {
	for _, s := range shards {
		m.shard[s].mu.Unlock()
	}
}

// find looks the bucket up in its table.
func (t *touch) find(table *table) {
	if t.place = table.find(t.print); t.place != absent {
		table.load(&table.entries[t.place], &t.after)
	}
}

// weigh computes the bucket after a charge, and its balance unless it refuses.
func (t *touch) weigh(c *Charge, balance *Balance, now int64) *ExceededError {
	if c.Window.Slots() {
		held := t.after.used
		t.after.level = level{used: held + c.Amount, at: now}
		if t.after.used > c.Window.Amount {
			return exceeded(0, c, slotBalance(c.Window, held), slotRetry, c.Amount > c.Window.Amount)
		}
		*balance = slotBalance(c.Window, t.after.used)
		return nil
	}
	t.after.drain(c.Window, now)
	if !t.after.admits(c.Window, c.Amount) {
		wait, ever := t.after.wait(c.Window, c.Amount)
		return exceeded(0, c, t.after.balance(c.Window), wait, !ever)
	}
	t.after.charge(c.Amount)
	*balance = t.after.balance(c.Window)
	return nil
}

// weigh computes each bucket after its charge and changes none.
func (m *Memory) weigh(charges []Charge, touches []touch, balances []Balance, now int64) *ExceededError {
	var refusal *ExceededError
	for i := range charges {
		t := &touches[i]
		t.find(&m.shard[t.print.shard()].table)
		for j := i - 1; j >= 0; j-- {
			if touches[j].print == t.print {
				t.after = touches[j].after
				break
			}
		}
		if e := t.weigh(&charges[i], &balances[i], now); e != nil {
			e.Index = i
			refusal = worse(refusal, e)
		}
	}
	return refusal
}

// commit stores what weigh computed and opens the reservations, or changes nothing.
func (m *Memory) commit(charges []Charge, touches []touch, balances []Balance, now int64) error {
	opened := 0
	for i := range charges {
		if !charges[i].Final {
			opened++
		}
	}
	if !m.openMore(opened) {
		return &CapacityError{What: "reservations", Max: m.max.MaxReservations}
	}
	// The new ones first, because there may be no room for them.
	rebuilt := false
	for i := range touches {
		if t := &touches[i]; t.place == absent {
			rebuilt = true // perhaps
			if !m.put(&charges[i], t, &balances[i], now) {
				m.undo(touches[:i], now)
				m.open.Add(-int64(opened))
				return &CapacityError{What: "buckets", Max: m.max.MaxBuckets}
			}
		}
	}
	for i := range touches {
		switch t := &touches[i]; {
		case t.place == absent:
		case rebuilt:
			m.put(&charges[i], t, &balances[i], now)
		default:
			table := &m.shard[t.print.shard()].table
			table.set(&table.entries[t.place], &t.after, idleFrom(&charges[i], t, &balances[i]))
		}
	}
	for i := range charges {
		if c := &charges[i]; !c.Final {
			print := touches[i].print
			balances[i].hold = m.shard[print.shard()].holds.open(print, touches[i].place, c, now+m.lease)
		}
	}
	return nil
}

// put stores a charged bucket where it belongs; false when there is no room for a new one.
func (m *Memory) put(c *Charge, t *touch, b *Balance, now int64) bool {
	return m.shard[t.print.shard()].table.put(t.print, &t.after, idleFrom(c, t, b), now)
}

// idleFrom is idleAt of a charged bucket whose balance is known.
func idleFrom(c *Charge, t *touch, b *Balance) rest {
	if c.Window.Slots() {
		return idleAt(c.Window, &t.after)
	}
	return rest{t.after.at + int64(b.Reset), t.after.at + int64(t.after.level.reset(c.Window))}
}

// undo empties the buckets that were not there.
func (m *Memory) undo(touches []touch, now int64) {
	for i := range touches {
		if t := &touches[i]; t.place == absent {
			m.shard[t.print.shard()].table.put(t.print, &bucket{}, rest{}, now)
		}
	}
}

// Settle implements Ledger. The charges of a receipt are corrected one after the other, not in one step.
func (m *Memory) Settle(_ context.Context, receipt Receipt, actual []float64) error {
	if err := checkActual(receipt.Charges, actual); err != nil {
		return err
	}
	var failed error
	now := m.now()
	for i := range receipt.Balances {
		handle := receipt.Balances[i].hold
		if handle == 0 {
			continue
		}
		c := &receipt.Charges[i]
		amount := c.Amount
		if actual != nil {
			amount = actual[i]
		}
		if err := m.settle(c, handle, amount, now); err != nil {
			failed = err
		}
	}
	return failed
}

// settle corrects one charge.
func (m *Memory) settle(c *Charge, handle handle, actual float64, now int64) error {
	s := &m.shard[handle.shard()]
	s.mu.Lock()
	defer s.mu.Unlock()
	now = s.reach(now)
	m.expire(s, now)
	h, ok := s.holds.close(handle)
	if !ok {
		return nil
	}
	m.open.Add(-1)
	if h.slots {
		s.release(h, now)
		return nil
	}
	if actual == h.amount {
		return nil
	}
	charged := h.expiry - m.lease
	var b bucket
	e := s.table.again(h.place, h.print())
	if e != nil {
		s.table.load(e, &b)
	}
	b.drain(c.Window, now)
	b.correct(c.Window, actual-h.amount, charged)
	idle := idleAt(c.Window, &b)
	if e != nil {
		s.table.set(e, &b, idle)
	} else if !s.table.put(h.print(), &b, idle, now) {
		return &CapacityError{What: "buckets", Max: m.max.MaxBuckets}
	}
	return nil
}

// Balance is the state of a bucket now; it charges nothing. A bucket that is not known is full.
func (m *Memory) Balance(_ context.Context, key string, w Window) (Balance, error) {
	if why := w.problem(); why != "" {
		return Balance{}, &ChargeError{Key: key, Reason: why}
	}
	print := m.fingerprint(key)
	s := &m.shard[print.shard()]
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.reach(m.now())
	m.expire(s, now)
	var b bucket
	if e := s.table.entry(print); e != nil {
		s.table.load(e, &b)
	}
	if w.Slots() {
		return slotBalance(w, b.used), nil
	}
	b.drain(w, now)
	return b.balance(w), nil
}

// Reset makes buckets of windows full, and takes no slot from those who hold one: slots are released by Settle.
// Reservations that are open still settle: a refund then finds a full bucket.
func (m *Memory) Reset(_ context.Context, keys ...string) error {
	for _, key := range keys {
		print := m.fingerprint(key)
		s := &m.shard[print.shard()]
		s.mu.Lock()
		if e := s.table.entry(print); e != nil && e.idle != neverIdle {
			s.table.set(e, &bucket{}, rest{})
		}
		s.mu.Unlock()
	}
	return nil
}

// MemoryStats counts what a Memory holds.
type MemoryStats struct {
	Buckets      int   // live, or idle and not yet reclaimed
	Reservations int   // open charges
	Bytes        int64 // of the tables; without the Memory itself
}

// Stats walks the shards and takes each one's lock for a moment.
func (m *Memory) Stats() MemoryStats {
	stats := MemoryStats{Reservations: int(m.open.Load()), Bytes: m.plots.bytes()}
	for i := range m.shard {
		s := &m.shard[i]
		s.mu.Lock()
		stats.Buckets += s.table.count
		stats.Bytes += s.table.bytes() + s.holds.bytes()
		s.mu.Unlock()
	}
	return stats
}

// idleAt is when a bucket is full again and may be forgotten; never while slots are held.
func idleAt(w Window, b *bucket) rest {
	switch {
	case !w.Slots():
		return rest{b.at + int64(b.reset(w)), b.at + int64(b.level.reset(w))}
	case b.used > 0:
		return rest{never, never}
	}
	return rest{b.at, b.at}
}
