package schema

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

const valuesSDL = `
type Query {
  f(int: Int = 3, ints: [Int], required: Int!, matrix: [[Int]], float: Float, string: String, id: ID, bool: Boolean,
    color: Color, colors: [Color!], json: JSON, point: Point, in: In, ins: [In!], one: One, point7: Point = {x: 7}): Int
}
enum Color { RED GREEN }
scalar JSON
input Point { x: Int! y: Int! = 7 tag: String }
input In {
  need: String!
  int: Int = 5
  ints: [Int!]
  color: Color = RED
  json: JSON
  at: Point = {x: 1}
  in: In
  ins: [In!]
}
input One @oneOf { a: Int b: Point c: [Int] }
`

func mustLoad(tb testing.TB, sdl string) *Schema {
	tb.Helper()
	s, err := Load(Source{Name: "test.graphql", Text: sdl})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// declared is an operation of nothing but its variable definitions, such as
// "$a: Int = 3, $b: [ID!]".
func declared(tb testing.TB, s *Schema, definitions string) *Operation {
	tb.Helper()
	text, _, err := scan("query("+definitions+"){f}", Limits{})
	if err != nil {
		tb.Fatal(err)
	}
	doc, err := parser.ParseQuery(&ast.Source{Input: text})
	if err != nil {
		tb.Fatal(err)
	}
	op := &Operation{Schema: s}
	for _, def := range doc.Operations[0].VariableDefinitions {
		v := Variable{Name: def.Variable, Definition: def, named: s.inputOf(def.Type)}
		if def.DefaultValue != nil {
			value, err := s.constant(def.DefaultValue, def.Type)
			if err != nil {
				tb.Fatal(err)
			}
			v.Default = value
		}
		op.Variables = append(op.Variables, v)
	}
	return op
}

func TestCoerce(t *testing.T) {
	s := mustLoad(t, valuesSDL)
	for _, test := range []struct {
		definitions, variables string
		judged                 string // the values, defaults and all, one for each variable; "-" is absent
		forwarded              string
	}{
		{`$a: Int`, ``, `-`, `{}`},
		{`$a: Int`, `null`, `-`, `{}`},
		{`$a: Int`, ` {} `, `-`, `{}`},
		{`$a: Int`, `{"a":null}`, `null`, `{"a":null}`},
		{`$a: Int = 4`, `{}`, `4`, `{}`},
		{`$a: Int = 4`, `{"a":null}`, `null`, `{"a":null}`},
		{`$a: Int! = 4`, `{}`, `4`, `{}`},
		{`$a: Int`, `{"a":1}`, `1`, `{"a":1}`},
		{`$a: Int, $b: Int`, `{"b":2,"a":1}`, `1 2`, `{"a":1,"b":2}`},
		{`$a: Int`, `{"A":1,"z":{"a":[1,{}]},"a":2}`, `2`, `{"a":2}`},
		{`$a: Int`, `{"\u0061":2}`, `2`, `{"a":2}`},
		{`$a: Int`, `{"a":1.0}`, `1`, `{"a":1}`},
		{`$a: Int`, `{"a":1e3}`, `1000`, `{"a":1000}`},
		{`$a: Int`, `{"a":-0}`, `0`, `{"a":0}`},
		{`$a: Int`, `{"a":-0.0}`, `0`, `{"a":0}`},
		{`$a: Int`, `{"a":2147483647}`, `2147483647`, `{"a":2147483647}`},
		{`$a: Int`, `{"a":-2147483648}`, `-2147483648`, `{"a":-2147483648}`},
		{`$a: Float`, `{"a":1}`, `1`, `{"a":1}`},
		{`$a: Float`, `{"a":1e5}`, `1e5`, `{"a":1e5}`},
		{`$a: Float`, `{"a":0.10000000000000000001}`, `0.10000000000000000001`, `{"a":0.10000000000000000001}`},
		{`$a: String`, `{"a":"x\u00e9\ud83d\ude00\"\\\/\n\u0001<>&\u2028"}`, `"xé😀\"\\/\n\u0001<>&` + "\u2028" + `"`,
			`{"a":"xé😀\"\\/\n\u0001<>&` + "\u2028" + `"}`},
		{`$a: ID`, `{"a":"x"}`, `"x"`, `{"a":"x"}`},
		{`$a: ID`, `{"a":12}`, `"12"`, `{"a":"12"}`},
		{`$a: ID`, `{"a":12.0}`, `"12"`, `{"a":"12"}`},
		{`$a: ID`, `{"a":12345678901234567890123}`, `"12345678901234567890123"`, `{"a":"12345678901234567890123"}`},
		{`$a: Boolean`, `{"a":true}`, `true`, `{"a":true}`},
		{`$a: Color`, `{"a":"GREEN"}`, `"GREEN"`, `{"a":"GREEN"}`},
		// Section 3.12.5 of the draft, list coercion.
		{`$a: [Int]`, `{"a":[1,2,3]}`, `[1,2,3]`, `{"a":[1,2,3]}`},
		{`$a: [Int]`, `{"a":1}`, `[1]`, `{"a":[1]}`},
		{`$a: [Int]`, `{"a":null}`, `null`, `{"a":null}`},
		{`$a: [Int]`, `{"a":[null]}`, `[null]`, `{"a":[null]}`},
		{`$a: [[Int]]`, `{"a":[[1],[2,3]]}`, `[[1],[2,3]]`, `{"a":[[1],[2,3]]}`},
		{`$a: [[Int]]`, `{"a":[1,null,3]}`, `[[1],null,[3]]`, `{"a":[[1],null,[3]]}`},
		{`$a: [[Int]]`, `{"a":1}`, `[[1]]`, `{"a":[[1]]}`},
		{`$a: [In]`, `{"a":{"need":"x","color":null,"int":1,"at":null}}`,
			`[{"need":"x","int":1,"color":null,"at":null}]`, `{"a":[{"need":"x","int":1,"color":null,"at":null}]}`},
		// Section 3.10, input coercion: the order is the schema's, defaults are judged and not forwarded.
		{`$a: Point`, `{"a":{"x":1}}`, `{"x":1,"y":7}`, `{"a":{"x":1}}`},
		{`$a: Point`, `{"a":{"tag":null,"y":2,"x":1}}`, `{"x":1,"y":2,"tag":null}`, `{"a":{"x":1,"y":2,"tag":null}}`},
		{`$a: In`, `{"a":{"in":{"need":"b"},"need":"a"}}`,
			`{"need":"a","int":5,"color":"RED","at":{"x":1,"y":7},"in":{"need":"b","int":5,"color":"RED","at":{"x":1,"y":7}}}`,
			`{"a":{"need":"a","in":{"need":"b"}}}`},
		{`$a: In = {need: "n", at: {x: 2}}`, ``, `{"need":"n","int":5,"color":"RED","at":{"x":2,"y":7}}`, `{}`},
		{`$a: One`, `{"a":{"a":1}}`, `{"a":1}`, `{"a":{"a":1}}`},
		{`$a: One`, `{"a":{"b":{"x":1}}}`, `{"b":{"x":1,"y":7}}`, `{"a":{"b":{"x":1}}}`},
		{`$a: One`, `{"a":{"c":1}}`, `{"c":[1]}`, `{"a":{"c":[1]}}`},
		{`$a: JSON`, `{"a": {"b": [1, 1.50, 1e400, -0, "x", null, true, {}, []], "a": {"b":1} } }`,
			`{"b":[1,1.50,1e400,-0,"x",null,true,{},[]],"a":{"b":1}}`, `{"a":{"b":[1,1.50,1e400,-0,"x",null,true,{},[]],"a":{"b":1}}}`},
		{`$a: [JSON]`, `{"a":{"b":1}}`, `[{"b":1}]`, `{"a":[{"b":1}]}`},
	} {
		t.Run(test.definitions+" "+test.variables, func(t *testing.T) {
			op := declared(t, s, test.definitions)
			vars, err := op.Coerce([]byte(test.variables), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			var judged []string
			for _, v := range vars.Values {
				if v.Kind == Absent {
					judged = append(judged, "-")
					continue
				}
				judged = append(judged, string(v.AppendJSON(nil)))
			}
			if diff := cmp.Diff(test.judged, strings.Join(judged, " ")); diff != "" {
				t.Error(diff)
			}
			forwarded := op.AppendVariables(nil, vars)
			if diff := cmp.Diff(test.forwarded, string(forwarded)); diff != "" {
				t.Error(diff)
			}
			again, err := op.Coerce(forwarded, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(vars, again, cmpopts.IgnoreFields(Member{}, "Field")); diff != "" {
				t.Errorf("what is forwarded is not what was judged: %s", diff)
			}
		})
	}
}

func TestCoerceKinds(t *testing.T) {
	s := mustLoad(t, valuesSDL)
	for _, test := range []struct {
		typ, variable string
		want          Kind
	}{
		{"Int", "1", Int}, {"Float", "1", Float}, {"ID", "1", String}, {"ID", `"1"`, String}, {"String", `"1"`, String},
		{"Boolean", "false", Bool}, {"Color", `"RED"`, Enum}, {"JSON", `"RED"`, String}, {"JSON", "1", Int}, {"JSON", "1e0", Float},
		{"JSON", "false", Bool}, {"JSON", "[]", List}, {"JSON", "{}", Object}, {"JSON", "null", Null}, {"[Int]", "1", List},
	} {
		vars, err := declared(t, s, "$a: "+test.typ).Coerce([]byte(`{"a":`+test.variable+`}`), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if got := vars.Values[0].Kind; got != test.want {
			t.Errorf("%s as %s is of kind %d, want %d", test.variable, test.typ, got, test.want)
		}
	}
}

func TestCoerceRefuses(t *testing.T) {
	s := mustLoad(t, valuesSDL)
	long := strings.Repeat("n", 1000)
	for _, test := range []struct{ definitions, variables, want string }{
		{`$a: Int!`, ``, `$a: is required, of type Int!`},
		{`$a: Int!`, `{"a":null}`, `$a: null where Int! is required`},
		{`$a: Int! = 4`, `{"a":null}`, `$a: null where Int! is required`},
		{`$a: Int`, `{"a":"1"}`, `$a: a string where Int is expected`},
		{`$a: Int`, `{"a":true}`, `$a: true where Int is expected`},
		{`$a: Int`, `{"a":1.5}`, `$a: the number 1.5 is not a value of type Int`},
		{`$a: Int`, `{"a":2147483648}`, `$a: the number 2147483648 is not a value of type Int`},
		{`$a: Int`, `{"a":-2147483649}`, `$a: the number -2147483649 is not a value of type Int`},
		{`$a: Int`, `{"a":1e400}`, `$a: the number 1e400 is not a value of type Int`},
		{`$a: Int`, `{"a":[1]}`, `$a: a list where Int is expected`},
		{`$a: Float`, `{"a":1e400}`, `$a: the number 1e400 is not a value of type Float`},
		{`$a: Float`, `{"a":1e-30000}`, `$a: the number 1e-30000 is not a value of type Float`},
		{`$a: JSON`, `{"a":[{"b":1e30000}]}`, `$a[0].b: the number 1e30000 is too large or too small to compute with`},
		{`$a: JSON`, `{"a":0.5e-99999999999999999999}`, `$a: the number 0.5e-99999999999999999999 is too large or too small to compute with`},
		{`$a: Float`, `{"a":"1"}`, `$a: a string where Float is expected`},
		{`$a: String`, `{"a":1}`, `$a: a number where String is expected`},
		{`$a: String`, `{"a":false}`, `$a: false where String is expected`},
		{`$a: ID`, `{"a":1.5}`, `$a: the number 1.5 is not a value of type ID`},
		{`$a: ID`, `{"a":1e300}`, `$a: the number 1e300 is not a value of type ID`},
		{`$a: ID`, `{"a":true}`, `$a: true where ID is expected`},
		{`$a: Boolean`, `{"a":1}`, `$a: a number where Boolean is expected`},
		{`$a: Boolean`, `{"a":"true"}`, `$a: a string where Boolean is expected`},
		{`$a: Color`, `{"a":"BLUE"}`, `$a: "BLUE" is not a value of enum Color`},
		{`$a: Color`, `{"a":"red"}`, `$a: "red" is not a value of enum Color`},
		{`$a: Color`, `{"a":0}`, `$a: a number where Color is expected`},
		{`$a: Color`, `{"a":"` + long + `"}`, `$a: "` + long[:40] + `…" is not a value of enum Color`},
		{`$a: [Int!]`, `{"a":[1,null]}`, `$a[1]: null where Int! is required`},
		{`$a: [[Int]]`, `{"a":[[1],["x"]]}`, `$a[1][0]: a string where Int is expected`},
		{`$a: Point`, `{"a":{}}`, `$a.x: is required, of type Int!`},
		{`$a: Point`, `{"a":{"x":null}}`, `$a.x: null where Int! is required`},
		{`$a: Point`, `{"a":{"x":1,"y":null}}`, `$a.y: null where Int! is required`},
		{`$a: Point`, `{"a":{"x":1,"z":1}}`, `$a.z: is not a field of Point`},
		{`$a: Point`, `{"a":{"x":1,"` + long + `":1}}`, `$a.` + long[:40] + `…: is not a field of Point`},
		{`$a: Point`, `{"a":1}`, `$a: a number where Point is expected`},
		{`$a: Point`, `{"a":[]}`, `$a: a list where Point is expected`},
		{`$in: In`, `{"in":{"need":"","ins":[{"need":""},{"need":"","at":{"x":"q"}}]}}`, `$in.ins[1].at.x: a string where Int! is expected`},
		{`$a: One`, `{"a":{}}`, `$a: exactly one field of One must be given, and not as null`},
		{`$a: One`, `{"a":{"a":null}}`, `$a: exactly one field of One must be given, and not as null`},
		{`$a: One`, `{"a":{"a":1,"c":[1]}}`, `$a: exactly one field of One must be given, and not as null`},
		{`$a: One`, `{"a":{"a":1,"c":null}}`, `$a: exactly one field of One must be given, and not as null`},
		{`$a: Int`, `[1]`, `$: not a JSON object`},
		{`$a: Int`, `"a"`, `$: not a JSON object`},
		{`$a: Int`, `{} {}`, `$: more than one JSON value`},
		{`$a: Int`, `{"a":1}x`, `$: more than one JSON value`},
		{`$a: Int`, `{"a":1,}`, `$: not valid JSON at byte 6`},
		{`$a: Int`, `{"a":01}`, `$: not valid JSON at byte 6`},
		{`$a: Int`, `{"a":`, `$a: not valid JSON at byte 5`},
		{`$a: Int`, "\ufeff{}", `$: not valid JSON at byte 0`},
		{`$a: Int`, `{"a":1,"a":2}`, `$: not valid JSON: a name occurs twice in one object`},
		{`$a: Int`, `{"a":1,"\u0061":2}`, `$: not valid JSON: a name occurs twice in one object`},
		{`$a: Int`, `{"z":1,"z":2}`, `$: not valid JSON: a name occurs twice in one object`},
		{`$a: Int`, `{"z":[{"y":1,"y":2}]}`, `$: not valid JSON: a name occurs twice in one object`},
		{`$a: Point`, `{"a":{"x":1,"x":2}}`, `$a: not valid JSON: a name occurs twice in one object`},
		{`$a: JSON`, `{"a":{"x":{"y":1,"y":2}}}`, `$a.x: not valid JSON: a name occurs twice in one object`},
		{`$a: String`, `{"a":"\ud83d"}`, `$a: not valid JSON at byte 6`},
		{`$a: String`, "{\"a\":\"\xff\"}", `$a: not valid JSON at byte 6`},
		{`$a: String`, `{"z":"\udc00"}`, `$: not valid JSON at byte 6`},
		{`$a: JSON`, `{"a":{"\ud83d":1}}`, `$a: not valid JSON at byte 7`},
		{`$a: JSON`, `{"a":[1,nul]}`, `$a[1]: not valid JSON at byte 11`},
	} {
		t.Run(test.definitions+" "+test.variables, func(t *testing.T) {
			_, err := declared(t, s, test.definitions).Coerce([]byte(test.variables), Limits{})
			var v *VariableError
			if !errors.As(err, &v) {
				t.Fatalf("got %v, want a VariableError", err)
			}
			if diff := cmp.Diff(test.want, v.Error()); diff != "" {
				t.Error(diff)
			}
			if v.Limit {
				t.Error("reported as a limit")
			}
		})
	}
}

func TestCoerceLimits(t *testing.T) {
	s := mustLoad(t, valuesSDL)
	nest := func(open, inner, end string, n int) string {
		return strings.Repeat(open, n) + inner + strings.Repeat(end, n)
	}
	for _, test := range []struct {
		name, definitions, variables string
		limits                       Limits
		want                         string // empty: accepted
	}{
		{"as deep as allowed", `$a: In`, `{"a":` + nest(`{"need":"","in":`, `null`, `}`, 8) + `}`, Limits{}, ``},
		{"one deeper", `$a: In`, `{"a":` + nest(`{"need":"","in":`, `null`, `}`, 9) + `}`, Limits{}, `$a` + strings.Repeat(".in", 8) + `: nested deeper than 8`},
		{"custom scalar as deep as allowed", `$a: JSON`, `{"a":` + nest(`[`, `1`, `]`, 8) + `}`, Limits{}, ``},
		{"custom scalar one deeper", `$a: JSON`, `{"a":` + nest(`[`, `1`, `]`, 9) + `}`, Limits{}, `$a` + strings.Repeat("[0]", 8) + `: nested deeper than 8`},
		{"lists and objects count together", `$a: JSON`, `{"a":` + nest(`[{"b":`, `1`, `}]`, 2) + `}`, Limits{ValueDepth: 3}, `$a[0].b[0]: nested deeper than 3`},
		{"a hundred thousand brackets", `$a: JSON`, `{"a":` + nest(`[`, ``, `]`, 100_000) + `}`, Limits{}, `$a` + strings.Repeat("[0]", 8) + `: nested deeper than 8`},
		{"list as long as allowed", `$a: [Int]`, `{"a":[1,2,3]}`, Limits{ListItems: 3}, ``},
		{"list one longer", `$a: [Int]`, `{"a":[1,2,3,4]}`, Limits{ListItems: 3}, `$a: more than 3 items`},
		{"list in a custom scalar", `$a: JSON`, `{"a":{"b":[1,2,3,4]}}`, Limits{ListItems: 3}, `$a.b: more than 3 items`},
		{"default list length", `$a: [Int]`, `{"a":[` + strings.Repeat("1,", 500) + `1]}`, Limits{}, `$a: more than 500 items`},
		{"values in all", `$a: [JSON], $b: JSON`, `{"a":[1,2,{"x":3}],"b":[6,7]}`, Limits{Walk: 8}, ``},
		{"one value more", `$a: [JSON], $b: JSON`, `{"a":[1,2,{"x":3}],"b":[6,7]}`, Limits{Walk: 7}, `$b[1]: more than 7 values in all`},
		{"defaults are values", `$a: [In]`, `{"a":[{"need":""}]}`, Limits{Walk: 5}, `$a[0]: more than 5 values in all`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := declared(t, s, test.definitions).Coerce([]byte(test.variables), test.limits)
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var v *VariableError
			if !errors.As(err, &v) || !v.Limit || v.Error() != test.want {
				t.Errorf("got %v, want the limit %q", err, test.want)
			}
		})
	}
}

func TestCoerceFindsAmongManyVariables(t *testing.T) {
	s := mustLoad(t, valuesSDL)
	var definitions, variables, want []string
	for i := range 100 {
		definitions = append(definitions, fmt.Sprintf("$v%d: Int", i))
		variables = append(variables, fmt.Sprintf(`"v%d":%d`, 99-i, 99-i))
		want = append(want, fmt.Sprintf(`"v%d":%d`, i, i))
	}
	op := declared(t, s, strings.Join(definitions, ","))
	vars, err := op.Coerce([]byte("{"+strings.Join(variables, ",")+"}"), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("{"+strings.Join(want, ",")+"}", string(op.AppendVariables(nil, vars))); diff != "" {
		t.Error(diff)
	}
}

// One operation serves many requests at once, each with values of its own.
func TestCoerceConcurrently(t *testing.T) {
	s := mustLoad(t, valuesSDL)
	op := declared(t, s, `$in: In, $j: JSON`)
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for n := range 200 {
				name := fmt.Sprintf("%d-%d", i, n)
				want := `{"in":{"need":"` + name + `","ints":[` + strconv.Itoa(n) + `]},"j":{"` + name + `":["` + name + `"]}}`
				vars, err := op.Coerce([]byte(want), Limits{})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := op.Coerce([]byte(`{"in":{"need":"broken","ints":[1,2,`), Limits{}); err == nil {
					t.Error("half of a text was accepted")
				}
				if got := string(op.AppendVariables(nil, vars)); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				s.InputReach(op.Variables[0].Definition.Type)
			}
		})
	}
	wait.Wait()
}

func FuzzCoerce(f *testing.F) {
	s := mustLoad(f, valuesSDL)
	op := declared(f, s, `$i: Int, $f: Float, $s: String, $id: ID, $b: Boolean, $c: [Color!], $j: JSON, $in: [In], $one: One, $m: [[Point]]`)
	for _, seed := range []string{
		`{"i":1e2,"f":-1.5,"s":"\ud83d\ude00\u0000","id":12,"b":true,"c":"RED"}`,
		`{"j":{"a":[1,{"b":null}],"\u0041":""},"in":{"need":"x","in":{"need":"y","at":{"x":1}}},"one":{"c":[1]},"m":{"x":1}}`,
		`{"one":{"b":{"x":1,"y":2}},"m":[[{"x":1}],null,{"x":3}],"in":[{"need":"","ints":3,"ins":[{"need":"","color":null}]}]}`,
	} {
		f.Add([]byte(seed))
	}
	limits := Limits{ValueDepth: 5, ListItems: 20, Walk: 200}
	f.Fuzz(func(t *testing.T, variables []byte) {
		before := string(variables)
		vars, err := op.Coerce(variables, limits)
		if string(variables) != before {
			t.Fatalf("%q was changed to %q", before, variables)
		}
		if err != nil {
			var v *VariableError
			if !errors.As(err, &v) || !strings.HasPrefix(v.Path, "$") || len(v.Message) > 200 {
				t.Fatalf("%#v", err)
			}
			return
		}
		forwarded := op.AppendVariables(nil, vars)
		again, err := op.Coerce(forwarded, limits)
		if err != nil {
			t.Fatalf("%s became %s: %v", variables, forwarded, err)
		}
		if diff := cmp.Diff(vars, again, cmpopts.IgnoreFields(Member{}, "Field")); diff != "" {
			t.Fatalf("%s became %s: %s", variables, forwarded, diff)
		}
		if twice := op.AppendVariables(nil, again); string(twice) != string(forwarded) {
			t.Fatalf("%s became %s, then %s", variables, forwarded, twice)
		}
	})
}

// FuzzCoerceScalars holds the quick way against the coercer: what it reads the
// coercer reads alike.
func FuzzCoerceScalars(f *testing.F) {
	s := mustLoad(f, valuesSDL)
	op := declared(f, s, `$i: Int, $f: Float!, $s: String, $id: ID, $b: Boolean, $c: Color, $n: Int!, $j: JSON, $l: [Int], $d: Int = 7`)
	for _, seed := range []string{
		`{"i":12,"f":-1.5,"s":"é","id":12,"b":true,"c":"RED","n":0,"d":null}`, `{"i":1e2,"f":2,"id":"x","b":false,"c":"NONE"}`, ` { } `,
		`{"n":null}`, `{"i":1,"i":2}`, `{"unknown":1}`, `{"i":-0,"id":1.0,"n":2147483648}`, `{"s":"\n"}`, `{"s":"a"}x`, `{"j":1}`, `{"l":1}`, `{"f":1e400}`,
		`{"i":true}`, `{"b":truex}`, `{"c":"RED"`, `[]`, `null`,
	} {
		f.Add([]byte(seed))
	}
	limits := Limits{ValueDepth: 5, ListItems: 20, Walk: 6}
	f.Fuzz(func(t *testing.T, variables []byte) {
		n := len(op.Variables)
		quick := &Variables{Values: make([]Value, n), Given: make([]bool, n)}
		if !op.coerceScalars(quick, variables, &limits) {
			return
		}
		slow := &Variables{Values: make([]Value, n), Given: make([]bool, n)}
		c := coercers.Get().(*coercer)
		defer c.release()
		if err := c.run(op, variables, limits, slow); err != nil {
			t.Fatalf("the coercer refuses: %v", err)
		}
		if diff := cmp.Diff(slow, quick); diff != "" {
			t.Fatalf("(-slow +quick):\n%s", diff)
		}
	})
}

func BenchmarkCoerce(b *testing.B) {
	s := mustLoad(b, valuesSDL)
	for _, bench := range []struct{ name, definitions, variables string }{
		{"none", ``, ``},
		{"two scalars", `$id: ID!, $first: Int = 10`, `{"id":"UHJvZHVjdDo3Mg==","first":20}`},
		{"input object", `$in: In!`, `{"in":{"need":"x","ints":[1,2,3],"color":"RED","in":{"need":"y","at":{"x":1,"y":2}}}}`},
		{"list of 500", `$a: [Int]`, `{"a":[` + strings.Repeat("1,", 499) + `1]}`},
		{"50,000 values of a custom scalar", `$a: JSON`,
			`{"a":[` + strings.TrimSuffix(strings.Repeat(`[`+strings.Repeat("1,", 498)+`1],`, 99), ",") + `]}`},
	} {
		op := &Operation{Schema: s}
		if bench.definitions != "" {
			op = declared(b, s, bench.definitions)
		}
		variables := []byte(bench.variables)
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := op.Coerce(variables, Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestCoerceInLiteral holds that a variable inside a literal is bounded with the
// literal: depths add up, and its values count once for each place.
func TestCoerceInLiteral(t *testing.T) {
	s := mustLoad(t, `
		scalar Any
		input In {in: In list: [Int] any: Any}
		type Query {f(in: In any: Any list: [[Int]]): Int}`)
	limits := Limits{ValueDepth: 4, ListItems: 3, Walk: 30}
	for _, c := range []struct {
		query, variables string
		path             string // of the variable's error, "" when there is none
		kind             LimitKind
	}{
		{query: `query($v: In) {f(in: {in: {in: $v}})}`, variables: `{"v": {}}`},
		{query: `query($v: In) {f(in: {in: {in: $v}})}`, variables: `{"v": {"in": null}}`},
		{query: `query($v: In) {f(in: {in: {in: $v}})}`, variables: `{"v": {"in": {"in": {}}}}`, path: "$v.in.in"},
		{query: `query($v: In) {f(in: {in: {in: $v}})}`, variables: `{"v": null}`},
		{query: `query($v: In) {a: f(in: $v) f(in: {in: {in: {in: $v}}})}`, variables: `{"v": {"in": {}}}`, path: "$v.in"},
		{query: `query($v: In) {...F} fragment F on Query {f(in: {in: {in: {in: $v}}})}`, variables: `{"v": {"in": {}}}`, path: "$v.in"},
		{query: `query($v: [Int]) {f(list: [$v $v])}`, variables: `{"v": [1, 2, 3]}`},
		{query: `query($v: Any) {f(any: [[[$v]]])}`, variables: `{"v": [1]}`},
		{query: `query($v: Any) {f(any: [[[$v]]])}`, variables: `{"v": [[1]]}`, path: "$v[0]"},
		{query: `query($v: Any) {f(any: [[{a: $v}]])}`, variables: `{"v": {"a": {}}}`, path: "$v.a"},
		{query: `query($v: Any) {f(in: {in: {any: [$v]}})}`, variables: `{"v": {"a": 1}}`},
		{query: `query($v: Any) {f(in: {in: {any: [$v]}})}`, variables: `{"v": {"a": []}}`, path: "$v.a"},
		{query: `query($v: Any = [1]) {f(any: [[[$v]]])}`},
		{query: `query($v: Any = [[1]]) {f(any: [[[$v]]])}`, kind: LimitValue},
		{query: `query($v: [Int] = 1) {f(in: {in: {in: {list: $v}}})}`},
		{query: `query($v: Any) {f(any: [[$v $v $v] [$v $v $v] [$v]])}`, variables: `{"v": [1, 2, 3]}`},
		{query: `query($v: Any) {f(any: [[$v $v $v] [$v $v $v] [$v $v]])}`, variables: `{"v": [1, 2, 3]}`, path: "$v"},
		{query: `query($v: Any = [1, 2, 3]) {f(any: [[$v $v $v] [$v $v $v] [$v]])}`},
		{query: `query($v: Any = [1, 2, 3]) {f(any: [[$v $v $v] [$v $v $v] [$v $v]])}`, kind: LimitWalk},
	} {
		op, err := s.Compile(c.query, "", limits)
		var limit *LimitError
		if errors.As(err, &limit) && limit.Kind == c.kind {
			continue
		}
		if err != nil || c.kind != 0 {
			t.Errorf("%s: %v, want %v", c.query, err, c.kind)
			continue
		}
		_, err = op.Coerce([]byte(c.variables), limits)
		var wrong *VariableError
		if errors.As(err, &wrong) && wrong.Limit && wrong.Path == c.path {
			continue
		}
		if err != nil || c.path != "" {
			t.Errorf("%s with %s: %v, want an error at %q", c.query, c.variables, err, c.path)
		}
	}
}
