package identity

import (
	"sync"
	"time"
)

// verdict is what an earlier verification of a credential found. It is
// immutable.
type verdict struct {
	identity *Identity
	failure  *UnauthenticatedError // instead of identity

	until  time.Time        // when the verdict ends
	key    *verificationKey // that signed; nil for credentials without
	issuer *issuer          // of a JWT, else nil
	apiKey *apiKey          // instead of identity, which may end by itself
	bound  string           // fingerprint of the certificate that must come with it
}

const cacheShards = 16

// cache maps digests to verdicts, at most about size of them.
type cache struct {
	shards [cacheShards]cacheShard
	limit  int // per shard
}

type cacheShard struct {
	mu      sync.RWMutex
	entries map[digest]*verdict
}

func newCache(size int) *cache {
	c := &cache{limit: max(1, size/cacheShards)}
	for i := range c.shards {
		c.shards[i].entries = make(map[digest]*verdict)
	}
	return c
}

// get returns the verdict of a credential, nil when there is none that
// still holds: an ended one and one by a revoked key do not.
func (c *cache) get(of digest, now time.Time) *verdict {
	shard := &c.shards[of[0]%cacheShards]
	shard.mu.RLock()
	v := shard.entries[of]
	shard.mu.RUnlock()
	if v == nil || !now.Before(v.until) || v.key != nil && v.key.revoked.Load() {
		return nil
	}
	return v
}

// put keeps a verdict. In a full shard it takes the place of the one that
// ends first among a few, which Go's map order chooses.
func (c *cache) put(of digest, v *verdict) {
	shard := &c.shards[of[0]%cacheShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if _, present := shard.entries[of]; !present && len(shard.entries) >= c.limit {
		const sample = 8
		var victim digest
		var ends time.Time
		seen := 0
		for key, held := range shard.entries {
			if seen == 0 || held.until.Before(ends) {
				victim, ends = key, held.until
			}
			if seen++; seen == sample {
				break
			}
		}
		delete(shard.entries, victim)
	}
	shard.entries[of] = v
}
