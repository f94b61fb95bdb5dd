package persisted

import (
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

func TestOutline(t *testing.T) {
	for _, c := range []struct {
		text string
		want outline
	}{
		{"{a}", outline{1, query, "", 0}},
		{"query A{a}", outline{1, query, "A", 6}},
		{"query{a}", outline{1, query, "", 5}},
		{" mutation # x\n , Do($a:I={query:1}) @d(a:{b:1}) {a}", outline{1, mutation, "Do", 17}},
		{"subscription S {a}", outline{1, subscription, "S", 13}},
		{"fragment query on T {query} query mutation {a}", outline{1, query, "mutation", 34}},
		{`query A {a(b:"} query B {", c:"""} { \""" """)} # query C {`, outline{1, query, "A", 6}},
		{"query A {a} {b}", outline{2, unknown, "", 0}},
		{"fragment F on T {a}", outline{}},
		{"", outline{}},
		{"query", outline{1, query, "", 5}},
		{`"a description" query A {a}`, outline{1, query, "A", 22}},
	} {
		if got := outlineOf(c.text); got != c.want {
			t.Errorf("%s: %+v", c.text, got)
		}
	}
}

// FuzzOutline compares with the parser on what the parser accepts.
func FuzzOutline(f *testing.F) {
	for _, s := range []string{
		"query A($a: I = {b: [1]}) @d(c: \"}\") { a(b: \"\"\"x\"\"\") { ...F } } fragment F on T { query }",
		"{a} mutation M {b}", "subscription S # c\n{a}", "fragment on on on {on} query query {query}",
	} {
		f.Add(s)
	}
	for _, op := range corpus(f, "saleor")[:50] {
		f.Add(op.Query)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o := outlineOf(text)
		doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: text}, 4000)
		if err != nil {
			return
		}
		if o.operations != len(doc.Operations) {
			t.Fatalf("%d operations, the parser sees %d", o.operations, len(doc.Operations))
		}
		if o.operations == 1 && (o.name != doc.Operations[0].Name || o.kind.String() != string(doc.Operations[0].Operation)) {
			t.Fatalf("%s %q, the parser sees %s %q", o.kind, o.name, doc.Operations[0].Operation, doc.Operations[0].Name)
		}
	})
}
