package firewall

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const longTime = time.Hour

func TestGateWithoutQueue(t *testing.T) {
	var g gate
	for range 2 {
		if err := g.enter(t.Context(), 2, 0, longTime); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.enter(t.Context(), 2, 0, longTime); !errors.Is(err, errOverloaded) {
		t.Errorf("a third of two: %v", err)
	}
	if err := g.enter(t.Context(), 3, 0, longTime); err != nil {
		t.Errorf("a third of three: %v", err)
	}
	g.leave()
	if err := g.enter(t.Context(), 2, 0, longTime); !errors.Is(err, errOverloaded) {
		t.Errorf("a third of two after a reload to less: %v", err)
	}
	g.leave()
	if err := g.enter(t.Context(), 2, 0, longTime); err != nil {
		t.Errorf("a place that became free: %v", err)
	}
}

// Places go to those who wait in the order in which they came; who finds the
// line full, has waited long enough or has left is told at once.
func TestGateQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		if err := g.enter(t.Context(), 1, 3, time.Second); err != nil {
			t.Fatal(err)
		}
		var order []int
		var group sync.WaitGroup
		gone, leave := context.WithCancel(t.Context())
		come := func(n int, ctx context.Context, patience time.Duration, want error) {
			group.Go(func() {
				err := g.enter(ctx, 1, 3, patience)
				if !errors.Is(err, want) {
					t.Errorf("%d: %v", n, err)
				}
				order = append(order, n)
			})
			synctest.Wait()
		}
		come(1, t.Context(), longTime, nil)
		come(2, gone, longTime, errOverloaded)
		come(3, t.Context(), time.Second, errOverloaded)
		come(4, t.Context(), longTime, errOverloaded) // the line is full
		leave()
		synctest.Wait()
		come(5, t.Context(), longTime, nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if g.waiting.Load() != 2 {
			t.Errorf("%d wait", g.waiting.Load())
		}
		for range 2 {
			g.leave()
			synctest.Wait()
		}
		group.Wait()
		if want := []int{4, 2, 3, 1, 5}; !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
		g.leave()
		if g.running.Load() != 0 || g.waiting.Load() != 0 || g.line.Len() != 0 {
			t.Errorf("%d run, %d wait", g.running.Load(), g.waiting.Load())
		}
	})
}

// However they come and go, there are never more than places, nobody is
// forgotten in the line, and none of the places is lost.
func TestGateCrowd(t *testing.T) {
	const places, people = 3, 64
	var g gate
	var inside, most, admitted, refused atomic.Int64
	var group sync.WaitGroup
	for i := range people {
		group.Go(func() {
			for range 500 {
				ctx, cancel := context.WithCancel(t.Context())
				if i%8 == 0 {
					time.AfterFunc(time.Duration(i)*time.Microsecond, cancel)
				}
				if g.enter(ctx, places, people/2, longTime) != nil {
					refused.Add(1)
				} else {
					admitted.Add(1)
					n := inside.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					inside.Add(-1)
					g.leave()
				}
				cancel()
			}
		})
	}
	group.Wait()
	if most.Load() > places || admitted.Load() == 0 || admitted.Load()+refused.Load() != 500*people {
		t.Errorf("%d at once, %d admitted, %d refused", most.Load(), admitted.Load(), refused.Load())
	}
	if g.running.Load() != 0 || g.waiting.Load() != 0 || g.line.Len() != 0 {
		t.Errorf("%d run, %d wait", g.running.Load(), g.waiting.Load())
	}
}
