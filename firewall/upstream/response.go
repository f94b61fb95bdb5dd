package upstream

import (
	"bytes"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// Answer is the memory of a response, its header and its body, which one answer
// after another can use. The zero Answer is ready. What stands in it is valid
// until its next use or Reset.
type Answer struct {
	response http.Response
	body     body
	header   http.Header
	values   []string
}

// Reset forgets the last answer, whose body must have been closed.
func (a *Answer) Reset() {
	if cap(a.values) > maxKeptFields {
		*a = Answer{}
		return
	}
	clear(a.header)
	clear(a.values)
	*a = Answer{header: a.header, values: a.values[:0]}
}

// maxKeptFields is the largest header section that an Answer keeps the room of.
const maxKeptFields = 64

// maxInformational is how many answers with a status of 1xx may precede the
// one that counts.
const maxInformational = 8

// answer reads header sections until one is final. MaxHeader bounds them
// together.
func (k *conn) answer(a *Answer, method string, maxHeader int) error {
	left := maxHeader
	for range maxInformational + 1 {
		head, err := k.head(left)
		if err != nil {
			return err
		}
		left -= len(head)
		a.Reset()
		if err := a.parse(head); err != nil {
			return err
		}
		if a.response.StatusCode == http.StatusSwitchingProtocols {
			return malformed("it switches protocols though nobody asked")
		}
		if a.response.StatusCode >= 200 {
			a.body.conn = k
			return a.frame(method)
		}
	}
	return malformed("too many informational answers")
}

// head takes one header section, with the empty line that ends it. The bytes
// are valid until the next read.
func (k *conn) head(limit int) ([]byte, error) {
	if k.begin == k.end {
		k.begin, k.end = 0, 0
	}
	searched := k.begin
	for {
		if i := bytes.Index(k.buf[searched:k.end], []byte("\r\n\r\n")); i >= 0 {
			end := searched + i + 4
			if end-k.begin > limit {
				return nil, malformed("its header section is too large")
			}
			head := k.buf[k.begin:end]
			k.begin = end
			return head, nil
		}
		if k.end-k.begin > limit {
			return nil, malformed("its header section is too large")
		}
		done := k.end - k.begin
		if err := k.fill(limit + bufferSize); err != nil {
			return nil, err
		}
		searched = k.begin + max(0, done-3)
	}
}

// parse reads the status line and the fields. One string holds all of them.
func (a *Answer) parse(head []byte) error {
	text := string(head[:len(head)-2]) // each line ends in CRLF
	line, text, _ := strings.Cut(text, "\r\n")
	res := &a.response
	switch {
	case strings.HasPrefix(line, "HTTP/1.1 "):
		res.Proto, res.ProtoMajor, res.ProtoMinor = "HTTP/1.1", 1, 1
	case strings.HasPrefix(line, "HTTP/1.0 "):
		res.Proto, res.ProtoMajor, res.ProtoMinor = "HTTP/1.0", 1, 0
	default:
		return malformed("it is not HTTP/1.1")
	}
	status := line[len("HTTP/1.1 "):]
	if len(status) < 3 || len(status) > 3 && status[3] != ' ' || !clean(status, true) {
		return malformed("its status line cannot be read")
	}
	for i := range 3 {
		if status[i] < '0' || status[i] > '9' {
			return malformed("its status is no number")
		}
		res.StatusCode = 10*res.StatusCode + int(status[i]-'0')
	}
	if res.StatusCode < 100 || res.StatusCode > 599 {
		return malformed("its status is out of range")
	}
	res.Status = status
	return a.fields(text)
}

// maxFields bounds the fields of an answer: each costs more memory than bytes.
const maxFields = 256

func (a *Answer) fields(text string) error {
	n := strings.Count(text, "\n")
	if n > maxFields {
		return malformed("it has too many header fields")
	}
	if a.header == nil {
		a.header = make(http.Header, n)
	}
	a.values = slices.Grow(a.values[:0], n)[:n]
	header, values := a.header, a.values
	for i := range n {
		line, rest, _ := strings.Cut(text, "\r\n")
		text = rest
		name, value, found := strings.Cut(line, ":")
		// A space before the colon, and a line that begins with one, which
		// would continue the field before, are no tokens.
		if !found || !token(name) {
			return malformed("a header field has no proper name")
		}
		value = strings.Trim(value, " \t")
		if !clean(value, true) {
			return malformed("a header field has a control character")
		}
		name = canonical(name)
		if first, again := header[name]; again {
			header[name] = append(first, value)
			continue
		}
		values[i] = value
		header[name] = values[i : i+1 : i+1]
	}
	a.response.Header = header
	return nil
}

// canonical is textproto's form, without its work for names that have it.
func canonical(name string) string {
	upper := true
	for i := range len(name) {
		c := name[i]
		if upper && 'a' <= c && c <= 'z' || !upper && 'A' <= c && c <= 'Z' {
			return textproto.CanonicalMIMEHeaderKey(name)
		}
		upper = c == '-'
	}
	return name
}

// frame finds the body's length (RFC 9112 section 6.3). Where two fields, or
// two readers, could disagree about it the answer is refused.
func (a *Answer) frame(method string) error {
	res := &a.response
	lengths, codings := res.Header["Content-Length"], res.Header["Transfer-Encoding"]
	if len(lengths) > 1 || len(codings) > 1 {
		return malformed("it states its length more than once")
	}
	if len(codings) == 1 {
		if len(lengths) == 1 || res.ProtoMinor == 0 || !strings.EqualFold(codings[0], "chunked") {
			return malformed("its Transfer-Encoding is not chunked alone")
		}
		delete(res.Header, "Transfer-Encoding")
		res.TransferEncoding = chunkedCoding
	}
	res.ContentLength = -1
	if len(lengths) == 1 {
		n, ok := decimal(lengths[0])
		if !ok {
			return malformed("its Content-Length is no number")
		}
		res.ContentLength = n
	}
	a.body.reuse = res.ProtoMinor == 1 && !lists(res.Header["Connection"], "close") ||
		res.ProtoMinor == 0 && lists(res.Header["Connection"], "keep-alive")
	res.Body = &a.body
	switch {
	case method == http.MethodHead || res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified:
		a.body.form = formLength
		if method != http.MethodHead {
			res.ContentLength = 0
		}
	case len(codings) == 1:
		a.body.form = formChunked
	case len(lengths) == 1:
		a.body.form, a.body.left = formLength, res.ContentLength
	default:
		a.body.form, a.body.reuse = formClose, false
	}
	res.Close = !a.body.reuse
	return nil
}

var chunkedCoding = []string{"chunked"}

// decimal reads 1*DIGIT; nothing else is a length.
func decimal(s string) (n int64, ok bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = 10*n + int64(s[i]-'0')
	}
	return n, true
}

// lists reports whether a list field has the token, in any case.
func lists(values []string, token string) bool {
	for _, v := range values {
		for v != "" {
			var element string
			element, v, _ = strings.Cut(v, ",")
			if strings.EqualFold(strings.Trim(element, " \t"), token) {
				return true
			}
		}
	}
	return false
}
