package answer

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// firstBuffer is how much of an answer is read at once.
const firstBuffer = 64 << 10

// FormatError is an answer that is not JSON, or not an answer to what was
// forwarded. Nothing of it may be passed on.
type FormatError struct{ Reason string }

func (e *FormatError) Error() string {
	return "the answer does not fit what was asked for: " + e.Reason
}

var (
	errEarly = &FormatError{"it ends early"}
	errJSON  = &FormatError{"it is not JSON"}
	errLarge = &FormatError{"it is larger than upstream.max_response"}

	// errShort: the value goes on behind what is in memory.
	errShort = errors.New("answer: more is needed")
)

// input is the part of an answer that is in memory: data[pos:] is what was not
// yet consumed.
type input struct {
	r     io.Reader
	data  []byte
	pos   int
	base  int64 // bytes of the answer before data
	limit int64
	ended bool
}

// offset is where the answer was consumed to.
func (in *input) offset() int64 { return in.base + int64(in.pos) }

// more reads on; what was consumed is given up. It doubles what is held when
// there is no room, so that a search that begins anew each time stays linear. At
// the end of the answer it returns errEarly.
func (in *input) more() error {
	if in.ended {
		return errEarly
	}
	held := len(in.data) - in.pos
	switch {
	case held == 0:
		in.base += int64(in.pos)
		in.data, in.pos = in.data[:0], 0
	case cap(in.data)-len(in.data) < firstBuffer/4 && held <= cap(in.data)/2:
		in.base += int64(in.pos)
		copy(in.data, in.data[in.pos:])
		in.data, in.pos = in.data[:held], 0
	}
	if len(in.data) == cap(in.data) {
		grown := make([]byte, held, max(firstBuffer, 2*cap(in.data)))
		copy(grown, in.data[in.pos:])
		in.base += int64(in.pos)
		in.data, in.pos = grown, 0
	}
	for range 100 {
		n, err := in.r.Read(in.data[len(in.data):cap(in.data)])
		in.data = in.data[:len(in.data)+n]
		if in.base+int64(len(in.data)) > in.limit {
			return errLarge
		}
		if err == io.EOF {
			in.ended = true
			if n > 0 {
				return nil
			}
			return errEarly
		}
		if err != nil {
			return err
		}
		if n > 0 {
			return nil
		}
	}
	return io.ErrNoProgress
}

// peek returns the next byte.
func (in *input) peek() (byte, error) {
	for in.pos == len(in.data) {
		if err := in.more(); err != nil {
			return 0, err
		}
	}
	return in.data[in.pos], nil
}

// string consumes a string and returns it with its quotes; it holds until more
// is read.
func (in *input) string() ([]byte, error) {
	for {
		if in.pos < len(in.data) && in.data[in.pos] != '"' {
			return nil, errJSON
		}
		end, err := skipString(in.data, in.pos)
		if err == nil {
			token := in.data[in.pos:end]
			in.pos = end
			return token, nil
		}
		if err := in.more(); err != nil {
			return nil, err
		}
	}
}

// value consumes a value and returns it; it holds until more is read.
func (in *input) value() ([]byte, error) {
	for {
		end, err := skipValue(in.data, in.pos)
		if err == nil {
			v := in.data[in.pos:end]
			in.pos = end
			return v, nil
		}
		if err != errShort {
			return nil, err
		}
		if err := in.more(); err != nil {
			return nil, err
		}
	}
}

// skipper finds the end of a JSON value that comes in pieces, or of one of which
// depth brackets are open. It counts brackets outside strings: of what is passed
// as it is, the syntax is the upstream's affair.
type skipper struct {
	depth  int
	str    bool
	escape bool
	began  bool // a number or a name
}

// advance returns how many bytes of p belong to the value, and whether it ends
// with them.
func (s *skipper) advance(p []byte) (n int, end bool) {
	i := 0
	for i < len(p) {
		if s.str {
			j, closed := s.inString(p[i:])
			i += j
			if !closed {
				return i, false
			}
			if s.depth == 0 {
				return i, true
			}
			continue
		}
		c := p[i]
		if s.began && s.depth == 0 && class[c] != plain {
			return i, true // what begins here is no part of a number or a name
		}
		switch class[c] {
		case plain:
			if s.depth == 0 {
				s.began = true
				for i < len(p) && class[p[i]] == plain && p[i] != ',' && p[i] > ' ' {
					i++
				}
				if i < len(p) {
					return i, true
				}
				return i, false
			}
			for i++; i < len(p) && class[p[i]] == plain; i++ {
			}
		case quote:
			s.str = true
			i++
		case opening:
			s.depth++
			i++
		case closing:
			if s.depth == 0 {
				return i, true
			}
			i++
			if s.depth--; s.depth == 0 {
				return i, true
			}
		}
	}
	return i, false
}

const (
	plain = iota
	quote
	opening
	closing
)

var class = [256]uint8{'"': quote, '{': opening, '[': opening, '}': closing, ']': closing}

// inString advances behind the closing quote.
func (s *skipper) inString(p []byte) (n int, closed bool) {
	for n < len(p) {
		if s.escape {
			s.escape = false
			n++
			continue
		}
		i := bytes.IndexByte(p[n:], '"')
		j := i
		if j < 0 {
			j = len(p) - n
		}
		if k := bytes.IndexByte(p[n:n+j], '\\'); k >= 0 {
			n += k + 1
			s.escape = true
			continue
		}
		if i < 0 {
			return len(p), false
		}
		s.str = false
		return n + i + 1, true
	}
	return n, false
}

// skipValue returns where the value ends that begins at b[i]: errShort where it
// does not in b.
func skipValue(b []byte, i int) (int, error) {
	if i >= len(b) {
		return i, errShort
	}
	switch c := b[i]; {
	case c == '"':
		return skipString(b, i)
	case c == '}' || c == ']' || c == ',' || c == ':' || c <= ' ':
		return i, errJSON
	}
	var s skipper
	n, end := s.advance(b[i:])
	if !end {
		return i, errShort
	}
	return i + n, nil
}

// skipString returns where the string ends that begins at b[i].
func skipString(b []byte, i int) (int, error) {
	if i >= len(b) {
		return i, errShort
	}
	at := i + 1
	for {
		j := bytes.IndexByte(b[at:], '"')
		if j < 0 {
			return i, errShort
		}
		n := 0
		for n < j && b[at+j-1-n] == '\\' {
			n++
		}
		if at += j + 1; n%2 == 0 {
			return at, nil
		}
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && space(b[i]) {
		i++
	}
	return i
}

func space(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// members calls visit with each member of the object at b[i], until it returns
// false or an error: key without its quotes and escapes, and where the value is.
func members(b []byte, i int, visit func(key []byte, start, end int) (bool, error)) error {
	i = skipSpace(b, i+1)
	for {
		if i >= len(b) {
			return errShort
		}
		if b[i] == '}' {
			return nil
		}
		if b[i] != '"' {
			return errJSON
		}
		end, err := skipString(b, i)
		if err != nil {
			return err
		}
		key, err := unquote(b[i:end])
		if err != nil {
			return err
		}
		if i = skipSpace(b, end); i >= len(b) {
			return errShort
		}
		if b[i] != ':' {
			return errJSON
		}
		start := skipSpace(b, i+1)
		if end, err = skipValue(b, start); err != nil {
			return err
		}
		if goOn, err := visit(key, start, end); err != nil || !goOn {
			return err
		}
		if i, err = nextItem(b, end, '}'); err != nil {
			return err
		}
	}
}

// nextItem goes from the end of a member or an element to the next, or to the
// closing bracket.
func nextItem(b []byte, i int, closing byte) (int, error) {
	if i = skipSpace(b, i); i >= len(b) {
		return i, errShort
	}
	if b[i] == closing {
		return i, nil
	}
	if b[i] != ',' {
		return i, errJSON
	}
	if i = skipSpace(b, i+1); i >= len(b) {
		return i, errShort
	}
	if b[i] == closing {
		return i, errJSON
	}
	return i, nil
}

// unquote returns what a string says; it is the text itself where nothing is
// escaped.
func unquote(raw []byte) ([]byte, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1], nil
	}
	text, err := jsontext.AppendUnquote(nil, raw)
	if err != nil {
		return nil, errJSON
	}
	return text, nil
}
