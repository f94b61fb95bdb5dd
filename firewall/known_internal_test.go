package firewall

import "testing"

// Identities at any regular distance from each other have places of their own,
// but for what chance does.
func TestScatter(t *testing.T) {
	const callers = 64
	for distance := uint64(16); distance <= 16<<10; distance += 16 {
		taken, shared := map[uint64]bool{}, 0
		for i := range uint64(callers) {
			place := scatter(0xc000123400+i*distance) % uint64(len(knownCallers{}))
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
