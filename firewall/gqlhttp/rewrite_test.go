package gqlhttp

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"
)

func TestWithoutSuggestions(t *testing.T) {
	for _, c := range []struct{ server, message, want string }{
		{"graphql-js field", `Cannot query field "usr" on type "Query". Did you mean "user"?`, `Cannot query field "usr" on type "Query".`},
		{"graphql-js two", `Cannot query field "x" on type "Q". Did you mean "a" or "b"?`, `Cannot query field "x" on type "Q".`},
		{"graphql-js many", `Unknown type "Usr". Did you mean "User", "Users", or "UserEdge"?`, `Unknown type "Usr".`},
		{"graphql-js inline fragment", `Cannot query field "x" on type "Node". Did you mean to use an inline fragment on "User" or "Order"?`, `Cannot query field "x" on type "Node".`},
		{"graphql-js enum", `Value "REDD" does not exist in "Color" enum. Did you mean the enum value "RED"?`, `Value "REDD" does not exist in "Color" enum.`},
		{"graphql-js 14", `Expected type Color, found REDD; Did you mean the enum value RED?`, `Expected type Color, found REDD`},
		{"graphql-js input", `Variable "$i" got invalid value {}; Field "nam" is not defined by type "I". Did you mean "name"?`, `Variable "$i" got invalid value {}; Field "nam" is not defined by type "I".`},
		{"gqlparser", `Unknown argument "idd" on field "Query.user". Did you mean "id"?`, `Unknown argument "idd" on field "Query.user".`},
		{"graphql-dotnet", `Cannot query field 'usr' on type 'Query'. Did you mean 'user'?`, `Cannot query field 'usr' on type 'Query'.`},
		{"Hot Chocolate", "The field `usr` does not exist on the type `Query`. Did you mean `user`?", "The field `usr` does not exist on the type `Query`."},
		{"graphql-java", `Validation error (FieldUndefined@[usr]) : Field 'usr' in type 'Query' is undefined. Did you mean 'user'? @ 'usr'`, `Validation error (FieldUndefined@[usr]) : Field 'usr' in type 'Query' is undefined. @ 'usr'`},
		{"graphql-ruby", "Field 'usr' doesn't exist on type 'Query' (Did you mean `user`?)", "Field 'usr' doesn't exist on type 'Query'"},
		{"two suggestions", `A. Did you mean "a"? B. Did you mean "b"?`, `A. B.`},
		{"other capitals", `No field. DID YOU MEAN "user"?`, `No field.`},
		{"no question mark", `No field, did you mean user`, `No field`},
		{"nothing else", `Did you mean "user"?`, `Invalid request`},
		{"only the words", `did you mean`, `Invalid request`},
	} {
		got, ok := withoutSuggestions(c.message)
		if !ok || got != c.want {
			t.Errorf("%s: %q", c.server, got)
		}
	}
	for _, message := range []string{"", "d", `Cannot query field "didyoumean" on type "Query".`, "What did you me", "did you meaN"[:11]} {
		if got, ok := withoutSuggestions(message); ok || got != message {
			t.Errorf("%q became %q", message, got)
		}
	}
}

func TestRewriteErrors(t *testing.T) {
	strip := ErrorOptions{StripSuggestions: true}
	mask := ErrorOptions{Mask: true, KeepCodes: []string{"BAD_USER_INPUT"}}
	both := ErrorOptions{Mask: true, KeepCodes: []string{"BAD_USER_INPUT"}, StripSuggestions: true}
	tracing := ErrorOptions{RemoveExtensions: []string{"tracing", "cost"}}
	const maskedError = `{"message":"Internal error","extensions":{"code":"INTERNAL_SERVER_ERROR"}}`
	const same = "same"
	for _, c := range []struct {
		name string
		o    ErrorOptions
		body string
		want string
	}{
		{"nothing asked", ErrorOptions{}, `{"errors":[{"message":"Did you mean \"x\"?"}]}`, same},
		{"strip keeps all other bytes", strip, "{ \"data\" : {\"n\":9007199254740993, \"f\":1.10e+2},\t\"errors\":[ {\"path\":[\"a\",1],\"message\":\"No. Did you mean \\\"x\\\"?\" , \"n\":1e5} ]\n}\n", "{ \"data\" : {\"n\":9007199254740993, \"f\":1.10e+2},\t\"errors\":[ {\"path\":[\"a\",1],\"message\":\"No.\" , \"n\":1e5} ]\n}\n"},
		{"strip leaves data alone", strip, `{"data":{"errors":[{"message":"Did you mean \"x\"?"}],"q":"Did you mean \"x\"?"}}`, same},
		{"strip in extensions", strip, `{"errors":[{"message":"m","extensions":{"stacktrace":["E: No. Did you mean \"x\"?","at f"]}}]}`, `{"errors":[{"message":"m","extensions":{"stacktrace":["E: No.","at f"]}}]}`},
		{"strip leaves names", strip, `{"errors":[{"Did you mean \"x\"?":1}]}`, same},
		{"strip keeps other escapes", strip, `{"errors":[{"message":"caf\u00e9"},{"message":"caf\u00e9 Did you mean \u0022x\u0022?"}]}`, `{"errors":[{"message":"caf\u00e9"},{"message":"café"}]}`},
		{"strip by escape", strip, `{"errors":[{"message":"No. \u0044id you m\u0065an \"x\"?"}]}`, `{"errors":[{"message":"No."}]}`},
		{"strip beside invalid UTF-8", strip, "{\"errors\":[{\"message\":\"\xff No. Did you mean \\\"x\\\"?\"}]}", "{\"errors\":[{\"message\":\"\ufffd No.\"}]}"},
		{"strip beside a lone surrogate", strip, `{"errors":[{"message":"\ud800 No. Did you mean \"x\"?"}]}`, "{\"errors\":[{\"message\":\"\ufffd No.\"}]}"},
		{"escaped member name", strip, `{"err\u006frs":[{"message":"No. Did you mean \"x\"?"}]}`, `{"err\u006frs":[{"message":"No."}]}`},
		{"errors twice", strip, `{"errors":[{"message":"A. Did you mean \"x\"?"}],"errors":[{"message":"B. Did you mean \"x\"?"}]}`, `{"errors":[{"message":"A."}],"errors":[{"message":"B."}]}`},
		{"errors is a string", strip, `{"errors":"No. Did you mean \"x\"?"}`, `{"errors":"No."}`},
		{"no errors", strip, `{"data":{"a":1}}`, same},
		{"empty errors", mask, `{"errors":[],"data":{}}`, same},
		{"null errors", mask, `{"errors":null,"data":{}}`, same},
		{"HTML is not escaped", strip, `{"errors":[{"message":"<b>&. Did you mean \"x\"?"}]}`, `{"errors":[{"message":"<b>&."}]}`},

		{"mask", mask, `{"errors":[{"message":"SELECT * FROM secrets","locations":[{"line":1,"column":2}],"path":["a",0],"stack":"at f"}],"data":{"a":null}}`, `{"errors":[{"message":"Internal error","locations":[{"line":1,"column":2}],"path":["a",0],"extensions":{"code":"INTERNAL_SERVER_ERROR"}}],"data":{"a":null}}`},
		{"mask after data", mask, `{"data":{"errors":"x"},"errors":[{"message":"boom"}]}`, `{"data":{"errors":"x"},"errors":[` + maskedError + `]}`},
		{"mask keeps a code", mask, `{"errors":[{"message":"Name is taken","extensions":{"code":"BAD_USER_INPUT","field":"name"}},{"message":"boom","extensions":{"code":"DB"}}]}`, `{"errors":[{"message":"Name is taken","extensions":{"code":"BAD_USER_INPUT","field":"name"}},` + maskedError + `]}`},
		{"mask compares codes exactly", mask, `{"errors":[{"message":"x","extensions":{"code":"bad_user_input"}}]}`, `{"errors":[` + maskedError + `]}`},
		{"the last code counts", mask, `{"errors":[{"message":"x","extensions":{"code":"BAD_USER_INPUT","code":7}}]}`, `{"errors":[` + maskedError + `]}`},
		{"traces go from a kept error", mask, `{"errors":[{"message":"m","extensions":{"stacktrace":["a"], "code":"BAD_USER_INPUT" ,"exception":{"x":1},"debugMessage":"d","field":1}}]}`, `{"errors":[{"message":"m","extensions":{"code":"BAD_USER_INPUT","field":1}}]}`},
		{"only a trace beside the code", mask, `{"errors":[{"message":"m","extensions":{"code":"BAD_USER_INPUT","stackTrace":"x"}}]}`, `{"errors":[{"message":"m","extensions":{"code":"BAD_USER_INPUT"}}]}`},
		{"kept and stripped", both, `{"errors":[{"message":"No. Did you mean \"x\"?","extensions":{"stacktrace":["Did you mean \"x\"?"],"code":"BAD_USER_INPUT","hint":"Did you mean \"y\"?"}}]}`, `{"errors":[{"message":"No.","extensions":{"code":"BAD_USER_INPUT","hint":"Invalid request"}}]}`},
		{"mask with a null message", mask, `{"errors":[{"message":null}]}`, `{"errors":[` + maskedError + `]}`},
		{"mask a string in the list", mask, `{"errors":["boom",null]}`, `{"errors":[` + maskedError + `,` + maskedError + `]}`},
		{"mask errors that are no list", mask, `{"errors":{"message":"boom"}}`, `{"errors":[` + maskedError + `]}`},
		{"mask a path that is none", mask, `{"errors":[{"message":"m","path":"secret","locations":{"x":1}}]}`, `{"errors":[` + maskedError + `]}`},

		{"remove an extension", tracing, `{"data":{},"extensions":{"tracing":{"version":1}, "keep":1}}`, `{"data":{},"extensions":{"keep":1}}`},
		{"remove the last", tracing, `{"extensions":{"keep":1, "tracing":{"version":1} }}`, `{"extensions":{"keep":1 }}`},
		{"remove the only one", tracing, `{"extensions":{ "tracing":1 }}`, `{"extensions":{  }}`},
		{"remove several", tracing, `{"extensions":{"cost":1,"tracing":2,"a":3,"cost":4,"b":5,"tracing":6}}`, `{"extensions":{"a":3,"b":5}}`},
		{"remove none", tracing, `{"extensions":{"x":{"tracing":1}}}`, same},
		{"extensions is null", tracing, `{"extensions":null}`, same},
		{"error extensions are not the response's", tracing, `{"errors":[{"message":"m","extensions":{"tracing":1}}]}`, same},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := c.want
			if want == same {
				want = c.body
			}
			out, changed, err := RewriteErrors([]byte(c.body), &c.o)
			if err != nil {
				t.Fatal(err)
			}
			if string(out) != want || changed != (c.want != same) {
				t.Errorf("changed %v\n got %s\nwant %s", changed, out, want)
			}
			if again, changed, err := RewriteErrors(out, &c.o); err != nil || string(again) != want {
				t.Errorf("a second time: %v %v\n%s", changed, err, again)
			}
			// Any way of cutting the body into two writes gives the same.
			for cut := range len(c.body) {
				var b bytes.Buffer
				w := NewErrorWriter(&b, &c.o)
				_, err1 := w.Write([]byte(c.body[:cut]))
				_, err2 := w.Write([]byte(c.body[cut:]))
				if err := errors.Join(err1, err2, w.Close()); err != nil || b.String() != want {
					t.Fatalf("cut at %d: %v\n%s", cut, err, b.String())
				}
			}
		})
	}
}

func TestRewriteErrorsRefuses(t *testing.T) {
	o := ErrorOptions{Mask: true}
	for _, body := range []string{
		`[{"errors":[]}]`, `"errors"`, `{"errors":[`, `{"errors":[}`, `{"errors":[{"message":"a"}]`,
		`{"errors":[{"message":"a" "b"}]}`, `{"errors":[]} {"errors":[]}`, `{"errors":tru}`, `{"errors":[{"extensions":{"code":}}]}`,
		"\ufeff" + `{"errors":[]}`, `{"errors" []}`, `{,"errors":[]}`,
	} {
		out, _, err := RewriteErrors([]byte(body), &o)
		if _, ok := errors.AsType[*ResponseError](err); !ok {
			t.Errorf("%s: %s, %v", body, out, err)
		}
	}
	long := `{"errors":[{"message":"` + strings.Repeat("x", MaxHeld) + `"}]}`
	if _, _, err := RewriteErrors([]byte(long), &o); err == nil {
		t.Error("errors larger than MaxHeld pass")
	}
}

// TestErrorWriterStreams shows that what needs no holding back goes on at once.
func TestErrorWriterStreams(t *testing.T) {
	var b bytes.Buffer
	w := NewErrorWriter(&b, &ErrorOptions{Mask: true})
	for _, step := range []struct{ in, out string }{
		{`{"data":{"a":[1,`, `{"data":{"a":[1,`},
		{`2]},"err`, `{"data":{"a":[1,2]},"err`},
		{`ors":[{"mess`, `{"data":{"a":[1,2]},"errors":`},
		{`age":"x"}],"extensions":{"a"`, `{"data":{"a":[1,2]},"errors":[` + string(masked) + `],"extensions":{"a"`},
	} {
		if _, err := w.Write([]byte(step.in)); err != nil {
			t.Fatal(err)
		}
		if b.String() != step.out {
			t.Fatalf("after %s\n got %s\nwant %s", step.in, b.String(), step.out)
		}
	}
	if err := w.Close(); err == nil {
		t.Error("a body that ends early is complete")
	}
}

// TestErrorWriterLead: where errors come first, nothing is written before their
// end is there, so that a body without one can still be refused.
func TestErrorWriterLead(t *testing.T) {
	o := &ErrorOptions{Mask: true, RemoveExtensions: []string{"cost"}}
	for _, c := range []struct{ held, rest, want string }{
		{`{"errors":[{"message":"a`, `"}]}`, `{"errors":[` + string(masked) + `]}`},
		{" {\n \"errors\" : [", "] }", " {\n \"errors\" : [] }"},
		{`{"extensions":{"cost":1`, `},"data":null}`, `{"extensions":{},"data":null}`},
		{`{"err`, `ors":null}`, `{"errors":null}`},
		{`{`, `}`, `{}`},
	} {
		var b bytes.Buffer
		w := NewErrorWriter(&b, o)
		if _, err := w.Write([]byte(c.held)); err != nil || b.Len() > 0 {
			t.Errorf("%s: %v, written %s", c.held, err, &b)
		}
		_, err := w.Write([]byte(c.rest))
		if err := errors.Join(err, w.Close()); err != nil || b.String() != c.want {
			t.Errorf("%s%s: %v\n got %s\nwant %s", c.held, c.rest, err, &b, c.want)
		}
	}
	var b bytes.Buffer
	if _, err := NewErrorWriter(&b, o).Write([]byte(strings.Repeat(" ", 2*maxLead))); err != nil || b.Len() != 2*maxLead {
		t.Errorf("%v, %d bytes of white space are written", err, b.Len())
	}
}

func TestStripSuggestions(t *testing.T) {
	body := []byte(`{"errors":[{"message":"No. Did you mean \"x\"?"}]}`)
	o := &ErrorOptions{StripSuggestions: true}
	if out, changed, err := RewriteErrors(body, o); err != nil || !changed || string(out) != `{"errors":[{"message":"No."}]}` {
		t.Errorf("%s, %v", out, err)
	}
	if out, changed, err := RewriteErrors([]byte(`{"errors":`), o); err == nil {
		t.Errorf("%s, %v: a body that cannot be read passed", out, changed)
	}
}

func TestSuggestionsPossible(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   bool
	}{
		{200, `{"data":{}}`, false}, {200, `{"data":{},"errors":[]}`, false}, {200, ``, false}, {200, `{`, false},
		{200, `{"errors":[]}`, true}, {200, " {\n\"errors\" :[]}", true}, {400, `{"data":{}}`, true}, {500, ``, true},
	} {
		if got := SuggestionsPossible(c.status, []byte(c.body)); got != c.want {
			t.Errorf("%d %s: %v", c.status, c.body, got)
		}
	}
}

// FuzzRewriteErrors holds on any JSON object: the result is valid where the body
// was, streaming in pieces gives the same bytes, nothing suggests anything in
// errors any more, and data is untouched.
func FuzzRewriteErrors(f *testing.F) {
	for _, s := range []string{
		`{"data":{"a":"\u00e9"},"errors":[{"message":"No. Did you mean \"x\"?","extensions":{"code":"A","trace":1}}],"extensions":{"cost":1}}`,
		`{"errors":[1,"did you mean",{"extensions":{"stack":"x","code":"KEEP"}}]}`,
		`{"err\u006frs":{"a":[]},"errors":null}`,
	} {
		f.Add([]byte(s), uint16(3))
	}
	f.Fuzz(func(t *testing.T, body []byte, cut uint16) {
		for _, o := range []ErrorOptions{
			{StripSuggestions: true},
			{Mask: true, KeepCodes: []string{"KEEP"}, StripSuggestions: true, RemoveExtensions: []string{"cost"}},
		} {
			before := bytes.Clone(body)
			out, changed, err := RewriteErrors(body, &o)
			if !bytes.Equal(before, body) {
				t.Fatal("the input was changed")
			}
			var b bytes.Buffer
			w := NewErrorWriter(&b, &o)
			at := int(cut) % (len(body) + 1)
			_, err1 := w.Write(body[:at])
			_, err2 := w.Write(body[at:])
			streamed := errors.Join(err1, err2, w.Close())
			lenient := jsontext.Value(body).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
			if !lenient || jsontext.Value(body).Kind() != '{' {
				continue
			}
			if err != nil || streamed != nil {
				t.Fatalf("a JSON object is refused: %v, %v", err, streamed)
			}
			if b.String() != string(out) {
				t.Fatalf("in pieces\n%s\nat once\n%s", b.String(), out)
			}
			if changed == bytes.Equal(out, body) {
				t.Fatalf("changed is %v", changed)
			}
			if !jsontext.Value(out).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
				t.Fatalf("not JSON any more: %s", out)
			}
			was, is := topLevel(t, body), topLevel(t, out)
			for i := range was {
				switch was[i].name {
				case "errors":
					if o.Mask && strings.Contains(is[i].value, "did you mean") {
						t.Fatalf("suggests: %s", is[i].value)
					}
				case "extensions":
				default:
					if was[i] != is[i] {
						t.Fatalf("%s became %s", was[i], is[i])
					}
				}
			}
		}
	})
}

type topMember struct{ name, value string }

func topLevel(t *testing.T, body []byte) (all []topMember) {
	start := bytes.IndexByte(body, '{')
	members, err := membersOf(body[start:], start)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		all = append(all, topMember{m.name, string(body[m.value:m.end])})
	}
	return all
}

func TestNamesErrors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOf(rapid.SampledFrom([]string{"e", "r", "rr", "errors", `errors"`, "o", "s", `"`, "x", "xxxxxxxx"})).Draw(t, "parts")
		body := []byte(strings.Join(parts, ""))
		if got, want := namesErrors(body), bytes.Contains(body, []byte(`errors"`)); got != want {
			t.Fatalf("%q: %v", body, got)
		}
	})
}
