package firewall

import (
	"sync/atomic"
	"unsafe"

	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/policy"
)

// knownCaller is what a generation makes of an identity. Immutable.
type knownCaller struct {
	identity *identity.Identity
	subject  *policy.Subject
	tier     string // empty: it is chosen for each request
}

// knownCallers keeps those whom a generation saw last, by the identity that a
// verified token gives again and again. A pair of places goes to the two who
// asked last, so that two who meet there do not take each other's at each
// request. It is safe for concurrent use.
type knownCallers [2048]struct{ last, before atomic.Pointer[knownCaller] }

func pairOf(id *identity.Identity) uint64 {
	return scatter(uint64(uintptr(unsafe.Pointer(id)))) % uint64(len(knownCallers{}))
}

// scatter hashes an address. Identities lie at regular distances, which one
// multiplication turns into others: at unlucky ones many share few places.
func scatter(at uint64) uint64 {
	at *= 0x9e3779b97f4a7c15
	at ^= at >> 32
	return at * 0x9e3779b97f4a7c15 >> 40
}

// get never returns nil: whom it does not know it makes, without a tier.
func (k *knownCallers) get(id *identity.Identity) *knownCaller {
	pair := &k[pairOf(id)]
	if c := pair.last.Load(); c != nil && c.identity == id {
		return c
	}
	if c := pair.before.Load(); c != nil && c.identity == id {
		return c
	}
	return &knownCaller{identity: id, subject: subjectOf(id)}
}

func (k *knownCallers) put(c *knownCaller) {
	pair := &k[pairOf(c.identity)]
	if old := pair.last.Swap(c); old != nil && old.identity != c.identity {
		pair.before.Store(old)
	}
}
