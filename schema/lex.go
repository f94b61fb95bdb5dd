package schema

import (
	"math"
	"unicode/utf8"
)

// tokenKind is a token's kind: a punctuator's is its (first) byte.
type tokenKind uint8

const (
	tokenEnd    tokenKind = 0 // the end of the document
	tokenName   tokenKind = 'a'
	tokenInt    tokenKind = '0'
	tokenFloat  tokenKind = '1'
	tokenString tokenKind = '"'
	tokenSpread tokenKind = '.'
)

// token is a token of a document, start and end the offsets of its bytes.
type token struct {
	kind         tokenKind
	start, end   int32
	line, column int32 // both from 1, columns in characters
	// value is 1 plus the index in tokenizer.values of what a string stands for; 0
	// where that is the bytes between the quotes.
	value int32
}

// tokenizer holds the tokens of one document, and is used again for the next.
type tokenizer struct {
	src    string
	tokens []token // ends with one of kind tokenEnd
	values []string
	// names less the tokens that take a name away from fields: colons, dollars,
	// ats and spreads. It is about the number of fields.
	fields int

	// Where the last token's column was counted: runes characters of its line
	// stand before offset at.
	at, lineStart int
	runes         int32
}

// read lists a document's tokens. It bounds bytes, tokens and nesting, and
// decodes strings. The errors are *LimitError and *ParseError.
func (l *tokenizer) read(document string, limits Limits) error {
	l.src = document
	l.at, l.lineStart, l.runes, l.fields = 0, 0, 0, 0
	s := scanner{src: document, lexed: l}
	if len(document) > math.MaxInt32 {
		return &LimitError{Kind: LimitDocument, Got: len(document), Max: math.MaxInt32}
	}
	if err := s.run(limits); err != nil {
		return err
	}
	l.begin(&s)
	l.tokens[len(l.tokens)-1].kind = tokenEnd
	return nil
}

// release forgets the document.
func (l *tokenizer) release() {
	clear(l.values)
	l.src, l.tokens, l.values = "", l.tokens[:0], l.values[:0]
}

// begin adds the token that begins where the scanner is.
func (l *tokenizer) begin(s *scanner) {
	if s.lineStart != l.lineStart {
		l.at, l.lineStart, l.runes = s.lineStart, s.lineStart, 0
	}
	if s.wide {
		l.runes += int32(utf8.RuneCountInString(s.src[l.at:s.pos]))
		s.wide = false
	} else {
		l.runes += int32(s.pos - l.at)
	}
	l.at = s.pos
	l.tokens = append(l.tokens, token{start: int32(s.pos), end: int32(s.pos), line: int32(s.line), column: l.runes + 1})
}

// end completes the token that begin added with what the scanner has read.
func (l *tokenizer) end(s *scanner) {
	t := &l.tokens[len(l.tokens)-1]
	t.end = int32(s.pos)
	switch c := s.src[t.start]; {
	case nameBytes[c] == nameAnywhere:
		t.kind = tokenName
		l.fields++
	case c == '-' || digit(c):
		t.kind = tokenInt
		for _, c := range []byte(s.src[t.start:t.end]) {
			if c == '.' || c == 'e' || c == 'E' {
				t.kind = tokenFloat
			}
		}
	default:
		t.kind = tokenKind(c)
		if c == ':' || c == '$' || c == '@' || c == '.' {
			l.fields--
		}
	}
}

// value sets what the string stands for that begin added.
func (l *tokenizer) value(text string) {
	l.values = append(l.values, text)
	l.tokens[len(l.tokens)-1].value = int32(len(l.values))
}

// decode sets the value of the plain string that the scanner has read from
// start, which holds escapes.
func (l *tokenizer) decode(s *scanner, start int) error {
	token := s.src[start+1 : s.pos-1]
	out := make([]byte, 0, len(token))
	for i := 0; i < len(token); i++ {
		if token[i] != '\\' {
			out = append(out, token[i])
			continue
		}
		i++
		switch c := token[i]; c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, n, ok := unicodeEscape(token[i+1:])
			if !ok {
				return s.parseError(start+i, "invalid unicode escape")
			}
			out = utf8.AppendRune(out, r)
			i += n
		default:
			return s.parseError(start+i, "invalid escape sequence")
		}
	}
	l.value(string(out))
	return nil
}

// text is what a token stands for: of a string, its value.
func (l *tokenizer) text(t *token) string {
	switch {
	case t.value > 0:
		return l.values[t.value-1]
	case t.kind == tokenString:
		return l.src[t.start+1 : t.end-1]
	}
	return l.src[t.start:t.end]
}
