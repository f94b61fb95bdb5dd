package schema

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxNesting bounds how deep brackets of all kinds may nest in a document, well
// under what gqlparser's recursive descent takes (1,000).
const maxNesting = 200

// maxBracedDigits is how many hexadecimal digits a braced escape may have, as
// in graphql-js; the specification sets no bound.
const maxBracedDigits = 8

// scan makes a document fit for gqlparser, which parses schemas. Like [tokenizer.read],
// which shares its grammar, it bounds bytes, tokens and nesting, and it refuses
// what lexers read differently: invalid UTF-8, NUL, a byte order mark past the
// start, lone surrogates, numbers that run into a name.
//
// The text that it returns has the document's tokens, and every string in it
// has the value that the specification gives it whatever lexer reads it:
// comments are dropped, unicode escapes are written as UTF-8 (controls as
// \u00XX), block strings as plain strings with the value of BlockStringValue.
// Lines are kept, columns almost always. A document without any of these is
// returned as it is.
//
// tokens does not count comments nor the end of the document. Errors are
// *LimitError and *ParseError. What scan lets through may still not parse.
func scan(document string, limits Limits) (text string, tokens int, err error) {
	s := scanner{src: document}
	if err := s.run(limits.orDefaults()); err != nil {
		return "", s.tokens, err
	}
	if s.out == nil {
		return document, s.tokens, nil
	}
	s.out = append(s.out, s.src[s.copied:]...)
	return string(s.out), s.tokens, nil
}

// invalidUTF8 returns the offset of the first byte that is not valid UTF-8, or -1.
func invalidUTF8(s string) int {
	if utf8.ValidString(s) {
		return -1
	}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

type scanner struct {
	src string
	pos int

	// out holds the rewritten form of src[:copied]; nil while nothing had to
	// be rewritten.
	out    []byte
	copied int

	line      int // 1-based line of pos
	lineStart int // offset of its first byte

	tokens int
	depth  int

	// lexed takes the tokens; nil where the text is rewritten instead. wide says
	// that other characters than ASCII may stand since the last.
	lexed *tokenizer
	wide  bool
}

func (s *scanner) run(limits Limits) error {
	s.line = 1
	if len(s.src) > limits.Document {
		return &LimitError{Kind: LimitDocument, Got: len(s.src), Max: limits.Document}
	}
	if i := invalidUTF8(s.src); i >= 0 {
		s.seek(i)
		return s.parseError(i, "the document is not valid UTF-8")
	}
	if i := strings.IndexByte(s.src, 0); i >= 0 {
		s.seek(i)
		return s.parseError(i, "the document holds a NUL character")
	}
	const bom = "\uFEFF"
	if strings.HasPrefix(s.src, bom) {
		s.pos, s.wide = len(bom), true
	}
	for s.pos < len(s.src) {
		c := s.src[s.pos]
		switch c {
		case ' ', '\t', ',':
			s.pos++
			continue
		case '\n', '\r':
			s.newline()
			continue
		case '#':
			s.comment()
			continue
		}
		s.tokens++
		if s.tokens > limits.Tokens {
			return s.limitError(LimitTokens, s.tokens, limits.Tokens)
		}
		if s.lexed != nil {
			s.lexed.begin(s)
		}
		if err := s.token(c); err != nil {
			return err
		}
		if s.lexed != nil {
			s.lexed.end(s)
		}
	}
	return nil
}

func (s *scanner) token(c byte) error {
	switch {
	case nameBytes[c] == nameAnywhere:
		s.pos++
		for s.pos < len(s.src) && nameBytes[s.src[s.pos]] != 0 {
			s.pos++
		}
		return nil
	case c == '-' || digit(c):
		return s.number()
	}
	switch c {
	case '{', '(', '[':
		s.depth++
		if s.depth > maxNesting {
			return s.limitError(LimitNesting, s.depth, maxNesting)
		}
	case '}', ')', ']':
		// What does not balance is the parser's to refuse; it stops there.
		s.depth = max(s.depth-1, 0)
	case '!', '$', '&', ':', '=', '@', '|':
	case '.':
		if !strings.HasPrefix(s.src[s.pos:], "...") {
			return s.parseError(s.pos, `unexpected "."`)
		}
		s.pos += 2
	case '"':
		s.wide = true
		if strings.HasPrefix(s.src[s.pos:], `"""`) {
			return s.blockString()
		}
		return s.string()
	default:
		r, _ := utf8.DecodeRuneInString(s.src[s.pos:])
		return s.parseError(s.pos, fmt.Sprintf("unexpected character %U", r))
	}
	s.pos++
	return nil
}

// newline consumes one line terminator at pos: \n, \r or \r\n.
func (s *scanner) newline() {
	if s.src[s.pos] == '\r' && s.pos+1 < len(s.src) && s.src[s.pos+1] == '\n' {
		s.pos++
	}
	s.pos++
	s.line++
	s.lineStart = s.pos
}

// comment drops a comment: kept ones would cost the parser an allocation each
// without counting as tokens.
func (s *scanner) comment() {
	start := s.pos
	s.wide = true
	if n := strings.IndexAny(s.src[s.pos:], "\r\n"); n >= 0 {
		s.pos += n
	} else {
		s.pos = len(s.src)
	}
	s.replace(start)
}

// replace starts the rewriting of src[start:pos]: what precedes it is copied,
// and it is itself left out. The caller appends to out what stands for it.
func (s *scanner) replace(start int) {
	if s.lexed != nil {
		return
	}
	if s.out == nil {
		s.out = make([]byte, 0, len(s.src)+64)
	}
	s.out = append(s.out, s.src[s.copied:start]...)
	s.copied = s.pos
}

// number checks the grammar of IntValue and FloatValue with their lookahead
// restriction: no digit, "." or name start may follow.
func (s *scanner) number() error {
	start := s.pos
	if s.src[s.pos] == '-' {
		s.pos++
	}
	if s.pos < len(s.src) && s.src[s.pos] == '0' {
		s.pos++
	} else if !s.digits() {
		return s.numberError(start)
	}
	if s.pos < len(s.src) && s.src[s.pos] == '.' {
		s.pos++
		if !s.digits() {
			return s.numberError(start)
		}
	}
	if s.pos < len(s.src) && (s.src[s.pos] == 'e' || s.src[s.pos] == 'E') {
		s.pos++
		if s.pos < len(s.src) && (s.src[s.pos] == '+' || s.src[s.pos] == '-') {
			s.pos++
		}
		if !s.digits() {
			return s.numberError(start)
		}
	}
	if s.pos < len(s.src) && (nameContinue(s.src[s.pos]) || s.src[s.pos] == '.') {
		return s.numberError(start)
	}
	return nil
}

func (s *scanner) numberError(start int) error {
	return s.parseError(start, "invalid number")
}

// digits consumes digits and reports whether there was one.
func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.src) && digit(s.src[s.pos]) {
		s.pos++
	}
	return s.pos > start
}

// string reads a plain string. Only one with a unicode escape or a control in
// it is rewritten; the lexer wants the value of any with an escape.
func (s *scanner) string() error {
	start, rewrite, escaped := s.pos, false, false
	s.pos++
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; {
		case c == '"':
			s.pos++
			switch {
			case s.lexed != nil && escaped:
				return s.lexed.decode(s, start)
			case s.lexed == nil && rewrite:
				return s.rewriteString(start)
			}
			return nil
		case c == '\\' && s.pos+1 < len(s.src):
			escaped = true
			rewrite = rewrite || s.src[s.pos+1] == 'u'
			s.pos += 2
		case c == '\n' || c == '\r':
			return s.parseError(start, "unterminated string")
		default:
			rewrite = rewrite || c < ' ' && c != '\t'
			s.pos++
		}
	}
	s.pos = start
	return s.parseError(start, "unterminated string")
}

// rewriteString writes src[start:pos], a plain string, with controls escaped
// and nothing else that need not be.
func (s *scanner) rewriteString(start int) error {
	s.replace(start)
	token := s.src[start:s.pos]
	before := len(s.out)
	for i := 0; i < len(token); {
		if c := token[i]; c != '\\' {
			if c < ' ' {
				s.out = appendStringRune(s.out, rune(c))
			} else {
				s.out = append(s.out, c)
			}
			i++
			continue
		}
		if token[i+1] != 'u' {
			s.out = append(s.out, token[i:i+2]...)
			i += 2
			continue
		}
		r, n, ok := unicodeEscape(token[i+2:])
		if !ok {
			return s.parseError(start+i, "invalid unicode escape")
		}
		s.out = appendStringRune(s.out, r)
		i += 2 + n
	}
	s.pad(utf8.RuneCountInString(token) - utf8.RuneCount(s.out[before:]))
	return nil
}

// unicodeEscape decodes what follows `\u` at the start of text: four
// hexadecimal digits, two such escapes that form a surrogate pair, or digits
// in braces. n is its length; ok is false unless it is a Unicode scalar value.
func unicodeEscape(text string) (r rune, n int, ok bool) {
	if strings.HasPrefix(text, "{") {
		end := strings.IndexByte(text, '}')
		if end < 2 || end > maxBracedDigits+1 {
			return 0, 0, false
		}
		r, ok = hexadecimal(text[1:end])
		return r, end + 1, ok && utf8.ValidRune(r)
	}
	r, ok = fourDigits(text)
	if !ok {
		return 0, 0, false
	}
	const lead, trail, last = 0xD800, 0xDC00, 0xDFFF
	if r < lead || r > last {
		return r, 4, true
	}
	if r >= trail || !strings.HasPrefix(text[4:], `\u`) {
		return 0, 0, false
	}
	low, ok := fourDigits(text[6:])
	if !ok || low < trail || low > last {
		return 0, 0, false
	}
	return 0x10000 + (r-lead)<<10 + (low - trail), 10, true
}

func fourDigits(text string) (rune, bool) {
	if len(text) < 4 {
		return 0, false
	}
	return hexadecimal(text[:4])
}

// hexadecimal reads one to eight digits; ok is false for any other character
// and for a value past the range of rune.
func hexadecimal(digits string) (rune, bool) {
	var v uint64
	for i := range len(digits) {
		c := digits[i]
		switch {
		case digit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint64(c)
	}
	return rune(v), v <= utf8.MaxRune
}

// blockString reads a block string and rewrites it as a plain one.
func (s *scanner) blockString() error {
	start, line, lineStart := s.pos, s.line, s.lineStart
	s.pos += 3
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; {
		case c == '"' && strings.HasPrefix(s.src[s.pos:], `"""`):
			raw := s.src[start+3 : s.pos]
			s.pos += 3
			if s.lexed != nil {
				s.lexed.value(blockStringValue(raw))
				return nil
			}
			s.replace(start)
			before := len(s.out)
			s.out = appendString(s.out, blockStringValue(raw))
			if s.line > line {
				for range s.line - line {
					s.out = append(s.out, '\n')
				}
				s.pad(utf8.RuneCountInString(s.src[s.lineStart:s.pos]))
				return nil
			}
			// One blank at least keeps the token apart from a string that follows.
			s.pad(max(1, utf8.RuneCountInString(s.src[start:s.pos])-utf8.RuneCount(s.out[before:])))
			return nil
		case c == '\\' && strings.HasPrefix(s.src[s.pos:], `\"""`):
			s.pos += 4
		case c == '\n' || c == '\r':
			s.newline()
		default:
			s.pos++
		}
	}
	s.line, s.lineStart = line, lineStart
	return s.parseError(start, "unterminated string")
}

// blockStringValue is the specification's BlockStringValue (section 2.9.4) of
// the text between the quotes, `\"""` still escaped.
func blockStringValue(raw string) string {
	raw = strings.ReplaceAll(raw, `\"""`, `"""`)
	raw = strings.ReplaceAll(raw, "\r\n", "\n")
	raw = strings.ReplaceAll(raw, "\r", "\n")
	lines := strings.Split(raw, "\n")
	// The first line, which follows the quotes, has no say in the indent.
	common := -1
	for _, line := range lines[1:] {
		if n := indent(line); n < len(line) && (common < 0 || n < common) {
			common = n
		}
	}
	for i, line := range lines[1:] {
		lines[i+1] = line[min(max(common, 0), len(line)):]
	}
	for len(lines) > 0 && indent(lines[0]) == len(lines[0]) {
		lines = lines[1:]
	}
	for len(lines) > 0 && indent(lines[len(lines)-1]) == len(lines[len(lines)-1]) {
		lines = lines[:len(lines)-1]
	}
	return strings.Join(lines, "\n")
}

// indent is the number of leading spaces and tabs.
func indent(line string) int {
	return len(line) - len(strings.TrimLeft(line, " \t"))
}

// pad appends n blanks, so that what follows keeps its column.
func (s *scanner) pad(n int) {
	for range max(n, 0) {
		s.out = append(s.out, ' ')
	}
}

// appendString appends a plain GraphQL string of value s, quotes and all.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c == 0x7F {
			dst = appendStringRune(append(dst, s[start:i]...), rune(c))
			start = i + 1
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// appendStringRune appends r as it stands inside a plain GraphQL string.
func appendStringRune(dst []byte, r rune) []byte {
	switch {
	case r == '"' || r == '\\':
		return append(dst, '\\', byte(r))
	case r == '\n':
		return append(dst, '\\', 'n')
	case r < ' ' || r == 0x7F:
		const digits = "0123456789ABCDEF"
		return append(dst, '\\', 'u', '0', '0', digits[r>>4], digits[r&15])
	}
	return utf8.AppendRune(dst, r)
}

// seek moves to offset i for the sake of an error's line and column.
func (s *scanner) seek(i int) {
	for s.pos < i {
		if c := s.src[s.pos]; c == '\n' || c == '\r' {
			s.newline()
			continue
		}
		s.pos++
	}
}

func (s *scanner) column(at int) int {
	return utf8.RuneCountInString(s.src[s.lineStart:max(at, s.lineStart)]) + 1
}

func (s *scanner) parseError(at int, message string) error {
	return &ParseError{Message: message, Line: s.line, Column: s.column(at)}
}

func (s *scanner) limitError(kind LimitKind, got, limit int) error {
	return &LimitError{Kind: kind, Got: got, Max: limit, Line: s.line, Column: s.column(s.pos)}
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func nameStart(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
}

func nameContinue(c byte) bool { return nameBytes[c] != 0 }

// nameBytes says where in a name a byte may stand; 0: nowhere.
var nameBytes = func() (table [256]uint8) {
	for c := range table {
		switch c := byte(c); {
		case nameStart(c):
			table[c] = nameAnywhere
		case digit(c):
			table[c] = nameInside
		}
	}
	return table
}()

const (
	nameAnywhere = iota + 1
	nameInside
)
