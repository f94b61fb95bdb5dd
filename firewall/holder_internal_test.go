package firewall

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/graphward/graphward/cost/budget"
	"github.com/graphward/graphward/firewall/identity"
)

// TestHolders: whoever asks gets its own keys, also when places are shared and
// taken over.
func TestHolders(t *testing.T) {
	kept := newHolders()
	keys := []string{"subject", "api_key", "certificate", "ip"}
	check := func(h *holder, name string) {
		t.Helper()
		if h.name != name || h.requests != budget.Key(name, "requests") || h.inFlight != budget.Key(name, "in_flight") || h.cost != budget.Key(name, "cost") {
			t.Fatalf("got %+v, want the keys of %s", h, name)
		}
	}
	for range 2 {
		for i := range 3 * holderPlaces {
			text, addr := fmt.Sprint("u", i), netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			ip := kept.ip(addr)
			check(ip, budget.Holder(budget.KindIP, budget.IPPrefix(addr)))
			check(kept.of(keys, &identity.Identity{Issuer: "a", Subject: text}, ip), budget.Holder(budget.KindSubject, "a", text))
			check(kept.of(keys, &identity.Identity{Issuer: text, Subject: "a"}, ip), budget.Holder(budget.KindSubject, text, "a"))
			check(kept.of(keys, &identity.Identity{Method: identity.MethodAPIKey, Key: text}, ip), budget.Holder(budget.KindAPIKey, text))
			check(kept.of(keys, &identity.Identity{Certificate: text}, ip), budget.Holder(budget.KindCertificate, text))
			check(kept.of(keys, &identity.Identity{}, ip), ip.name)
			check(kept.of(keys[3:], &identity.Identity{Subject: text}, ip), ip.name)
		}
	}
	check(kept.ip(netip.Addr{}), budget.Holder(budget.KindIP, ""))
	long := strings.Repeat("x", 2*maxKeptName)
	check(kept.get(budget.KindSubject, "a", long), budget.Holder(budget.KindSubject, "a", long))
	for i := range kept.places {
		if h := kept.places[i].Load(); h != nil && h.b == long {
			t.Error("a long name was kept")
		}
	}
}
