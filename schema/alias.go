package schema

import (
	"strings"
	"unicode/utf8"

	"github.com/vektah/gqlparser/v2/ast"
)

// aliased reports whether a field was written with an alias, also with one that
// is its own name ("a: a"). The tree does not tell these apart from fields
// without, so the text after the name is looked at.
func (c *compiler) aliased(f *ast.Field) bool {
	if f.Alias != f.Name {
		return true
	}
	after := c.source.from(f.Position.Src.Input, f.Position.End)
	return strings.HasPrefix(strings.TrimLeft(after, " \t\r\n,"), ":")
}

// runeCursor finds byte offsets in a text whose positions count runes, as
// gqlparser's do. It is fast for offsets that grow.
type runeCursor struct {
	text         string
	runes, bytes int
	ascii        bool
}

// from returns text without its first n runes.
func (r *runeCursor) from(text string, n int) string {
	if r.text != text || n < r.runes {
		*r = runeCursor{text: text, ascii: utf8.RuneCountInString(text) == len(text)}
	}
	if r.ascii {
		return text[min(n, len(text)):]
	}
	for ; r.runes < n && r.bytes < len(text); r.runes++ {
		_, size := utf8.DecodeRuneInString(text[r.bytes:])
		r.bytes += size
	}
	return text[r.bytes:]
}
