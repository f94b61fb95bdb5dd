package schema

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vektah/gqlparser/v2/ast"
)

// problemsOf returns the problems of a LoadError as text.
func problemsOf(t *testing.T, err error) string {
	t.Helper()
	var load *LoadError
	if !errors.As(err, &load) || len(load.Problems) == 0 {
		t.Fatalf("got %v, want a LoadError", err)
	}
	return load.Error()
}

func TestLoadProblems(t *testing.T) {
	for _, test := range []struct{ name, sdl, want string }{
		{"every repeated and unknown name",
			"type Query { a: Int a: Nope\n b(x: Int, x: In): Int @nope }\nenum E { A A }\ntype Query { c: Int }\nunion U = Nope2 | Query\ntype T implements I { d: Int }\n" +
				"directive @d(x: Nope3) on FIELD\ndirective @d on FIELD\ninput P { q: Nope4 q: Int }\nextend type T { d: Int }\nschema { query: Nope5 }",
			`s.graphql:1:21: field Query.a is defined twice
s.graphql:1:24: type Nope is not defined
s.graphql:2:12: argument x of Query.b is defined twice
s.graphql:2:15: type In is not defined
s.graphql:2:25: directive @nope is applied but not defined
s.graphql:3:12: enum value E.A is defined twice
s.graphql:4:6: type Query is defined twice
s.graphql:5:11: type Nope2 is not defined
s.graphql:6:6: type I is not defined
s.graphql:7:17: type Nope3 is not defined
s.graphql:8:12: directive @d is defined twice
s.graphql:9:14: type Nope4 is not defined
s.graphql:9:20: field P.q is defined twice
s.graphql:10:17: field T.d is defined twice
s.graphql:11:10: type Nope5 is not defined`},
		{"not SDL", "type Query {\n  a Int\n}", `s.graphql:2:5: Expected :, found Name`},
		{"a bad string", "type Query {\n  a(b: String = \"\\uD83D\"): Int\n}", `s.graphql:2:18: invalid unicode escape`},
		{"invalid UTF-8", "type Query { a: Int }\n# \xff", `s.graphql:2:3: the document is not valid UTF-8`},
		{"nested too deep", "type Query { a(b: Int = " + strings.Repeat("[", 300) + "): Int }", `s.graphql:1:223: nesting is 201, the limit is 200`},
		{"no query", "type A { a: Int }", `the schema has no query root type`},
		{"nothing", "", `the schema has no query root type`},
		{"extension of a known directive's type", "type Query { a: Int @cacheControl(maxAge: 1) }\nextend enum CacheControlScope { SHARED PUBLIC }", `s.graphql:2:40: enum value CacheControlScope.PUBLIC is defined twice`},
		{"one of gqlparser's own", "type Query { a(b: Out): Int }\ntype Out { c: Int }", `s.graphql:1:16: cannot use Out as argument b because OBJECT is not a valid input type`},
		{"interface not implemented", "type Query implements I { a: Int }\ninterface I { b: Int }", `s.graphql:1:6: For Query to implement I it must have a field called b.`},
		{"invalid defaults", "type Query { a(b: Int = \"x\", c: In = {d: 1}): Int }\ninput In { e: E = C, f: [In!] = [{f: 1}] }\nenum E { D }",
			`s.graphql:1:26: the default of argument b is not valid: expected a value of type Int, found "x"
s.graphql:1:38: the default of argument c is not valid: "d" is not a field of In
s.graphql:2:19: the default of In.e is not valid: expected a value of type E, found C
s.graphql:2:33: the default of In.f is not valid: expected a value of type In!, found 1`},
		{"a default that needs itself", "type Query { a(b: In): Int }\ninput In { in: In = {}, n: Int }", `s.graphql:2:12: the default of In.in contains itself`},
		{"too many fields", "type Query { a: Int }\ntype T {" + numbered("f%d: Int ", 10_001) + "}", `s.graphql:2:6: T has more than 10000 members`},
		{"too many fields in all", "type Query { a: Int }\ntype T {" + numbered("f%d: Int ", 6000) + "}\nextend type T {" + numbered("g%d: Int ", 6000) + "}", `s.graphql:3:13: T has more than 10000 members`},
		{"too many arguments", "type Query { a(" + numbered("a%d: Int ", 10_001) + "): Int }", `s.graphql:1:16: Query.a has more than 10000 members`},
		{"too many values", "type Query { a: E }\nenum E {" + numbered("V%d ", 10_001) + "}", `s.graphql:2:6: E has more than 10000 members`},
		{"defaults that multiply", "type Query { a(b: I0): Int }\n" + multiplied(14),
			`s.graphql:2:20: the default of I0.a holds more than 10000 values`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Load(Source{Name: "s.graphql", Text: test.sdl})
			if diff := cmp.Diff(test.want, firstLines(problemsOf(t, err), strings.Count(test.want, "\n")+1)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// multiplied is a chain of n input types each of which holds the next one twice by default.
func multiplied(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "input I%d { a: I%d = {}, b: I%d = {} }\n", i, i+1, i+1)
	}
	fmt.Fprintf(&b, "input I%d { a: Int }", n)
	return b.String()
}

func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func firstLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[:min(n, len(lines))], "\n")
}

func TestLoadSizeLimit(t *testing.T) {
	text := "type Query { a: Int }" + strings.Repeat(" ", MaxSource)
	_, err := Load(Source{Name: "s.graphql", Text: text})
	if diff := cmp.Diff("s.graphql: larger than 16777216 bytes", problemsOf(t, err)); diff != "" {
		t.Error(diff)
	}
	_, err = FromIntrospection("s.json", []byte(text))
	if diff := cmp.Diff("s.json: larger than 16777216 bytes", problemsOf(t, err)); diff != "" {
		t.Error(diff)
	}
	file := filepath.Join(t.TempDir(), "s.graphql")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = LoadFiles(file)
	if diff := cmp.Diff(file+": larger than 16777216 bytes", problemsOf(t, err)); diff != "" {
		t.Error(diff)
	}
}

func TestLoadTolerates(t *testing.T) {
	for _, test := range []struct{ name, sdl string }{
		{"specified definitions", `scalar Int scalar ID directive @skip(if: Boolean!) on FIELD directive @include(if: Boolean! x: Int) on FIELD type __Schema { x: Int } type Query { a: Int }`},
		{"Federation 1", `type Query { me: User } extend type User @key(fields: "id") @key(fields: "name") { id: ID! @external name: String @external posts: Int @requires(fields: "name") }`},
		{"Federation 2", `extend schema @link(url: "https://specs.apollo.dev/federation/v2.3", import: ["@key", {name: "@shareable", as: "@shared"}])
			type Query { a: A @shareable } type A @key(fields: "id", resolvable: false) { id: ID! @inaccessible b: Int @override(from: "x") @tag(name: "y") }`},
		{"link with a purpose", `schema @link(url: "https://specs.apollo.dev/cost/v0.1", for: SECURITY) { query: Q } type Q { a: Int }`},
		{"cost", `type Query { a(first: Int @cost(weight: "2.0")): [Int] @listSize(slicingArguments: ["first"], requireOneSlicingArgument: false) @cost(weight: "5") }`},
		{"cost with a definition of its own", `directive @cost(complexity: Int) on FIELD_DEFINITION type Query { a: Int @cost(complexity: 3) }`},
		{"cache hints", `type Query { a: Int @cacheControl(maxAge: 3, scope: PRIVATE) } enum CacheControlScope { PRIVATE }`},
		{"extensions without a base", `extend type Query { a: Int }`},
		{"byte order mark", "\uFEFFtype Query { a: Int }"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := Load(Source{Name: "s.graphql", Text: test.sdl})
			if err != nil {
				t.Fatal(err)
			}
			if len(s.AST().Directives["include"].Arguments) != 1 || s.Type("__Schema").Fields.ForName("types") == nil {
				t.Error("a specified definition was replaced")
			}
			if s.AST().Directives["defer"] != nil {
				t.Error("@defer is known without a definition")
			}
		})
	}
	s, err := Load(Source{Name: "s.graphql", Text: `directive @defer(if: Boolean! = true, label: String) on FRAGMENT_SPREAD type Query { a: Int }`})
	if err != nil || s.AST().Directives["defer"] == nil {
		t.Errorf("@defer with a definition: %v", err)
	}
}

func TestLoadDigest(t *testing.T) {
	digest := func(sources ...Source) [32]byte {
		t.Helper()
		s, err := Load(sources...)
		if err != nil {
			t.Fatal(err)
		}
		return s.Digest()
	}
	a, b := Source{"a", "type Query { a: Int }"}, Source{"b", "type B { b: Int }"}
	base := digest(a, b)
	if digest(Source{"x", b.Text}, Source{"y", a.Text}) != base {
		t.Error("names or order change the digest")
	}
	for _, other := range [][]Source{{a}, {a, {"b", "type B { b: Int! }"}}, {{"a", a.Text + b.Text}}, {a, b, {"c", ""}}} {
		if digest(other...) == base {
			t.Errorf("%v has the same digest", other)
		}
	}
}

func TestLoadFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.graphql": "type Query { b: B }", "sub/b.gql": "type B { c: C }", "sub/c.graphqls": "type C { d: Int }",
		"notes.md": "no SDL", "other.json": "{}", "empty/x.txt": "", "bad/one.graphql": "type {", "bad/two.graphql": "\n type Query { a: \x00 }",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	in := func(names ...string) (paths []string) {
		for _, name := range names {
			paths = append(paths, filepath.Join(dir, name))
		}
		return paths
	}
	for _, paths := range [][]string{in("a.graphql", "sub"), in("a.graphql", "sub/c.graphqls", "sub/b.gql")} {
		s, err := LoadFiles(paths...)
		if err != nil {
			t.Fatal(err)
		}
		if s.Type("C") == nil {
			t.Error("type C is missing")
		}
	}
	for _, test := range []struct {
		paths []string
		want  string
	}{
		{nil, "no schema file is named"},
		{in("empty"), "DIR/empty: no .graphql, .graphqls or .gql file in this folder"},
		{in("a.graphql", "other.json"), "DIR/other.json: an introspection result cannot be combined with other files"},
		{in("other.json"), "DIR/other.json: not an introspection result: there is no __schema"},
		{in("bad"), "DIR/bad/one.graphql:1:6: Expected Name, found {\nDIR/bad/two.graphql:2:18: the document holds a NUL character"},
	} {
		_, err := LoadFiles(test.paths...)
		if diff := cmp.Diff(test.want, strings.ReplaceAll(problemsOf(t, err), dir, "DIR")); diff != "" {
			t.Error(diff)
		}
	}
	if _, err := LoadFiles(in("missing")...); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file gives %v", err)
	}
}

// sameSchema compares two schemas but for what introspection does not show:
// positions, and the directives that were applied, but for the three that matter.
// gqlparser's lists of possible types are compared as our sets.
func sameSchema(a, b *Schema) string {
	opts := cmp.Options{
		cmpopts.IgnoreTypes(&ast.Position{}, &ast.CommentGroup{}),
		cmpopts.IgnoreFields(ast.Definition{}, "TypePositions", "BuiltIn"),
		cmpopts.IgnoreFields(ast.Directive{}, "Definition", "ParentDefinition", "Location"),
		cmpopts.IgnoreFields(ast.Schema{}, "SchemaDirectives", "Comment", "PossibleTypes", "Implements"),
		cmpopts.SortSlices(func(a, b *ast.Definition) bool { return a.Name < b.Name }),
		cmp.FilterValues(func(a, b *ast.Value) bool { return a != nil && b != nil }, cmp.Comparer(func(a, b *ast.Value) bool { return a.String() == b.String() })),
		cmp.Transformer("shown", func(list ast.DirectiveList) map[string]string {
			shown := map[string]string{}
			for _, d := range list {
				if d.Name == "deprecated" || d.Name == "specifiedBy" || d.Name == "oneOf" {
					shown[d.Name] = fmt.Sprint(d.ArgumentMap(nil))
				}
			}
			return shown
		}),
	}
	return cmp.Diff(a.AST(), b.AST(), opts) + cmp.Diff(a.possible, b.possible)
}

// testdata/introspection/result.json is graphql-js's introspectionFromSchema of
// the schema beside it.
func TestFromIntrospection(t *testing.T) {
	want, err := LoadFiles("testdata/introspection/schema.graphql")
	if err != nil {
		t.Fatal(err)
	}
	got, err := LoadFiles("testdata/introspection/result.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := sameSchema(want, got); diff != "" {
		t.Error(diff)
	}
	for _, s := range []*Schema{want, got} {
		op, err := s.Compile(`{search{__typename}}`, "", Limits{})
		if err != nil {
			t.Fatal(err)
		}
		const filter = `{"text":"x","tags":["a"],"kind":"BOOK","price":{"min":1500},"before":"now","json":4.5,"block":"two\n  lines"}`
		if diff := cmp.Diff(filter, shownValue(op.Uses[0].Args[0].Const)); diff != "" {
			t.Error(diff)
		}
	}
	text, err := os.ReadFile("testdata/introspection/result.json")
	if err != nil {
		t.Fatal(err)
	}
	bare := strings.TrimSuffix(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(string(text)), "{\n \"data\":")), "}")
	if s, err := FromIntrospection("bare.json", []byte(bare)); err != nil || sameSchema(want, s) != "" {
		t.Errorf("without data: %v", err)
	}
}

func TestFromIntrospectionRefuses(t *testing.T) {
	const frame = `{"__schema":{"queryType":{"name":"Query"},"types":[{"kind":"OBJECT","name":"Query","fields":[{"name":"a","args":[%s],"type":%s}],"interfaces":[]}%s]}}`
	const integer = `{"kind":"SCALAR","name":"Int"}`
	argument := func(value string) string {
		return fmt.Sprintf(`{"name":"b","type":%s,"defaultValue":%s}`, integer, value)
	}
	for _, test := range []struct{ name, json, want string }{
		{"not JSON", `{`, `s.json: not an introspection result: jsontext: unexpected EOF after offset 1`},
		{"repeated name", `{"__schema":{},"__schema":{}}`, `s.json: not an introspection result: jsontext: duplicate object member name "__schema"`},
		{"errors only", `{"errors":[{"message":"no"}]}`, `s.json: not an introspection result: there is no __schema`},
		{"null", `{"data":null}`, `s.json: not an introspection result: there is no __schema`},
		{"no types", `{"__schema":{}}`, `the schema has no query root type`},
		{"name with SDL in it", fmt.Sprintf(frame, "", `{"kind":"OBJECT","name":"Int } type Evil { a: Int"}`, ""), `s.json: "Int } type Evil { a: Int", the name of the type of Query.a, is not a name`},
		{"empty name", fmt.Sprintf(frame, "", integer, `,{"kind":"SCALAR","name":""}`), `s.json: "", the name of a type, is not a name`},
		{"reserved name", fmt.Sprintf(frame, "", integer, `,{"kind":"SCALAR","name":"__x"}`), `s.json: Name "__x" must not begin with "__", which is reserved by GraphQL introspection.`},
		{"unknown kind", fmt.Sprintf(frame, "", integer, `,{"kind":"CLASS","name":"C"}`), `s.json: type C is of unknown kind "CLASS"`},
		{"unknown type", fmt.Sprintf(frame, "", `{"kind":"OBJECT","name":"Nope"}`, ""), `s.json: type Nope is not defined`},
		{"no type", fmt.Sprintf(frame, "", `{"kind":"LIST"}`, ""), `s.json: the type of Query.a is incomplete or wrapped too deep`},
		{"wrapped deep", fmt.Sprintf(frame, "", strings.Repeat(`{"kind":"LIST","ofType":`, 40)+integer+strings.Repeat("}", 40), ""), `s.json: the type of Query.a is incomplete or wrapped too deep`},
		{"non-null twice", fmt.Sprintf(frame, "", `{"kind":"NON_NULL","ofType":{"kind":"NON_NULL","ofType":`+integer+`}}`, ""), `s.json: the type of Query.a is non-null twice`},
		{"default with SDL in it", fmt.Sprintf(frame, argument(`"1): Int evil(b: Int = 2"`), integer, ""), `s.json: the default of b of Query.a is not a literal: 1:2: unexpected )`},
		{"default with a variable", fmt.Sprintf(frame, argument(`"$x"`), integer, ""), `s.json: the default of b of Query.a is not a literal: 1:1: unexpected $`},
		{"empty default", fmt.Sprintf(frame, argument(`""`), integer, ""), `s.json: the default of b of Query.a is not a literal: 1:1: unexpected <EOF>`},
		{"default not closed", fmt.Sprintf(frame, argument(`"[1, {a: "`), integer, ""), `s.json: the default of b of Query.a is not a literal: 1:9: unexpected <EOF>`},
		{"default of another type", fmt.Sprintf(frame, argument(`"A"`), integer, ""), `s.json: the default of argument b is not valid: expected a value of type Int, found A`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := FromIntrospection("s.json", []byte(test.json))
			if diff := cmp.Diff(test.want, problemsOf(t, err)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTables(t *testing.T) {
	s := mustLoad(t, `
		type Query { node: Node, any: Any, c1: Int, c2: Int, c3: Int, c4: Int, c5: Int, c6: Int, c7: Int }
		interface Node { id: ID } interface Named implements Node { id: ID name: String } interface Nobody { x: Int }
		type B implements Node { id: ID } type A implements Named & Node { id: ID name: String } union Any = A | Query`)
	names := func(set TypeSet) (names []string) {
		for i, def := range s.Objects() {
			if s.ObjectIndex(def.Name) != i {
				t.Errorf("%s is not at %d", def.Name, i)
			}
			if set.Has(i) && !strings.HasPrefix(def.Name, "__") {
				names = append(names, def.Name)
			}
		}
		return names
	}
	for _, test := range []struct {
		name string
		want []string
	}{
		{"A", []string{"A"}}, {"Node", []string{"A", "B"}}, {"Named", []string{"A"}}, {"Any", []string{"A", "Query"}}, {"Nobody", nil}, {"ID", nil}, {"Nope", nil},
	} {
		if diff := cmp.Diff(test.want, names(s.Possible(test.name))); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
	if s.Possible("Nobody") == nil || s.Possible("ID") != nil {
		t.Error("a composite type without objects has a set, another type has none")
	}
	if s.ObjectIndex("Node") != -1 {
		t.Error("an interface is among the objects")
	}
	for _, test := range []struct {
		parent, field string
		want          bool
	}{
		{"Query", "node", true}, {"Query", "c7", true}, {"Query", "c8", false}, {"Query", "__schema", true}, {"Query", "__type", true}, {"Query", "__typename", true},
		{"A", "id", true}, {"A", "__schema", false}, {"A", "__typename", true}, {"Any", "__typename", true}, {"Any", "id", false}, {"Node", "__typename", true}, {"ID", "__typename", false},
		{"Nope", "a", false},
	} {
		if got := s.Field(s.Type(test.parent), test.field) != nil; got != test.want {
			t.Errorf("%s.%s: %v", test.parent, test.field, got)
		}
	}
	if s.Root(ast.Query) != s.Type("Query") || s.Root(ast.Mutation) != nil || s.Root("nope") != nil {
		t.Error("root types")
	}
}

func FuzzFromIntrospection(f *testing.F) {
	text, err := os.ReadFile("testdata/introspection/result.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"__schema":{"queryType":{"name":"Q"},"types":[{"kind":"OBJECT","name":"Q","fields":[{"name":"a","args":[{"name":"b","defaultValue":"[1]","type":{"kind":"LIST","ofType":{"name":"Int"}}}],"type":{"name":"Int"}}]}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := FromIntrospection("fuzz", text)
		if err != nil {
			var load *LoadError
			if !errors.As(err, &load) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if _, err := s.Compile("{__typename}", "", Limits{}); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzLoad(f *testing.F) {
	f.Add(valuesSDL)
	f.Add(`extend schema @link(url: "x") type Query @key(fields: "a") { a(b: I = {}): Int } input I { c: I = {d: 1} d: Int }`)
	f.Fuzz(func(t *testing.T, sdl string) {
		s, err := Load(Source{Name: "fuzz", Text: sdl})
		if err != nil {
			var load *LoadError
			if !errors.As(err, &load) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if _, err := s.Compile("{__typename}", "", Limits{}); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	for _, name := range []string{"artsy", "saleor"} {
		text, err := os.ReadFile("testdata/corpora/" + name + "/schema.graphql")
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Load(Source{Name: name, Text: string(text)}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
