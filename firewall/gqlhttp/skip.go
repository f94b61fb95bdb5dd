package gqlhttp

import (
	"encoding/binary"
	"math/bits"
)

// skipper finds the end of a JSON value, fed in pieces. It counts brackets
// outside strings; text that is not JSON may end anywhere.
type skipper struct {
	depth  int
	str    bool
	escape bool // the next byte of the string is escaped
}

// advance returns how many bytes of p belong to the value, and whether it ended
// with them.
func (s *skipper) advance(p []byte) (n int, end bool) {
	for n < len(p) {
		if s.escape {
			s.escape = false
			n++
			continue
		}
		few := p[n:min(n+blockSize, len(p))]
		if s.depth > 0 && len(few) == blockSize && s.block((*[blockSize]byte)(few)) {
			n += blockSize
			continue
		}
		m, end := s.bytes(few)
		n += m
		if end {
			return n, true
		}
	}
	return n, false
}

// bytes is advance, byte by byte.
func (s *skipper) bytes(p []byte) (n int, end bool) {
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case s.escape:
			s.escape = false
		case s.str:
			switch c {
			case '\\':
				s.escape = true
			case '"':
				if s.str = false; s.depth == 0 {
					return i + 1, true
				}
			}
		case c == '"':
			s.str = true
		case c == '{' || c == '[':
			s.depth++
		case c == '}' || c == ']':
			if s.depth == 0 {
				return i, true
			}
			if s.depth--; s.depth == 0 {
				return i + 1, true
			}
		case s.depth == 0:
			if c == ',' || c <= ' ' {
				return i, true
			}
		}
	}
	return len(p), false
}

const blockSize = 64

// block takes as many bytes of a value with an open bracket at once, by one bit
// for each in place of a branch. It takes none where the value ends among them,
// or a backslash stands outside strings. No byte before them may be a backslash
// that escapes.
func (s *skipper) block(b *[blockSize]byte) bool {
	var quotes, anySlash, slashes, opens, closes uint64
	for i := uint(0); i < blockSize; i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		quotes |= gather(equal(x, '"')) << (i & 63)
		anySlash |= equal(x, '\\')
		brackets := x | 0x20*everyByte // of [ ] it makes { }
		opens |= gather(equal(brackets, '{')) << (i & 63)
		closes |= gather(equal(brackets, '}')) << (i & 63)
	}
	if anySlash != 0 {
		for i := uint(0); i < blockSize; i += 8 {
			slashes |= gather(equal(binary.LittleEndian.Uint64(b[i:]), '\\')) << (i & 63)
		}
	}
	escape := false
	for rest := slashes; rest != 0; {
		after := rest & -rest << 1
		escape = after == 0
		quotes &^= after
		rest &= rest - 1
		rest &^= after
	}
	// A bit is set from an opening quote to before the closing one.
	inside := quotes
	inside ^= inside << 1
	inside ^= inside << 2
	inside ^= inside << 4
	inside ^= inside << 8
	inside ^= inside << 16
	inside ^= inside << 32
	if s.str {
		inside = ^inside
	}
	if slashes&^inside != 0 {
		return false
	}
	opens &^= inside
	closes &^= inside
	if bits.OnesCount64(closes) >= s.depth && ends(opens, closes, s.depth) {
		return false
	}
	s.depth += bits.OnesCount64(opens) - bits.OnesCount64(closes)
	s.str, s.escape = inside>>(blockSize-1) == 1, escape
	return true
}

// ends reports whether brackets close all of depth.
func ends(opens, closes uint64, depth int) bool {
	for rest := opens | closes; rest != 0; rest &= rest - 1 {
		if rest&-rest&closes == 0 {
			depth++
		} else if depth--; depth == 0 {
			return true
		}
	}
	return false
}

const everyByte = 0x0101010101010101

// equal has the highest bit of each of x's bytes that is c, and no other.
func equal(x uint64, c byte) uint64 {
	x ^= uint64(c) * everyByte
	return ^(x&(0x7f*everyByte) + 0x7f*everyByte | x | 0x7f*everyByte)
}

// gather puts the highest bits of x's bytes side by side, the lowest byte's first.
func gather(x uint64) uint64 { return x >> 7 * 0x0102040810204080 >> 56 }
