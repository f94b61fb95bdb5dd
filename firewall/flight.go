package firewall

import (
	"errors"
	"sync"
)

// flight lets those who ask for one document at the same time share one
// compilation. The zero flight is ready; it is safe for concurrent use.
type flight struct {
	mu    sync.Mutex
	calls map[uint64]*flightCall // by the key's hash
}

// flightCall is a compilation that goes on; plan and err are set once done is closed.
type flightCall struct {
	key  *documentKey
	done chan struct{} // made by the first who waits
	plan *plan
	err  error
}

// errFlight is what those get who waited for a compilation that panicked.
var errFlight = errors.New("the compilation of the same document for another request broke off")

// do returns what build returns, or what it returns at this time for another who
// asks for the same key. hash is the key's; of two keys that share one, the second
// is built by itself.
func (f *flight) do(hash uint64, key *documentKey, build func() (*plan, error)) (*plan, error) {
	f.mu.Lock()
	if c := f.calls[hash]; c != nil {
		if *c.key != *key {
			f.mu.Unlock()
			return build()
		}
		if c.done == nil {
			c.done = make(chan struct{})
		}
		f.mu.Unlock()
		<-c.done
		return c.plan, c.err
	}
	if f.calls == nil {
		f.calls = map[uint64]*flightCall{}
	}
	c := &flightCall{key: key, err: errFlight}
	f.calls[hash] = c
	f.mu.Unlock()
	defer f.land(hash, c)
	c.plan, c.err = build()
	return c.plan, c.err
}

// land ends a call, also one that panics.
func (f *flight) land(hash uint64, c *flightCall) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.calls, hash)
	if c.done != nil {
		close(c.done)
	}
}
