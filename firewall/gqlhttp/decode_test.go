package gqlhttp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const hash = "599be276e3f6f67829977fdef114e16627a668a1ab4e70018d9ae2ab2dd2b1ad"

// post builds a plain JSON POST.
func post(body string) *http.Request {
	r := httptest.NewRequest("POST", "/graphql", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return r
}

// raw parses an HTTP/1.1 request written with bare newlines.
func raw(t testing.TB, text string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n"))))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return r
}

// show renders a message in one line; absent parts are left out.
func show(m *Message) string {
	var b strings.Builder
	if m.Batch {
		b.WriteString("batch ")
	}
	for i, c := range m.Calls {
		if i > 0 {
			b.WriteString(" | ")
		}
		fmt.Fprintf(&b, "%q", c.Query)
		if c.OperationName != "" {
			fmt.Fprintf(&b, " op=%s", c.OperationName)
		}
		if c.Variables != nil {
			fmt.Fprintf(&b, " vars=%s", c.Variables)
		}
		if c.Extensions != nil {
			fmt.Fprintf(&b, " ext=%s", c.Extensions)
		}
		if c.IDForm != IDNone {
			fmt.Fprintf(&b, " %s=%s", c.IDForm, c.DocumentID)
		}
	}
	return b.String()
}

// outcome decodes and renders either the message or the refusal.
func outcome(t testing.TB, r *http.Request, o Options) string {
	t.Helper()
	m, err := Decode(httptest.NewRecorder(), r, o)
	if err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			t.Fatalf("the error is a %T", err)
		}
		row, listed := Lookup(e.Code)
		if !listed || row.Status != e.Status || row.Legacy200 {
			t.Errorf("%s has status %d, the table %+v", e.Code, e.Status, row)
		}
		return e.Code + ": " + e.Message
	}
	defer m.Release()
	return show(m)
}

func TestDecodeBody(t *testing.T) {
	o := Options{MaxBatch: 3, Extensions: []string{"trace", "flags"}}
	persisted := `"persistedQuery":{"version":1,"sha256Hash":"` + hash + `"}`
	for _, c := range []struct{ name, body, want string }{
		{"query", `{"query":"{a}"}`, `"{a}"`},
		{"all members", ` {"query":"query A{a}","operationName":"A","variables":{"x":[1,{"y":null}]},"extensions":{"trace":1}} `, `"query A{a}" op=A vars={"x":[1,{"y":null}]} ext={"trace":1}`},
		{"nulls are absent", `{"query":"{a}","operationName":null,"variables":null,"extensions":null,"documentId":null,"id":null,"doc_id":null}`, `"{a}"`},
		{"empty operation name is absent", `{"query":"{a}","operationName":""}`, `"{a}"`},
		{"unknown members are dropped", `{"query":"{a}","debug":{"x":1},"ID":7,"Id":[],"foo":"bar"}`, `"{a}"`},
		{"escaped text", `{"query":"{a(b:\"\\u00e9\")}\n\u00e9\ud83d\ude00"}`, `"{a(b:\"\\u00e9\")}\né😀"`},
		{"escaped name is the name", `{"qu\u0065ry":"{a}"}`, `"{a}"`},
		{"numbers stay as written", `{"query":"{a}","variables":{"n":9007199254740993,"f":1.10e+2}}`, `"{a}" vars={"n":9007199254740993,"f":1.10e+2}`},
		{"white space inside variables stays", `{"query":"{a}","variables":{ "a" : 1 }}`, `"{a}" vars={ "a" : 1 }`},
		{"case matters in variables", `{"query":"{a}","variables":{"query":1,"Query":2,"QUERY":3}}`, `"{a}" vars={"query":1,"Query":2,"QUERY":3}`},

		{"extensions are kept by list", `{"query":"{a}","extensions":{"x":{"trace":1},"flags":[1, 2],` + persisted + `,"trace":"t"}}`, `"{a}" ext={"flags":[1, 2],"trace":"t"} extensions.persistedQuery=` + hash},
		{"extension name escaped", `{"query":"{a}","extensions":{"tr\u0061ce":1}}`, `"{a}" ext={"trace":1}`},
		{"no extension kept", `{"query":"{a}","extensions":{"x":1}}`, `"{a}"`},
		{"empty extensions", `{"query":"{a}","extensions":{}}`, `"{a}"`},

		{"documentId", `{"documentId":"sha256:` + hash + `"}`, `"" documentId=sha256:` + hash},
		{"relay id", `{"id":"abc"}`, `"" id=abc`},
		{"doc_id", `{"doc_id":"12345","variables":{}}`, `"" vars={} doc_id=12345`},
		{"hash", `{"extensions":{` + persisted + `}}`, `"" extensions.persistedQuery=` + hash},
		{"hash and null query", `{"query":null,"extensions":{` + persisted + `}}`, `"" extensions.persistedQuery=` + hash},
		{"id and body are both kept", `{"query":"{a}","documentId":"x:y"}`, `"{a}" documentId=x:y`},
		{"null persistedQuery", `{"query":"{a}","extensions":{"persistedQuery":null}}`, `"{a}"`},
		{"unknown members of persistedQuery", `{"extensions":{"persistedQuery":{"version":1,"x":{},"sha256Hash":"` + hash + `"}}}`, `"" extensions.persistedQuery=` + hash},
		{"two ids", `{"documentId":"a","id":"a"}`, `BAD_REQUEST: the document is named by documentId and by id`},
		{"id and hash", `{"id":"a","extensions":{` + persisted + `}}`, `BAD_REQUEST: the document is named by id and by extensions.persistedQuery`},
		{"id is a number", `{"doc_id":12345}`, `BAD_REQUEST: doc_id is not a document id`},
		{"id beside a query is an unknown member", `{"id":1,"query":"{a}","doc_id":{"x":[]}}`, `"{a}"`},
		{"id beside a query is not looked up", `{"id":"abc","query":"{a}"}`, `"{a}"`},
		{"id with a space", `{"id":"a b"}`, `BAD_REQUEST: id is not a document id`},
		{"id with a control character", `{"id":"a\u0000"}`, `BAD_REQUEST: id is not a document id`},
		{"id beyond ASCII", `{"id":"é"}`, `BAD_REQUEST: id is not a document id`},
		{"id of 256 bytes", `{"id":"` + strings.Repeat("a", 256) + `"}`, `"" id=` + strings.Repeat("a", 256)},
		{"id of 257 bytes", `{"id":"` + strings.Repeat("a", 257) + `"}`, `BAD_REQUEST: id is not a document id`},
		{"upper-case hash", `{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"` + strings.ToUpper(hash) + `"}}}`, `BAD_REQUEST: extensions.persistedQuery.sha256Hash must be 64 lower-case hexadecimal digits`},
		{"hash with path characters", `{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"../../` + hash[6:] + `"}}}`, `BAD_REQUEST: extensions.persistedQuery.sha256Hash must be 64 lower-case hexadecimal digits`},
		{"no hash", `{"query":"{a}","extensions":{"persistedQuery":{"version":1}}}`, `BAD_REQUEST: extensions.persistedQuery.sha256Hash must be 64 lower-case hexadecimal digits`},
		{"version 2", `{"extensions":{"persistedQuery":{"version":2,"sha256Hash":"` + hash + `"}}}`, `BAD_REQUEST: extensions.persistedQuery.version must be 1`},
		{"version as text", `{"extensions":{"persistedQuery":{"version":"1","sha256Hash":"` + hash + `"}}}`, `BAD_REQUEST: extensions.persistedQuery.version must be 1`},
		{"no version", `{"extensions":{"persistedQuery":{"sha256Hash":"` + hash + `"}}}`, `BAD_REQUEST: extensions.persistedQuery.version must be 1`},
		{"persistedQuery is a list", `{"query":"{a}","extensions":{"persistedQuery":[]}}`, `BAD_REQUEST: extensions.persistedQuery must be an object`},

		{"no document", `{}`, `BAD_REQUEST: there is neither a query nor a document id`},
		{"empty query", `{"query":""}`, `BAD_REQUEST: there is neither a query nor a document id`},
		{"query is a number", `{"query":1}`, `BAD_REQUEST: query must be a string`},
		{"query is a list", `{"query":["{a}"]}`, `BAD_REQUEST: query must be a string`},
		{"operationName is an object", `{"query":"{a}","operationName":{}}`, `BAD_REQUEST: operationName must be a string`},
		{"variables as text", `{"query":"{a}","variables":"{}"}`, `BAD_REQUEST: variables must be an object`},
		{"variables as list", `{"query":"{a}","variables":[]}`, `BAD_REQUEST: variables must be an object`},
		{"extensions as text", `{"query":"{a}","extensions":"{}"}`, `BAD_REQUEST: extensions must be an object`},

		{"duplicate query", `{"query":"{a}","query":"{b}"}`, `BAD_REQUEST: the JSON has an object with a duplicate name`},
		{"duplicate by escape", `{"query":"{a}","\u0071uery":"{b}"}`, `BAD_REQUEST: the JSON has an object with a duplicate name`},
		{"duplicate of an unknown member", `{"query":"{a}","x":1,"x":2}`, `BAD_REQUEST: the JSON has an object with a duplicate name`},
		{"duplicate in variables", `{"query":"{a}","variables":{"a":{"b":[{"c":1,"c":1}]}}}`, `BAD_REQUEST: the JSON has an object with a duplicate name`},
		{"duplicate in a dropped member", `{"query":"{a}","x":{"y":1,"\u0079":2}}`, `BAD_REQUEST: the JSON has an object with a duplicate name`},
		{"duplicate in a dropped extension", `{"query":"{a}","extensions":{"x":{"y":1,"y":2}}}`, `BAD_REQUEST: the JSON has an object with a duplicate name`},
		{"duplicate in persistedQuery", `{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"` + hash + `","sha256Hash":"` + hash + `"}}}`, `BAD_REQUEST: the JSON has an object with a duplicate name`},
		{"case variant beside", `{"query":"{a}","Query":"{b}"}`, `BAD_REQUEST: a member differs from a known one in case only`},
		{"case variant alone", `{"QUERY":"{b}"}`, `BAD_REQUEST: a member differs from a known one in case only`},
		{"case variant of variables", `{"query":"{a}","Variables":{}}`, `BAD_REQUEST: a member differs from a known one in case only`},
		{"case variant of operationName", `{"query":"{a}","operationname":"A"}`, `BAD_REQUEST: a member differs from a known one in case only`},
		{"case variant of documentId", `{"query":"{a}","documentID":"A"}`, `BAD_REQUEST: a member differs from a known one in case only`},
		{"case variant of extensions with a long s", `{"query":"{a}","exten` + "\u017f" + `ions":{}}`, `BAD_REQUEST: a member differs from a known one in case only`},
		{"case variant by escape", `{"query":"{a}","\u0051uery":"{b}"}`, `BAD_REQUEST: a member differs from a known one in case only`},
		{"case variant of persistedQuery", `{"query":"{a}","extensions":{"persistedquery":{}}}`, `BAD_REQUEST: an extension differs from persistedQuery in case only`},
		{"case variant of persistedQuery at the top", `{"query":"{a}","PersistedQuery":{}}`, `BAD_REQUEST: a member differs from a known one in case only`},

		{"empty", ``, `BAD_REQUEST: the body is empty`},
		{"white space", ` `, `BAD_REQUEST: the JSON ends early`},
		{"cut short", `{"query":"{a}"`, `BAD_REQUEST: the JSON ends early`},
		{"trailing text", `{"query":"{a}"} x`, `BAD_REQUEST: the body goes on after its JSON value`},
		{"second value", `{"query":"{a}"}{"query":"{b}"}`, `BAD_REQUEST: the body goes on after its JSON value`},
		{"trailing NUL", "{\"query\":\"{a}\"}\x00", `BAD_REQUEST: the body goes on after its JSON value`},
		{"byte order mark", "\ufeff" + `{"query":"{a}"}`, `BAD_REQUEST: the body begins with a byte order mark`},
		{"UTF-16", "\xff\xfe{\x00", `BAD_REQUEST: the body is not valid JSON at byte 0`},
		{"invalid UTF-8", "{\"query\":\"\xff\"}", `BAD_REQUEST: the body is not valid JSON at byte 10`},
		{"overlong UTF-8", "{\"query\":\"\xc0\xaf\"}", `BAD_REQUEST: the body is not valid JSON at byte 10`},
		{"invalid UTF-8 in a dropped member", "{\"query\":\"{a}\",\"x\":\"\xff\"}", `BAD_REQUEST: the body is not valid JSON at byte 20`},
		{"lone high surrogate", `{"query":"\ud800"}`, `BAD_REQUEST: the body is not valid JSON at byte 10`},
		{"lone low surrogate in variables", `{"query":"{a}","variables":{"a":"\udc00"}}`, `BAD_REQUEST: the body is not valid JSON at byte 33`},
		{"surrogates the wrong way round", `{"query":"\ude00\ud83d"}`, `BAD_REQUEST: the body is not valid JSON at byte 10`},
		{"control character in a string", "{\"query\":\"{a\n}\"}", `BAD_REQUEST: the body is not valid JSON at byte 12`},
		{"trailing comma", `{"query":"{a}",}`, `BAD_REQUEST: the body is not valid JSON at byte 14`},
		{"comment", `{/**/"query":"{a}"}`, `BAD_REQUEST: the body is not valid JSON at byte 1`},
		{"single quotes", `{'query':'{a}'}`, `BAD_REQUEST: the body is not valid JSON at byte 1`},
		{"NaN", `{"query":"{a}","variables":{"a":NaN}}`, `BAD_REQUEST: the body is not valid JSON at byte 32`},
		{"leading zero", `{"query":"{a}","variables":{"a":01}}`, `BAD_REQUEST: the body is not valid JSON at byte 33`},
		{"a string", `"{a}"`, `BAD_REQUEST: the body must be a JSON object or an array of them`},
		{"a number", `1`, `BAD_REQUEST: the body must be a JSON object or an array of them`},
		{"nesting of 64", `{"query":"{a}","variables":{"a":` + strings.Repeat("[", 62) + strings.Repeat("]", 62) + `}}`, `"{a}" vars={"a":` + strings.Repeat("[", 62) + strings.Repeat("]", 62) + `}`},
		{"nesting of 65", `{"query":"{a}","variables":{"a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}}`, `BAD_REQUEST: the body is nested too deeply`},
		{"nesting in a dropped member", `{"query":"{a}","x":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, `BAD_REQUEST: the body is nested too deeply`},
		{"brackets in strings do not nest", `{"query":"` + strings.Repeat(`\"[`, 100) + `"}`, `"` + strings.Repeat(`\"[`, 100) + `"`},
		{"a hundred thousand brackets", strings.Repeat("[", 100_000), `BAD_REQUEST: the body is nested too deeply`},

		{"batch", `[{"query":"{a}"},{"query":"{b}","variables":{"x":1}},{"id":"c"}]`, `batch "{a}" | "{b}" vars={"x":1} | "" id=c`},
		{"batch with extensions", `[{"query":"{a}","extensions":{"trace":1}},{"query":"{b}","extensions":{"flags":2}}]`, `batch "{a}" ext={"trace":1} | "{b}" ext={"flags":2}`},
		{"batch of one", `[{"query":"{a}"}]`, `batch "{a}"`},
		{"batch of none", `[]`, `BAD_REQUEST: the batch is empty`},
		{"batch of too many", `[{"query":"{a}"},{"query":"{a}"},{"query":"{a}"},{"query":"{a}"}]`, `BATCH_LIMIT: the batch has too many calls`},
		{"batch with a null", `[{"query":"{a}"},null]`, `BAD_REQUEST: each element of a batch must be a JSON object`},
		{"batch in a batch", `[[{"query":"{a}"}]]`, `BAD_REQUEST: each element of a batch must be a JSON object`},
		{"batch with a bad element", `[{"query":"{a}"},{"Query":"{a}"}]`, `BAD_REQUEST: a member differs from a known one in case only`},
		{"batch cut short", `[{"query":"{a}"}`, `BAD_REQUEST: the JSON ends early`},
		{"batch with a trailing comma", `[{"query":"{a}"},]`, `BAD_REQUEST: the body is not valid JSON at byte 16`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := outcome(t, post(c.body), o); got != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.body, got, c.want)
			}
		})
	}
}

func TestBatchDefault(t *testing.T) {
	for body, want := range map[string]string{
		`[{"query":"{a}"}]`:                 `batch "{a}"`,
		`[{"query":"{a}"},{"query":"{b}"}]`: `BATCH_LIMIT: batches are not supported: send one call a request`,
	} {
		if got := outcome(t, post(body), Options{}); got != want {
			t.Errorf("%s: %s", body, got)
		}
	}
}

func TestDecodeHead(t *testing.T) {
	const json = "Content-Type: application/json\n"
	const body = "\n{\"query\":\"{a}\"}"
	request := func(line, headers string) string {
		return line + " HTTP/1.1\nHost: h\nContent-Length: 15\n" + headers + body
	}
	const unsupported = "UNSUPPORTED_MEDIA_TYPE: "
	for _, c := range []struct{ name, request, want string }{
		{"plain", request("POST /graphql", json), `"{a}"`},
		{"charset", request("POST /graphql", "Content-Type: Application/JSON ; Charset=\"UTF-8\"\n"), `"{a}"`},
		{"another parameter", request("POST /graphql", "Content-Type: application/json; profile=x\n"), `"{a}"`},
		{"identity coding", request("POST /graphql", json+"Content-Encoding: identity\n"), `"{a}"`},
		{"no content type", request("POST /graphql", ""), unsupported + "one Content-Type is needed: application/json"},
		{"two content types", request("POST /graphql", json+json), unsupported + "one Content-Type is needed: application/json"},
		{"content types in one line", request("POST /graphql", "Content-Type: application/json, text/plain\n"), unsupported + "the Content-Type cannot be read; it must be application/json"},
		{"semicolon trick", request("POST /graphql", "Content-Type: text/plain; application/json\n"), unsupported + "the Content-Type cannot be read; it must be application/json"},
		{"text", request("POST /graphql", "Content-Type: text/plain\n"), unsupported + "the Content-Type must be application/json"},
		{"text with a preflight header", request("POST /graphql", "Content-Type: text/plain\nApollo-Require-Preflight: 1\n"), unsupported + "the Content-Type must be application/json"},
		{"form", request("POST /graphql", "Content-Type: application/x-www-form-urlencoded\n"), unsupported + "the Content-Type must be application/json"},
		{"GraphQL text", request("POST /graphql", "Content-Type: application/graphql\n"), unsupported + "the Content-Type must be application/json"},
		{"suffix", request("POST /graphql", "Content-Type: application/ld+json\n"), unsupported + "the Content-Type must be application/json"},
		{"prefix of the type", request("POST /graphql", "Content-Type: application/jsonp\n"), unsupported + "the Content-Type must be application/json"},
		{"upload", request("POST /graphql", "Content-Type: multipart/form-data; boundary=x\n"), unsupported + "multipart requests and file uploads are not supported; send application/json"},
		{"another charset", request("POST /graphql", "Content-Type: application/json; charset=utf-16\n"), unsupported + "the charset must be utf-8"},
		{"charset UTF-7", request("POST /graphql", "Content-Type: application/json;charset=utf-7\n"), unsupported + "the charset must be utf-8"},
		{"extended charset", request("POST /graphql", "Content-Type: application/json;charset*=us-ascii''utf-7\n"), unsupported + "the charset must be utf-8"},
		{"two charsets", request("POST /graphql", "Content-Type: application/json;charset=utf-8;charset=utf-7\n"), unsupported + "the Content-Type cannot be read; it must be application/json"},
		{"gzip", request("POST /graphql", json+"Content-Encoding: gzip\n"), unsupported + "the body has a Content-Encoding; send it plain"},
		{"identity and gzip", request("POST /graphql", json+"Content-Encoding: identity\nContent-Encoding: gzip\n"), unsupported + "the body has a Content-Encoding; send it plain"},
		{"WebSocket", "GET /graphql HTTP/1.1\nHost: h\nConnection: Upgrade\nUpgrade: WebSocket\n\n", unsupported + "WebSocket upgrades are not supported"},
		{"other upgrade", "GET /graphql HTTP/1.1\nHost: h\nConnection: Upgrade\nUpgrade: h2c\n\n", unsupported + "protocol upgrades are not supported"},
		{"upgrade on POST", request("POST /graphql", json+"Upgrade: websocket, h2c\n"), unsupported + "protocol upgrades are not supported"},
		{"PUT", request("PUT /graphql", json), "METHOD_NOT_ALLOWED: GraphQL over HTTP knows GET and POST"},
		{"lower-case method", request("post /graphql", json), "METHOD_NOT_ALLOWED: GraphQL over HTTP knows GET and POST"},
		{"HEAD", "HEAD /graphql?query={a} HTTP/1.1\nHost: h\n\n", "METHOD_NOT_ALLOWED: GraphQL over HTTP knows GET and POST"},
		{"stream only", request("POST /graphql", json+"Accept: text/event-stream\n"), "NOT_ACCEPTABLE: the answer is application/graphql-response+json or application/json and nothing else"},
		{"URL too long", request("POST /graphql?x="+strings.Repeat("a", 100), json), "URL_LIMIT: the URL is too long"},
		{"headers too large", request("POST /graphql", json+"X: "+strings.Repeat("a", 500)+"\n"), "HEADER_LIMIT: the headers are too large"},
		{"many small headers", request("POST /graphql", json+strings.Repeat("A: b\n", 70)), "HEADER_LIMIT: the headers are too large"},
		{"harmless URL parameter", request("POST /graphql?op=A&ref=x", json), `"{a}"`},
		{"second query in the URL", request("POST /graphql?query=%7Bb%7D", json), "BAD_REQUEST: a second query in the URL: a POST takes its parameters from the body alone"},
		{"empty query in the URL", request("POST /graphql?query", json), "BAD_REQUEST: a second query in the URL: a POST takes its parameters from the body alone"},
		{"escaped name in the URL", request("POST /graphql?qu%65ry=x", json), "BAD_REQUEST: a second query in the URL: a POST takes its parameters from the body alone"},
		{"case variant in the URL", request("POST /graphql?QUERY=x", json), "BAD_REQUEST: a second query in the URL: a POST takes its parameters from the body alone"},
		{"id in the URL", request("POST /graphql?doc_id=x", json), "BAD_REQUEST: a second query in the URL: a POST takes its parameters from the body alone"},
		{"semicolon in the URL", request("POST /graphql?a;query=x", json), "BAD_REQUEST: the URL's query has a semicolon; write %3B"},
		{"bad escape in the URL", request("POST /graphql?a=%zz", json), "BAD_REQUEST: the URL's query has a bad escape"},
		{"Content-Length over the limit", "POST /graphql HTTP/1.1\nHost: h\n" + json + "Content-Length: 1001\n\n{", "BODY_LIMIT: the body is too large"},
		{"body shorter than its length", "POST /graphql HTTP/1.1\nHost: h\n" + json + "Content-Length: 100\n\n{}", "BAD_REQUEST: the body could not be read"},
		{"chunked body over the limit", "POST /graphql HTTP/1.1\nHost: h\n" + json + "Transfer-Encoding: chunked\n\n3e9\n" + strings.Repeat(" ", 1001) + "\n0\n\n", "BODY_LIMIT: the body is too large"},
		{"chunked body", "POST /graphql HTTP/1.1\nHost: h\n" + json + "Transfer-Encoding: chunked\n\nf\n{\"query\":\"{a}\"}\n0\n\n", `"{a}"`},
		{"no body", "POST /graphql HTTP/1.1\nHost: h\n" + json + "\n", "BAD_REQUEST: the body is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := outcome(t, raw(t, c.request), Options{MaxURL: 80, MaxHeaders: 400, MaxBody: 1000})
			if got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestMethodErrorNamesMethods(t *testing.T) {
	_, err := Decode(httptest.NewRecorder(), httptest.NewRequest("DELETE", "/", nil), Options{})
	e, ok := errors.AsType[*Error](err)
	if !ok || strings.Join(e.Allow, " ") != "GET POST" {
		t.Errorf("%+v", err)
	}
}

func TestDecodeGET(t *testing.T) {
	o := Options{Extensions: []string{"trace"}}
	const vouch = "Apollo-Require-Preflight: true\n"
	for _, c := range []struct{ name, target, headers, want string }{
		{"query", "?query=%7Ba%7D", vouch, `"{a}"`},
		{"all", "?query={a}&operationName=A&variables=%7B%22x%22:1%7D&extensions=%7B%22trace%22:1%7D", vouch, `"{a}" op=A vars={"x":1} ext={"trace":1}`},
		{"plus is a space", "?query=query+A{a}", vouch, `"query A{a}"`},
		{"empty optional parameters", "?query={a}&operationName=&variables=&extensions=&documentId=", vouch, `"{a}"`},
		{"null variables", "?query={a}&variables=null&extensions=null", vouch, `"{a}"`},
		{"unknown parameters are dropped", "?query={a}&x=1&x=2", vouch, `"{a}"`},
		{"documentId", "?documentId=sha256:" + hash, vouch, `"" documentId=sha256:` + hash},
		{"id", "?id=x", vouch, `"" id=x`},
		{"doc_id", "?doc_id=x", vouch, `"" doc_id=x`},
		{"hash", "?extensions=%7B%22persistedQuery%22:%7B%22version%22:1,%22sha256Hash%22:%22" + hash + "%22%7D%7D", vouch, `"" extensions.persistedQuery=` + hash},
		{"Authorization vouches", "?query={a}", "Authorization: Bearer x\n", `"{a}"`},
		{"Yoga's header vouches", "?query={a}", "x-graphql-yoga-csrf: 1\n", `"{a}"`},
		{"nothing vouches", "?query={a}", "", csrfRefusal},
		{"a content type does not vouch", "?query={a}", "Content-Type: application/json\n", csrfRefusal},
		{"an empty header does not vouch", "?query={a}", "Apollo-Require-Preflight: \n", csrfRefusal},
		{"a foreign content type is no matter", "?query={a}", vouch + "Content-Type: text/plain\n", `"{a}"`},
		{"nothing", "", vouch, `BAD_REQUEST: there is neither a query nor a document id`},
		{"query twice", "?query={a}&query={b}", vouch, `BAD_REQUEST: the parameter query is given twice`},
		{"query twice, once escaped", "?query={a}&qu%65ry={b}", vouch, `BAD_REQUEST: the parameter query is given twice`},
		{"variables twice, once empty", "?query={a}&variables=&variables=%7B%7D", vouch, `BAD_REQUEST: the parameter variables is given twice`},
		{"case variant", "?query={a}&Query={b}", vouch, `BAD_REQUEST: a parameter differs from a known one in case only`},
		{"semicolon", "?query={a};query={b}", vouch, `BAD_REQUEST: the URL's query has a semicolon; write %3B`},
		{"escaped semicolon", "?query={a}%3B", vouch, `"{a};"`},
		{"bad escape", "?query=%7", vouch, `BAD_REQUEST: the URL's query has a bad escape`},
		{"bad escape in a name", "?%zz=1&query={a}", vouch, `BAD_REQUEST: the URL's query has a bad escape`},
		{"invalid UTF-8", "?query=%ff", vouch, `BAD_REQUEST: the URL's query has a bad escape`},
		{"variables as list", "?query={a}&variables=[]", vouch, `BAD_REQUEST: variables must be an object`},
		{"variables twice in one", "?query={a}&variables={}{}", vouch, `BAD_REQUEST: variables go on after their JSON value`},
		{"extensions go on", "?query={a}&extensions={}1", vouch, `BAD_REQUEST: extensions go on after their JSON value`},
		{"variables with a duplicate", "?query={a}&variables={%22a%22:1,%22a%22:2}", vouch, `BAD_REQUEST: the JSON has an object with a duplicate name`},
		{"variables too deep", "?query={a}&variables=" + strings.Repeat("[", 65), vouch, `BAD_REQUEST: variables or extensions are nested too deeply`},
		{"a body", "?query={a}", vouch + "Content-Length: 2\n", `BAD_REQUEST: a GET has no body`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := raw(t, "GET /graphql"+c.target+" HTTP/1.1\nHost: h\n"+c.headers+"\n{}")
			if got := outcome(t, r, o); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

const csrfRefusal = "CSRF: a GET needs an Authorization header or one that forces a preflight, such as Apollo-Require-Preflight; or send a POST with application/json"

func TestForcesPreflight(t *testing.T) {
	for _, name := range append(slices.Clone(DefaultCSRFHeaders), "x-own", "Authorization", "x-requested-with") {
		if !ForcesPreflight(name) {
			t.Errorf("%s forces a preflight", name)
		}
	}
	for _, name := range []string{"accept", "Content-Type", "content-language", "range", "origin", "COOKIE", "user-agent", "referer", "sec-fetch-site", "dpr", "if-none-match"} {
		if ForcesPreflight(name) {
			t.Errorf("%s forces no preflight", name)
		}
	}
}

func TestCSRFHeadersAreTheConfigs(t *testing.T) {
	r := func() *http.Request {
		r := httptest.NewRequest("GET", "/graphql?query={a}", nil)
		r.Header.Set("X-Own", "1")
		return r
	}
	for _, c := range []struct {
		headers []string
		want    string
	}{
		{nil, csrfRefusal},
		{[]string{}, csrfRefusal},
		{[]string{"x-own"}, `"{a}"`},
	} {
		if got := outcome(t, r(), Options{CSRFHeaders: c.headers}); got != c.want {
			t.Errorf("%q: %s", c.headers, got)
		}
	}
}

func TestNegotiate(t *testing.T) {
	const j, g, none = "application/json", "application/graphql-response+json", "none"
	for _, c := range []struct{ accept, want string }{
		{"", j}, {" ", j}, {"*/*", j}, {"application/*", j}, {j, j}, {g, g},
		{"application/graphql-response+json,application/json;q=0.9", g},
		{"application/json, application/graphql-response+json", g},
		{"application/json, application/graphql-response+json;q=0.9", j},
		{"application/json;q=0.5, application/graphql-response+json;q=0.5", g},
		{"application/graphql-response+json;q=0.1, */*", j},
		{"application/json;q=0, */*", g},
		{"application/json;q=0, application/graphql-response+json;q=0, */*", none},
		{"application/graphql-response+json; charset=utf-8", g},
		{"application/graphql-response+json; charset=latin1", none},
		{"APPLICATION/GRAPHQL-RESPONSE+JSON", g},
		{"text/html", none}, {"text/event-stream", none}, {"multipart/mixed", none}, {"application/jsonp", none},
		{"text/html, */*;q=0.1", j},
		{`multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/graphql-response+json,application/json;q=0.9`, g},
		{`multipart/mixed;incrementalSpec=v0.2,application/graphql-response+json,application/json;q=0.9`, g},
		{`multipart/mixed;deferSpec=20220824,application/json`, j},
		{`multipart/mixed; boundary="a,application/graphql-response+json", application/json`, j},
		{"application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed", g},
		{"application/json;q=1.5", none}, {"application/json;q=NaN", none}, {"application/json;q=x", none}, {"application/json;q=-1", none},
		{",,application/json,,", j},
		{`a;b="\"`, none},
	} {
		other := strings.Repeat("x", len(c.accept)) // of the same length, which takes what is remembered
		for range 2 {
			for range 2 {
				accept, ok := Negotiate(http.Header{"Accept": {c.accept}})
				got := accept.MediaType()
				if !ok {
					got = none
				}
				if got != c.want {
					t.Errorf("%q: %s, want %s", c.accept, got, c.want)
				}
			}
			if _, ok := Negotiate(http.Header{"Accept": {other}}); ok != (other == "") {
				t.Errorf("%q: %t", other, ok)
			}
		}
	}
	if accept, ok := Negotiate(nil); accept != AcceptJSON || !ok {
		t.Error("no Accept is not application/json")
	}
	if accept, _ := Negotiate(http.Header{"Accept": {"text/html", g}}); accept != AcceptGraphQL {
		t.Error("a second Accept line is not read")
	}
}

// deadlines records what the body's read deadline is set to.
type deadlines struct {
	http.ResponseWriter
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

// TestReadDeadline: set before anything is judged, cleared only once the
// message is there.
func TestReadDeadline(t *testing.T) {
	authorized := httptest.NewRequest("GET", "/graphql?query={a}", nil)
	authorized.Header.Set("Authorization", "x")
	text := post(`{"query":"{a}"}`)
	text.Header.Set("Content-Type", "text/plain")
	for _, c := range []struct {
		name string
		r    *http.Request
		want string // s: set, c: cleared
	}{
		{"decoded", post(`{"query":"{a}"}`), "sc"},
		{"not JSON", post(`{`), "s"},
		{"wrong type", text, "s"},
		{"GET", authorized, "c"},
		{"GET refused", httptest.NewRequest("GET", "/graphql", nil), ""},
	} {
		w := &deadlines{ResponseWriter: httptest.NewRecorder()}
		if m, err := Decode(w, c.r, Options{BodyTime: time.Minute}); err == nil {
			m.Release()
		}
		got := ""
		for _, at := range w.set {
			if at.IsZero() {
				got += "c"
			} else {
				got += "s"
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

type failingBody struct{ err error }

func (b failingBody) Read([]byte) (int, error) { return 0, b.err }
func (b failingBody) Close() error             { return nil }

func TestBodyErrors(t *testing.T) {
	for err, want := range map[error]string{
		os.ErrDeadlineExceeded: "REQUEST_TIMEOUT: the body did not come in time",
		io.ErrUnexpectedEOF:    "BAD_REQUEST: the body could not be read",
	} {
		r := post("")
		r.Body, r.ContentLength = failingBody{err}, -1
		if got := outcome(t, r, Options{}); got != want {
			t.Errorf("%v: %s", err, got)
		}
	}
}

// TestSlowBody is the time-out on a real connection: half a body, then silence.
// The connection must end also where the body is refused unread.
func TestSlowBody(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m, err := Decode(w, r, Options{BodyTime: 20 * time.Millisecond})
		if e, ok := errors.AsType[*Error](err); ok {
			_ = WriteRefusal(w, r, refusalOf(e), AcceptJSON, true)
			return
		}
		m.Release()
	}))
	defer server.Close()
	for media, want := range map[string]string{"application/json": CodeRequestTimeout, "text/plain": CodeUnsupportedMediaType} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: "+media+"\r\nContent-Length: 100\r\n\r\n{\"query\""); err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(conn)
		if err != nil {
			t.Errorf("%s: the connection stays open: %v", media, err)
		}
		if !strings.Contains(string(all), want) {
			t.Errorf("%s: %s", media, all)
		}
	}
}

func TestReleasedMessagesAreClean(t *testing.T) {
	m, err := Decode(httptest.NewRecorder(), post(`[{"query":"{a}","variables":{"a":1},"extensions":{"x":1}}]`), Options{Extensions: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	calls := m.Calls
	m.Release()
	if c := calls[0]; m.Calls != nil || c.Query != "" || c.Variables != nil || c.Extensions != nil || m.Batch {
		t.Errorf("after Release: %+v %+v", m, c)
	}
}
