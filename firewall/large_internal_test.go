package firewall

import "testing"

// TestLargePieces: what is lent is bounded, and comes back.
func TestLargePieces(t *testing.T) {
	var l largePieces
	if b := l.borrow(largeAnswer - 1); b != nil {
		t.Error("an answer that is not large has a large piece")
	}
	if b := l.borrow(-1); b != nil {
		t.Error("an answer of unknown length has a large piece")
	}
	var lent []*[]byte
	for range maxLarge {
		b := l.borrow(largeAnswer)
		if b == nil || len(*b) != largePiece {
			t.Fatalf("piece %d is missing or of another size", len(lent))
		}
		lent = append(lent, b)
	}
	if b := l.borrow(largeAnswer); b != nil {
		t.Error("more are lent than the bound says")
	}
	l.giveBack(nil)
	for _, b := range lent {
		l.giveBack(b)
	}
	if b := l.borrow(largeAnswer); b == nil {
		t.Error("what came back is not lent again")
	}
}
