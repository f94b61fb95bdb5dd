package jsonscan_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/graphward/graphward/jsonscan"
)

const deep = 8

// check holds the reader against a decoder: what it reads the decoder must
// read too, to the same end, and a string's value must be the same.
func check(t *testing.T, text string) (read bool) {
	t.Helper()
	r := jsonscan.New([]byte(text))
	raw, ok := r.Value(deep)
	if !ok || r.Peek() != 0 || r.Offset() != len(text) {
		return false
	}
	if !jsontext.Value(text).IsValid() {
		t.Fatalf("%q was read, and is not strict JSON", text)
	}
	if want := strings.Trim(text, " \t\r\n"); string(raw) != want {
		t.Fatalf("%q was read as %q", text, raw)
	}
	if raw[0] == '"' {
		r := jsonscan.New(raw)
		inside, escaped, ok := r.String()
		value := jsonscan.AppendUnescaped(nil, inside)
		want, err := jsontext.AppendUnquote(nil, raw)
		if err != nil || !ok || string(value) != string(want) || escaped != strings.Contains(text, `\`) {
			t.Fatalf("%q is %q (escaped: %v), want %q, %v", text, value, escaped, want, err)
		}
	}
	return true
}

func TestValue(t *testing.T) {
	for text, want := range map[string]bool{
		`{}`: true, ` { "a" : [ 1 , -0.5e+10 , true , false , null , "x" ] , "b":{"a":{}} } `: true,
		`[]`: true, `""`: true, `"é 🙂 \n\t\"\\\/\b\f\r"`: true, `0`: true, `-1`: true, `1E5`: true, "\"a\x7fb\"": true,
		strings.Repeat("[", deep) + strings.Repeat("]", deep): true,

		// beyond the package, though JSON
		`"\u0041"`: false, `{"a\n":1}`: false, strings.Repeat("[", deep+1) + strings.Repeat("]", deep+1): false,
		`{` + strings.Repeat(`"a":1,`, 0) + members(jsonscan.MaxMembers+1) + `}`: false,

		// no strict JSON
		``: false, `{`: false, `[1,]`: false, `{"a":1,}`: false, `{"a"}`: false, `{"a":}`: false, `{a:1}`: false, `{"a":1 "b":2}`: false, `[1 2]`: false,
		`{"a":1,"a":2}`: false, `{"a":{"b":1,"b":1}}`: false, `"`: false, `"\`: false, `"\"`: false, `"\x"`: false, "\"\n\"": false, "\"\x00\"": false,
		"\"\xff\"": false, "\"\xc0\x80\"": false, "\"\xed\xa0\x80\"": false, `01`: false, `1.`: false, `.5`: false, `+1`: false, `-`: false, `1e`: false, `1e+`: false,
		`tru`: false, `nul`: false, `truex`: false, `NaN`: false, `1,`: false, `{}{}`: false, "\ufeff{}": false,
	} {
		if got := check(t, text); got != want {
			t.Errorf("%q: read %v, want %v", text, got, want)
		}
	}
	if !check(t, "{"+members(jsonscan.MaxMembers)+"}") {
		t.Error("MaxMembers members are too many")
	}
}

func members(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + string(rune('a'+i)) + `":1`)
	}
	return b.String()
}

// Every byte at every place of a word, so that no neighbour hides one.
func TestStringBytes(t *testing.T) {
	for at := range 17 {
		for c := range 256 {
			text := `"` + strings.Repeat("x", at) + string([]byte{byte(c)}) + strings.Repeat("y", 17-at) + `"`
			if read, want := check(t, text), c >= ' ' && c < 0x80 && c != '"' && c != '\\'; read != want {
				t.Fatalf("%q: read %v", text, read)
			}
		}
	}
}

func FuzzValue(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5e3,"x\n",{"b":null}],"c":true}`, `"\ud800"`, "\"\x80\"", `{"a":1,"a":1}`, `[[[[]]]]`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) { check(t, text) })
}

// What needs escapes, and what is no UTF-8, goes the slow way.
func TestAppendQuote(t *testing.T) {
	for s, want := range map[string]string{
		"": `""`, "plain text": `"plain text"`, `a "word"`: `"a \"word\""`, `back\slash`: `"back\\slash"`,
		"line\nend": `"line\nend"`, "\x00": `"\u0000"`, "é€😀": `"é€😀"`, "\xff": "\"\ufffd\"",
	} {
		if got := string(jsonscan.AppendQuote([]byte("x"), s)); got != "x"+want {
			t.Errorf("%q: %s, want x%s", s, got, want)
		}
	}
}
