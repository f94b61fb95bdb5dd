package upstream

import (
	"math/rand/v2"
	"sync"
	"time"
)

// shards divides the pool's lock. A request takes one of them at random, and
// the next only when that one is empty.
const shards = 4

// pool keeps unused connections, those last used first.
type pool struct {
	shards [shards]shard
	max    int // in each shard
	age    time.Duration

	mu     sync.Mutex
	sweep  *time.Timer
	closed bool
}

type shard struct {
	mu     sync.Mutex
	conns  []kept
	closed bool
	_      [32]byte // a cache line of its own
}

type kept struct {
	address string
	conn    *conn
}

func (p *pool) start(age time.Duration, max int) {
	p.age, p.max = age, (max+shards-1)/shards
	// The timer's function waits for mu, so that it sees itself set.
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweep = time.AfterFunc(age, p.sweepOld)
}

func (p *pool) sweepOld() {
	p.evict(time.Now().Add(-p.age))
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.sweep.Reset(p.age / 2)
	}
}

// get returns the connection to address that was used last in its shard, nil
// when there is none.
func (p *pool) get(address string) *conn {
	first := rand.Uint32()
	for i := range uint32(shards) {
		if k := p.shards[(first+i)%shards].get(address); k != nil {
			return k
		}
	}
	return nil
}

func (s *shard) get(address string) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.conns) - 1; i >= 0; i-- {
		if s.conns[i].address != address {
			continue
		}
		k := s.conns[i].conn
		last := len(s.conns) - 1
		copy(s.conns[i:], s.conns[i+1:])
		s.conns[last] = kept{}
		s.conns = s.conns[:last]
		return k
	}
	return nil
}

// put keeps a connection; one that finds no place is closed.
func (p *pool) put(address string, k *conn) {
	s := &p.shards[rand.Uint32()%shards]
	s.mu.Lock()
	full := s.closed || len(s.conns) >= p.max
	if !full {
		s.conns = append(s.conns, kept{address, k})
	}
	s.mu.Unlock()
	if full {
		k.close()
	}
}

// evict closes what was last used before the given time; the zero time is all.
func (p *pool) evict(before time.Time) {
	for i := range p.shards {
		s := &p.shards[i]
		var old []*conn
		s.mu.Lock()
		left := s.conns[:0]
		for _, k := range s.conns {
			if before.IsZero() || k.conn.used.Before(before) {
				old = append(old, k.conn)
			} else {
				left = append(left, k)
			}
		}
		clear(s.conns[len(left):])
		s.conns = left
		s.mu.Unlock()
		for _, k := range old {
			k.close()
		}
	}
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.sweep.Stop()
	p.mu.Unlock()
	for i := range p.shards {
		p.shards[i].mu.Lock()
		p.shards[i].closed = true
		p.shards[i].mu.Unlock()
	}
	p.evict(time.Time{})
}
