package schema

import (
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// oneKilobyte is the corpus's operation whose length is nearest to 1 KB.
func oneKilobyte(tb testing.TB, c corpus) string {
	tb.Helper()
	best := ""
	distance := func(s string) int { return max(len(s)-1024, 1024-len(s)) }
	for _, o := range c.operations {
		if best == "" || distance(o.Query) < distance(best) {
			best = o.Query
		}
	}
	return best
}

// BenchmarkCompile compares a cold compile of a real 1 KB operation with
// gqlparser's own parsing and default validation.
func BenchmarkCompile(b *testing.B) {
	for _, c := range loadCorpora(b) {
		text := oneKilobyte(b, c)
		b.Run(c.name+"/graphward", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := c.schema.Compile(text, "", Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/gqlparser", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			all := rules.NewDefaultRules()
			for b.Loop() {
				doc, err := parser.ParseQuery(&ast.Source{Input: text})
				if err != nil {
					b.Fatal(err)
				}
				if errs := validator.ValidateWithRules(c.schema.AST(), doc, all); len(errs) > 0 {
					b.Fatal(errs)
				}
			}
		})
	}
}

// BenchmarkCanonicalForm is the digest that an allowlist looks up.
func BenchmarkCanonicalForm(b *testing.B) {
	c := loadCorpora(b)[0]
	text := oneKilobyte(b, c)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.schema.CanonicalForm(text, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}
