package gqlhttp

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"
)

// TestUnquote: the short way to a document's text finds what the JSON library finds.
func TestUnquote(t *testing.T) {
	inside := rapid.SliceOf(rapid.SampledFrom([]string{`\\`, `\"`, `\n`, `\t`, `\r`, `\b`, `\f`, `\/`, `\u0041`, `\ud83d\ude00`, "é", "a", "{", "}", "["}))
	rapid.Check(t, func(t *rapid.T) {
		raw := []byte{'"'}
		for _, part := range inside.Draw(t, "inside") {
			raw = append(raw, part...)
		}
		end := len(raw)
		raw = append(raw, '"')
		want, err := jsontext.AppendUnquote(nil, raw)
		if err != nil {
			t.Fatal(err)
		}
		if got, e := unquote(raw); e != nil || got != string(want) {
			t.Fatalf("unquote(%s) = %q, %v; want %q", raw, got, e, want)
		}
		if got := closing(append(raw, `,"["`...), 0); got != end {
			t.Fatalf("%s ends at %d, not at %d", raw, got, end)
		}
		if got := closing(raw[:end], 0); got != end {
			t.Fatalf("%s ends at %d, not at its end", raw[:end], got)
		}
	})
}
