package audit

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The fast judgement against the slow one: every byte at every place of a
// word, beside every kind of neighbour.
func TestUsualIsPlainWithoutQuotes(t *testing.T) {
	for _, around := range []string{"a", " ", "~", "\x00", "\x1f", "\x7f", "\x80", "\xff", `"`, `\`} {
		for at := range 19 {
			for b := range 256 {
				s := strings.Repeat("x", at) + string([]byte{byte(b)}) + around + strings.Repeat("y", 18-at)
				plain, quotes := plain(s, len(s))
				if usual(s) != (plain && !quotes) {
					t.Fatalf("%q: usual %v, plain %v, quotes %v", s, usual(s), plain, quotes)
				}
			}
		}
	}
}

func TestAppendTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
		if got, want := string(appendTime(nil, at)), at.Format(timeFormat); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	})
}
