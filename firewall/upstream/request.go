package upstream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/graphward/graphward/ascii"
)

// maxPooled is the largest request buffer that goes back to the pool.
const maxPooled = 64 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

func release(b *[]byte) {
	if cap(*b) <= maxPooled {
		buffers.Put(b)
	}
}

var errLength = errors.New("a request needs a known Content-Length")

// appendRequest appends the whole request, body included, and closes r.Body.
// Fields that only the client itself may set are left out of r.Header, as is
// an empty User-Agent.
func appendRequest(dst []byte, r *http.Request) (_ []byte, err error) {
	if r.Body != nil {
		defer func() { err = errors.Join(err, r.Body.Close()) }()
	}
	if r.URL.Scheme != "http" || r.URL.Host == "" {
		return dst, fmt.Errorf("the scheme %q is not http", r.URL.Scheme)
	}
	hasBody := r.Body != nil && r.Body != http.NoBody
	if r.ContentLength < 0 || r.ContentLength == 0 && hasBody {
		return dst, errLength
	}
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	target := r.URL.RequestURI()
	if dst, err = appendStart(dst, r.Method, target, host); err != nil {
		return dst, err
	}
	for name, values := range r.Header {
		if dst, err = appendField(dst, name, values); err != nil {
			return dst, err
		}
	}
	if hasBody || r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
		dst = append(dst, "Content-Length: "...)
		dst = append(strconv.AppendInt(dst, r.ContentLength, 10), "\r\n"...)
	}
	dst = append(dst, "\r\n"...)
	if !hasBody {
		return dst, nil
	}
	return appendBody(dst, r)
}

// Message is a POST. Its slices and map are only read.
type Message struct {
	Host   string // with or without a port; both where it goes and what the field says
	Target string // path and query
	Fields Fields
	Body   []byte
}

// Fields is a header section in the order in which it is sent. Names are in
// canonical form.
type Fields []Field

// Field is a header field with its values, a line for each.
type Field struct {
	Name   string
	Values []string
}

// Set adds a field or replaces it.
func (f *Fields) Set(name string, values []string) {
	for i := range *f {
		if (*f)[i].Name == name {
			(*f)[i].Values = values
			return
		}
	}
	*f = append(*f, Field{name, values})
}

func (m *Message) append(dst []byte) ([]byte, error) {
	dst, err := appendStart(dst, http.MethodPost, m.Target, m.Host)
	for i := 0; i < len(m.Fields) && err == nil; i++ {
		dst, err = appendField(dst, m.Fields[i].Name, m.Fields[i].Values)
	}
	if err != nil {
		return dst, err
	}
	dst = strconv.AppendInt(append(dst, "Content-Length: "...), int64(len(m.Body)), 10)
	return append(append(dst, "\r\n\r\n"...), m.Body...), nil
}

// appendStart appends the request line and the field Host.
func appendStart(dst []byte, method, target, host string) ([]byte, error) {
	if !token(method) || !clean(host, false) || !clean(target, false) {
		return dst, fmt.Errorf("the method, host or target of %s %s%s has a character that is not allowed", strconv.Quote(method), host, target)
	}
	dst = append(append(dst, method...), ' ')
	dst = append(append(dst, target...), " HTTP/1.1\r\nHost: "...)
	return append(append(dst, host...), "\r\n"...), nil
}

// appendField appends a field, unless only the client itself may set it or it is
// an empty User-Agent.
func appendField(dst []byte, name string, values []string) ([]byte, error) {
	switch name {
	case "Host", "Content-Length", "Transfer-Encoding", "Trailer", "Connection", "Te", "Upgrade", "Keep-Alive", "Proxy-Connection":
		return dst, nil
	}
	if !token(name) {
		return dst, fmt.Errorf("%s is not a header name", strconv.Quote(name))
	}
	for _, value := range values {
		if value == "" && name == "User-Agent" {
			continue
		}
		if !clean(value, true) {
			return dst, fmt.Errorf("the header %s has a character that is not allowed", name)
		}
		dst = append(append(dst, name...), ": "...)
		dst = append(append(dst, value...), "\r\n"...)
	}
	return dst, nil
}

func appendBody(dst []byte, r *http.Request) ([]byte, error) {
	head := len(dst)
	n := int(r.ContentLength)
	if cap(dst)-head < n+1 {
		dst = append(make([]byte, 0, head+n+1), dst...)
	}
	dst = dst[:head+n+1]
	got, err := io.ReadFull(r.Body, dst[head:])
	if got != n || err != io.ErrUnexpectedEOF && err != io.EOF {
		return dst[:head], fmt.Errorf("the body has not the %d bytes that its Content-Length says", n)
	}
	return dst[:head+n], nil
}

// The character classes of RFC 9110 section 5.
const (
	charToken   = 1 << iota // in a token
	charVisible             // in a field value, and in a target or host
	charValue               // only in a field value: space, tab, obs-text
)

var classes = func() (t [256]uint8) {
	for c := '!'; c <= '~'; c++ {
		t[c] = charVisible
	}
	for c := 0x80; c < 0x100; c++ {
		t[c] = charValue
	}
	t[' '], t['\t'] = charValue, charValue
	for _, c := range "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		t[c] |= charToken
	}
	return t
}()

func token[T string | []byte](s T) bool {
	for i := range len(s) {
		if classes[s[i]]&charToken == 0 {
			return false
		}
	}
	return len(s) > 0
}

// clean reports whether s may stand in a field value, or, where value is
// false, in a target or host.
func clean[T string | []byte](s T, value bool) bool {
	allowed := uint8(charVisible)
	i := 0
	if value {
		allowed |= charValue
		i = ascii.Printable(s)
	}
	for ; i < len(s); i++ {
		if classes[s[i]]&allowed == 0 {
			return false
		}
	}
	return true
}
