package gqlhttp

import (
	"bytes"
	stdjson "encoding/json"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// FuzzDecode holds on any body: nothing panics, what is accepted encoding/json
// accepts with the same meaning, and decode after encode is the identity.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"query":"{a}","operationName":"A","variables":{"x":[1,{"y":"\ud83d\ude00"}]},"extensions":{"trace":1}}`,
		`[{"query":"{a}"},{"id":"x"}]`,
		`{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"` + hash + `"}}}`,
		`{"Query":"{a}"}`, `{"query":"\ud800"}`, `{"query":"{a}","query":"{b}"}`,
	} {
		f.Add([]byte(s))
	}
	o := Options{MaxBatch: 4, Extensions: []string{"trace"}}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := Decode(httptest.NewRecorder(), post(string(body)), o)
		if err != nil {
			return
		}
		defer m.Release()
		reference := referenceCalls(t, body, m.Batch)
		if len(reference) != len(m.Calls) {
			t.Fatalf("%d calls, encoding/json sees %d", len(m.Calls), len(reference))
		}
		for i := range m.Calls {
			compareCall(t, &m.Calls[i], reference[i])
			roundTrip(t, &m.Calls[i], o)
		}
	})
}

// FuzzUsual holds the quick way against the decoder's: what it reads the decoder
// reads alike.
func FuzzUsual(f *testing.F) {
	for _, s := range []string{
		`{"query":"{\n  a(b: \"c\")\n}","variables":{"x":[1,{"y":"é"}]},"operationName":null}`,
		`{"operationName":"A","query":"query A{a}"}`, `{"query":"{a}","variables":null} `, `{"query":""}`, `{"query":"{a}","id":1}`,
		`{"query":"{a}","query":"{b}"}`, `{"query":"{a}","variables":{"a":1,"a":2}}`, `{"query":"\u007ba}"}`, `{"query":null}`, `{"query":"{a}"}x`,
		`{"query":"{a}","variables":[]}`, `{"query":1}`, `{"query":"{a}","variables":{"a":{"b":{"c":{}}}}}`,
	} {
		f.Add([]byte(s))
	}
	o := Options{MaxNesting: 4, Texts: NewTexts()}
	o.fill()
	f.Fuzz(func(t *testing.T, body []byte) {
		quick, slow := &Message{body: body, Bytes: len(body)}, &Message{body: body, Bytes: len(body)}
		if !quick.usual(&o) {
			if len(quick.Calls) > 0 {
				t.Fatal("the message has changed")
			}
			return
		}
		if e := slow.decodeAny(&o); e != nil {
			t.Fatalf("the decoder refuses: %v", e)
		}
		for range 3 { // at the third time the text is known
			if known := quick.Calls[0].Known; known != nil && known.text != quick.Calls[0].Query {
				t.Fatalf("%q is known as %q", quick.Calls[0].Query, known.text)
			}
			quick.Calls[0].Known = nil
			if diff := cmp.Diff(slow.Calls, quick.Calls); diff != "" || slow.Batch {
				t.Fatalf("(-slow +quick):\n%s", diff)
			}
			if !quick.usual(&o) {
				t.Fatal("read once, and not again")
			}
		}
	})
}

func referenceCalls(t *testing.T, body []byte, batch bool) (all []map[string]stdjson.RawMessage) {
	if batch {
		if err := stdjson.Unmarshal(body, &all); err != nil {
			t.Fatalf("encoding/json refuses: %v", err)
		}
		return all
	}
	var one map[string]stdjson.RawMessage
	if err := stdjson.Unmarshal(body, &one); err != nil {
		t.Fatalf("encoding/json refuses: %v", err)
	}
	return append(all, one)
}

func compareCall(t *testing.T, c *Call, reference map[string]stdjson.RawMessage) {
	for name, got := range map[string]string{"query": c.Query, "operationName": c.OperationName} {
		var want string
		if raw := reference[name]; raw != nil {
			if err := stdjson.Unmarshal(raw, &want); err != nil {
				t.Fatal(err)
			}
		}
		if got != want {
			t.Fatalf("%s is %q, encoding/json reads %q", name, got, want)
		}
		if !utf8.ValidString(got) {
			t.Fatalf("%s is not UTF-8", name)
		}
	}
	want := string(reference["variables"])
	if want == "null" {
		want = ""
	}
	if string(c.Variables) != want {
		t.Fatalf("variables are %s, encoding/json reads %s", c.Variables, want)
	}
	for name := range reference {
		for _, known := range envelopeNames[:6] {
			if name != known && strings.EqualFold(name, known) {
				t.Fatalf("%q was accepted", name)
			}
		}
	}
}

func roundTrip(t *testing.T, c *Call, o Options) {
	if c.Query == "" {
		return
	}
	body := AppendRequest(nil, c.Query, c.OperationName, c.Variables, c.Extensions)
	if len(body) > 200<<10 {
		return
	}
	m, err := Decode(httptest.NewRecorder(), post(string(body)), o)
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	defer m.Release()
	d := &m.Calls[0]
	if d.Query != c.Query || d.OperationName != c.OperationName || !bytes.Equal(d.Variables, c.Variables) || !bytes.Equal(d.Extensions, c.Extensions) {
		t.Fatalf("%s became %+v", body, d)
	}
	if again := AppendRequest(nil, d.Query, d.OperationName, d.Variables, d.Extensions); !bytes.Equal(again, body) {
		t.Fatalf("%s became %s", body, again)
	}
}

// FuzzDecodeGET holds on any query string: nothing panics, and what is accepted
// net/url reads the same way.
func FuzzDecodeGET(f *testing.F) {
	f.Add("query={a}&variables={}")
	f.Add("query={a}&query={b}")
	f.Add("id=x&extensions=%7B%22trace%22:1%7D&operationName=")
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest("GET", "/graphql", nil)
		r.Header.Set("Authorization", "x")
		r.URL.RawQuery = query
		m, err := Decode(httptest.NewRecorder(), r, Options{Extensions: []string{"trace"}})
		if err != nil {
			return
		}
		defer m.Release()
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatalf("net/url refuses: %v", err)
		}
		c := &m.Calls[0]
		if c.Query != values.Get("query") || c.OperationName != values.Get("operationName") || len(values["query"]) > 1 {
			t.Fatalf("%+v", c)
		}
		if c.Variables != nil && strings.Trim(values.Get("variables"), jsonSpace) != string(c.Variables) {
			t.Fatalf("variables are %s", c.Variables)
		}
	})
}

// FuzzNegotiate holds on any Accept: an answer is found, if any, that the header mentions.
func FuzzNegotiate(f *testing.F) {
	f.Add(`multipart/mixed;boundary="a,b";q=0.5, application/graphql-response+json, */*;q=0`)
	f.Fuzz(func(t *testing.T, accept string) {
		got, ok := Negotiate(map[string][]string{"Accept": {accept}})
		lower := strings.ToLower(accept)
		if ok && got == AcceptGraphQL && !strings.Contains(lower, MediaGraphQL) && !strings.Contains(lower, "*") {
			t.Fatalf("%q chooses %s", accept, got.MediaType())
		}
	})
}
