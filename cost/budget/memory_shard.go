package budget

import (
	"math"
	"slices"
	"sync"
	"time"
	"unsafe"
)

// shard is a part of a Memory's buckets with the reservations on them.
type shard struct {
	mu    sync.Mutex
	now   int64 // of the last call
	table table
	holds holds
	_     [64]byte // keeps neighbours' locks on other cache lines
}

// reach sets the shard's clock, which a call that read its time before another's and was locked out by that does not set back.
func (s *shard) reach(now int64) int64 {
	s.now = max(s.now, now)
	return s.now
}

// expire ends the reservations whose lease is over and says how many. Cost: amortized to the calls that opened them.
func (s *shard) expire(now int64) int {
	n := 0
	for s.holds.oldest != none && s.holds.slab[s.holds.oldest].expiry <= now {
		h := s.holds.take(s.holds.oldest)
		if h.slots {
			s.release(h, now)
		}
		n++
	}
	return n
}

// release gives slots back.
func (s *shard) release(h hold, now int64) {
	e := s.table.again(h.place, h.print())
	if e == nil {
		return
	}
	e.level = level{used: max(0, e.level.used-h.amount), at: now}
	if e.level.used == 0 {
		e.rest(rest{now, now})
	}
}

// fingerprint stands for a key. Two of 1,000,000 keys share one with a probability of 1e-17.
type fingerprint struct {
	high uint64
	low  uint32
}

func (f fingerprint) shard() uint8 { return uint8(f.high >> 56) }

// entry is a place of a table; free when its fingerprint is zero. It is 64 bytes, a cache line, which is all that a bucket spent from in one
// part of its window costs.
type entry struct {
	high    uint64
	low     uint32
	idle    uint32 // in seconds, rounded up: from then on the bucket is full and need not be kept
	level   level
	newest  span   // bucket.spans[0]
	past    int32  // 1 + the place in the table's past of the other spans; 0 = all zero
	drained uint32 // as idle, of the leaky bucket alone: from then on it may be forgotten for want of room
	held    spanSet
	_       [6]byte
}

const neverIdle = math.MaxUint32

func (e *entry) is(f fingerprint) bool { return e.high == f.high && e.low == f.low }

func (e *entry) free() bool { return e.high == 0 && e.low == 0 }

// load makes a zero bucket that of an entry.
func (t *table) load(e *entry, b *bucket) {
	b.level, b.held, b.spans[0] = e.level, e.held, e.newest
	if e.past != 0 {
		copy(b.spans[1:], t.past[e.past-1][:])
	}
}

// set stores an entry's bucket.
func (t *table) set(e *entry, b *bucket, r rest) {
	e.level, e.held, e.newest = b.level, b.held, b.spans[0]
	e.rest(r)
	switch {
	case b.held <= 1: // none but the newest
		t.forget(e)
		return
	case e.past != 0:
	case len(t.spare) > 0:
		e.past = t.spare[len(t.spare)-1]
		t.spare = t.spare[:len(t.spare)-1]
	default:
		t.past = append(t.past, past{})
		e.past = int32(len(t.past))
	}
	t.past[e.past-1] = past(b.spans[1:])
}

// forget frees the place of an entry's past.
func (t *table) forget(e *entry) {
	if e.past != 0 {
		t.spare = append(t.spare, e.past)
		e.past = 0
	}
}

// rest says from when a bucket is idle. The zero rest is that it is now.
type rest struct {
	idle    int64 // it is full
	drained int64 // its leaky bucket is full; not after idle
}

// rest says from when on the bucket is idle.
func (e *entry) rest(r rest) {
	e.idle, e.drained = seconds(r.idle), seconds(r.drained)
}

func seconds(at int64) uint32 { return uint32(min(neverIdle, uint64(at)/uint64(time.Second)+1)) }

// live reports whether the bucket may not be forgotten yet; pressed, that there is no room otherwise.
func (e *entry) live(now int64, pressed bool) bool {
	idle := e.idle
	if pressed {
		idle = e.drained
	}
	return !e.free() && (idle == neverIdle || int64(idle)*int64(time.Second) > now)
}

// table is an open-addressing hash table with linear probing. It holds no pointers, so the collector does not scan
// it. Buckets leave it only when it is rebuilt.
type table struct {
	entries []entry // length zero or a power of two, at most 3/4 in use
	past    []past  // of buckets spent from in more than one part of their window
	spare   []int32 // places of past that are free, plus one
	count   int
	limit   int // of count
	plots   *plots
	shard   uint8
	swept   int64 // when a rebuild last found no room
}

// past is what was spent in the parts of a window before the current one.
type past [parts]span

// sweepPause spares a full table from being searched for idle buckets at every call.
const sweepPause = int64(10 * time.Millisecond)

// bytes leaves out what is in plots.
func (t *table) bytes() int64 {
	n := int64(cap(t.past))*int64(unsafe.Sizeof(past{})) + int64(cap(t.spare))*4
	if len(t.entries) < plotted {
		n += int64(len(t.entries)) * int64(unsafe.Sizeof(entry{}))
	}
	return n
}

// absent is the place of a bucket that is not there.
const absent = -1

// find is the place of a bucket.
func (t *table) find(f fingerprint) int {
	if len(t.entries) == 0 {
		return absent
	}
	mask := uint64(len(t.entries) - 1)
	for i := f.high & mask; ; i = (i + 1) & mask {
		e := &t.entries[i]
		if e.is(f) {
			return int(i)
		}
		if e.free() {
			return absent
		}
	}
}

// entry is a bucket's; nil when it is not there.
func (t *table) entry(f fingerprint) *entry {
	if at := t.find(f); at != absent {
		return &t.entries[at]
	}
	return nil
}

// again is the entry of a bucket that was last seen at a place.
func (t *table) again(at int32, f fingerprint) *entry {
	if uint(at) < uint(len(t.entries)) {
		if e := &t.entries[at]; e.is(f) {
			return e
		}
	}
	return t.entry(f)
}

// put stores a bucket; false when there is no room for a new bucket. A full bucket that is not there needs no room.
func (t *table) put(f fingerprint, b *bucket, r rest, now int64) bool {
	if e := t.entry(f); e != nil {
		t.set(e, b, r)
		return true
	}
	if r.idle <= now {
		return true
	}
	if (t.count >= t.limit || 4*(t.count+1) > 3*len(t.entries)) && !t.rebuild(now) {
		return false
	}
	e := t.insert(f.high)
	e.high, e.low = f.high, f.low
	t.set(e, b, r)
	return true
}

// insert takes a free place, which there must be, for a bucket that is not there.
func (t *table) insert(high uint64) *entry {
	mask := uint64(len(t.entries) - 1)
	i := high & mask
	for !t.entries[i].free() {
		i = (i + 1) & mask
	}
	t.count++
	return &t.entries[i]
}

// rebuild drops idle buckets and sizes the table for those left and one more; false when the limit leaves no room. When it would,
// those go as well whose leaky bucket is full: their clients may then spend their amount twice in a window, which is better than to
// refuse every client that is new because of one that has many addresses.
func (t *table) rebuild(now int64) bool {
	if t.count >= t.limit && t.swept != 0 && now-t.swept < sweepPause {
		return false
	}
	live, undrained := 0, 0
	for i := range t.entries {
		e := &t.entries[i]
		if e.live(now, false) {
			live++
		}
		if e.live(now, true) {
			undrained++
		}
	}
	pressed := live >= t.limit
	if pressed {
		live = undrained
	}
	if live >= t.limit {
		t.swept = now
		return false
	}
	size := 8
	for 2*size < 3*(live+1) { // at most 2/3 in use, so that a rebuild is not needed again at once
		size *= 2
	}
	old := t.entries
	if size == len(old) {
		old = slices.Clone(old) // what is taken is where it lay
		t.plots.leave(t.entries)
	} else {
		defer t.plots.leave(old)
	}
	t.entries, t.count = t.plots.take(t.shard, size), 0
	for i := range old {
		if e := &old[i]; e.live(now, pressed) {
			*t.insert(e.high) = *e
		} else {
			t.forget(e)
		}
	}
	return true
}

// none ends a list of holds.
const none = int32(-1)

// hold is an open reservation of one charge.
type hold struct {
	high       uint64 // of the bucket's fingerprint
	low        uint32
	place      int32 // of the bucket when it was charged
	amount     float64
	expiry     int64
	generation uint32 // of the place in the slab; odd while open, so a handle of an earlier use does not match
	older      int32
	newer      int32 // also the next free place
	slots      bool
}

func (h *hold) print() fingerprint { return fingerprint{h.high, h.low} }

// holds is a slab of reservations. All have the same lease, so their order of opening is that of expiry.
type holds struct {
	slab           []hold
	oldest, newest int32
	free           int32
}

func (hs *holds) bytes() int64 { return int64(cap(hs.slab)) * int64(unsafe.Sizeof(hold{})) }

// handle names an open reservation: its place, its shard and the place's generation. 0 = none.
type handle uint64

func (h handle) shard() uint8 { return uint8(h >> 24) }

// open reserves a charge on the bucket of a fingerprint, last seen at a place. The handle is not 0.
func (hs *holds) open(print fingerprint, place int, c *Charge, expiry int64) handle {
	at := hs.free
	if at == none {
		at = int32(len(hs.slab))
		hs.slab = append(hs.slab, hold{})
	} else {
		hs.free = hs.slab[at].newer
	}
	h := &hs.slab[at]
	*h = hold{
		high: print.high, low: print.low, place: int32(place), amount: c.Amount, expiry: expiry,
		generation: h.generation + 1, older: hs.newest, newer: none, slots: c.Window.Slots(),
	}
	if hs.newest == none {
		hs.oldest = at
	} else {
		hs.slab[hs.newest].newer = at
	}
	hs.newest = at
	return handle(h.generation)<<32 | handle(print.shard())<<24 | handle(at)
}

// close takes an open reservation; false when the handle's is closed.
func (hs *holds) close(h handle) (hold, bool) {
	at := int32(h & (1<<24 - 1))
	if int(at) >= len(hs.slab) || hs.slab[at].generation != uint32(h>>32) {
		return hold{}, false
	}
	return hs.take(at), true
}

// take unlinks an open reservation and frees its place.
func (hs *holds) take(at int32) hold {
	h := hs.slab[at]
	if h.older == none {
		hs.oldest = h.newer
	} else {
		hs.slab[h.older].newer = h.newer
	}
	if h.newer == none {
		hs.newest = h.older
	} else {
		hs.slab[h.newer].older = h.older
	}
	hs.slab[at] = hold{generation: h.generation + 1, older: none, newer: hs.free}
	hs.free = at
	return h
}
