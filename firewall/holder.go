package firewall

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"

	"github.com/graphward/graphward/cost/budget"
	"github.com/graphward/graphward/firewall/identity"
)

// holder is whose budget is spent, with the keys of the buckets that every
// request needs. Immutable.
type holder struct {
	kind budget.Kind
	a, b string     // what names it
	addr netip.Addr // for budget.KindIP instead
	text string     // addr's

	name                     string // budget.Holder's
	requests, inFlight, cost string // budget.Key's
	unregistered             string // the cost of operations with a tier of their own
}

func newHolder(kind budget.Kind, a, b string, addr netip.Addr) *holder {
	h := &holder{kind: kind, a: a, b: b, addr: addr}
	switch kind {
	case budget.KindIP:
		h.name, h.text = ipHolder(addr), addr.String()
	case budget.KindSubject:
		h.name = budget.Holder(kind, a, b)
	default:
		h.name = budget.Holder(kind, a)
	}
	h.requests, h.inFlight, h.cost = budget.Key(h.name, "requests"), budget.Key(h.name, "in_flight"), budget.Key(h.name, "cost")
	h.unregistered = budget.Key(h.name, "cost", "unregistered")
	return h
}

// holders keeps the holders that were seen last. A place is chosen by a keyed
// hash and goes to whoever asked last, so that many clients cost each other the
// making of a holder and nothing else. It is safe for concurrent use.
type holders struct {
	seed   maphash.Seed
	places [holderPlaces]atomic.Pointer[holder]
}

const (
	holderPlaces = 4096
	// maxKeptName bounds what one place holds.
	maxKeptName = 256
)

func newHolders() *holders { return &holders{seed: maphash.MakeSeed()} }

func (k *holders) get(kind budget.Kind, a, b string) *holder {
	place := &k.places[(maphash.String(k.seed, a)^maphash.String(k.seed, b)*3)%holderPlaces]
	if h := place.Load(); h != nil && h.kind == kind && h.a == a && h.b == b {
		return h
	}
	h := newHolder(kind, a, b, netip.Addr{})
	if len(a)+len(b) <= maxKeptName {
		place.Store(h)
	}
	return h
}

func (k *holders) ip(addr netip.Addr) *holder {
	place := &k.places[maphash.Comparable(k.seed, addr)%holderPlaces]
	if h := place.Load(); h != nil && h.kind == budget.KindIP && h.addr == addr {
		return h
	}
	h := newHolder(budget.KindIP, "", "", addr)
	place.Store(h)
	return h
}

// of is whose budget is spent: the first of budgets.key that the caller
// has, else the address. A client's name is never one: it is not proven.
func (k *holders) of(keys []string, id *identity.Identity, ip *holder) *holder {
	for _, kind := range keys {
		switch {
		case kind == "subject" && id.Subject != "":
			return k.get(budget.KindSubject, id.Issuer, id.Subject)
		case kind == "api_key" && id.Method == identity.MethodAPIKey && id.Key != "":
			return k.get(budget.KindAPIKey, id.Key, "")
		case kind == "certificate" && id.Certificate != "":
			return k.get(budget.KindCertificate, id.Certificate, "")
		case kind == "ip":
			return ip
		}
	}
	return ip
}

func ipHolder(ip netip.Addr) string { return budget.Holder(budget.KindIP, budget.IPPrefix(ip)) }
