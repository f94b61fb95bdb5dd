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
// verified token gives again and again. A place goes to whoever asked last. It
// is safe for concurrent use.
type knownCallers [4096]atomic.Pointer[knownCaller]

func (k *knownCallers) place(id *identity.Identity) *atomic.Pointer[knownCaller] {
	return &k[scatter(uint64(uintptr(unsafe.Pointer(id))))%uint64(len(k))]
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
	if c := k.place(id).Load(); c != nil && c.identity == id {
		return c
	}
	return &knownCaller{identity: id, subject: subjectOf(id)}
}

func (k *knownCallers) put(c *knownCaller) { k.place(c.identity).Store(c) }
