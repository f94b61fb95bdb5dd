package gqlhttp

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphward/graphward/jsonscan"
)

// Refusal is what a client is told when a request is not let through.
type Refusal struct {
	// Problems has at least one element; the first one's code decides the status.
	Problems []Problem
	// Status overrides the table's status; 0 means the table's. APQ's
	// PersistedQueryNotFound uses it: 200 always.
	Status int
	// RetryAfter sets Retry-After in whole seconds, rounded up; 0 leaves it out.
	RetryAfter time.Duration
	// Challenge sets WWW-Authenticate; a 401 without one gets Bearer.
	Challenge string
	// Allow sets the Allow header of a 405.
	Allow []string
	// Close asks HTTP/1.1 to end the connection after the answer: the rest of a
	// body that was not read is not worth reading.
	Close bool
}

// Problem is one entry of errors.
type Problem struct {
	Code    string
	Message string
	// Line and Column are 1-based and refer to the document; 0 leaves
	// locations out.
	Line, Column int
	// Path holds response keys; nil leaves it out.
	Path []string
	// Details is a JSON object whose members follow code in extensions; nil
	// for none. It must not have a member named code.
	Details []byte
}

// AppendRefusal appends the body of a refusal: {"errors":[…]}, also used as an
// element of a batch's answer.
func AppendRefusal(dst []byte, problems []Problem) []byte {
	dst = append(dst, `{"errors":[`...)
	for i := range problems {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = problems[i].append(dst)
	}
	return append(dst, "]}"...)
}

func (p *Problem) append(dst []byte) []byte {
	dst = append(dst, `{"message":`...)
	dst = jsonscan.AppendQuote(dst, p.Message)
	if p.Line > 0 {
		dst = append(dst, `,"locations":[{"line":`...)
		dst = strconv.AppendInt(dst, int64(p.Line), 10)
		dst = append(dst, `,"column":`...)
		dst = strconv.AppendInt(dst, int64(max(p.Column, 1)), 10)
		dst = append(dst, "}]"...)
	}
	if p.Path != nil {
		dst = append(dst, `,"path":[`...)
		for i, key := range p.Path {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = jsonscan.AppendQuote(dst, key)
		}
		dst = append(dst, ']')
	}
	dst = append(dst, `,"extensions":{"code":`...)
	dst = jsonscan.AppendQuote(dst, p.Code)
	if len(p.Details) > 2 {
		dst = append(append(dst, ','), p.Details[1:]...)
		return append(dst, '}')
	}
	return append(dst, "}}"...)
}

// StatusFor returns the refusal's status for the client.
func (f *Refusal) StatusFor(accept Accept, legacyOK bool) int {
	if f.Status != 0 {
		return f.Status
	}
	return StatusFor(f.Problems[0].Code, accept, legacyOK)
}

// WriteRefusal writes the refusal as the whole answer. Headers that are already
// set on w, such as CORS and RateLimit, stay. The error is the connection's.
func WriteRefusal(w http.ResponseWriter, r *http.Request, f *Refusal, accept Accept, legacyOK bool) error {
	status := f.StatusFor(accept, legacyOK)
	h := w.Header()
	f.SetHeader(h, status)
	if f.Close && r.ProtoMajor == 1 {
		h.Set("Connection", "close")
	}
	b := bodies.Get().(*[]byte)
	*b = AppendRefusal((*b)[:0], f.Problems)
	err := WriteBody(w, status, accept, *b)
	if cap(*b) <= maxKeptBody {
		bodies.Put(b)
	}
	return err
}

// bodies are of refusals; larger ones are not kept.
var bodies = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

const maxKeptBody = 16 << 10

// SetHeader sets the headers that a refusal with this status carries, all but
// the content's.
func (f *Refusal) SetHeader(h http.Header, status int) {
	if f.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((f.RetryAfter-1)/time.Second)+1, 10))
	}
	if len(f.Allow) > 0 {
		h.Set("Allow", strings.Join(f.Allow, ", "))
	}
	switch {
	case f.Challenge != "":
		h.Set("WWW-Authenticate", f.Challenge)
	case status == http.StatusUnauthorized && h.Get("WWW-Authenticate") == "":
		h.Set("WWW-Authenticate", "Bearer")
	}
}

// WriteBody writes an answer of the firewall's own making: not to be stored,
// not to be sniffed. What [SetPrivate] has set stays.
func WriteBody(w http.ResponseWriter, status int, accept Accept, body []byte) error {
	h := w.Header()
	h["Content-Type"] = contentTypes[accept]
	h["Content-Length"] = lengthValue(len(body))
	if h.Get("Cache-Control") != privateNoStore[0] {
		h["Cache-Control"] = noStore
	}
	h["X-Content-Type-Options"] = noSniff
	w.WriteHeader(status)
	_, err := w.Write(body)
	return err
}

// lengths are values of Content-Length that were needed before.
var lengths [1 << 10]atomic.Pointer[[]string]

// lengthValue is a value of Content-Length that nobody may change or append to.
func lengthValue(n int) []string {
	if n >= len(lengths) {
		return []string{strconv.Itoa(n)}
	}
	if v := lengths[n].Load(); v != nil {
		return *v
	}
	v := []string{strconv.Itoa(n)}
	lengths[n].Store(&v)
	return v
}

// Values that all answers share; nobody appends to them, for they are full.
var (
	contentTypes = [...][]string{AcceptJSON: {AcceptJSON.ContentType()}, AcceptGraphQL: {AcceptGraphQL.ContentType()}}
	noStore      = []string{"no-store"}
	noSniff      = []string{"nosniff"}
)
