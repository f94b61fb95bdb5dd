package schema

import "hash/maphash"

// Names numbers distinct strings, such as response keys, in the order in which
// they come. It is faster than a map and is emptied at no cost, so that one can be
// used again and again. The hash is seeded for each process: no client can choose
// names that collide. The zero Names is empty. Not safe for concurrent use.
type Names struct {
	list  []string
	slots []nameSlot // open addressing; a power of two, at most half full
	round uint32     // slots of other rounds are empty
}

type nameSlot struct {
	round  uint32
	number int32
}

var namesSeed = maphash.MakeSeed()

// keptNames bounds how many names a table that is used again keeps room for.
const keptNames = 4096

// Len is how many names there are.
func (n *Names) Len() int { return len(n.list) }

// Reset forgets all names, and holds on to none of their strings.
func (n *Names) Reset() {
	if cap(n.list) > keptNames {
		*n = Names{}
		return
	}
	clear(n.list)
	n.list = n.list[:0]
	if n.round++; n.round == 0 {
		clear(n.slots)
		n.round = 1
	}
}

// Number returns the name's number, which is the next one if it is new.
func (n *Names) Number(name string) (number int32, isNew bool) {
	if 2*(len(n.list)+1) > len(n.slots) {
		n.grow()
	}
	at := n.slot(name)
	if at.round == n.round {
		return at.number, false
	}
	*at = nameSlot{round: n.round, number: int32(len(n.list))}
	n.list = append(n.list, name)
	return at.number, true
}

// slot returns where name is, or else belongs.
func (n *Names) slot(name string) *nameSlot {
	mask := uint64(len(n.slots) - 1)
	for i := maphash.String(namesSeed, name) & mask; ; i = (i + 1) & mask {
		if s := &n.slots[i]; s.round != n.round || n.list[s.number] == name {
			return s
		}
	}
}

func (n *Names) grow() {
	n.slots = make([]nameSlot, max(64, 2*len(n.slots)))
	n.round = 1
	for i, name := range n.list {
		*n.slot(name) = nameSlot{round: n.round, number: int32(i)}
	}
}
