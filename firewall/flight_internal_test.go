package firewall

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// Those who ask for one document while it is compiled get what the first gets; a
// document of the same hash is compiled by itself.
func TestFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flight
		var builds atomic.Int32
		gate := make(chan struct{})
		want, failed := &plan{}, errors.New("refused")
		key := &documentKey{document: "{a}"}
		answers := make(chan *plan, 9)
		for range 9 {
			go func() {
				p, err := f.do(1, &documentKey{document: "{a}"}, func() (*plan, error) {
					builds.Add(1)
					<-gate
					return want, failed
				})
				if !errors.Is(err, failed) {
					t.Errorf("got %v", err)
				}
				answers <- p
			}()
		}
		synctest.Wait()
		other := &plan{}
		if p, err := f.do(1, &documentKey{document: "{b}"}, func() (*plan, error) { return other, nil }); p != other || err != nil {
			t.Errorf("the other document got %p, %v", p, err)
		}
		close(gate)
		for range 9 {
			if p := <-answers; p != want {
				t.Errorf("got %p, want %p", p, want)
			}
		}
		if builds.Load() != 1 {
			t.Errorf("%d compilations", builds.Load())
		}
		if p, err := f.do(1, key, func() (*plan, error) { return other, nil }); p != other || err != nil {
			t.Errorf("afterwards got %p, %v", p, err)
		}
		if len(f.calls) != 0 {
			t.Errorf("%d calls are left", len(f.calls))
		}
	})
}

// Who waits for a compilation that panics is refused, and the next one is new.
func TestFlightPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flight
		gate, waited := make(chan struct{}), make(chan error, 1)
		go func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was kept back")
				}
			}()
			_, _ = f.do(1, &documentKey{}, func() (*plan, error) { <-gate; panic("compiler") })
		}()
		synctest.Wait()
		go func() {
			p, err := f.do(1, &documentKey{}, func() (*plan, error) { return &plan{}, nil })
			if p != nil {
				t.Error("a plan came of a panic")
			}
			waited <- err
		}()
		synctest.Wait()
		close(gate)
		if err := <-waited; !errors.Is(err, errFlight) {
			t.Errorf("got %v", err)
		}
		if p, err := f.do(1, &documentKey{}, func() (*plan, error) { return &plan{}, nil }); p == nil || err != nil {
			t.Errorf("afterwards got %p, %v", p, err)
		}
	})
}
