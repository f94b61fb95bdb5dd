package gqlhttp

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Options bounds and configures Decode. The zero value means the defaults of
// DESIGN.md section 6.
type Options struct {
	MaxBody    int           // bytes of the body; 0 is 256 KiB
	MaxURL     int           // bytes of the request target; 0 is 8 KiB
	MaxHeaders int           // bytes of the header section; 0 is 32 KiB
	MaxBatch   int           // calls in an array; 0 is 1
	MaxNesting int           // brackets nested in the body; 0 is 64
	BodyTime   time.Duration // for reading the body; 0 is 10 s, negative none
	// CSRFHeaders are the names of which one must be present on a GET, any
	// case; nil is [DefaultCSRFHeaders], empty is none.
	CSRFHeaders []string
	// Extensions are the names of the extensions that are kept for
	// forwarding, exact; persistedQuery is never kept.
	Extensions []string
	// Texts remembers document texts between requests; nil: none is.
	Texts *Texts
}

// DefaultCSRFHeaders are the headers that real clients send to force a
// preflight: Apollo, Hot Chocolate, DGS and Yoga.
var DefaultCSRFHeaders = []string{
	"X-Apollo-Operation-Name", "Apollo-Require-Preflight", "Graphql-Preflight",
	"Graphql-Require-Preflight", "X-Graphql-Yoga-Csrf",
}

func (o *Options) fill() {
	or := func(n *int, d int) {
		if *n <= 0 {
			*n = d
		}
	}
	or(&o.MaxBody, 256<<10)
	or(&o.MaxURL, 8<<10)
	or(&o.MaxHeaders, 32<<10)
	or(&o.MaxBatch, 1)
	or(&o.MaxNesting, 64)
	if o.BodyTime == 0 {
		o.BodyTime = 10 * time.Second
	}
	if o.CSRFHeaders == nil {
		o.CSRFHeaders = DefaultCSRFHeaders
	}
}

// Decode reads a GraphQL-over-HTTP request: GET or POST, strictly. The error
// is always an *[Error]. The caller must [Message.Release] the message.
//
// w is needed for the read deadline, which Decode sets by [BoundBody] and clears
// once it has the message, and to end the connection when the body is too large.
func Decode(w http.ResponseWriter, r *http.Request, o Options) (*Message, error) {
	o.fill()
	if o.BodyTime > 0 {
		BoundBody(w, r, time.Now().Add(o.BodyTime))
	}
	if e := checkHead(r, &o); e != nil {
		return nil, e
	}
	accept, ok := Negotiate(r.Header)
	if !ok {
		return nil, refuse(CodeNotAcceptable, "the answer is "+MediaGraphQL+" or "+MediaJSON+" and nothing else")
	}
	m := messages.Get().(*Message)
	m.Accept, m.Method = accept, r.Method
	var e *Error
	if r.Method == http.MethodGet {
		e = m.get(r, &o)
	} else {
		e = m.post(w, r, &o)
	}
	if e != nil {
		m.Release()
		return nil, e
	}
	if w != nil {
		// A deadline that is left standing would end the request's context
		// while upstream is still at work.
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	}
	return m, nil
}

// BoundBody sets the time until which a request's body, if it has one, may be
// read. It also bounds how long net/http, after a handler
// that refused early, waits for the rest of a body that nobody reads: a
// handler that answers without Decode calls it first. Where w cannot set a
// deadline (no SetReadDeadline through Unwrap) the server's own ReadTimeout is
// all there is.
func BoundBody(w http.ResponseWriter, r *http.Request, until time.Time) {
	if w != nil && r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(until)
	}
}

// checkHead judges what can be judged before anything is parsed.
func checkHead(r *http.Request, o *Options) *Error {
	target := len(r.RequestURI)
	if target == 0 {
		target = len(r.URL.Path) + len(r.URL.RawQuery)
	}
	if target > o.MaxURL {
		return refuse(CodeURLLimit, "the URL is too long")
	}
	if headerBytes(r) > o.MaxHeaders {
		return refuse(CodeHeaderLimit, "the headers are too large")
	}
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return MethodError("GraphQL over HTTP knows GET and POST", http.MethodGet, http.MethodPost)
	}
	if protocols, ok := r.Header["Upgrade"]; ok {
		if len(protocols) == 1 && strings.EqualFold(protocols[0], "websocket") {
			return refuse(CodeUnsupportedMediaType, "WebSocket upgrades are not supported")
		}
		return refuse(CodeUnsupportedMediaType, "protocol upgrades are not supported")
	}
	return nil
}

// envelopeNames are the members and parameters that mean something to us; a
// case variant of one means something to a lenient server behind us.
var envelopeNames = [...]string{"query", "variables", "operationName", "extensions", "documentId", "persistedQuery", "id", "doc_id"}

// misspelt reports whether name differs from an envelope name in case only,
// under Unicode's simple folding as encoding/json does it. id and doc_id are
// left out: DESIGN.md section 6 does not list them, and other members may
// reasonably be called ID.
func misspelt(name string) bool {
	for _, n := range envelopeNames[:6] {
		if name != n && strings.EqualFold(name, n) {
			return true
		}
	}
	return false
}

func known(name string) bool {
	for _, n := range envelopeNames {
		if name == n {
			return true
		}
	}
	return false
}

func (m *Message) post(w http.ResponseWriter, r *http.Request, o *Options) *Error {
	if e := checkContent(r.Header); e != nil {
		return e
	}
	if r.URL.RawQuery != "" {
		e := parameters(r.URL.RawQuery, func(name, _ string) *Error {
			if known(name) || misspelt(name) {
				return refuse(CodeBadRequest, "a second query in the URL: a POST takes its parameters from the body alone")
			}
			return nil
		})
		if e != nil {
			return e
		}
	}
	if e := m.read(w, r, o); e != nil {
		return e
	}
	return m.decodeBody(o)
}

// checkContent admits exactly application/json in UTF-8 without coding. A
// browser sends that type across origins only after a preflight, so this is
// the CSRF rule of a POST as well; every type that needs no preflight is refused.
func checkContent(h http.Header) *Error {
	for _, coding := range h["Content-Encoding"] {
		if !strings.EqualFold(coding, "identity") {
			return refuse(CodeUnsupportedMediaType, "the body has a Content-Encoding; send it plain")
		}
	}
	types := h["Content-Type"]
	if len(types) == 1 {
		switch types[0] {
		case MediaJSON, "application/json; charset=utf-8", "application/json;charset=utf-8", "application/json; charset=UTF-8":
			return nil
		}
	}
	if len(types) != 1 {
		return refuse(CodeUnsupportedMediaType, "one Content-Type is needed: "+MediaJSON)
	}
	media, params, err := mime.ParseMediaType(types[0])
	switch {
	case err != nil:
		return refuse(CodeUnsupportedMediaType, "the Content-Type cannot be read; it must be "+MediaJSON)
	case media == "multipart/form-data":
		return refuse(CodeUnsupportedMediaType, "multipart requests and file uploads are not supported; send "+MediaJSON)
	case media != MediaJSON:
		return refuse(CodeUnsupportedMediaType, "the Content-Type must be "+MediaJSON)
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return refuse(CodeUnsupportedMediaType, "the charset must be utf-8")
	}
	return nil
}

// firstRead is what is set aside for a body before a byte of it has come,
// whatever length the client claims.
const firstRead = 4 << 10

// read fills m.body with the whole body.
func (m *Message) read(w http.ResponseWriter, r *http.Request, o *Options) *Error {
	if r.ContentLength > int64(o.MaxBody) {
		return refuse(CodeBodyLimit, "the body is too large")
	}
	if r.Body == nil {
		return nil
	}
	body := r.Body
	if r.ContentLength < 0 {
		body = http.MaxBytesReader(w, body, int64(o.MaxBody))
	}
	buf := m.body[:0]
	if cap(buf) == 0 {
		buf = make([]byte, 0, firstRead)
	}
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if len(buf) > o.MaxBody { // by a server that does not keep bodies to their length
			m.body = buf
			return refuse(CodeBodyLimit, "the body is too large")
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			m.body = buf
			return readError(err)
		}
	}
	_ = body.Close() // all of it has come: net/http need not look for more
	m.body, m.Bytes = buf, len(buf)
	return nil
}

func readError(err error) *Error {
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return refuse(CodeBodyLimit, "the body is too large")
	}
	if timeout, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && timeout.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) {
		e := refuse(CodeRequestTimeout, "the body did not come in time")
		e.Cause = err
		return e
	}
	e := refuse(CodeBadRequest, "the body could not be read")
	e.Cause = err
	return e
}

func (m *Message) get(r *http.Request, o *Options) *Error {
	if !preflighted(r.Header, o.CSRFHeaders) {
		return refuse(CodeCSRF, "a GET needs an Authorization header or one that forces a preflight, such as Apollo-Require-Preflight; or send a POST with "+MediaJSON)
	}
	if r.ContentLength != 0 && r.Body != nil && r.Body != http.NoBody {
		return refuse(CodeBadRequest, "a GET has no body")
	}
	var values [len(envelopeNames)]string
	var seen [len(envelopeNames)]bool
	e := parameters(r.URL.RawQuery, func(name, value string) *Error {
		for i, n := range envelopeNames {
			if name != n {
				continue
			}
			if seen[i] {
				return refuse(CodeBadRequest, "the parameter "+n+" is given twice")
			}
			seen[i], values[i] = true, value
			return nil
		}
		if misspelt(name) {
			return refuse(CodeBadRequest, "a parameter differs from a known one in case only")
		}
		return nil
	})
	if e != nil {
		return e
	}
	m.Calls = m.one[:1]
	return m.fromParameters(&m.Calls[0], &values, o)
}

// preflighted reports whether a browser would have asked before it sent this
// GET across origins. A Content-Type never counts: servers that let it count
// were bypassed (GHSA-hff2-gcpx-8f4p, GHSA-9q82-xgwf-vj6h).
func preflighted(h http.Header, names []string) bool {
	if h.Get("Authorization") != "" {
		return true
	}
	for _, name := range names {
		if h.Get(name) != "" {
			return true
		}
	}
	return false
}

// ForcesPreflight reports whether a browser asks before it sends a header of this
// name across origins: false for those that a page may set as it likes (Fetch
// section 2.2.2) and those that browsers set by themselves.
func ForcesPreflight(name string) bool {
	name = http.CanonicalHeaderKey(name)
	for _, prefix := range []string{"Sec-", "Proxy-", "Access-Control-"} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return !slices.Contains(unasked, name)
}

// unasked are the CORS-safelisted request headers, client hints among them, the
// forbidden ones, and those of a browser's own cache and settings.
var unasked = []string{
	"Accept", "Accept-Language", "Content-Language", "Content-Type", "Range",
	"Device-Memory", "Downlink", "Dpr", "Ect", "Rtt", "Save-Data", "Viewport-Width", "Width", //nolint:misspell // a client hint
	"Accept-Charset", "Accept-Encoding", "Connection", "Content-Length", "Cookie", "Cookie2", "Date", "Dnt", "Expect", "Host", "Keep-Alive",
	"Origin", "Referer", "Set-Cookie", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Via",
	"User-Agent", "Upgrade-Insecure-Requests", "Priority", "Purpose", "Cache-Control", "Pragma", "If-Modified-Since", "If-None-Match",
}

// parameters calls yield for each parameter of a query string. What parsers
// disagree about is refused: a semicolon, an escape that is none, invalid UTF-8.
func parameters(raw string, yield func(name, value string) *Error) *Error {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		if strings.IndexByte(pair, ';') >= 0 {
			return refuse(CodeBadRequest, "the URL's query has a semicolon; write %3B")
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil || !utf8.ValidString(name) || !utf8.ValidString(value) {
			return refuse(CodeBadRequest, "the URL's query has a bad escape")
		}
		if e := yield(name, value); e != nil {
			return e
		}
	}
	return nil
}
