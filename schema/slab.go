package schema

// slab hands out values of a document's tree from few allocations. It never
// takes one back: the garbage collector has a chunk when all in it is unused.
type slab[T any] struct {
	free []T
	// chunk is how many values the next allocation holds at least; it doubles.
	chunk int
}

// smallestChunk and largestChunk bound what a slab allocates unasked.
const (
	smallestChunk = 4
	largestChunk  = 128
)

// expect makes the next chunk hold n values, as far as chunks go, for a slab of which
// n will be asked.
func (s *slab[T]) expect(n int) { s.chunk = min(n, largestChunk) }

// one returns a new value.
func (s *slab[T]) one() *T {
	if len(s.free) == 0 {
		s.grow(1)
	}
	v := &s.free[0]
	s.free = s.free[1:]
	return v
}

// copied returns a copy of list that nothing can be appended to in place; nil
// for an empty one.
func (s *slab[T]) copied(list []T) []T {
	n := len(list)
	if n == 0 {
		return nil
	}
	if len(s.free) < n {
		s.grow(n)
	}
	out := s.free[:n:n]
	s.free = s.free[n:]
	copy(out, list)
	return out
}

func (s *slab[T]) grow(n int) {
	s.free = make([]T, max(n, s.chunk, smallestChunk))
	s.chunk = min(2*len(s.free), largestChunk)
}

// release lets go of what was handed out and of what is left.
func (s *slab[T]) release() { *s = slab[T]{} }
