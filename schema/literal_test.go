package schema

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2/ast"
)

// argumentOf compiles the document and returns the named argument of its first use.
func argumentOf(t *testing.T, s *Schema, document, name string) (*Operation, *Argument) {
	t.Helper()
	op, err := s.Compile(document, "", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	args := op.Uses[0].Args
	for i := range args {
		if args[i].Definition.Name == name {
			return op, args[i]
		}
	}
	t.Fatalf("no argument %s", name)
	return nil, nil
}

func shownValue(v Value) string {
	if v.Kind == Absent {
		return "-"
	}
	return string(v.AppendJSON(nil))
}

func TestConstantArguments(t *testing.T) {
	s := mustLoad(t, valuesSDL)
	for _, test := range []struct{ argument, literal, want string }{
		{"int", "", "3"}, // the argument's default
		{"string", "", "-"},
		{"int", "null", "null"},
		{"int", "12", "12"},
		{"int", "-0", "0"},
		{"int", "2147483647", "2147483647"},
		{"float", "12", "12"},
		{"float", "1e5", "1e5"},
		{"float", "-1.50", "-1.50"},
		{"string", `"a\u0041\n"`, `"aA\n"`},
		{"string", "\"\"\"\n  a\n   b\n\"\"\"", `"a\n b"`},
		{"id", `"x"`, `"x"`},
		{"id", `12`, `"12"`},
		{"id", `12345678901234567890123`, `"12345678901234567890123"`},
		{"bool", `true`, `true`},
		{"color", `GREEN`, `"GREEN"`},
		{"colors", `GREEN`, `["GREEN"]`},
		{"colors", `[]`, `[]`},
		{"ints", `[1, null, 3]`, `[1,null,3]`},
		{"ints", `1`, `[1]`},
		{"matrix", `1`, `[[1]]`},
		{"matrix", `[1, [2, 3], null]`, `[[1],[2,3],null]`},
		{"json", `{b: [1, 1e5, "x", RED, null, true], a: {}}`, `{"b":[1,1e5,"x","RED",null,true],"a":{}}`},
		{"json", `RED`, `"RED"`},
		{"point", `{tag: "t", x: 1}`, `{"x":1,"y":7,"tag":"t"}`},
		{"point7", ``, `{"x":7,"y":7}`},
		{"in", `{need: "n", at: {x: 3}, color: null}`, `{"need":"n","int":5,"color":null,"at":{"x":3,"y":7}}`},
		{"ins", `{need: "n", at: null}`, `[{"need":"n","int":5,"color":"RED","at":null}]`},
		{"one", `{b: {x: 1}}`, `{"b":{"x":1,"y":7}}`},
	} {
		t.Run(test.argument+" "+test.literal, func(t *testing.T) {
			given := ""
			if test.literal != "" {
				given = "," + test.argument + ":" + test.literal
			}
			_, a := argumentOf(t, s, "{f(required:1"+given+")}", test.argument)
			if a.Dynamic || (a.Literal == nil) != (test.literal == "") {
				t.Errorf("dynamic %v, literal %v", a.Dynamic, a.Literal)
			}
			if got := shownValue(a.Const); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if got := shownValue(a.Resolve(nil)); got != test.want {
				t.Errorf("resolves to %s, want %s", got, test.want)
			}
		})
	}
}

func TestResolve(t *testing.T) {
	s := mustLoad(t, valuesSDL)
	for _, test := range []struct{ definitions, argument, literal, variables, want string }{
		// Section 6.4.1: an absent variable leaves the argument to its default, null does not.
		{"$a: Int", "int", "$a", `{}`, "3"},
		{"$a: Int", "int", "$a", `{"a":null}`, "null"},
		{"$a: Int", "int", "$a", `{"a":9}`, "9"},
		{"$a: Int = 8", "int", "$a", `{}`, "8"},
		{"$a: Int = 8", "int", "$a", `{"a":null}`, "null"},
		{"$a: String", "string", "$a", `{}`, "-"},
		{"$a: Point", "point7", "$a", `{}`, `{"x":7,"y":7}`},
		// Section 3.11: null in a list.
		{"$a: Int", "ints", "[1, $a, 3]", `{}`, "[1,null,3]"},
		{"$a: Int", "ints", "[1, $a, 3]", `{"a":2}`, "[1,2,3]"},
		{"$a: Int, $b: [Int]", "matrix", "[[$a], $b, 5]", `{"b":7}`, "[[null],[7],[5]]"},
		// Section 3.10: an omitted field in an object, then the field's default.
		{"$a: String", "point", "{x: 1, tag: $a}", `{}`, `{"x":1,"y":7}`},
		{"$a: String", "point", "{x: 1, tag: $a}", `{"a":null}`, `{"x":1,"y":7,"tag":null}`},
		{"$a: Int!", "point", "{x: $a}", `{"a":4}`, `{"x":4,"y":7}`},
		{"$a: Int", "in", `{need: "n", int: $a, at: null, color: GREEN}`, `{}`, `{"need":"n","int":5,"color":"GREEN","at":null}`},
		{"$a: Int", "in", `{need: "n", int: $a, at: null, color: GREEN}`, `{"a":null}`, `{"need":"n","int":null,"color":"GREEN","at":null}`},
		{"$a: Int = 6", "point", `{x: 1, y: $a}`, `{}`, `{"x":1,"y":6}`},
		{"$a: Int", "one", `{c: [$a]}`, `{"a":1}`, `{"c":[1]}`},
		{"$a: String", "ins", `[{need: "1"}, {need: "2", in: {need: "3", at: {x: 1, tag: $a}}}]`, `{"a":"q"}`,
			`[{"need":"1","int":5,"color":"RED","at":{"x":1,"y":7}},` +
				`{"need":"2","int":5,"color":"RED","at":{"x":1,"y":7},"in":{"need":"3","int":5,"color":"RED","at":{"x":1,"y":7,"tag":"q"}}}]`},
		{"$a: JSON", "json", `[$a, $a]`, `{"a":{"x":1}}`, `[{"x":1},{"x":1}]`},
	} {
		t.Run(test.literal+" "+test.variables, func(t *testing.T) {
			op, a := argumentOf(t, s, "query("+test.definitions+"){f(required:1,"+test.argument+":"+test.literal+")}", test.argument)
			vars, err := op.Coerce([]byte(test.variables), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if !a.Dynamic {
				t.Fatal("not dynamic")
			}
			if got := shownValue(a.Resolve(vars)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if again := shownValue(a.Resolve(vars)); again != test.want {
				t.Errorf("then %s, want %s", again, test.want)
			}
		})
	}
}

func TestResolveBareVariableDoesNotAllocate(t *testing.T) {
	s := mustLoad(t, valuesSDL)
	op, a := argumentOf(t, s, "query($a: [In!]){f(required:1,ins:$a)}", "ins")
	vars, err := op.Coerce([]byte(`{"a":{"need":"x"}}`), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { a.Resolve(vars) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The template's constant parts are shared, not copied and never written to.
func TestResolveLeavesTheTemplateAlone(t *testing.T) {
	s := mustLoad(t, valuesSDL)
	op, a := argumentOf(t, s, `query($a: String = "d"){f(required:1,in:{need:$a,ins:[{need:"x"}],ints:[1]})}`, "in")
	const want = `{"need":"d","int":5,"ints":[1],"color":"RED","at":{"x":1,"y":7},"ins":[{"need":"x","int":5,"color":"RED","at":{"x":1,"y":7}}]}`
	for _, variables := range []string{`{"a":"one"}`, `{"a":"two"}`, `{}`} {
		vars, err := op.Coerce([]byte(variables), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if got := shownValue(a.Resolve(vars)); variables == `{}` && got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestLiteralsRefused(t *testing.T) {
	s := mustLoad(t, valuesSDL)
	for _, test := range []struct{ argument, literal string }{
		{"int", `1.0`}, {"int", `1e5`}, {"int", `"1"`}, {"int", `true`}, {"int", `[1]`}, {"int", `{}`}, {"int", `A`},
		{"int", `2147483648`}, {"int", `-2147483649`}, {"int", strings.Repeat("9", 400)},
		{"float", `"1"`}, {"float", `1e999`}, {"float", `1e-30000`}, {"json", `1e30000`}, {"json", `{a: [1e-30000]}`}, {"float", `NaN`},
		{"string", `1`}, {"string", `a`}, {"string", `true`}, {"string", `["a"]`},
		{"id", `1.0`}, {"id", `true`}, {"id", `a`}, {"id", `{}`},
		{"bool", `1`}, {"bool", `"true"`}, {"bool", `True`},
		{"color", `BLUE`}, {"color", `"RED"`}, {"color", `1`}, {"color", `true`},
		{"colors", `[RED, null]`}, {"colors", `["RED"]`},
		{"ints", `[1, "2"]`}, {"ints", `[[1]]`}, {"matrix", `[["1"]]`},
		{"point", `{}`}, {"point", `{x: null}`}, {"point", `{x: 1, y: null}`}, {"point", `{x: 1, z: 1}`}, {"point", `1`}, {"point", `[{x: 1}]`},
		{"point", `{x: 1, x: 2}`}, {"json", `{x: 1, x: 2}`}, {"json", `[{a: {b: 1, b: 1}}]`},
		{"one", `{}`}, {"one", `{a: null}`}, {"one", `{a: 1, c: 1}`}, {"one", `{a: 1, c: null}`},
	} {
		t.Run(test.argument+" "+test.literal, func(t *testing.T) {
			_, err := s.Compile("{f(required:1,"+test.argument+":"+test.literal+")}", "", Limits{})
			var invalid *ValidationError
			if !errors.As(err, &invalid) {
				t.Fatalf("got %v", err)
			}
			// The coercion refuses it as well, whatever validation saw.
			literal, err := parseLiteral(test.literal, nil)
			if err != nil {
				t.Fatal(err)
			}
			def := s.Field(s.Root("query"), "f").Arguments.ForName(test.argument)
			if a, err := s.argument(def, literal, nil); err == nil {
				t.Errorf("coerced to %s", shownValue(a.Const))
			} else if len(err.Message) > 200 {
				t.Errorf("message of %d bytes", len(err.Message))
			}
		})
	}
}

func TestValueReaders(t *testing.T) {
	for _, test := range []struct {
		v       Value
		n       int64
		integer bool
		f       float64
		number  bool
	}{
		{v: Value{Kind: Int, Text: "12"}, n: 12, integer: true, f: 12, number: true},
		{v: Value{Kind: Int, Text: "-9223372036854775808"}, n: -9223372036854775808, integer: true, f: -9223372036854775808, number: true},
		{v: Value{Kind: Int, Text: "9223372036854775808"}, f: 9223372036854775808, number: true},
		{v: Value{Kind: Float, Text: "1e3"}, n: 1000, integer: true, f: 1000, number: true},
		{v: Value{Kind: Float, Text: "2.0"}, n: 2, integer: true, f: 2, number: true},
		{v: Value{Kind: Float, Text: "12"}, n: 12, integer: true, f: 12, number: true},
		{v: Value{Kind: Float, Text: "2.5"}, f: 2.5, number: true},
		{v: Value{Kind: Float, Text: "1e300"}, f: 1e300, number: true},
		{v: Value{Kind: Float, Text: "1e400"}},
		{v: Value{Kind: String, Text: "12"}},
		{v: Value{Kind: Bool, Text: "true"}},
		{v: Value{Kind: Null}},
		{},
	} {
		n, integer := test.v.Int64()
		f, number := test.v.Float64()
		if n != test.n || integer != test.integer || number != test.number || number && f != test.f {
			t.Errorf("%+v reads as %v %v, %v %v", test.v, n, integer, f, number)
		}
	}
	for _, test := range []struct {
		v       Value
		val, ok bool
	}{{Value{Kind: Bool, Text: "true"}, true, true}, {Value{Kind: Bool, Text: "false"}, false, true}, {Value{Kind: String, Text: "true"}, false, false}, {}} {
		if val, ok := test.v.Bool(); val != test.val || ok != test.ok {
			t.Errorf("%+v reads as %v %v", test.v, val, ok)
		}
	}
	object := Value{Kind: Object, Members: []Member{{Name: "a", Value: Value{Kind: Null}}}}
	if v, ok := object.Member("a"); !ok || v.Kind != Null {
		t.Errorf("member a is %v %v", v, ok)
	}
	if v, ok := object.Member("b"); ok || v.Kind != Absent {
		t.Errorf("member b is %v %v", v, ok)
	}
}

func TestValueEqual(t *testing.T) {
	one := Value{Kind: Int, Text: "1"}
	list := func(items ...Value) Value { return Value{Kind: List, Items: items} }
	object := func(members ...Member) Value { return Value{Kind: Object, Members: members} }
	values := []Value{
		{}, {Kind: Null}, one, {Kind: Int, Text: "2"}, {Kind: Float, Text: "1"}, {Kind: String, Text: "1"}, {Kind: Enum, Text: "1"},
		list(), list(one), list(one, one), list(list(one)), object(), object(Member{Name: "a", Value: one}), object(Member{Name: "b", Value: one}),
		object(Member{Name: "a", Value: one}, Member{Name: "b", Value: one}), object(Member{Name: "a", Value: list(one)}),
	}
	for i, v := range values {
		for j, w := range values {
			if v.Equal(w) != (i == j) {
				t.Errorf("%+v, %+v: %v", v, w, v.Equal(w))
			}
		}
	}
	if !object(Member{Name: "a", Value: one, Defaulted: true}).Equal(object(Member{Name: "a", Value: one})) {
		t.Error("a default differs from the same value given")
	}
}

func TestInputFields(t *testing.T) {
	s := mustLoad(t, valuesSDL)
	for _, test := range []struct {
		document, variables string
		want                []string
	}{
		{`{f(required:1)}`, ``, nil}, // point7's default is the schema's
		{`{f(required:1,point:{x:2})}`, ``, []string{"point Point.x=2"}},
		{`{f(required:1,point:{tag:null,x:2})}`, ``, []string{"point Point.x=2", "point Point.tag=null"}},
		{`{f(required:1,ins:[{need:"a"},{need:"b",in:{need:"c",at:{x:1}}}])}`, ``, []string{
			`ins In.need="a"`, `ins In.need="b"`,
			`ins In.in={"need":"c","int":5,"color":"RED","at":{"x":1,"y":7}}`, `ins In.need="c"`, `ins In.at={"x":1,"y":7}`, `ins Point.x=1`,
		}},
		{`query($a: In){f(required:1,in:$a,point:{x:1})}`, `{"a":{"need":"a","at":{"x":1,"tag":"t"}}}`, []string{
			"point Point.x=1", `in In.need="a"`, `in In.at={"x":1,"y":7,"tag":"t"}`, "in Point.x=1", `in Point.tag="t"`,
		}},
		{`query($a: In){f(required:1,in:$a)}`, `{}`, nil},
		{`query($a: In){f(required:1,in:$a)}`, `{"a":null}`, nil},
		{`query($a: Point){f(required:1,point7:$a)}`, `{}`, nil},
		{`query($a: Point = {x: 3}){f(required:1,point:$a)}`, `{}`, []string{"point Point.x=3"}}, // the client wrote the document
		{`query($a: String){f(required:1,point:{x:1,tag:$a})}`, `{}`, []string{"point Point.x=1"}},
		{`query($a: Int){f(required:1,in:{need:"",int:$a})}`, `{}`, []string{`in In.need=""`}},
		{`query($a: Int){f(required:1,in:{need:"",int:$a})}`, `{"a":null}`, []string{`in In.need=""`, `in In.int=null`}},
		{`{f(required:1,json:{need:1})}`, ``, nil},
		{`{f(required:1,one:{b:{x:1}})}`, ``, []string{`one One.b={"x":1,"y":7}`, "one Point.x=1"}},
	} {
		t.Run(test.document+test.variables, func(t *testing.T) {
			op, err := s.Compile(test.document, "", Limits{})
			if err != nil {
				t.Fatal(err)
			}
			vars, err := op.Coerce([]byte(test.variables), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			collect := func(arg *Argument, object *ast.Definition, field *ast.FieldDefinition, v Value) bool {
				f := InputField{object, field}
				got = append(got, arg.Definition.Name+" "+f.Coordinate()+"="+shownValue(v))
				reach := false
				for _, possible := range s.InputReach(arg.Definition.Type) {
					reach = reach || possible == f
				}
				if !reach {
					t.Errorf("%s is not in the reach of %s", f.Coordinate(), arg.Definition.Type)
				}
				return true
			}
			op.InputFields(0, vars, collect)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			n := 0
			op.InputFields(0, vars, func(*Argument, *ast.Definition, *ast.FieldDefinition, Value) bool { n++; return false })
			if n > 1 {
				t.Errorf("went on %d times", n)
			}
		})
	}
}

func TestInputReach(t *testing.T) {
	s := mustLoad(t, valuesSDL)
	for _, test := range []struct {
		argument string
		want     []string
	}{
		{"int", nil}, {"json", nil}, {"colors", nil},
		{"point", []string{"Point.tag", "Point.x", "Point.y"}},
		{"ins", []string{"In.at", "In.color", "In.in", "In.ins", "In.int", "In.ints", "In.json", "In.need", "Point.tag", "Point.x", "Point.y"}},
		{"one", []string{"One.a", "One.b", "One.c", "Point.tag", "Point.x", "Point.y"}},
	} {
		for range 2 { // computed, then remembered
			var got []string
			for _, f := range s.InputReach(s.Field(s.Root("query"), "f").Arguments.ForName(test.argument).Type) {
				got = append(got, f.Coordinate())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s: %s", test.argument, diff)
			}
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	s := mustLoad(b, valuesSDL)
	for _, bench := range []struct{ name, document string }{
		{"constant", `query($a: String){f(required:1,in:{need:"x"},string:$a)}`},
		{"bare variable", `query($a: String){f(required:1,string:$a)}`},
		{"variable in an object", `query($a: String!){f(required:1,in:{need:$a,ins:[{need:"x"}]})}`},
	} {
		op, err := s.Compile(bench.document, "", Limits{})
		if err != nil {
			b.Fatal(err)
		}
		vars, err := op.Coerce([]byte(`{"a":"q"}`), Limits{})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for i := range op.Uses[0].Args {
					op.Uses[0].Args[i].Resolve(vars)
				}
			}
		})
	}
}
