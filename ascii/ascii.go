// Package ascii judges text eight bytes at a time. It answers for what most
// text is, and leaves the rest to whoever asks.
package ascii

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// Printable returns how many bytes at the beginning of s are certainly visible
// ASCII or spaces. It may stop up to seven bytes before the first other one.
func Printable[T string | []byte](s T) (n int) {
	for ; len(s)-n >= 8; n += 8 {
		x := word(s[n : n+8])
		// A byte's highest bit is set by x for those above 0x7f, and by the
		// differences for those below 0x20 and for 0x7f. A borrow that sets
		// another's comes only from a byte below it that is one of these.
		if (x|(x-0x20*ones)|(x^0x7f*ones-ones))&highs != 0 {
			break
		}
	}
	return n
}

// Plain returns how many bytes at the beginning of s are visible ASCII or
// spaces, but neither quotes nor backslashes: what stands in a JSON string as it
// is (RFC 8259 section 7) and deceives nobody who reads a log.
func Plain[T string | []byte](s T) (n int) {
	for ; len(s)-n >= 8; n += 8 {
		x := word(s[n : n+8])
		if (x|(x-0x20*ones)|(x^0x7f*ones-ones)|(x^'"'*ones-ones)|(x^'\\'*ones-ones))&highs != 0 {
			break
		}
	}
	for ; n < len(s); n++ {
		if c := s[n]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			break
		}
	}
	return n
}

// word is eight bytes as a number, which the compiler reads at once.
func word[T string | []byte](t T) uint64 {
	return uint64(t[0]) | uint64(t[1])<<8 | uint64(t[2])<<16 | uint64(t[3])<<24 |
		uint64(t[4])<<32 | uint64(t[5])<<40 | uint64(t[6])<<48 | uint64(t[7])<<56
}
