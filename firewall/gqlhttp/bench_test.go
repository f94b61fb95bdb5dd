package gqlhttp

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const benchBody = `{"operationName":"Products","variables":{"first":20,"filter":{"search":"lamp","price":{"gte":10,"lte":200}},"channel":"default-channel"},"query":"query Products($first: Int!, $filter: ProductFilterInput, $channel: String!) {\n  products(first: $first, filter: $filter, channel: $channel) {\n    edges {\n      node {\n        id\n        name\n        slug\n        pricing { priceRange { start { gross { amount currency } } } }\n      }\n    }\n    pageInfo { hasNextPage endCursor }\n  }\n}"}`

type reusableBody struct{ *strings.Reader }

func (reusableBody) Close() error { return nil }

func BenchmarkDecodePOST(b *testing.B) {
	r := post(benchBody)
	w := &deadlines{ResponseWriter: httptest.NewRecorder()}
	reader := strings.NewReader(benchBody)
	b.SetBytes(int64(len(benchBody)))
	b.ReportAllocs()
	for b.Loop() {
		reader.Reset(benchBody)
		r.Body = reusableBody{reader}
		w.set = w.set[:0]
		m, err := Decode(w, r, Options{})
		if err != nil {
			b.Fatal(err)
		}
		m.Release()
	}
}

func BenchmarkDecodePersistedGET(b *testing.B) {
	r := httptest.NewRequest("GET", "/graphql?operationName=A&variables=%7B%22id%22%3A%221%22%7D&documentId=sha256%3A"+hash, nil)
	r.Header.Set("Authorization", "Bearer x")
	b.ReportAllocs()
	for b.Loop() {
		m, err := Decode(nil, r, Options{})
		if err != nil {
			b.Fatal(err)
		}
		m.Release()
	}
}

// BenchmarkDecodeHostile is the dearest body found so far for its size: many
// short names in one object, which the duplicate check has to keep.
func BenchmarkDecodeHostile(b *testing.B) {
	var body strings.Builder
	body.WriteString(`{"query":"{a}","variables":{`)
	for i := 0; body.Len() < 250<<10; i++ {
		if i > 0 {
			body.WriteByte(',')
		}
		body.WriteString(`"` + string(rune('a'+i%26)) + strings.Repeat("x", i%7) + string(rune(0x4e00+i)) + `":1`)
	}
	body.WriteString(`}}`)
	text := body.String()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		m, err := Decode(httptest.NewRecorder(), post(text), Options{})
		if err != nil {
			b.Fatal(err)
		}
		m.Release()
	}
}

func BenchmarkAppendTail(b *testing.B) {
	prefix := AppendPrefix(nil, "query A($a: Int) { a(b: $a) }", "A")
	variables := []byte(`{"a":1}`)
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendTail(append(buf[:0], prefix...), variables, nil)
	}
}

func BenchmarkRequestFilter(b *testing.B) {
	f := NewRequestFilter("X-User-Id", "Traceparent")
	src := http.Header{
		"Accept": {"*/*"}, "Accept-Encoding": {"gzip"}, "Authorization": {"Bearer x"}, "Content-Length": {"5"}, "Content-Type": {"application/json"},
		"User-Agent": {"x"}, "Cookie": {"a=b"}, "Origin": {"https://x"}, "X-Forwarded-For": {"1.2.3.4"}, "Apollographql-Client-Name": {"web"},
	}
	dst := make(http.Header, 16)
	b.ReportAllocs()
	for b.Loop() {
		clear(dst)
		f.Apply(HeaderMap(dst), src, Guarded{Whole: true, Plain: true})
	}
}

func BenchmarkRewriteErrors(b *testing.B) {
	data := `{"data":{"products":[` + strings.Repeat(`{"id":"UHJvZHVjdDox","name":"A lamp","price":12.5,"tags":["a","b"]},`, 1000) + `{}]}`
	for name, body := range map[string]string{
		"clean":       data + `}`,
		"with escape": data + `,"x":"\u003c"}`,
		"with error":  data + `,"errors":[{"message":"boom","path":["products"]}]}`,
	} {
		b.Run(name, func(b *testing.B) {
			o := &ErrorOptions{Mask: true, StripSuggestions: true}
			text := []byte(body)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := RewriteErrors(text, o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("streamed", func(b *testing.B) {
		o := &ErrorOptions{Mask: true}
		text := []byte(data + `}`)
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			w := NewErrorWriter(io.Discard, o)
			if _, err := io.Copy(w, bytes.NewReader(text)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
