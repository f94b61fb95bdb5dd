package audit

import (
	"math"
	"strconv"
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

// A number is written as strconv has it, whichever way was taken.
func TestFloat(t *testing.T) {
	number := rapid.OneOf(rapid.Float64(), rapid.Float64Range(-3, 3),
		rapid.Map(rapid.Int64(), func(n int64) float64 { return float64(n) }),
		rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1 << 53, -1 << 53, 1<<53 - 1, 1e21, 1e-7, 1e20, -1}))
	rapid.Check(t, func(t *rapid.T) {
		x := number.Draw(t, "x")
		format := byte('f')
		if abs := math.Abs(x); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
			format = 'e'
		}
		want := "{k:" + strconv.FormatFloat(x, format, -1, 64)
		switch {
		case math.IsNaN(x):
			want = `{k:"NaN"`
		case math.IsInf(x, 0):
			want = `{k:"` + strconv.FormatFloat(x, 'f', -1, 64) + `"`
		}
		if got := string(object("{").float("k:", x)); got != want {
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
