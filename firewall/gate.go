package firewall

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// gate admits requests: at most so many at once (limits.in_flight), behind them
// a line of bounded length (limits.queue), first come first served, where
// nobody waits longer than timeouts.queue. The numbers are each request's own,
// as a reload may change them. While nobody waits, coming and going is an
// addition each. The zero gate is open. It is safe for concurrent use.
type gate struct {
	running atomic.Int64
	waiting atomic.Int64 // len(line), to be read without mu

	mu   sync.Mutex
	line list.List // of *waiter
}

// waiter stands in the line.
type waiter struct {
	places int64
	admit  chan struct{} // closed with a place taken for it
}

// enter takes a place, or returns errOverloaded where places, and the line
// behind them, are full, or where the wait was in vain. A nil error is followed
// by leave.
func (g *gate) enter(ctx context.Context, places, queue int, patience time.Duration) error {
	// Who comes while others wait does not overtake them.
	if g.waiting.Load() == 0 && g.take(int64(places)) {
		return nil
	}
	if queue == 0 || int(g.waiting.Load()) >= queue {
		return errOverloaded
	}
	return g.wait(ctx, int64(places), queue, patience)
}

func (g *gate) take(places int64) bool {
	for n := g.running.Load(); n < places; n = g.running.Load() {
		if g.running.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

func (g *gate) wait(ctx context.Context, places int64, queue int, patience time.Duration) error {
	w := &waiter{places: places, admit: make(chan struct{})}
	g.mu.Lock()
	if g.line.Len() >= queue {
		g.mu.Unlock()
		return errOverloaded
	}
	place := g.line.PushBack(w)
	g.waiting.Store(int64(g.line.Len()))
	// Who left before waiting was stored has not seen it.
	g.advance()
	g.mu.Unlock()

	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.admit:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.admit:
		return nil
	default:
	}
	g.line.Remove(place)
	g.waiting.Store(int64(g.line.Len()))
	// Whoever stands behind may have room where a reload gave this one less.
	g.advance()
	return errOverloaded
}

// advance admits from the head of the line; g.mu is held.
func (g *gate) advance() {
	for first := g.line.Front(); first != nil; first = g.line.Front() {
		w := first.Value.(*waiter)
		if !g.take(w.places) {
			break
		}
		g.line.Remove(first)
		close(w.admit)
	}
	g.waiting.Store(int64(g.line.Len()))
}

func (g *gate) leave() {
	g.running.Add(-1)
	if g.waiting.Load() > 0 {
		g.mu.Lock()
		g.advance()
		g.mu.Unlock()
	}
}
