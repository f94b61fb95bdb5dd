package cost

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// scanner reads JSON tokens from a response held in memory. It checks what it
// needs to stay in step: brackets, separators and strings; the numbers and
// literals of leaves are skipped unread. After a failure err is set and every
// method returns at once.
type scanner struct {
	data []byte
	pos  int
	err  error
}

func (s *scanner) fail(message string) {
	if s.err == nil {
		s.err = &ResponseError{Offset: s.pos, Message: message}
	}
}

// peek skips white space and returns the byte that begins the next token; 0 at
// the end or after a failure.
func (s *scanner) peek() byte {
	if s.err != nil {
		return 0
	}
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\n', '\t', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// open reads the bracket that begins an object or a list and reports whether a
// member follows.
func (s *scanner) open(closing byte) bool {
	s.pos++
	if s.peek() == closing {
		s.pos++
		return false
	}
	return s.err == nil
}

// next reads what follows a member: a comma, or the closing bracket, which it
// reports as false.
func (s *scanner) next(closing byte) bool {
	switch s.peek() {
	case ',':
		s.pos++
		return true
	case closing:
		s.pos++
		return false
	}
	s.fail("expected a comma or " + string(closing))
	return false
}

// key reads a member's name and the colon after it. The name is valid until the
// data is.
func (s *scanner) key() []byte {
	name := s.string()
	if s.peek() != ':' {
		s.fail("expected a colon")
		return nil
	}
	s.pos++
	return name
}

// string reads a string and returns it decoded.
func (s *scanner) string() []byte {
	if s.peek() != '"' {
		s.fail("expected a string")
		return nil
	}
	begin := s.pos
	escaped := s.skipString()
	if s.err != nil {
		return nil
	}
	if !escaped {
		return s.data[begin+1 : s.pos-1]
	}
	text, err := jsontext.AppendUnquote(nil, s.data[begin:s.pos])
	if err != nil {
		s.fail("a string is not valid")
	}
	return text
}

// skipString reads over the string that begins at pos and reports whether it
// holds an escape.
func (s *scanner) skipString() (escaped bool) {
	i := s.pos + 1
	for {
		n := bytes.IndexByte(s.data[i:], '"')
		if n < 0 {
			s.fail("a string does not end")
			return escaped
		}
		if b := bytes.IndexByte(s.data[i:i+n], '\\'); b >= 0 {
			escaped = true
			i += b + 2
			if i > len(s.data) {
				s.fail("a string does not end")
				return escaped
			}
			continue
		}
		s.pos = i + n + 1
		return escaped
	}
}

// skip reads over the next value.
func (s *scanner) skip() {
	switch s.peek() {
	case '{', '[':
		s.skipNested()
	case '"':
		s.skipString()
	case 0, ',', ':', ']', '}':
		s.fail("expected a value")
	default:
		s.skipLiteral()
	}
}

// skipLiteral reads over a number, true, false or null.
func (s *scanner) skipLiteral() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ',', ']', '}', ' ', '\n', '\t', '\r':
			return
		}
		s.pos++
	}
}

// skipNested reads over an object or a list whatever it nests.
func (s *scanner) skipNested() {
	depth := 0
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				s.pos++
				return
			}
		case '"':
			if s.skipString(); s.err != nil {
				return
			}
			continue
		}
		s.pos++
	}
	s.fail("a value does not end")
}
