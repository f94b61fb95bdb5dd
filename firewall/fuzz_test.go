package firewall

import (
	"bytes"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// FuzzExtension puts a member into the extensions of any answer: what was JSON
// stays JSON, the member is there, and no other byte changes.
func FuzzExtension(f *testing.F) {
	for _, s := range []string{
		`{"data":{"a":1}}`, `{}`, ` { } `, `{"extensions":{}}`, `{"extensions":{ "a":1 },"data":null}`, `{"extensions":null}`,
		`{"extensions":{},"extensions":{}}`, `{"\u0065xtensions":{"cost":1}}`, `{"data":{"extensions":{}}}`, `{"data":1} {}`, `{"data":1`, `[]`,
	} {
		f.Add([]byte(s))
	}
	value := []byte(`{"requested":1}`)
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		out, told := withExtension(body, "cost", value)
		if !bytes.Equal(before, body) {
			t.Fatal("the answer itself was changed")
		}
		if !told {
			if !bytes.Equal(out, body) {
				t.Fatalf("untold, yet %q became %q", body, out)
			}
			return
		}
		extra := len(out) - len(body)
		at := 0
		for at < len(body) && body[at] == out[at] {
			at++
		}
		// The member may begin as what follows it does.
		for ; at > 0 && !bytes.Equal(body[at:], out[at+extra:]); at-- {
		}
		if extra <= 0 || !bytes.Equal(body[:at], out[:at]) || !bytes.Equal(body[at:], out[at+extra:]) || !bytes.Contains(out, value) {
			t.Fatalf("%q became %q", body, out)
		}
		if jsontext.Value(body).IsValid() && !jsontext.Value(out).IsValid(jsontext.AllowDuplicateNames(true)) {
			t.Fatalf("%q is not JSON any more: %q", body, out)
		}
	})
}

// FuzzGuard judges any answer as it would be passed on: what comes out is an
// object, and valid JSON where the answer was.
func FuzzGuard(f *testing.F) {
	for _, s := range []string{
		`{"data":{"a":1},"errors":[{"message":"Did you mean b?"}],"extensions":{"tracing":{}}}`, `{"data":null}`, `<html>`, `[]`, `{"data":`, "\ufeff{}", `{} {}`,
	} {
		f.Add(s, 200)
		f.Add(s, 400)
	}
	c := DefaultConfig()
	c.Responses.Extensions.Remove = []string{"tracing"}
	everything := newGuard(c)
	c = DefaultConfig()
	c.Responses.Errors = "pass"
	suggestions := newGuard(c)
	f.Fuzz(func(t *testing.T, body string, status int) {
		for _, g := range []*guard{&everything, &suggestions} {
			out, altered, err := g.rewrite(status, []byte(body))
			if err != nil {
				if out != nil {
					t.Fatalf("refused, yet %q comes out", out)
				}
				continue
			}
			if !altered && string(out) != body {
				t.Fatalf("unaltered %q became %q", body, out)
			}
			if !beginsObject(out) {
				t.Fatalf("%q is no object", out)
			}
			if jsontext.Value(body).IsValid() && !jsontext.Value(out).IsValid() {
				t.Fatalf("%q became %q", body, out)
			}
		}
	})
}
