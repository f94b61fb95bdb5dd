package gqlhttp

import (
	"hash/maphash"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
)

// hopByHop are the fields that concern one connection (RFC 9110 section 7.6.1,
// and the ones that real software treats so).
var hopByHop = []string{
	"connection", "proxy-connection", "keep-alive", "proxy-authenticate", "proxy-authorization",
	"te", "trailer", "transfer-encoding", "upgrade", "http2-settings",
}

// requestDropped are the request fields that never go upstream: those that the
// re-encoded request has of its own or that describe the client's body, and
// those with which a backend would let a header replace the method or the URL
// that was judged.
var requestDropped = []string{
	"host", "content-length", "expect",
	"content-type", "content-encoding", "content-range", "content-md5", "content-digest", "digest", "repr-digest", "content-disposition",
	"x-http-method-override", "x-method-override", "x-http-method", "x-original-method", "x-forwarded-method",
	"x-original-url", "x-original-uri", "x-original-path", "x-rewrite-url", "x-forwarded-uri", "x-forwarded-path",
}

// conditional are the fields that ask for less than the whole answer.
var conditional = []string{
	"if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range",
}

// validators are the response fields that describe exact bytes, or promise
// that they can be asked for again.
var validators = []string{
	"etag", "last-modified", "content-md5", "content-digest", "digest", "repr-digest", "accept-ranges", "content-range",
}

const ownPrefix = "x-graphward-"

// forwardedPrefix begins the fields in which proxies say whom they stand for;
// the firewall writes its own.
const forwardedPrefix = "x-forwarded-"

// ValidHost reports whether s can be a host with or without a port: letters,
// digits and .:[]-_ alone, at most 255 of them.
func ValidHost(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && strings.IndexByte(".:[]-_", s[i]) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= 255
}

// fieldSet is a set of field names in folded form.
type fieldSet map[string]struct{}

func newFieldSet(groups ...[]string) fieldSet {
	s := fieldSet{}
	for _, g := range groups {
		for _, name := range g {
			s[string(appendFold(nil, name))] = struct{}{}
		}
	}
	return s
}

// appendFold appends name in lower case with _ as -: CGI and WSGI servers
// cannot tell the two apart, so neither do we.
func appendFold(buf []byte, name string) []byte {
	for i := range len(name) {
		buf = append(buf, foldByte(name[i]))
	}
	return buf
}

// RequestFilter copies the client's headers to the upstream request by the
// rules of DESIGN.md section 6. Its rules never change; it is safe for
// concurrent use.
type RequestFilter struct {
	drop  fieldSet
	known knownFates
}

// NewRequestFilter returns a filter that also drops what the client sends under
// the given names: those that the firewall sets itself, and those that the
// config removes.
func NewRequestFilter(names ...string) *RequestFilter {
	return &RequestFilter{drop: newFieldSet(hopByHop, requestDropped, names)}
}

// Guarded says how far an answer may be altered on its way back.
type Guarded struct {
	// Whole drops conditional and range fields, so that upstream sends the
	// whole answer.
	Whole bool
	// Plain replaces Accept-Encoding by identity, so that the answer can be read.
	Plain bool
}

// Fields is the header section of a request that is being made. Names are in
// canonical form; values are kept, not copied.
type Fields interface {
	// Set adds a field or replaces it.
	Set(name string, values []string)
}

// HeaderMap is net/http's form of [Fields].
type HeaderMap http.Header

// Set implements [Fields].
func (h HeaderMap) Set(name string, values []string) { h[name] = values }

// Apply sets on dst the fields of src that may be forwarded. Fields that src's
// Connection nominates go first, so that a client can never remove what the
// firewall sets on dst afterwards (CVE-2021-33197).
func (f *RequestFilter) Apply(dst Fields, src http.Header, g Guarded) {
	nominated := src["Connection"]
	for name, values := range src {
		switch f.known.of(name, f.fate) {
		case dropped:
			continue
		case qualified:
			if g.Whole {
				continue
			}
		}
		if !nominates(nominated, name) {
			dst.Set(name, values[:len(values):len(values)])
		}
	}
	if g.Plain {
		dst.Set("Accept-Encoding", identityCoding)
	}
}

var identityCoding = []string{"identity"}

func (f *RequestFilter) fate(folded []byte) fate {
	switch {
	case f.drop.covers(folded) || strings.HasPrefix(string(folded), forwardedPrefix):
		return dropped
	case isConditional(folded):
		return qualified
	}
	return passed
}

// fate is what becomes of a field, by its name alone.
type fate uint8

const (
	passed    fate = iota
	qualified      // goes only where an answer is as upstream gave it
	dropped
)

// knownFates remembers the fates of names, as they are written, that came
// last: clients and servers send the same few. It is safe for concurrent use.
type knownFates [1024]atomic.Pointer[knownFate]

type knownFate struct {
	name string
	fate fate
}

var fateSeed = maphash.MakeSeed()

// of returns the fate of a name, which judge finds of its folded form.
func (k *knownFates) of(name string, judge func(folded []byte) fate) fate {
	place := &k[maphash.String(fateSeed, name)%uint64(len(k))]
	if known := place.Load(); known != nil && known.name == name {
		return known.fate
	}
	var buf [64]byte
	is := judge(appendFold(buf[:0], name))
	place.Store(&knownFate{strings.Clone(name), is})
	return is
}

// covers reports whether a field is in the set or speaks in our name.
func (s fieldSet) covers(folded []byte) bool {
	if _, listed := s[string(folded)]; listed {
		return true
	}
	return len(folded) >= len(ownPrefix) && string(folded[:len(ownPrefix)]) == ownPrefix
}

func isConditional(folded []byte) bool {
	return len(folded) > 0 && (folded[0] == 'i' || folded[0] == 'r') && slices.Contains(conditional, string(folded))
}

// WithoutNominated returns r without the fields that its Connection field
// nominates (RFC 9110 section 7.6.1), or r itself where there are none. It must
// come before anything reads the header: what is not forwarded must not have
// decided either, or a client could show a credential or a tenant to the policy
// and hide it from upstream. Fields that never go upstream as they came stay, so
// that nomination cannot hide an Upgrade, a Content-Type or what a trusted proxy
// wrote. r is not changed.
func WithoutNominated(r *http.Request) *http.Request {
	connection := r.Header["Connection"]
	if len(connection) == 0 || len(connection) == 1 && (connection[0] == "close" || connection[0] == "keep-alive") {
		return r
	}
	var out *http.Request
	var buf [64]byte
	for name := range r.Header {
		folded := appendFold(buf[:0], name)
		if !nominates(connection, name) || neverForwarded.covers(folded) || strings.HasPrefix(string(folded), forwardedPrefix) {
			continue
		}
		if out == nil {
			out = r.WithContext(r.Context())
			out.Header = r.Header.Clone()
		}
		delete(out.Header, name)
	}
	if out == nil {
		return r
	}
	return out
}

var neverForwarded = newFieldSet(hopByHop, requestDropped, []string{"accept", "forwarded"})

// nominates reports whether a Connection field lists the name (RFC 9110
// section 7.6.1).
func nominates(connection []string, name string) bool {
	for _, v := range connection {
		for v != "" {
			var token string
			token, v, _ = strings.Cut(v, ",")
			if equalFolded(strings.Trim(token, " \t"), name) {
				return true
			}
		}
	}
	return false
}

// equalFolded compares as appendFold folds.
func equalFolded(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if foldByte(a[i]) != foldByte(b[i]) {
			return false
		}
	}
	return true
}

func foldByte(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case c == '_':
		return '-'
	}
	return c
}

// ResponseFilter copies upstream's headers to the client. Its rules never change; it
// is safe for concurrent use.
type ResponseFilter struct {
	drop  fieldSet
	known knownFates
}

// NewResponseFilter returns a filter that also drops the given names
// (responses.headers.remove).
func NewResponseFilter(names ...string) *ResponseFilter {
	return &ResponseFilter{drop: newFieldSet(hopByHop, names)}
}

// Apply adds to dst what may be passed on of src: nothing of one connection
// only, nothing that speaks in the firewall's name. Where the body was altered,
// its length and validators go as well. Values are shared with src.
func (f *ResponseFilter) Apply(dst, src http.Header, altered bool) {
	nominated := src["Connection"]
	for name, values := range src {
		switch f.known.of(name, f.fate) {
		case dropped:
			continue
		case qualified:
			if altered {
				continue
			}
		}
		if !nominates(nominated, name) {
			dst[name] = values[:len(values):len(values)]
		}
	}
}

func (f *ResponseFilter) fate(folded []byte) fate {
	switch {
	case f.drop.covers(folded):
		return dropped
	case string(folded) == "content-length" || slices.Contains(validators, string(folded)):
		return qualified
	}
	return passed
}

// SetPrivate marks an answer that depends on who asked, or that was altered:
// no cache may keep it and no validator of upstream's may revive it.
func SetPrivate(h http.Header) {
	for _, name := range []string{"Etag", "Last-Modified", "Expires", "Age", "Surrogate-Control", "Cdn-Cache-Control", "Cloudflare-Cdn-Cache-Control", "Accept-Ranges"} {
		delete(h, name)
	}
	h["Cache-Control"] = privateNoStore
}

var privateNoStore = []string{"private, no-store"}

// AddVary adds the names to Vary unless it lists them or *.
func AddVary(h http.Header, names ...string) {
	old := h["Vary"]
	if len(old) == 0 {
		h["Vary"] = []string{strings.Join(names, ", ")}
		return
	}
	if nominates(old, "*") {
		return
	}
	all := slices.Clone(old)
	for _, name := range names {
		if !nominates(old, name) {
			all = append(all, name)
		}
	}
	h["Vary"] = []string{strings.Join(all, ", ")}
}
