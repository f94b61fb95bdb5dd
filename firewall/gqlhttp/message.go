package gqlhttp

import (
	"bytes"
	"net/http"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Call is one GraphQL call of a message, decoded and checked for form. Strings
// are the call's own; the byte slices point into the message's buffer and end
// with [Message.Release].
type Call struct {
	// Query is the document text, valid UTF-8; empty when the call has only a
	// document id.
	Query string
	// Known is where Query is remembered; nil where it is not.
	Known *Text
	// OperationName is empty when it was absent, null or "".
	OperationName string
	// Variables is a JSON object without duplicate names at any depth, as the
	// client wrote it; nil when absent or null.
	Variables []byte
	// Extensions is a JSON object of the allow-listed members, in the client's
	// order; nil when there are none. It never holds persistedQuery.
	Extensions []byte
	// DocumentID is the persisted document's id in whichever form IDForm says;
	// empty when there is none. It has at most [MaxIDLength] bytes of printable
	// ASCII. For [IDHash] it is the 64 lower-case hexadecimal digits.
	DocumentID string
	IDForm     IDForm
}

// APQ reports whether the call names its document by
// extensions.persistedQuery, the form that Automatic Persisted Queries use.
func (c *Call) APQ() bool { return c.IDForm == IDHash }

// IDForm says where a document id stood.
type IDForm uint8

// The forms of a document id.
const (
	IDNone       IDForm = iota
	IDDocumentID        // documentId, of the GraphQL over HTTP appendix
	IDRelay             // id
	IDDoc               // doc_id
	IDHash              // extensions.persistedQuery.sha256Hash, version 1
)

func (f IDForm) String() string {
	return [...]string{"", "documentId", "id", "doc_id", "extensions.persistedQuery"}[f]
}

// MaxIDLength bounds a document id, in bytes.
const MaxIDLength = 256

// Message is a decoded request. It is not safe for concurrent use while it is
// being released.
type Message struct {
	// Calls has at least one element.
	Calls []Call
	// Batch is true when the client sent an array, also one of a single call:
	// the answer is then an array of as many elements in the same order.
	Batch bool
	// Accept is the media type that the answer will have.
	Accept Accept
	// Method is GET or POST.
	Method string
	// Bytes is the length of the request's body; 0 for GET.
	Bytes int

	body    []byte
	scratch []byte
	source  bytes.Buffer
	decoder jsontext.Decoder
	one     [1]Call
}

// maxPooled is the largest buffer that goes back to the pool: a rare large
// body must not stay in memory for as long as the process lives.
const maxPooled = 64 << 10

var messages = sync.Pool{New: func() any { return new(Message) }}

// Release gives the message's buffers back. Variables and Extensions must not
// be used afterwards; strings may. Release on nil does nothing, a second
// Release is not allowed.
func (m *Message) Release() {
	if m == nil {
		return
	}
	clear(m.Calls)
	m.one[0] = Call{}
	m.Calls, m.Batch, m.Accept, m.Method, m.Bytes = nil, false, AcceptJSON, "", 0
	m.source, m.scratch = bytes.Buffer{}, m.scratch[:0]
	if cap(m.body) > maxPooled {
		m.body = nil
		m.decoder.Reset(&m.source) // it points at the body
	}
	if cap(m.scratch) > maxPooled {
		m.scratch = nil
	}
	messages.Put(m)
}

// Error is a request that could not be decoded.
type Error struct {
	// Code is one of BAD_REQUEST, CSRF, BATCH_LIMIT, METHOD_NOT_ALLOWED,
	// NOT_ACCEPTABLE, REQUEST_TIMEOUT, BODY_LIMIT, URL_LIMIT,
	// UNSUPPORTED_MEDIA_TYPE, HEADER_LIMIT.
	Code string
	// Status is the code's HTTP status; none of these codes has a legacy 200.
	Status int
	// Message may be shown to the client. It quotes nothing but names that this
	// package knows and offsets.
	Message string
	// Allow lists the methods for the Allow header of METHOD_NOT_ALLOWED.
	Allow []string
	// Cause is the underlying error for the operator; often nil.
	Cause error
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Code + ": " + e.Message + ": " + e.Cause.Error()
	}
	return e.Code + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.Cause }

func refuse(code, message string) *Error {
	row, _ := Lookup(code)
	return &Error{Code: code, Status: row.Status, Message: message}
}

// MethodError refuses a method and names those that are allowed. The pipeline
// uses it for a mutation over GET: MethodError("a mutation needs POST", "POST").
func MethodError(message string, allow ...string) *Error {
	e := refuse(CodeMethodNotAllowed, message)
	e.Allow = allow
	return e
}

// headerBytes is the size of a request's header section as HTTP/1.1 would
// write it, Host included.
func headerBytes(r *http.Request) int {
	n := len(r.Host) + len("Host: \r\n")
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	return n
}

// validID reports whether a document id has an acceptable form: what can be
// quoted in a log line, a header or a file name's neighbourhood without harm.
func validID(id string) bool {
	if id == "" || len(id) > MaxIDLength {
		return false
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return true
}

func validSHA256(hash string) bool {
	return len(hash) == 64 && strings.Trim(hash, "0123456789abcdef") == ""
}
