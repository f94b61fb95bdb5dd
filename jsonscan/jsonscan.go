// Package jsonscan reads the JSON that most requests are made of, without a
// decoder's state and without copying. It knows a part of JSON and says so
// where text is beyond it: whoever asks then gives the whole text to a decoder,
// which decides. What it does read is strict JSON by RFC 7493: valid UTF-8 and
// no name twice in an object.
//
// Beyond it are \u escapes, names with escapes, objects of more than
// MaxMembers members, and all that is not JSON.
package jsonscan

import (
	"bytes"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/graphward/graphward/ascii"
)

// MaxMembers is how many members an object may have.
const MaxMembers = 16

// Reader reads JSON text from its beginning. After a method has said that
// something is beyond the package the Reader's place is undefined. The zero
// Reader has no text.
type Reader struct {
	text []byte
	at   int
}

// New returns a Reader of text, which must not change while it is used.
func New(text []byte) Reader { return Reader{text: text} }

// Offset is how many bytes have been read.
func (r *Reader) Offset() int { return r.at }

// Peek passes over white space and returns the byte that is next, without
// taking it; 0 at the end.
func (r *Reader) Peek() byte {
	for ; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// Take takes the next byte past white space if it is c.
func (r *Reader) Take(c byte) bool {
	if r.Peek() != c {
		return false
	}
	r.at++
	return true
}

// String reads a string and returns what stands between its quotes; escaped
// says that there are backslashes.
func (r *Reader) String() (inside []byte, escaped, ok bool) {
	if !r.Take('"') {
		return nil, false, false
	}
	begin, valid := r.at, true
	for {
		r.at += ascii.Plain(r.text[r.at:])
		if r.at >= len(r.text) {
			return nil, false, false
		}
		switch c := r.text[r.at]; {
		case c == '"':
			inside = r.text[begin:r.at]
			r.at++
			return inside, escaped, valid || utf8.Valid(inside)
		case c == '\\':
			if r.at+1 >= len(r.text) || unescaped[r.text[r.at+1]] == 0 {
				return nil, false, false
			}
			escaped = true
			r.at += 2
		case c < ' ':
			return nil, false, false
		default:
			valid = false
			r.at++
		}
	}
}

// Ahead returns what would stand between the quotes of the string that is next,
// by looking for nothing but its end. Nothing is taken and nothing is judged:
// it is for whoever knows the same text from [Reader.String], and may Skip it.
func (r *Reader) Ahead() (inside []byte, ok bool) {
	if r.Peek() != '"' {
		return nil, false
	}
	begin := r.at + 1
	for at := begin; ; at++ {
		n := bytes.IndexByte(r.text[at:], '"')
		if n < 0 {
			return nil, false
		}
		at += n
		escapes := 0
		for at-escapes > begin && r.text[at-escapes-1] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return r.text[begin:at], true
		}
	}
}

// Skip takes the string of which Ahead has returned the inside.
func (r *Reader) Skip(inside []byte) { r.at += len(inside) + len(`""`) }

// Name reads the name of a member and its colon.
func (r *Reader) Name() (name []byte, ok bool) {
	name, escaped, ok := r.String()
	return name, ok && !escaped && r.Take(':')
}

// Next is what stands between the members of an object, or the items of a
// list, that ends in end: more says that another one follows.
func (r *Reader) Next(end byte) (more, ok bool) {
	switch r.Peek() {
	case ',':
		r.at++
		return true, true
	case end:
		r.at++
		return false, true
	}
	return false, false
}

// Word takes a literal: true, false or null.
func (r *Reader) Word(word string) bool {
	r.Peek()
	if !bytes.HasPrefix(r.text[r.at:], []byte(word)) {
		return false
	}
	r.at += len(word)
	return true
}

// Number reads a number.
func (r *Reader) Number() (raw []byte, ok bool) {
	r.Peek()
	begin := r.at
	r.skip('-')
	if !r.skip('0') && !r.digits() {
		return nil, false
	}
	if r.skip('.') && !r.digits() {
		return nil, false
	}
	if r.skip('e') || r.skip('E') {
		if !r.skip('+') {
			r.skip('-')
		}
		if !r.digits() {
			return nil, false
		}
	}
	return r.text[begin:r.at], true
}

func (r *Reader) skip(c byte) bool {
	if r.at < len(r.text) && r.text[r.at] == c {
		r.at++
		return true
	}
	return false
}

func (r *Reader) digits() bool {
	begin := r.at
	for r.at < len(r.text) && '0' <= r.text[r.at] && r.text[r.at] <= '9' {
		r.at++
	}
	return r.at > begin
}

// Value reads a value of any kind whose brackets nest at most depth deep, and
// returns its text.
func (r *Reader) Value(depth int) (raw []byte, ok bool) {
	c := r.Peek()
	begin := r.at
	switch c {
	case '{':
		ok = depth > 0 && r.object(depth)
	case '[':
		ok = depth > 0 && r.list(depth)
	case '"':
		_, _, ok = r.String()
	case 't':
		ok = r.Word("true")
	case 'f':
		ok = r.Word("false")
	case 'n':
		ok = r.Word("null")
	default:
		_, ok = r.Number()
	}
	return r.text[begin:r.at], ok
}

func (r *Reader) object(depth int) bool {
	r.at++
	if r.Take('}') {
		return true
	}
	var names [MaxMembers][]byte
	for n := 0; n < MaxMembers; n++ {
		name, ok := r.Name()
		if !ok {
			return false
		}
		for _, earlier := range names[:n] {
			if bytes.Equal(earlier, name) {
				return false
			}
		}
		names[n] = name
		if _, ok = r.Value(depth - 1); !ok {
			return false
		}
		if more, ok := r.Next('}'); !more || !ok {
			return ok
		}
	}
	return false
}

func (r *Reader) list(depth int) bool {
	r.at++
	if r.Take(']') {
		return true
	}
	for {
		if _, ok := r.Value(depth - 1); !ok {
			return false
		}
		if more, ok := r.Next(']'); !more || !ok {
			return ok
		}
	}
}

// unescaped is what the byte behind a backslash stands for (RFC 8259 section
// 7); 0 for u and for what no JSON has.
var unescaped = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// AppendUnescaped appends the value of a string that [Reader.String] has read.
func AppendUnescaped(dst, inside []byte) []byte {
	for {
		i := bytes.IndexByte(inside, '\\')
		if i < 0 {
			return append(dst, inside...)
		}
		dst = append(append(dst, inside[:i]...), unescaped[inside[i+1]])
		inside = inside[i+2:]
	}
}

// AppendQuote appends s as a JSON string. Where s is no UTF-8 what is no
// character becomes U+FFFD.
func AppendQuote(dst []byte, s string) []byte {
	if ascii.Plain(s) == len(s) {
		return append(append(append(dst, '"'), s...), '"')
	}
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}
