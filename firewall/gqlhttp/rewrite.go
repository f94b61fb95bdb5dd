package gqlhttp

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// ErrorOptions says what of upstream's errors a client may see
// (DESIGN.md section 6, responses). The zero value changes nothing.
//
// Masking an error replaces it by its path and locations, the message
// "Internal error" and the code INTERNAL_SERVER_ERROR. An error whose
// extensions.code is one of KeepCodes stays, all but the members of its
// extensions that carry stack traces. Suggestions are removed from every string
// of an error that stays.
type ErrorOptions struct {
	// Mask is responses.errors: mask.
	Mask bool
	// KeepCodes are compared exactly.
	KeepCodes []string
	// StripSuggestions removes "Did you mean …?": it tells names of the schema.
	StripSuggestions bool
	// RemoveExtensions are names of members to remove from the response's own
	// extensions.
	RemoveExtensions []string
}

// Any reports whether the options can change a body at all.
func (o *ErrorOptions) Any() bool {
	return o.Mask || o.StripSuggestions || len(o.RemoveExtensions) > 0
}

// What a masked error says.
const (
	MaskedMessage = "Internal error"
	MaskedCode    = "INTERNAL_SERVER_ERROR"
)

// ResponseError is a body of upstream's that is not one JSON object, or whose
// errors cannot be read. Such a body must not be passed on.
type ResponseError struct {
	Reason string
}

func (e *ResponseError) Error() string { return "upstream's body: " + e.Reason }

// SuggestionsPossible is the rule of DESIGN.md section 6: suggestions are sought
// only where the status is 4xx or 5xx or the body begins with errors.
func SuggestionsPossible(status int, body []byte) bool {
	if status >= 400 {
		return true
	}
	rest, ok := bytes.CutPrefix(bytes.TrimLeft(body, jsonSpace), []byte{'{'})
	return ok && bytes.HasPrefix(bytes.TrimLeft(rest, jsonSpace), []byte(`"errors"`))
}

const jsonSpace = " \t\r\n"

// RewriteErrors applies the options to a response body. Every byte that the
// options do not concern stays as it is: order, white space, numbers. When
// nothing changes it returns body itself. The error is a *[ResponseError].
func RewriteErrors(body []byte, o *ErrorOptions) (out []byte, changed bool, _ error) {
	if !o.concerns(body) {
		return body, false, nil
	}
	var buf bytes.Buffer
	buf.Grow(len(body))
	w := NewErrorWriter(&buf, o)
	if _, err := w.Write(body); err != nil {
		return nil, false, err
	}
	if err := w.Close(); err != nil {
		return nil, false, err
	}
	if !w.changed {
		return body, false, nil
	}
	return buf.Bytes(), true, nil
}

// concerns reports whether body may have a member that the options concern:
// false is certain. It looks for the name anywhere, and gives up on \u, behind
// which a name might hide.
func (o *ErrorOptions) concerns(body []byte) bool {
	if (o.Mask || o.StripSuggestions) && namesErrors(body) {
		return true
	}
	if len(o.RemoveExtensions) > 0 && bytes.Contains(body, []byte(`extensions"`)) {
		return true
	}
	return o.Any() && bytes.Contains(body, []byte(`\u00`))
}

// namesErrors is bytes.Contains(body, `errors"`), by its two r in a row, which
// are rarer than any of its letters. It looks at eight bytes at a time.
func namesErrors(body []byte) bool {
	const (
		name  = `errors"`
		ones  = 0x0101010101010101
		highs = 0x80 * ones
	)
	at := 0
	for ; len(body)-at >= 9; at += 8 {
		x, y := binary.LittleEndian.Uint64(body[at:]), binary.LittleEndian.Uint64(body[at+1:])
		// A byte of z is zero where two r are. The difference may mark further
		// bytes, but misses none.
		z := (x ^ 'r'*ones) | (y ^ 'r'*ones)
		if (z-ones)&^z&highs != 0 && bytes.Contains(body[max(at-1, 0):min(at+8+len(name), len(body))], []byte(name)) {
			return true
		}
	}
	return bytes.Contains(body[max(at-1, 0):], []byte(name))
}

// MaxHeld bounds what an [ErrorWriter] holds back: the value of errors or
// extensions, in bytes.
const MaxHeld = 4 << 20

// maxLead bounds what an [ErrorWriter] keeps of what stands before the first
// value: an opening brace and a name, and white space as much as upstream likes.
const maxLead = 4 << 10

// ErrorWriter applies ErrorOptions to a body while it streams. It holds back
// the values of the top-level members errors and extensions, and what stands
// before the first value until that goes on: as long as a body may turn out to
// be none, nothing of it has been written. It is not safe for concurrent use.
type ErrorWriter struct {
	w       io.Writer
	o       *ErrorOptions
	state   state
	changed bool
	err     error

	lead    []byte // what stands before the first value
	begun   bool   // something has been written
	streams bool   // a value has begun that is not held
	key     []byte // of the member at hand, quoted
	held    []byte
	holding bool
	errors  bool // what is held is errors, not extensions
	skip    skipper
}

type state uint8

const (
	beforeObject state = iota
	beforeKey          // after { or ,
	inKey
	beforeColon
	beforeValue
	inValue
	afterValue
	afterObject
)

// NewErrorWriter returns a writer that passes the rewritten body on to w.
func NewErrorWriter(w io.Writer, o *ErrorOptions) *ErrorWriter {
	return &ErrorWriter{w: w, o: o}
}

// Write implements io.Writer. An error is a *[ResponseError] or w's, and final.
func (e *ErrorWriter) Write(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	done := 0 // what of p went on or is held
	for i := 0; i < len(p); {
		if e.state == inValue {
			n, end := e.skip.advance(p[i:])
			if e.holding {
				if e.err = e.hold(p[i : i+n]); e.err != nil {
					return done, e.err
				}
				done = i + n
			}
			i += n
			if end {
				e.state = afterValue
				if e.err = e.release(); e.err != nil {
					return done, e.err
				}
			}
			continue
		}
		consumed, err := e.step(p[i])
		if err != nil {
			e.err = err
			return done, err
		}
		if consumed {
			i++
			continue
		}
		// A value begins at i.
		if e.holding {
			if e.err = e.keepOrPass(p[done:i]); e.err != nil {
				return done, e.err
			}
			done = i
		} else {
			e.streams = true
		}
	}
	if e.err = e.keepOrPass(p[done:]); e.err != nil {
		return done, e.err
	}
	return len(p), nil
}

// keepOrPass takes what is not held: it goes on, or stays where no value has
// gone on nor will yet.
func (e *ErrorWriter) keepOrPass(p []byte) error {
	if !e.begun && !e.streams && e.state != afterObject && len(e.lead)+len(p) <= maxLead {
		e.lead = append(e.lead, p...)
		return nil
	}
	return e.pass(p)
}

func (e *ErrorWriter) pass(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if !e.begun {
		e.begun = true
		if len(e.lead) > 0 {
			if _, err := e.w.Write(e.lead); err != nil {
				return err
			}
		}
	}
	_, err := e.w.Write(p)
	return err
}

// Close checks that the body was complete. It does not close the writer below.
func (e *ErrorWriter) Close() error {
	if e.err == nil && e.state != afterObject {
		e.err = &ResponseError{"it ends early"}
	}
	return e.err
}

// step handles one byte outside of values. It does not consume the byte that
// begins one.
func (e *ErrorWriter) step(c byte) (consumed bool, _ error) {
	if e.state == inKey {
		e.key = append(e.key, c)
		if n := len(e.key); c == '"' && !escaped(e.key[1:n-1]) {
			e.state = beforeColon
		}
		return true, nil
	}
	if c == ' ' || c == '\t' || c == '\r' || c == '\n' {
		return true, nil
	}
	switch {
	case e.state == beforeObject && c == '{':
		e.state = beforeKey
	case e.state == beforeKey && c == '"':
		e.key = append(e.key[:0], c)
		e.state = inKey
	case e.state == beforeColon && c == ':':
		e.state = beforeValue
	case e.state == beforeValue && strings.IndexByte(`{["-0123456789tfn`, c) >= 0:
		e.state = inValue
		e.skip = skipper{}
		e.choose()
		return false, nil
	case e.state == afterValue && c == ',':
		e.state = beforeKey
	case c == '}' && (e.state == afterValue || e.state == beforeKey):
		e.state = afterObject
	default:
		return false, &ResponseError{"it is not one JSON object"}
	}
	return true, nil
}

// escaped reports whether what follows text is escaped by its last backslash.
func escaped(text []byte) bool {
	n := 0
	for n < len(text) && text[len(text)-1-n] == '\\' {
		n++
	}
	return n%2 == 1
}

// choose decides whether the value of the member at hand is held.
func (e *ErrorWriter) choose() {
	switch unquoted(e.key) {
	case "errors":
		e.holding, e.errors = e.o.Mask || e.o.StripSuggestions, true
	case "extensions":
		e.holding, e.errors = len(e.o.RemoveExtensions) > 0, false
	}
}

func (e *ErrorWriter) hold(p []byte) error {
	if len(e.held)+len(p) > MaxHeld {
		return &ResponseError{"its errors or extensions are too large"}
	}
	e.held = append(e.held, p...)
	return nil
}

// release rewrites what is held and passes it on.
func (e *ErrorWriter) release() error {
	if !e.holding {
		return nil
	}
	e.holding = false
	r := rewriter{text: e.held, o: e.o}
	var err error
	if e.errors {
		err = r.errors()
	} else {
		err = r.remove(func(name string) bool { return slices.Contains(e.o.RemoveExtensions, name) })
	}
	if errors.Is(err, errGrown) {
		return &ResponseError{err.Error()}
	}
	if err != nil {
		return &ResponseError{"its errors or extensions are not valid JSON"}
	}
	if len(r.edits) > 0 {
		e.changed = true
	}
	err = e.pass(r.apply())
	e.held = e.held[:0]
	return err
}

// rewriter collects edits of one JSON value.
type rewriter struct {
	text  []byte
	o     *ErrorOptions
	edits []edit
	grown int // bytes that the edits add
}

type edit struct {
	start, end int
	by         []byte
}

func (r *rewriter) edit(start, end int, by []byte) {
	if bytes.Equal(r.text[start:end], by) {
		return
	}
	r.edits = append(r.edits, edit{start, end, by})
	r.grown += len(by) - (end - start)
}

// errGrown: an error is masked by more than it may have been, and what holds
// them must not become a multiple of [MaxHeld].
var errGrown = errors.New("the errors are too many to be masked")

func (r *rewriter) apply() []byte {
	if len(r.edits) == 0 {
		return r.text
	}
	slices.SortFunc(r.edits, func(a, b edit) int { return cmp.Compare(a.start, b.start) })
	out := make([]byte, 0, len(r.text))
	at := 0
	for _, e := range r.edits {
		out = append(append(out, r.text[at:e.start]...), e.by...)
		at = e.end
	}
	return append(out, r.text[at:]...)
}

// lenient reads what upstream wrote as it is: which of two members with one
// name a client reads is not for us to say, so both are rewritten.
func lenient(text []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

var masked = []byte(`{"message":"` + MaskedMessage + `","extensions":{"code":"` + MaskedCode + `"}}`)

// errors rewrites the value of the errors member.
func (r *rewriter) errors() error {
	d := lenient(r.text)
	switch d.PeekKind() {
	case 'n':
		return d.SkipValue()
	case '[':
	default:
		if err := d.SkipValue(); err != nil {
			return err
		}
		if r.o.Mask {
			r.edit(0, len(r.text), slices.Concat([]byte{'['}, masked, []byte{']'}))
			return nil
		}
		return r.strip(0, len(r.text), nil)
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != ']' {
		raw, err := d.ReadValue()
		if err != nil {
			return err
		}
		end := int(d.InputOffset())
		if err := r.element(end-len(raw), end); err != nil {
			return err
		}
		if r.grown > MaxHeld {
			return errGrown
		}
	}
	_, err := d.ReadToken()
	return err
}

// element rewrites one error.
func (r *rewriter) element(start, end int) error {
	raw := r.text[start:end]
	if raw[0] != '{' {
		if r.o.Mask {
			r.edit(start, end, masked)
			return nil
		}
		return r.strip(start, end, nil)
	}
	members, err := membersOf(raw, start)
	if err != nil {
		return err
	}
	if !r.o.Mask {
		return r.strip(start, end, nil)
	}
	kept := false
	for _, m := range members {
		if m.name == "extensions" && r.text[m.value] == '{' {
			kept, err = r.keeps(m)
			if err != nil {
				return err
			}
		}
	}
	if !kept {
		r.edit(start, end, r.mask(members))
		return nil
	}
	before := len(r.edits)
	for _, m := range members {
		if m.name == "extensions" && r.text[m.value] == '{' {
			inner, err := membersOf(r.text[m.value:m.end], m.value)
			if err != nil {
				return err
			}
			r.removeMembers(inner, isTrace)
		}
	}
	return r.strip(start, end, r.edits[before:])
}

// mask returns what stands for an error: path and locations are the client's
// own doing.
func (r *rewriter) mask(members []member) []byte {
	out := []byte(`{"message":"` + MaskedMessage + `"`)
	for _, name := range []string{"locations", "path"} {
		for _, m := range slices.Backward(members) {
			if m.name == name && r.text[m.value] == '[' {
				out = fmt.Appendf(out, `,%q:%s`, name, r.text[m.value:m.end])
				break
			}
		}
	}
	return append(out, `,"extensions":{"code":"`+MaskedCode+`"}}`...)
}

// keeps reports whether the extensions carry a code that keeps an error.
func (r *rewriter) keeps(m member) (bool, error) {
	inner, err := membersOf(r.text[m.value:m.end], m.value)
	if err != nil {
		return false, err
	}
	kept := false
	for _, i := range inner {
		if i.name == "code" {
			kept = false
			if r.text[i.value] == '"' {
				kept = slices.Contains(r.o.KeepCodes, unquoted(r.text[i.value:i.end]))
			}
		}
	}
	return kept, nil
}

// isTrace knows the names under which servers put stack traces and other
// internals: Apollo (stacktrace, exception), Hot Chocolate (stackTrace),
// graphql-php and Lighthouse (debugMessage, trace), graphql-java and others.
func isTrace(name string) bool {
	switch string(appendFold(nil, name)) {
	case "stacktrace", "stack-trace", "stack", "exception", "debugmessage", "debug-message", "debug", "trace", "originalerror":
		return true
	}
	return false
}

// remove deletes members of the object that the text is.
func (r *rewriter) remove(which func(name string) bool) error {
	if r.text[0] != '{' {
		return lenient(r.text).SkipValue()
	}
	members, err := membersOf(r.text, 0)
	if err != nil {
		return err
	}
	r.removeMembers(members, which)
	return nil
}

// removeMembers deletes a member with the separator before it, or behind it
// where no member before it stays.
func (r *rewriter) removeMembers(members []member, which func(name string) bool) {
	stayed := false
	for i, m := range members {
		switch {
		case !which(m.name):
			stayed = true
		case stayed:
			r.edit(members[i-1].end, m.end, nil)
		case i+1 < len(members):
			r.edit(m.key, members[i+1].key, nil)
		default:
			r.edit(m.key, m.end, nil)
		}
	}
}

// member is a member of an object; the numbers are offsets in the text.
type member struct {
	name            string
	key, value, end int
}

// unquoted decodes a checked JSON string. Invalid UTF-8, the only error that is
// left, becomes U+FFFD.
func unquoted(raw []byte) string {
	text, _ := jsontext.AppendUnquote(nil, raw)
	return string(text)
}

// membersOf lists the members of an object that begins at base.
func membersOf(raw []byte, base int) ([]member, error) {
	d := lenient(raw)
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	var all []member
	for d.PeekKind() != '}' {
		key, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		m := member{key: base + int(d.InputOffset()) - len(key), name: unquoted(key)}
		value, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		m.end = base + int(d.InputOffset())
		m.value = m.end - len(value)
		all = append(all, m)
	}
	_, err := d.ReadToken()
	return all, err
}
