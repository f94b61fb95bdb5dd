package gqlhttp

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// byByte is what skipper does, without blocks.
func byByte(s *skipper, p []byte) (int, bool) { return s.bytes(p) }

// fed is what advance finds in text, fed in pieces of the given sizes, in turn.
func fed(text []byte, sizes []int, advance func(*skipper, []byte) (int, bool)) (s skipper, n int, end bool) {
	for i := 0; n < len(text) && !end; i++ {
		piece := text[n:min(len(text), n+1+sizes[i%len(sizes)])]
		m, over := advance(&s, piece)
		n, end = n+m, over
		if !over && m != len(piece) {
			panic("an unfinished piece")
		}
	}
	return s, n, end
}

func checkSkip(t *testing.T, text []byte, sizes []int) {
	t.Helper()
	want, wantN, wantEnd := fed(text, []int{len(text)}, byByte)
	got, n, end := fed(text, sizes, (*skipper).advance)
	if n != wantN || end != wantEnd || !end && got != want {
		t.Errorf("in pieces of %d: %d %v %+v, byte by byte %d %v %+v, of %q", sizes, n, end, got, wantN, wantEnd, want, text)
	}
}

// Blocks are as byte by byte, for texts of what JSON is made of, and for any.
func FuzzSkip(f *testing.F) {
	f.Add([]byte(`{"data":{"a":[1,2,{"b":"c\\\"}"}],"d":"`+strings.Repeat(`\\`, 70)+`"}},"errors":[]`), byte(200), byte(3))
	f.Add([]byte(strings.Repeat(`[{"a":"b"},`, 30)), byte(63), byte(64))
	f.Fuzz(func(t *testing.T, text []byte, a, b byte) { checkSkip(t, text, []int{int(a), int(b)}) })
}

func TestSkip(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	parts := []string{`"`, `\`, `{`, `}`, `[`, `]`, `a`, `,`, ` `, `:`, "\xfb", "\xfd", "\xa2", "\x00", "[", "DX\x7f", `"b":`, strings.Repeat("x", 40), `{"`, `"}`, `\"`}
	for range 20000 {
		text := []byte(strings.Repeat("[", random.IntN(8)))
		for range random.IntN(120) {
			text = append(text, parts[random.IntN(len(parts))]...)
		}
		checkSkip(t, text, []int{random.IntN(200), random.IntN(80)})
	}
}
