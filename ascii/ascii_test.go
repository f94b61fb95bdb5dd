package ascii

import (
	"bytes"
	"strings"
	"testing"
)

func plainByte(c byte) bool { return c >= ' ' && c < 0x7f && c != '"' && c != '\\' }

func printableByte(c byte) bool { return c >= ' ' && c < 0x7f }

// upTo counts the bytes at the beginning of s for which is holds, one by one.
func upTo(s []byte, is func(byte) bool) int {
	n := 0
	for n < len(s) && is(s[n]) {
		n++
	}
	return n
}

func hold(t *testing.T, s []byte) {
	t.Helper()
	if got, want := Plain(s), upTo(s, plainByte); got != want || Plain(string(s)) != want {
		t.Errorf("Plain(%q) = %d and %d as a string, one by one %d", s, got, Plain(string(s)), want)
	}
	want := upTo(s, printableByte)
	if got := Printable(s); got > want || got < want-7 || got != Printable(string(s)) {
		t.Errorf("Printable(%q) = %d, one by one %d", s, got, want)
	}
}

// Every byte at every place of a word, before every kind of neighbour.
func TestEveryByte(t *testing.T) {
	for _, next := range []string{"a", " ", "~", "\x00", "\x1f", "\x7f", "\x80", "\xff", `"`, `\`} {
		for at := range 19 {
			for c := range 256 {
				hold(t, []byte(strings.Repeat("x", at)+string([]byte{byte(c)})+next+strings.Repeat("y", 18-at)))
			}
		}
	}
	hold(t, nil)
}

func FuzzASCII(f *testing.F) {
	f.Add([]byte("a usual text"))
	f.Add(bytes.Repeat([]byte{0x80, ' ', 0x1f, '"'}, 5))
	f.Fuzz(func(t *testing.T, s []byte) { hold(t, s) })
}

func BenchmarkPlain(b *testing.B) {
	text := []byte(strings.Repeat("{ viewer { name } }", 64))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		Plain(text)
	}
}
