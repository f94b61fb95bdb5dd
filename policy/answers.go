package policy

import (
	"hash/maphash"
	"sync"
)

// The bounds of an answers cache: together some 64 MiB. A key longer than
// maxAnswerKey is evaluated each time.
const (
	answerShards    = 16
	answersPerShard = 8192
	maxAnswerKey    = 4 << 10
	maxShardBytes   = 2 << 20
)

// answers caches values by projected input. It holds two generations a shard:
// a full one becomes the old one, and what is used moves to the young one, so
// it is bounded and cheap. It is safe for concurrent use.
type answers struct {
	seed   maphash.Seed
	shards [answerShards]answerShard
}

type answerShard struct {
	mu         sync.RWMutex
	young, old map[string]answer
	bytes      int // of young
}

type answer struct {
	value any
	size  int
}

func newAnswers() *answers {
	a := &answers{seed: maphash.MakeSeed()}
	for i := range a.shards {
		a.shards[i].young = map[string]answer{}
	}
	return a
}

func (a *answers) shard(key []byte) *answerShard {
	return &a.shards[maphash.Bytes(a.seed, key)%answerShards]
}

// get returns the cached value, or nil. It does not allocate.
func (a *answers) get(key []byte) any {
	s := a.shard(key)
	s.mu.RLock()
	v, ok := s.young[string(key)]
	if ok {
		s.mu.RUnlock()
		return v.value
	}
	v, ok = s.old[string(key)]
	s.mu.RUnlock()
	if ok {
		a.put(key, v.value, v.size)
	}
	return v.value
}

// put stores a value that is not nil and holds about size bytes.
func (a *answers) put(key []byte, value any, size int) {
	if len(key) > maxAnswerKey {
		return
	}
	s := a.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if cost := size + len(key); len(s.young) >= answersPerShard || s.bytes+cost > maxShardBytes {
		s.old, s.young, s.bytes = s.young, map[string]answer{}, 0
	}
	s.young[string(key)] = answer{value, size}
	s.bytes += size + len(key)
}
