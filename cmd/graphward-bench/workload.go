package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// request is one prepared HTTP/1.1 request. hostile says that a firewall must
// refuse it (status 400 and above); the bare proxy lets it through.
type request struct {
	raw     []byte
	hostile bool
}

// workload makes the requests of one comparison. next appends to buf, which it
// may ignore; n counts from 0 over all connections and rounds and never comes
// again in a run.
type workload struct {
	name     string
	about    string
	variants []variant
	distinct int // documents to be seen before it is warm; 0: one burst warms it
	next     func(buf []byte, n uint64) request
}

// poolSize is how many prepared requests a pooled workload turns through.
const poolSize = 4096

func workloads(s *scene) []workload {
	warm := s.pooled(poolSize, func(int) string { return warmDocument("Warm", "p") }, nil)
	sized := func(size int) func([]byte, uint64) request {
		return s.pooled(64, func(int) string { return warmDocument("Warm", "p") }, []string{sizeHeader + ": " + strconv.Itoa(size)})
	}
	return []workload{
		{"warm", "one registered operation, changing variables", []variant{everything}, 0, warm},
		{"rotation", "2,000 distinct unregistered operations in rotation", []variant{everything}, 2 * 2000,
			s.pooled(2000, func(i int) string { return warmDocument("Rotation"+strconv.Itoa(i), "p"+strconv.Itoa(i)) }, nil)},
		{"never", "every document new, 1 KB", []variant{everything}, 0, s.never()},
		{"denied", "a denied field: refused", []variant{everything}, 0, hostile(s.pooled(64, func(int) string {
			return strings.Replace(warmDocument("Denied", "p"), "  orders(owner", "  salaries\n  orders(owner", 1)
		}, nil))},
		{"costly", "too costly: refused", []variant{everything}, 0, hostile(s.pooled(64, func(int) string {
			return strings.Replace(warmDocument("Costly", "p"), "related(first: 3) {", "related(first: 100) { related(first: 100) { f0 }", 1)
		}, nil))},
		{"100KB", "answers of 100 KB", []variant{everything, passing, pricing}, 0, sized(100 << 10)},
		{"5MB", "answers of 5 MB", []variant{everything, passing, pricing}, 0, sized(5 << 20)},
		{"mixed", "warm with 1 % hostile", []variant{everything}, 0, s.mixed(warm)},
	}
}

// raw is a whole request with the given body.
func (s *scene) raw(buf []byte, caller int, headers []string, body []byte) []byte {
	buf = append(buf, "POST /graphql HTTP/1.1\r\nHost: api.bench.example\r\nUser-Agent: graphward-bench\r\n"+
		"Accept: application/graphql-response+json, application/json;q=0.9\r\nAccept-Encoding: gzip, br\r\nContent-Type: application/json\r\n"+
		"Origin: https://shop.bench.example\r\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nAuthorization: Bearer "...)
	buf = append(buf, s.tokens[caller%subjects]...)
	for _, h := range headers {
		buf = append(append(buf, "\r\n"...), h...)
	}
	buf = append(buf, "\r\nContent-Length: "...)
	buf = strconv.AppendInt(buf, int64(len(body)), 10)
	return append(append(buf, "\r\n\r\n"...), body...)
}

// body is a GraphQL call whose variables depend on i.
func body(document string, i int) []byte {
	quoted, _ := jsontext.AppendQuote(nil, document)
	return fmt.Appendf(nil, `{"query":%s,"variables":{"id":"p-%d","first":%d,"after":"cursor-%d","owner":%q}}`,
		quoted, i, 1+i%20, i*7919, subjectID(i%subjects))
}

// pooled prepares n requests and turns through them.
func (s *scene) pooled(n int, document func(int) string, headers []string) func([]byte, uint64) request {
	pool := make([][]byte, n)
	for i := range pool {
		pool[i] = s.raw(nil, i, headers, body(document(i), i))
	}
	return func(_ []byte, k uint64) request { return request{raw: pool[k%uint64(n)]} }
}

// hostile marks all of a workload's requests as ones to refuse.
func hostile(next func([]byte, uint64) request) func([]byte, uint64) request {
	return func(buf []byte, n uint64) request {
		r := next(buf, n)
		r.hostile = true
		return r
	}
}

// never makes documents that no request had before: name and alias hold the
// request's number.
func (s *scene) never() func([]byte, uint64) request {
	const mark = "0000000000000000"
	var heads [subjects][3]string
	for i := range heads {
		parts := strings.Split(string(s.raw(nil, i, nil, body(warmDocument("Never"+mark, "p"+mark), i))), mark)
		heads[i] = [3]string(parts)
	}
	return func(buf []byte, n uint64) request {
		var digits [16]byte
		for i := len(digits) - 1; i >= 0; i-- {
			digits[i] = "0123456789abcdef"[n>>(4*(len(digits)-1-i))&15]
		}
		parts := &heads[n%subjects]
		buf = append(append(buf[:0], parts[0]...), digits[:]...)
		buf = append(append(buf, parts[1]...), digits[:]...)
		return request{raw: append(buf, parts[2]...)}
	}
}

// mixed replaces one request in a hundred by an attack.
func (s *scene) mixed(warm func([]byte, uint64) request) func([]byte, uint64) request {
	bodies := [][]byte{
		[]byte(`{"query":"{ salaries }","query":"{ product(id: 1) { f0 } }"}`),
		[]byte(`{"query":"{ product(id: 1) { ` + strings.Repeat("related(first: 2) { ", 40) + "f0" + strings.Repeat(" }", 40) + ` } }"}`),
		body("query A { "+strings.Repeat("a: salaries ", 500)+"}", 0),
		body("query M { "+many("p%d: product(id: 1) { f0 } ", 100)+"}", 0),
		[]byte(`{"query":"{ __schema { types { name fields { name } } } }"}`),
		[]byte(strings.Repeat("[", 5000)),
		body("query N { nothing }", 0),
	}
	pool := make([][]byte, len(bodies))
	for i, b := range bodies {
		pool[i] = s.raw(nil, i, nil, b)
	}
	return func(buf []byte, n uint64) request {
		if n%100 == 99 {
			return request{raw: pool[n/100%uint64(len(pool))], hostile: true}
		}
		return warm(buf, n)
	}
}

func many(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}
