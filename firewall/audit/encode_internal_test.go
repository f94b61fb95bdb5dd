package audit

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAppendTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
		if got, want := string(appendTime(nil, at)), at.Format(timeFormat); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	})
}

// What an encoder remembers of earlier records changes no later one's bytes.
func TestEncoderRemembers(t *testing.T) {
	text := rapid.SampledFrom([]string{"", "a", "b", `"`, "\u202e", strings.Repeat("x", 2*maxKeptOperation)})
	hash := rapid.SampledFrom([]string{"", "1234567", "12345678aaaa", "12345678bbbb", "87654321"})
	small := rapid.IntRange(0, 1)
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(1, 0)
		var e encoder
		for range rapid.IntRange(1, 30).Draw(t, "records") {
			r := &Record{
				Time: at, Generation: uint64(small.Draw(t, "generation")), PolicyRevision: text.Draw(t, "policy"), SchemaDigest: text.Draw(t, "schema"),
				Operation: Operation{Kind: "query", Name: text.Draw(t, "name"), Hash: hash.Draw(t, "hash"), DocumentID: text.Draw(t, "id"), Registered: small.Draw(t, "registered") > 0},
				Shape:     Shape{Depth: small.Draw(t, "depth"), Tokens: 1}, Cost: Cost{Max: 2},
			}
			if got, want := string(e.append([]byte("x"), r)), string(new(encoder).append([]byte("x"), r)); got != want {
				t.Fatalf("%s\nwant %s", got, want)
			}
		}
	})
}
