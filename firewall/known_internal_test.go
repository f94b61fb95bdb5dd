package firewall

import (
	"testing"

	"github.com/graphward/graphward/firewall/identity"
)

// Two callers whose places are the same are both kept, a third takes the place
// of who asked first.
func TestKnownCallers(t *testing.T) {
	var k knownCallers
	pairs := map[uint64][]*identity.Identity{}
	var three []*identity.Identity
	for len(three) < 3 {
		id := new(identity.Identity)
		pairs[pairOf(id)] = append(pairs[pairOf(id)], id)
		three = pairs[pairOf(id)]
	}
	kept := func() (n [3]bool) {
		for i, id := range three {
			c := k.get(id)
			if n[i] = c.tier != ""; c.identity != id || c.subject == nil {
				t.Fatalf("another caller: %+v", c)
			}
		}
		return n
	}
	for i, want := range [][3]bool{{true}, {true}, {true, true}, {true, true}, {false, true, true}} {
		caller := three[[]int{0, 0, 1, 1, 2}[i]]
		k.put(&knownCaller{identity: caller, subject: subjectOf(caller), tier: "gold"})
		if got := kept(); got != want {
			t.Errorf("after %d: %v are kept, want %v", i, got, want)
		}
	}
}

// Identities at any regular distance from each other have hashes of their own,
// but for what chance does.
func TestScatter(t *testing.T) {
	const callers = 64
	for distance := uint64(16); distance <= 16<<10; distance += 16 {
		taken, shared := map[uint64]bool{}, 0
		for i := range uint64(callers) {
			place := scatter(0xc000123400+i*distance) % (2 * uint64(len(knownCallers{})))
			if taken[place] {
				shared++
			}
			taken[place] = true
		}
		if shared > callers/8 {
			t.Errorf("%d of %d callers, %d bytes apart, share a place", shared, callers, distance)
		}
	}
}
