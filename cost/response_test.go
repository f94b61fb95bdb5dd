package cost

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"pgregory.net/rapid"
)

// responder writes a random response within the bounds of the reference and
// keeps IBM's actual cost of it.
type responder struct {
	*reference
	t    *rapid.T
	body strings.Builder
	cost refPrice
}

// object writes an object of a random type and returns that type.
func (r *responder) object(sets []ast.SelectionSet, typeName string, sized refSized, flat bool) *ast.Definition {
	object := rapid.SampledFrom(r.objects(typeName)).Draw(r.t, "type")
	r.body.WriteString("{")
	for i, g := range r.collect(sets, object) {
		if i > 0 {
			r.body.WriteString(", ")
		}
		fmt.Fprintf(&r.body, "%q: ", g.key)
		if g.key == "__typename" {
			fmt.Fprintf(&r.body, "%q", object.Name)
			continue
		}
		r.field(g, object, sized, flat)
	}
	r.body.WriteString("}")
	return object
}

func (r *responder) field(g refGroup, object *ast.Definition, sized refSized, flat bool) {
	def := object.Fields.ForName(g.fields[0].Name)
	s := r.shape(g, object, sized, flat)
	if r.ibm() {
		own, ok := refWeight(def.Directives)
		if !ok && r.schema.AST().Types[def.Type.Name()].IsCompositeType() {
			own = 1
		}
		ibm, _ := r.arguments(g.fields[0], def)
		r.cost.a += max(0, own+ibm+r.directives(g))
	}
	if def.Type.Elem == nil {
		r.value(g, def, s)
		return
	}
	n := 2
	if s.n < 2 && r.profile != Simple {
		n = int(s.n)
	}
	n = rapid.IntRange(0, n).Draw(r.t, "length")
	open, end := "[", "]"
	if def.Type.Elem.Elem != nil {
		open, end = "[[", "], []]"
	}
	r.body.WriteString(open)
	for i := range n {
		if i > 0 {
			r.body.WriteString(",")
		}
		r.value(g, def, s)
	}
	r.body.WriteString(end)
}

func (r *responder) value(g refGroup, def *ast.FieldDefinition, s refShape) {
	if rapid.IntRange(0, 5).Draw(r.t, "null") == 0 {
		r.body.WriteString("null")
		return
	}
	name := def.Type.Name()
	if r.schema.AST().Types[name].IsLeafType() {
		r.body.WriteString(rapid.SampledFrom([]string{`"a"`, "1.5e3", `"\"}\\"`, `{"custom": [1, {"b": "]"}]}`, "true"}).Draw(r.t, "leaf"))
	} else {
		name = r.object(g.sets(), name, s.down, s.flatBelow).Name
	}
	r.cost.b += r.typeWeight(name)
}

// TestStaticBoundsActual holds that no response within the declared bounds
// costs more than the estimate, and that with __typename everywhere the actual
// cost is exact.
func TestStaticBoundsActual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSubject(t, rapid.Bool().Draw(t, "negative"))
		exact := rapid.Bool().Draw(t, "typename everywhere")
		if exact {
			named := s.doc.rewrite(func(nodes []node) []node {
				return append([]node{{field: "__typename", alias: "__typename"}}, nodes...)
			})
			if err := s.compile(named.text()); err != nil {
				t.Fatal(err)
			}
		}
		o := drawOptions(t)
		m := model(t, s.schema, o)
		p, err := m.Compile(s.op)
		if err != nil {
			t.Fatal(err)
		}
		static, err := p.Estimate(s.vars)
		if err != nil {
			return
		}
		r := &responder{reference: newReference(s.op, s.vars, m.profile, m.algebra.listSize), t: t}
		r.object([]ast.SelectionSet{s.op.Definition.SelectionSet}, rootType(s.schema, s.op.Kind), nil, false)
		body := `{"extensions": {"a": ["}"]}, "data": ` + r.body.String() + "}"
		actual, err := p.Actual(strings.NewReader(body), s.vars)
		if err != nil {
			t.Fatalf("%v\n%s", err, body)
		}
		for name, v := range numbers(actual) {
			if v > numbers(static)[name]+1e-9 {
				t.Fatalf("%s: actual %s %v is above static %v\n%s\n%s\n%s\n%s", m.profile, name, v, numbers(static)[name], s.text, s.json, body, s.doc.world.sdl)
			}
		}
		if exact && r.ibm() {
			r.cost.b += r.typeWeight(rootType(s.schema, s.op.Kind))
			if math.Abs(actual.Field-r.cost.a) > 1e-9 || math.Abs(actual.Type-max(0, r.cost.b)) > 1e-9 {
				t.Fatalf("actual %+v, want %+v\n%s\n%s\n%s\n%s", actual, r.cost, s.text, s.json, body, s.doc.world.sdl)
			}
		}
	})
}

// TestBrokenResponses holds that what is not JSON of a response is an error and
// never a panic.
func TestBrokenResponses(t *testing.T) {
	s := loadSchema(t, `type Query { a: [A] s: String } type A { b: A s: String }`)
	m, err := NewModel(s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	op, err := s.Compile(`{ a { b { s } s } s }`, "", openLimits)
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.Compile(op)
	if err != nil {
		t.Fatal(err)
	}
	whole := `{"data": {"a": [{"b": {"s": "x\"y"}, "s": null}, null], "s": "\u0041"}, "errors": []}`
	if _, err := p.ActualBytes([]byte(whole), nil); err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		if _, err := p.ActualBytes([]byte(whole[:i]), nil); err == nil {
			t.Errorf("%q is no error", whole[:i])
		}
	}
	for _, body := range []string{
		`[]`, `null`, `{"data": {}} x`, `{"data": {}, "data": {}}`, `{"data": {"a": [}}`, `{"data": {"a" []}}`,
		`{"data": {"a": [{} {}]}}`, `{"data": {a: 1}}`, `{"data": {"a": ` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}}`,
		`{"data": {"\uD800": 1}}`,
	} {
		if e, err := p.ActualBytes([]byte(body), nil); err == nil {
			t.Errorf("%q costs %+v", body, e)
		} else if typeName(err) != "cost.ResponseError" {
			t.Errorf("%q: %T", body, err)
		}
	}
	for _, body := range []string{`{"data": null}`, `{"errors": []}`, `{"data": {}}`, ` { "data" : { "unknown" : 1 } } `} {
		if _, err := p.ActualBytes([]byte(body), nil); err != nil {
			t.Errorf("%q: %v", body, err)
		}
	}
}

// TestUntypedResponses holds that responses whose object types nothing tells
// are read a bounded number of times, and never priced above the dearest.
func TestUntypedResponses(t *testing.T) {
	s := loadSchema(t, `
		union U = A | B
		type A { u: U k: Int @cost(weight: "1") }
		type B { u: U k: Int @cost(weight: "2") }
		type Query { u: U }`)
	m, err := NewModel(s, Options{Profile: IBM})
	if err != nil {
		t.Fatal(err)
	}
	const depth = 40
	query := "{ u " + strings.Repeat("{ ... on A { k u { __typename } } ... on B { k u ", depth) + "{ __typename }" + strings.Repeat(" } }", depth) + " }"
	body := `{"data": {"u": ` + strings.Repeat(`{"k": 1, "u": `, depth) + "null" + strings.Repeat("}", depth) + "}}"
	op, err := s.Compile(query, "", openLimits)
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.Compile(op)
	if err != nil {
		t.Fatal(err)
	}
	static, err := p.Estimate(nil)
	if err != nil {
		t.Fatal(err)
	}
	x := p.evaluate(nil)
	defer x.release()
	r := meter{scanner: scanner{data: []byte(body)}, p: p, x: x, shape: p.responseShape()}
	got := r.body()
	if r.err != nil || got.a < 1+depth || got.a > static.Field {
		t.Errorf("%+v (%v), the estimate is %+v", got, r.err, static)
	}
	if most := 2 * (maxRereads + 2) * len(body); r.reread > most {
		t.Errorf("read %d bytes again, the response has %d", r.reread, len(body))
	}
}

// TestManyKeys holds that objects with many keys are read in any order.
func TestManyKeys(t *testing.T) {
	s := loadSchema(t, `type Query { a: Int @cost(weight: "1") b: B } type B { c: Int @cost(weight: "1") }`)
	m, err := NewModel(s, Options{Profile: IBM})
	if err != nil {
		t.Fatal(err)
	}
	query, body := "{", `{"data":{`
	for i := range 30 {
		query += fmt.Sprintf(" k%d: a o%d: b { c }", i, i)
		body += fmt.Sprintf(`"o%d":{"c":1},"k%d":1,`, 29-i, 29-i)
	}
	op, err := s.Compile(query+" }", "", openLimits)
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.Compile(op)
	if err != nil {
		t.Fatal(err)
	}
	static, _ := p.Estimate(nil)
	actual, err := p.ActualBytes([]byte(strings.TrimSuffix(body, ",")+"}}"), nil)
	if err != nil || actual != static || actual.Field != 90 {
		t.Errorf("actual %+v (%v), static %+v", actual, err, static)
	}
}

// FuzzActual holds that no bytes make the measuring panic, hang or report what
// is not a number.
func FuzzActual(f *testing.F) {
	s := loadSchema(f, dynamicSchema)
	for _, body := range []string{`{"data":{"users":[{"name":"a","friends":[{"__typename":"User"}]},null]}}`, `{"data":null}`, `{"d\u0061ta":{"users":[[{}]]}}`, `{"data":{"users"`} {
		f.Add([]byte(body))
	}
	var programs []*Program
	for _, profile := range Profiles() {
		m, err := NewModel(s, Options{Profile: profile, DefaultListSize: ptr(3)})
		if err != nil {
			f.Fatal(err)
		}
		op, err := s.Compile(`{ users(first: 2) { __typename ... on Named { name } friends(first: 1) { name posts(first: 2) { edges { node { name } } } } } }`, "", openLimits)
		if err != nil {
			f.Fatal(err)
		}
		p, err := m.Compile(op)
		if err != nil {
			f.Fatal(err)
		}
		programs = append(programs, p)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, p := range programs {
			e, err := p.ActualBytes(body, nil)
			if err != nil {
				continue
			}
			for name, v := range numbers(e) {
				if math.IsNaN(v) || v < 0 || v > Saturation {
					t.Errorf("%s is %v", name, v)
				}
			}
		}
	})
}
