package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// ruleOf names what refused a document.
func ruleOf(err error) string {
	var invalid *ValidationError
	var parse *ParseError
	switch {
	case errors.As(err, &invalid):
		return invalid.Rule
	case errors.As(err, &parse):
		return "ParseError"
	}
	return fmt.Sprint(err)
}

// TestRefused compiles testdata/kennel/refused.graphql: each document is
// refused by the rule that its heading names, against the schema that follows
// there or else the kennel's.
func TestRefused(t *testing.T) {
	kennel := loadKennel(t).schema
	text, err := os.ReadFile(filepath.Join("testdata", "kennel", "refused.graphql"))
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range strings.Split(string(text), "--- ")[1:] {
		heading, document, _ := strings.Cut(document, "\n")
		rule, sdl, other := strings.Cut(heading, " ")
		s := kennel
		if other {
			s = mustLoad(t, sdl)
		}
		_, err := s.Compile(document, "", Limits{})
		if got := ruleOf(err); got != rule {
			t.Errorf("want %s, got %v for\n%s", rule, err, document)
		}
		var invalid *ValidationError
		if errors.As(err, &invalid) && (invalid.Line == 0 || invalid.Column == 0 || len(invalid.Message) == 0) {
			t.Errorf("%s: no place or no message: %#v", rule, invalid)
		}
	}
}

// TestGraphQLJS runs graphql-js's own validation cases (testdata/graphqljs).
func TestGraphQLJS(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "graphqljs", "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Schemas []string
		Cases   []struct {
			Name, Query string
			Schema      int
			Valid       bool
		}
	}
	if err := json.Unmarshal(text, &suite); err != nil {
		t.Fatal(err)
	}
	var schemas []*Schema
	for _, sdl := range suite.Schemas {
		schemas = append(schemas, mustLoad(t, sdl))
	}
	for _, c := range suite.Cases {
		rule, _, _ := strings.Cut(c.Name, ":")
		op, err := schemas[c.Schema].Compile(c.Query, "", Limits{})
		var name *OperationNameError
		if errors.As(err, &name) {
			err = nil
		}
		if strings.HasSuffix(c.Name, "custom scalar which throws") {
			continue // what a scalar's own code says is the backend's to know
		}
		// The cases ask one rule alone: another may refuse what it accepts.
		if !c.Valid && err == nil {
			t.Errorf("%s: accepted\n%s\n%v", c.Name, c.Query, op)
		}
		if c.Valid && ruleOf(err) == rule {
			t.Errorf("%s: %v\n%s", c.Name, err, c.Query)
		}
	}
}

func TestOperationName(t *testing.T) {
	s := loadKennel(t).schema
	const two = `query A { dog { ...F } } query B { cat { ...F id } } fragment F on Pet { name }`
	for _, c := range []struct{ document, name, text string }{
		{two, "A", `query A{dog{...F}}fragment F on Pet{name}`},
		{two, "B", `query B{cat{...F id}}fragment F on Pet{name}`},
		{two, "", ""},
		{two, "C", ""},
		{`{dog{id}}`, "", `{dog{id}}`},
		{`{dog{id}}`, "A", ""},
		{`query A{dog{id}}`, "", `query A{dog{id}}`},
	} {
		op, err := s.Compile(c.document, c.name, Limits{})
		if c.text != "" {
			if err != nil || op.Text != c.text {
				t.Errorf("%q of %s: got %v, %v", c.name, c.document, op, err)
			}
			continue
		}
		var name *OperationNameError
		if !errors.As(err, &name) || name.Name != c.name || name.Known != strings.Count(c.document, "dog")+strings.Count(c.document, "cat") {
			t.Errorf("%q of %s: got %v", c.name, c.document, err)
		}
	}
}

func TestCanonicalText(t *testing.T) {
	s := loadKennel(t).schema
	for _, c := range []struct{ document, want string }{
		{"\ufeffquery {\n  dog { name, id }\n} # end", `{dog{name id}}`},
		{`"about" query Q ("n" $n: Int = -1 @note) @note { animals(first: $n) @skip(if: false) { ... on Dog { a : name } ... @note { __typename } } }`,
			`query Q($n:Int=-1@note)@note{animals(first:$n)@skip(if:false){...on Dog{a:name}...@note{__typename}}}`},
		{`query($v:[ID!]!=["a"]$o:Everything={required:1 deep:[[1][2]] pick:{}picks:[]}){humans(ids:$v){id}every(arg:$o)}`, ""},
		{`query($v:[ID!]!=["a"]$o:Everything={required:1,deep:[[1][2]] picks:[]}){humans(ids:$v){id}every(arg:$o)}`,
			`query($v:[ID!]!=["a"],$o:Everything={required:1,deep:[[1],[2]],picks:[]}){humans(ids:$v){id}every(arg:$o)}`},
		{"{scalars(date:\"\\u{1F600}\\uD83D\\uDE00\\n\\\"\\\\\\u0001é\", string: \"\"\"\n  a\n   b\n\"\"\")}",
			"{scalars(date:\"😀😀\\n\\\"\\\\\\u0001é\",string:\"a\\n b\")}"},
		{`{scalars(date:[{}, [], null, E, 1e5, true])}`, `{scalars(date:[{},[],null,E,1e5,true])}`},
		{`{dog{...B ...A}} fragment A on Dog{name ...C} fragment B on Dog @note{id} fragment C on Dog{rank}`,
			`{dog{...B...A}}fragment B on Dog@note{id}fragment A on Dog{name...C}fragment C on Dog{rank}`},
		{`subscription{fed{id}}`, `subscription{fed{id}}`},
	} {
		op, err := s.Compile(c.document, "", Limits{})
		switch {
		case c.want == "":
			if err == nil {
				t.Errorf("%s: accepted", c.document)
			}
		case err != nil:
			t.Errorf("%s: %v", c.document, err)
		case op.Text != c.want:
			t.Errorf("%s\n got %s\nwant %s", c.document, op.Text, c.want)
		}
	}
}

// ignorePlaces compares trees by what they say.
var ignorePlaces = cmp.Options{
	cmpopts.IgnoreTypes(&ast.Position{}, &ast.CommentGroup{}),
	cmpopts.IgnoreFields(ast.Field{}, "Definition", "ObjectDefinition"),
	cmpopts.IgnoreFields(ast.InlineFragment{}, "ObjectDefinition"),
	cmpopts.IgnoreFields(ast.FragmentSpread{}, "Definition", "ObjectDefinition"),
	cmpopts.IgnoreFields(ast.FragmentDefinition{}, "Definition", "Description"),
	cmpopts.IgnoreFields(ast.OperationDefinition{}, "Description"),
	cmpopts.IgnoreFields(ast.VariableDefinition{}, "Definition", "Used", "Description"),
	cmpopts.IgnoreFields(ast.Directive{}, "Definition", "ParentDefinition", "Location"),
	cmpopts.IgnoreFields(ast.Value{}, "Definition", "VariableDefinition", "ExpectedType", "ExpectedTypeHasDefault"),
	cmpopts.EquateEmpty(),
}

// checkCompiled holds what must be true of every compiled operation: its text
// parses to what was judged, and compiles to the same.
func checkCompiled(t *testing.T, op *Operation) {
	t.Helper()
	doc, err := parser.ParseQuery(&ast.Source{Input: op.Text})
	if err != nil {
		t.Fatalf("the canonical text does not parse: %v\n%s", err, op.Text)
	}
	if len(doc.Operations) != 1 {
		t.Fatalf("%d operations in %s", len(doc.Operations), op.Text)
	}
	if diff := cmp.Diff(op.Definition, doc.Operations[0], ignorePlaces); diff != "" {
		t.Errorf("the canonical text says another thing (-judged +text): %s\n%s", op.Text, diff)
	}
	if diff := cmp.Diff(op.Fragments, doc.Fragments, ignorePlaces); diff != "" {
		t.Errorf("the canonical text says another thing (-judged +text): %s\n%s", op.Text, diff)
	}
	again, err := op.Schema.Compile(op.Text, op.Name, wide)
	if err != nil {
		t.Fatalf("the canonical text does not compile: %v\n%s", err, op.Text)
	}
	if diff := cmp.Diff(planText(op), planText(again)); diff != "" {
		t.Errorf("the canonical text compiles to another plan: %s\n%s", op.Text, diff)
	}
}

// planText writes out all that a plan depends on.
func planText(op *Operation) string {
	var b strings.Builder
	shape := op.Shape
	shape.Tokens, shape.Fragments = 0, 0
	fmt.Fprintf(&b, "%s %s %x %+v\n%s\n", op.Kind, op.Name, op.Hash, shape, op.Text)
	for _, v := range op.Variables {
		fmt.Fprintf(&b, "$%s %s %s\n", v.Name, v.Definition.Type, v.Default.AppendJSON(nil))
	}
	for i := range op.Uses {
		u := &op.Uses[i]
		fmt.Fprintf(&b, "%v %s %x %d %d", op.Path(i), u.Coordinate(), u.Objects, u.Cond, u.Up)
		for k := range u.Args {
			a := u.Args[k]
			fmt.Fprintf(&b, " %s %v %d %s", a.Definition.Name, a.Dynamic, a.Const.Kind, a.Const.AppendJSON(nil))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%v\n", op.Conditions)
	return b.String()
}

// TestRoundTrip checks mutations of real documents and of the kennel's.
func TestRoundTrip(t *testing.T) {
	for _, c := range append(loadCorpora(t), loadKennel(t)) {
		m := newMutator(c.schema, 5)
		for k := range 200 {
			if op, err := c.schema.Compile(m.mutate(c.operations[k%len(c.operations)].Query), "", Limits{}); err == nil {
				checkCompiled(t, op)
			}
		}
	}
}

// FuzzCompile compiles whatever there is: no panic, one verdict, one plan.
func FuzzCompile(f *testing.F) {
	c := loadKennel(f)
	for _, o := range c.operations {
		f.Add(o.Query, "Q")
	}
	for _, token := range oddTokens {
		f.Add("{dog{name "+token+" }}", "")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	f.Fuzz(func(t *testing.T, document, name string) {
		op, err := c.schema.Compile(document, name, Limits{})
		again, errAgain := c.schema.Compile(document, name, Limits{})
		if fmt.Sprint(err) != fmt.Sprint(errAgain) {
			t.Fatalf("first %v, then %v", err, errAgain)
		}
		form, errForm := c.schema.CanonicalForm(document, Limits{})
		if err != nil {
			return
		}
		if got, ok := op.CanonicalForm(); ok != (errForm == nil) || ok && got != form {
			t.Errorf("the operation's canonical form is %x, %v; the document's %x, %v", got, ok, form, errForm)
		}
		if errForm != nil && len(op.Definition.Name) == 0 {
			t.Errorf("compiles but has no canonical form: %v", errForm)
		}
		if diff := cmp.Diff(planText(op), planText(again)); diff != "" {
			t.Errorf("compiled twice: %s", diff)
		}
		checkCompiled(t, op)
		checkExpansion(t, op, rng)
	})
}

// TestParallel compiles one document from many goroutines with other names and
// variables each; the race detector watches.
func TestParallel(t *testing.T) {
	s := loadKennel(t).schema
	const document = `query A($n: Boolean!) { dog { ...F @include(if: $n) } } query B($n: Boolean!) { cat { id ...F @skip(if: $n) } } fragment F on Pet { name friends { id } }`
	want := map[string]string{}
	for _, name := range []string{"A", "B"} {
		op, err := s.Compile(document, name, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		want[name] = planText(op)
	}
	shared, err := s.Compile(document, "A", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			name := string("AB"[i%2])
			for k := range 200 {
				op, err := s.Compile(document, name, Limits{})
				if err != nil || planText(op) != want[name] {
					t.Errorf("%s: %v", name, err)
					return
				}
				flag := (i+k)%2 == 0
				vars, err := shared.Coerce(fmt.Appendf(nil, `{"n":%v}`, flag), Limits{})
				if err != nil {
					t.Error(err)
					return
				}
				for u, live := 0, shared.Live(vars, nil); u < len(shared.Uses); u++ {
					if deep := len(shared.Path(u)) > 1; live[shared.Uses[u].Cond] != (flag || !deep) {
						t.Errorf("%v: live is %v with %v", shared.Path(u), live, flag)
					}
				}
			}
		})
	}
	group.Wait()
}

func TestLimits(t *testing.T) {
	s := loadKennel(t).schema
	for _, c := range []struct {
		document string
		limits   Limits
		kind     LimitKind
		got, max int
	}{
		{`{dog{name}}`, Limits{Document: 10}, LimitDocument, 11, 10},
		{`{dog{name}}`, Limits{Tokens: 5}, LimitTokens, 6, 5},
		{`{dog{mate{name}}}`, Limits{Depth: 2}, LimitDepth, 3, 2},
		{`{dog{...F}}fragment F on Dog{...G}fragment G on Dog{mate{name}}`, Limits{Depth: 2}, LimitDepth, 3, 2},
		{`{...{...on Query{dog{name}}}}`, Limits{Depth: 3}, LimitDepth, 4, 3},
		// A fragment used first where it is shallow counts where it is deep.
		{`{dog{...F mate{mate{...F}}}}fragment F on Dog{mate{name}}`, Limits{Depth: 4}, LimitDepth, 5, 4},
		// Names of introspection have no exemption.
		{`{__schema{types{ofType{ofType{name}}}}}`, Limits{Depth: 4}, LimitDepth, 5, 4},
		{`{__schema_x:dog{mate{name}}}`, Limits{Depth: 2}, LimitDepth, 3, 2},
		{`{a:dog{id}...F ...F}fragment F on Query{cat{id}...on Query{box{label}}}`, Limits{RootFields: 4}, LimitRootFields, 5, 4},
		{`{dog{...F mate{...F}}}fragment F on Dog{a:name b:id}`, Limits{Aliases: 3}, LimitAliases, 4, 3},
		// An alias is one also where it is the field's own name.
		{`{dog{name:name name: name id}}`, Limits{Aliases: 1}, LimitAliases, 2, 1},
		{"{dog{name,\r\n\t: name}dog:dog{id}}", Limits{Aliases: 1}, LimitAliases, 2, 1},
		{`{a:__typename dog{friends(filter:{note:"\u00e9 \n é"}){id}...F}}fragment F on Dog{name:name id:id}`, Limits{Aliases: 2}, LimitAliases, 3, 2},
		{`{dog{...F mate{...F @note}}}fragment F on Dog{name@note}`, Limits{Directives: 2}, LimitDirectives, 3, 2},
		{`query@note{dog{...F}}fragment F on Dog@note{name}`, Limits{Directives: 1}, LimitDirectives, 2, 1},
		{`{...F}fragment F on Query{dog{id}}fragment G on Query{dog{id}}`, Limits{Fragments: 1}, LimitFragments, 2, 1},
		{`query A{dog{id}}query B{dog{id}}`, Limits{Fragments: 1}, LimitFragments, 2, 1},
		{`{scalars(date:[[[1]]])}`, Limits{ValueDepth: 2}, LimitValue, 3, 2},
		{`{scalars(date:{a:{b:[1]}})}`, Limits{ValueDepth: 2}, LimitValue, 3, 2},
		{`query($a:Any=[1 2 3]){box{any(value:$a)}}`, Limits{ListItems: 2}, LimitValue, 3, 2},
		{`query A{...F}query B{...F}fragment F on Query{dog{id}}`, Limits{Walk: 12}, LimitWalk, 13, 12},
	} {
		_, err := s.Compile(c.document, "A", c.limits)
		var limit *LimitError
		if !errors.As(err, &limit) || limit.Kind != c.kind || limit.Got != c.got || limit.Max != c.max {
			t.Errorf("%s: want %s %d of %d, got %v", c.document, c.kind, c.got, c.max, err)
		}
	}
	// One more of each is enough.
	op, err := s.Compile(`{a:dog{...F mate{mate{...F}}}}fragment F on Dog{m:mate{name@note}}`, "",
		Limits{Depth: 5, RootFields: 1, Aliases: 3, Directives: 2, Fragments: 1})
	if err != nil {
		t.Fatal(err)
	}
	want := Shape{Depth: 5, Aliases: 3, RootFields: 1, Directives: 2, Tokens: 31, Fragments: 1, Fields: 7}
	if diff := cmp.Diff(want, op.Shape); diff != "" {
		t.Errorf("shape (-want +got): %s", diff)
	}
}

// TestSaturation compiles a fragment fan-out that expands to 4^25 fields.
func TestSaturation(t *testing.T) {
	s := loadKennel(t).schema
	var b strings.Builder
	b.WriteString("{dog{...F0}}")
	for i := range 25 {
		fmt.Fprintf(&b, "fragment F%d on Dog{...F%[2]d ...F%[2]d ...F%[2]d ...F%[2]d}", i, i+1)
	}
	b.WriteString("fragment F25 on Dog{name@note}")
	op, err := s.Compile(b.String(), "", Limits{Directives: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	if op.Shape.Fields != saturated || op.Shape.Directives != saturated || len(op.Uses) != 2 {
		t.Errorf("got %+v and %d uses", op.Shape, len(op.Uses))
	}
	var limit *LimitError
	if _, err := s.Compile(b.String(), "", Limits{}); !errors.As(err, &limit) || limit.Kind != LimitDirectives {
		t.Errorf("with the default limits: %v", err)
	}
}

func TestCanonicalForm(t *testing.T) {
	s := loadKennel(t).schema
	const text = `query Q($n: Int) { dog { ...A ...B x: friends(first: $n) { id } } } fragment A on Dog { name } fragment B on Dog { id }`
	want, err := s.CanonicalForm(text, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for document, same := range map[string]bool{
		`query Q($n:Int){dog{...A...B x:friends(first:$n){id}}}fragment B on Dog{id}fragment A on Dog{name}`:                                                                        true,
		"# c\nfragment B on Dog { id __typename }\nquery Q($n: Int) { __typename dog { __typename ...A ...B x: friends(first: $n) { id __typename } } } fragment A on Dog { name }": true,
		strings.Replace(text, "x:", "y:", 1):                     false,
		strings.Replace(text, "query Q", "query R", 1):           false,
		strings.Replace(text, "name", "t: __typename name", 1):   false,
		strings.Replace(text, "name", "__typename @note", 1):     false,
		strings.Replace(text, "...A ...B", "...B ...A", 1):       false,
		strings.Replace(text, "first: $n", "first: 1", 1):        false,
		strings.Replace(text, "$n: Int", "$n: Int!", 1):          false,
		strings.Replace(text, "{ name }", "{ name } {dog}", 1):   false,
		strings.Replace(text, "{ name }", "{ name ...A }", 1):    false,
		strings.Replace(text, "fragment B", "fragment A", 1):     false,
		strings.Replace(text, "fragment B", "fragment B()", 1):   false,
		strings.Replace(text, "$n: Int", "$n: Int @note", 1):     false,
		strings.Replace(text, "...A ...B", "...A ...B @note", 1): false,
	} {
		got, err := s.CanonicalForm(document, Limits{})
		if (err == nil && got == want) != same {
			t.Errorf("same is %v (%v) for\n%s", got == want, err, document)
		}
	}
	empty, err := s.CanonicalForm(`{dog{__typename}}`, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if bare, _ := s.CanonicalForm(`{dog}`, Limits{}); bare == empty {
		t.Error("a selection of __typename alone is no selection")
	}
}

// TestIntrospection says which operations count as introspection.
func TestIntrospection(t *testing.T) {
	s := mustLoad(t, `type Query { a: Int _service: _Service! q: Query } type _Service { sdl: String }`)
	for document, want := range map[string]bool{
		`{a}`:                        false,
		`{__typename}`:               false,
		`{__schema{description}}`:    true,
		`{x:__type(name:"a"){name}}`: true,
		`{...F}fragment F on Query{...{_service{sdl}}}`: true,
		`{q{q{__schema{description}}}}`:                 true,
	} {
		op, err := s.Compile(document, "", Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if op.Shape.Introspection != want {
			t.Errorf("%s: introspection is %v", document, op.Shape.Introspection)
		}
	}
}
