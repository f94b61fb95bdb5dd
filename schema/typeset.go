package schema

import (
	"encoding/binary"
	"math/bits"
)

// Intersects reports whether the sets share an object type.
func (t TypeSet) Intersects(o TypeSet) bool {
	for i := range min(len(t), len(o)) {
		if t[i]&o[i] != 0 {
			return true
		}
	}
	return false
}

// Empty reports whether the set has no member. A nil set is empty.
func (t TypeSet) Empty() bool {
	for _, w := range t {
		if w != 0 {
			return false
		}
	}
	return true
}

// Len counts the members.
func (t TypeSet) Len() int {
	n := 0
	for _, w := range t {
		n += bits.OnesCount64(w)
	}
	return n
}

// Intersect returns the common members as a new set; the operands are left
// alone.
func (t TypeSet) Intersect(o TypeSet) TypeSet {
	out := make(TypeSet, min(len(t), len(o)))
	for i := range out {
		out[i] = t[i] & o[i]
	}
	return out
}

// SubsetOf reports whether every member of t is in o.
func (t TypeSet) SubsetOf(o TypeSet) bool {
	for i, w := range t {
		if i >= len(o) {
			if w != 0 {
				return false
			}
		} else if w&^o[i] != 0 {
			return false
		}
	}
	return true
}

// Equal reports whether the sets have the same members, whatever their lengths.
func (t TypeSet) Equal(o TypeSet) bool { return t.SubsetOf(o) && o.SubsetOf(t) }

// All yields the members in ascending order.
func (t TypeSet) All(yield func(int) bool) {
	for i, w := range t {
		for ; w != 0; w &= w - 1 {
			if !yield(i<<6 + bits.TrailingZeros64(w)) {
				return
			}
		}
	}
}

// appendKey appends bytes that equal sets, and only they, have in common.
func (t TypeSet) appendKey(dst []byte) []byte {
	for len(t) > 0 && t[len(t)-1] == 0 {
		t = t[:len(t)-1]
	}
	for _, w := range t {
		dst = binary.LittleEndian.AppendUint64(dst, w)
	}
	return dst
}
