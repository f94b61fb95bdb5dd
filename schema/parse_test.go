package schema

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// noLimits are out of every document's way.
var noLimits = Limits{
	Document: 1 << 30, Tokens: 1 << 30, Depth: 1 << 20, Aliases: 1 << 20, RootFields: 1 << 20, Directives: 1 << 20,
	Fragments: 1 << 20, ValueDepth: 1 << 20, ListItems: 1 << 20, Walk: 1 << 30,
}

// treesDiffer compares the tree of a document with the one that gqlparser makes
// of the text that scan makes fit for it, places included where scan keeps them.
// parsed says that both took the document.
func treesDiffer(document string, columns bool) (diff string, parsed bool) {
	var c compiler
	c.fragments, c.limits = map[string]int32{}, noLimits
	err := c.parse(document)
	text, tokens, wantErr := scan(document, noLimits)
	var doc *ast.QueryDocument
	if wantErr == nil {
		doc, wantErr = parser.ParseQuery(&ast.Source{Input: text})
	}
	if wantErr == nil {
		wantErr = notGrammar(doc)
	}
	if (err == nil) != (wantErr == nil) {
		return "ours: " + errorText(err) + ", gqlparser's: " + errorText(wantErr), false
	}
	if err != nil {
		return "", false
	}
	if tokens != c.tokens {
		return "the number of tokens", true
	}
	var got, want treeText
	got.columns, want.columns = columns, columns
	for i := range c.defs {
		if d := &c.defs[i]; d.frag != nil {
			got.fragment(d.frag)
		}
	}
	for _, f := range doc.Fragments {
		want.fragment(f)
	}
	for i := range c.defs {
		if d := &c.defs[i]; d.op != nil {
			got.operation(d.op)
		}
	}
	for _, op := range doc.Operations {
		want.operation(op)
	}
	if g, w := got.String(), want.String(); g != w {
		return cmp.Diff(strings.Split(w, "\n"), strings.Split(g, "\n")), true
	}
	return "", true
}

// treeText writes a tree, a line for each part.
type treeText struct {
	strings.Builder
	columns bool
}

func (b *treeText) line(what string, at *ast.Position, values ...any) {
	if at != nil {
		fmt.Fprint(b, at.Line)
		if b.columns {
			fmt.Fprint(b, ":", at.Column)
		}
	}
	fmt.Fprintf(b, " %s %q\n", what, values)
}

func (b *treeText) operation(op *ast.OperationDefinition) {
	b.line("operation", op.Position, op.Operation, op.Name)
	for _, v := range op.VariableDefinitions {
		b.line("variable", v.Position, v.Variable, v.Type.String())
		b.line("type", v.Type.Position)
		b.value(v.DefaultValue)
		b.directives(v.Directives)
	}
	b.directives(op.Directives)
	b.set(op.SelectionSet)
}

func (b *treeText) fragment(f *ast.FragmentDefinition) {
	b.line("fragment", f.Position, f.Name, f.TypeCondition)
	b.directives(f.Directives)
	b.set(f.SelectionSet)
}

func (b *treeText) set(set ast.SelectionSet) {
	b.line("set", nil, len(set))
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.Field:
			b.line("field", sel.Position, sel.Alias, sel.Name)
			b.arguments(sel.Arguments)
			b.directives(sel.Directives)
			b.set(sel.SelectionSet)
		case *ast.InlineFragment:
			b.line("inline", sel.Position, sel.TypeCondition)
			b.directives(sel.Directives)
			b.set(sel.SelectionSet)
		case *ast.FragmentSpread:
			b.line("spread", sel.Position, sel.Name)
			b.directives(sel.Directives)
		}
	}
}

func (b *treeText) directives(list ast.DirectiveList) {
	for _, d := range list {
		b.line("directive", d.Position, d.Name)
		b.arguments(d.Arguments)
	}
}

func (b *treeText) arguments(list ast.ArgumentList) {
	b.line("arguments", nil, len(list))
	for _, a := range list {
		b.line("argument", a.Position, a.Name)
		b.value(a.Value)
	}
}

func (b *treeText) value(v *ast.Value) {
	if v == nil {
		return
	}
	columns := b.columns
	if v.Kind == ast.StringValue {
		b.columns = false // gqlparser points behind the quote
	}
	b.line("value", v.Position, int(v.Kind), v.Raw, len(v.Children))
	b.columns = columns
	for _, child := range v.Children {
		b.line("child", child.Position, child.Name)
		b.value(child.Value)
	}
}

// notGrammar refuses what gqlparser takes beyond the specification's grammar.
func notGrammar(doc *ast.QueryDocument) error {
	outside := errors.New("not of the grammar")
	if len(doc.Operations)+len(doc.Fragments) == 0 {
		return outside
	}
	var wrong bool
	var set func(ast.SelectionSet)
	set = func(list ast.SelectionSet) {
		for _, sel := range list {
			switch sel := sel.(type) {
			case *ast.Field:
				set(sel.SelectionSet)
			case *ast.InlineFragment:
				// A string stands for the keyword: ..."on" T {}.
				wrong = wrong || sel.TypeCondition != "" && sel.Position.End-sel.Position.Start != len("on")
				set(sel.SelectionSet)
			}
		}
	}
	for _, f := range doc.Fragments {
		wrong = wrong || f.VariableDefinition != nil
		set(f.SelectionSet)
	}
	for _, op := range doc.Operations {
		set(op.SelectionSet)
		for _, v := range op.VariableDefinitions {
			for _, d := range v.Directives {
				for _, a := range d.Arguments {
					wrong = wrong || variableIn(a.Value)
				}
			}
		}
	}
	if wrong {
		return outside
	}
	return nil
}

func variableIn(v *ast.Value) bool {
	for _, child := range v.Children {
		if variableIn(child.Value) {
			return true
		}
	}
	return v.Kind == ast.Variable
}

func errorText(err error) string {
	if err == nil {
		return "none"
	}
	return err.Error()
}

// TestParse compares trees of real documents, of mutations of them, and of the
// hostile ones with gqlparser's.
func TestParse(t *testing.T) {
	parsed := 0
	check := func(document string, columns bool) {
		t.Helper()
		diff, ok := treesDiffer(document, columns)
		if diff != "" {
			t.Errorf("%.2000s\n%.2000s", document, diff)
		}
		if ok {
			parsed++
		}
	}
	for _, c := range append(loadCorpora(t), loadKennel(t)) {
		m := newMutator(c.schema, 7)
		for _, o := range c.operations {
			check(o.Query, true)
			check(m.mutate(o.Query), false)
			odd := "\uFEFF# é\r\n" + strings.ReplaceAll(o.Query, "\n", " #é 😀\r\n\t")
			check(strings.ReplaceAll(odd, "{", `{zz, : zz @include(if: "é\n\u00e9😀") `), false)
		}
	}
	for _, family := range hostileFamilies {
		for _, h := range hostileSchemas(t) {
			check(family.build(h, 40), false)
		}
	}
	if parsed < 1000 {
		t.Errorf("only %d documents parsed", parsed)
	}
}

// TestParseCounts holds that written aliases are counted, also those that are the
// field's own name, which the tree does not tell from fields without.
func TestParseCounts(t *testing.T) {
	var c compiler
	c.fragments, c.limits = map[string]int32{}, noLimits
	if err := c.parse(`{a: a, b: c d # :
		: e f: f(g: [1 [2 3]]) @h(i: {j: [k]}) @l ...on T { m : m } } fragment F on T { n }`); err != nil {
		t.Fatal(err)
	}
	want := measures{depth: 2, aliases: 5, rootFields: 5, directives: 2, fields: 5, valueDepth: 2, listItems: 2, weight: 19}
	if diff := cmp.Diff(want, c.defs[1].total, cmp.AllowUnexported(measures{})); diff != "" {
		t.Error(diff)
	}
}

// Breaking a document anywhere changes no verdict from gqlparser's.
func TestParseBroken(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	pieces := []string{"", " ", "{", "}", "(", ")", "[", "]", "$", ":", "!", "@", "=", "...", "on", "fragment", "query", `"on"`, `""`, "1", "a", "null", "|"}
	stats := map[bool]int{}
	for _, c := range append(loadCorpora(t), loadKennel(t)) {
		for range 400 {
			q := c.operations[r.IntN(len(c.operations))].Query
			at := r.IntN(len(q))
			broken := q[:at] + pieces[r.IntN(len(pieces))] + q[min(len(q), at+r.IntN(3)):]
			diff, ok := treesDiffer(broken, false)
			if diff != "" {
				t.Errorf("%s\n%s", broken, diff)
			}
			stats[ok]++
		}
	}
	if stats[true] < 50 || stats[false] < 50 {
		t.Errorf("out of balance: %v", stats)
	}
}

// FuzzParse compares verdicts and trees with gqlparser's.
func FuzzParse(f *testing.F) {
	for _, o := range loadKennel(f).operations {
		f.Add(o.Query)
	}
	f.Add(`"""d""" query Q("x" $a: [Int!]! = [1, {b: 2.5e3}] @c(d: "\u{41}")) @e { f(s: $a) { ...F ... @g { h } ... on T { i: i } } }`)
	f.Add(`query ($a: Int @b(c: $d)) { e } fragment F($a: Int) on T { a } {..."on" T { a }}`)
	f.Fuzz(func(t *testing.T, document string) {
		if diff, _ := treesDiffer(document, false); diff != "" {
			t.Fatal(diff)
		}
	})
}
