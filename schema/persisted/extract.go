package persisted

import (
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Definition is an operation or a fragment found in a source file.
type Definition struct {
	Kind string // query, mutation, subscription or fragment
	Name string // empty for an anonymous operation
	Text string
	// Spreads are the names of the fragments that the text spreads, distinct, in
	// order.
	Spreads      []string
	File         string
	Line, Column int // 1-based, in bytes
}

// Extract finds the GraphQL definitions of a source file: all of a .graphql or
// .gql file; in any other, which is read as TypeScript or JavaScript, template
// literals
//
//   - with the tag gql or graphql, also with type arguments,
//   - as the first argument of gql(…) or graphql(…), a plain string too,
//   - after a comment /* GraphQL */,
//   - that begin with #graphql.
//
// Comments, other strings and regular expressions are skipped. An expression
// ${…} between definitions is left out, for fragments are found by name
// whatever file they are in ([Compose]); inside a definition it is a problem,
// because the text would be known at run time only. What a definition says is not
// judged here: loading the manifest parses it.
func Extract(file string, source []byte) ([]Definition, []Problem) {
	x := &extractor{file: file, src: string(source)}
	if isGraphQL(file) {
		x.document(cooked{text: x.src, at: []mapping{{0, 0}}})
	} else {
		x.code(0, "", 0)
	}
	return x.definitions, x.problems
}

type extractor struct {
	file        string
	src         string
	definitions []Definition
	problems    []Problem
}

func (x *extractor) problem(at int, message string) {
	line, column := x.place(at)
	x.problems = append(x.problems, Problem{File: x.file, Line: line, Column: column, Message: message})
}

func (x *extractor) place(at int) (line, column int) {
	before := x.src[:min(at, len(x.src))]
	return strings.Count(before, "\n") + 1, len(before) - strings.LastIndexByte(before, '\n')
}

// maxNesting bounds templates within expressions within templates.
const maxNesting = 50

// code scans code from i on until the closing bracket that until names, or the
// end, and returns the index after it. It knows just enough of the language to tell code from
// comments, strings, templates and regular expressions.
func (x *extractor) code(i int, until string, nesting int) int {
	braces := 0
	operand := false // the last token ends an operand: a slash divides
	marked := false  // the last token is the comment /* GraphQL */
	for i < len(x.src) {
		c := x.src[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
			continue
		case strings.HasPrefix(x.src[i:], "//"):
			i = x.line(i)
			continue
		case strings.HasPrefix(x.src[i:], "/*"):
			end := x.comment(i)
			marked = strings.EqualFold(strings.Trim(x.src[i:end], "/* \t\r\n"), "graphql")
			i = end
			continue
		case c == '`':
			i = x.template(i, marked, nesting)
			operand = true
		case (c == '\'' || c == '"') && operand && isIdentifier(x.src[i-1]):
			i++ // an apostrophe in JSX text: no string follows a name at once
		case c == '\'' || c == '"':
			_, i = x.quoted(i)
			operand = true
		case c == '/' && !operand && !strings.HasSuffix(x.src[:i], "<"): // not JSX's </
			i = x.regexp(i)
			operand = true
		case isIdentifier(c):
			end := i
			for end < len(x.src) && (isIdentifier(x.src[end]) || '0' <= x.src[end] && x.src[end] <= '9') {
				end++
			}
			word := x.src[i:end]
			operand = !isKeyword(word)
			i = end
			if word == "gql" || word == "graphql" {
				i = x.tagged(end, nesting)
			}
		case '0' <= c && c <= '9':
			i++
			operand = true
		default:
			if c == '{' {
				braces++
			}
			if c == '}' {
				if braces == 0 && until == "}" {
					return i + 1
				}
				braces--
			}
			operand = c == ')' || c == ']' || c == '}'
			i++
		}
		marked = false
	}
	return i
}

// isIdentifier takes every byte beyond ASCII for a letter.
func isIdentifier(c byte) bool { return isNameStart(c) || c == '$' || c >= utf8.RuneSelf }

// isKeyword lists the words after which a slash begins a regular expression.
func isKeyword(word string) bool {
	switch word {
	case "return", "typeof", "case", "in", "of", "do", "else", "void", "delete", "throw", "new", "instanceof", "yield", "await", "default":
		return true
	}
	return false
}

// line returns the index of the line's end.
func (x *extractor) line(i int) int {
	if n := strings.IndexByte(x.src[i:], '\n'); n >= 0 {
		return i + n
	}
	return len(x.src)
}

func (x *extractor) comment(i int) int {
	if n := strings.Index(x.src[i+2:], "*/"); n >= 0 {
		return i + 2 + n + 2
	}
	return len(x.src)
}

// regexp returns the index after a regular expression; a slash that begins
// none, as in JSX, is skipped alone.
func (x *extractor) regexp(i int) int {
	class := false
	for j := i + 1; j < len(x.src) && x.src[j] != '\n'; j++ {
		switch x.src[j] {
		case '\\':
			j++
		case '[':
			class = true
		case ']':
			class = false
		case '/':
			if !class {
				return j + 1
			}
		}
	}
	return i + 1
}

// quoted reads a string; an apostrophe that begins none, as in JSX text, is
// skipped alone.
func (x *extractor) quoted(i int) (cooked, int) {
	k := cooker{x: x}
	for j := i + 1; j < len(x.src) && x.src[j] != '\n'; {
		if x.src[j] == x.src[i] {
			return k.done(), j + 1
		}
		j = k.char(j)
	}
	return cooked{}, i + 1
}

// tagged looks for the document after the word gql or graphql, and returns
// where scanning goes on.
func (x *extractor) tagged(i, nesting int) int {
	j := x.blanks(i)
	if j < len(x.src) && x.src[j] == '<' {
		j = x.blanks(x.typeArguments(j))
	}
	call := j < len(x.src) && x.src[j] == '('
	if call {
		j = x.blanks(j + 1)
	}
	if j >= len(x.src) {
		return i
	}
	switch c := x.src[j]; {
	case c == '`':
		return x.template(j, true, nesting)
	case call && (c == '"' || c == '\''):
		if doc, end := x.quoted(j); strings.Contains(doc.text, "{") {
			x.document(doc)
			return end
		}
	}
	return i
}

// blanks skips white space and comments.
func (x *extractor) blanks(i int) int {
	for i < len(x.src) {
		switch {
		case strings.IndexByte(" \t\r\n", x.src[i]) >= 0:
			i++
		case strings.HasPrefix(x.src[i:], "/*"):
			i = x.comment(i)
		case strings.HasPrefix(x.src[i:], "//"):
			i = x.line(i)
		default:
			return i
		}
	}
	return i
}

// typeArguments returns the index after <…>, or i when it does not close soon.
func (x *extractor) typeArguments(i int) int {
	depth := 0
	for j := i; j < len(x.src) && j < i+2000; j++ {
		switch x.src[j] {
		case '<':
			depth++
		case '>':
			if x.src[j-1] == '=' { // an arrow
				continue
			}
			if depth--; depth == 0 {
				return j + 1
			}
		case '`':
			return i
		}
	}
	return i
}

// template reads a template literal and takes it for a document when wanted,
// or when it says so itself.
func (x *extractor) template(i int, wanted bool, nesting int) int {
	if nesting == maxNesting {
		x.problem(i, "templates are nested too deeply")
		return len(x.src)
	}
	k := cooker{x: x}
	var inside []int // expressions within a definition
	j := i + 1
	for j < len(x.src) && x.src[j] != '`' {
		if strings.HasPrefix(x.src[j:], "${") {
			if outlineDepth(string(k.text)) > 0 {
				inside = append(inside, j)
			}
			j = x.code(j+2, "}", nesting+1)
			k.jump()
			continue
		}
		j = k.char(j)
	}
	if j >= len(x.src) {
		x.problem(i, "the template literal does not end")
		return j
	}
	doc := k.done()
	marker := strings.TrimLeft(doc.text, " \t\r\n")
	if !wanted && !strings.HasPrefix(marker, "#graphql") && !strings.HasPrefix(marker, "# graphql") {
		return j + 1
	}
	for _, at := range inside {
		x.problem(at, "an expression inside a definition: its text is not known before run time")
	}
	if len(inside) == 0 {
		x.document(doc)
	}
	return j + 1
}

// cooked is the value of a literal, and where its pieces stand in the source.
type cooked struct {
	text string
	at   []mapping
}

// mapping says that the text from offset text on stands in the source from
// offset source on, byte by byte until the next mapping.
type mapping struct{ text, source int }

func (c *cooked) source(offset int) int {
	i := sort.Search(len(c.at), func(i int) bool { return c.at[i].text > offset }) - 1
	if i < 0 {
		return 0
	}
	return c.at[i].source + offset - c.at[i].text
}

// cooker decodes a literal's characters.
type cooker struct {
	x    *extractor
	text []byte
	at   []mapping
	next int // the source offset that the last mapping would give to the next byte
}

func (k *cooker) done() cooked { return cooked{string(k.text), k.at} }

// jump makes the next character begin a new mapping, with a blank before it so
// that names on both sides stay apart.
func (k *cooker) jump() {
	k.text = append(k.text, ' ')
	k.next = -1
}

// char decodes the character, the run of plain ones or the escape sequence at i
// and returns the index after it. Line ends become \n, as in a template's value.
func (k *cooker) char(i int) int {
	if k.next != i || len(k.at) == 0 {
		k.at = append(k.at, mapping{len(k.text), i})
	}
	src := k.x.src
	switch {
	case src[i] == '\\' && i+1 < len(src):
		value, end := escape(src, i)
		k.text = append(k.text, value...)
		k.next = -1
		return end
	case src[i] == '\r':
		k.text = append(k.text, '\n')
		k.next = -1
		if strings.HasPrefix(src[i:], "\r\n") {
			return i + 2
		}
		return i + 1
	}
	end := i + 1
	for end < len(src) && strings.IndexByte("\\`'\"$\r\n", src[end]) < 0 {
		end++
	}
	k.text = append(k.text, src[i:end]...)
	k.next = end
	return end
}

// escape decodes an escape sequence of ECMAScript (section 12.9.4).
func escape(src string, i int) (string, int) {
	end := i + 2
	switch c := src[i+1]; c {
	case 'n':
		return "\n", end
	case 't':
		return "\t", end
	case 'r':
		return "\r", end
	case 'b':
		return "\b", end
	case 'f':
		return "\f", end
	case 'v':
		return "\v", end
	case '0':
		return "\x00", end
	case '\n':
		return "", end
	case 'x':
		return codepoint(src, end, end+2, end+2)
	case 'u':
		if end < len(src) && src[end] == '{' {
			if n := strings.IndexByte(src[end:], '}'); n > 0 {
				return codepoint(src, end+1, end+n, end+n+1)
			}
		}
		return codepoint(src, end, end+4, end+4)
	default:
		_, size := utf8.DecodeRuneInString(src[i+1:])
		return src[i+1 : i+1+size], i + 1 + size
	}
}

func codepoint(src string, from, to, end int) (string, int) {
	if to > len(src) {
		return "", len(src)
	}
	n, err := strconv.ParseUint(src[from:to], 16, 32)
	if err != nil || n > utf8.MaxRune {
		return "\ufffd", end
	}
	return string(rune(n)), end
}

// document splits a document into its definitions.
func (x *extractor) document(doc cooked) {
	text := doc.text
	depth, start := 0, -1
	for i := 0; i < len(text); {
		c := text[i]
		if end := skipLiteral(text, i); end > i {
			if start < 0 && c == '"' { // a description
				start = i
			}
			i = end
			continue
		}
		switch {
		case c == '{' || c == '(' || c == '[':
			if start < 0 {
				start = i
			}
			depth++
		case c == '}' || c == ')' || c == ']':
			depth--
			if c == '}' && depth == 0 && start >= 0 {
				x.definition(&doc, start, i+1)
				start = -1
			}
		case start < 0 && isNameStart(c):
			start = i
		}
		i++
	}
	if start >= 0 {
		x.problem(doc.source(start), "the definition does not end")
	}
}

func (x *extractor) definition(doc *cooked, start, end int) {
	d := Definition{Text: doc.text[start:end], File: x.file}
	d.Line, d.Column = x.place(doc.source(start))
	o := outlineOf(d.Text)
	if d.Kind, d.Name = o.kind.String(), o.name; o.operations == 0 {
		at := 0
		if d.Text[0] == '"' { // a description
			at = skipIgnored(d.Text, skipString(d.Text, 0))
		}
		word := d.Text[at:nameEnd(d.Text, at)]
		if word != "fragment" {
			x.problem(doc.source(start), "this is neither an operation nor a fragment")
			return
		}
		at = skipIgnored(d.Text, at+len(word))
		d.Kind, d.Name = word, d.Text[at:nameEnd(d.Text, at)]
	}
	d.Spreads = spreads(d.Text)
	x.definitions = append(x.definitions, d)
}

// spreads lists the fragments that a text spreads.
func spreads(text string) (names []string) {
	seen := map[string]bool{}
	for i := 0; i < len(text); {
		if end := skipLiteral(text, i); end > i {
			i = end
			continue
		}
		if !strings.HasPrefix(text[i:], "...") {
			i++
			continue
		}
		i = skipIgnored(text, i+3)
		end := i
		if i < len(text) && isNameStart(text[i]) {
			end = nameEnd(text, i)
		}
		if name := text[i:end]; name != "" && name != "on" && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
		i = end
	}
	return names
}

// outlineDepth returns how many brackets are open at the end of a piece of a
// document.
func outlineDepth(text string) int {
	depth := 0
	open := false // a definition has begun
	for i := 0; i < len(text); {
		if end := skipLiteral(text, i); end > i {
			i = end
			continue
		}
		switch c := text[i]; {
		case c == '{' || c == '(' || c == '[':
			open = true
			depth++
		case c == '}' || c == ')' || c == ']':
			if depth--; depth == 0 && c == '}' {
				open = false
			}
		case isNameStart(c):
			open = true
		}
		i++
	}
	if open && depth == 0 {
		return 1
	}
	return depth
}

// IsSource reports whether Extract knows what to do with a file of this name.
func IsSource(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".graphql", ".gql", ".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs", ".vue", ".svelte":
		return true
	}
	return false
}
