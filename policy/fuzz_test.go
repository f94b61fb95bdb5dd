package policy

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/graphward/graphward/schema"
)

// FuzzArguments projects the arguments that any variables give: rules see them
// as they are forwarded, absent ones not at all, and a part of them as that part
// of the whole.
func FuzzArguments(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"id":"1","n":4,"list":["a"],"obj":{"id":"x","k":null,"tags":[null,""],"in":{"d":1}}}`, `{"n":null}`, `{"list":"a"}`,
		`{"obj":{"in":{"in":{}}}}`, `{"id":9007199254740993}`, `{"list":[],"obj":{}}`, `{"id":"\ud83d\ude00\u0000"}`,
	} {
		f.Add([]byte(s))
	}
	s := loadSchema(f, differentialSchema)
	op := compileOperation(f, s, differentialQuery, "")
	whole := shapeOf([]string{"args"})
	part := shapeOf([]string{"args", "id"}, []string{"args", "obj", "in", "d"}, []string{"args", "list"})
	f.Fuzz(func(t *testing.T, variables []byte) {
		vars, err := op.Coerce(variables, schema.Limits{})
		if err != nil {
			return
		}
		for i := range op.Uses {
			use := &op.Uses[i]
			fact := facts{subject: &Subject{}, request: &Request{}, operation: op, vars: vars, use: use}
			want := argumentsOf(t, use, vars)
			all := decodeInput(&whole, appendInput(nil, &whole, &fact)).Value.(ast.Object).Get(ast.StringTerm("args"))
			if diff := cmp.Diff(want.String(), all.String()); diff != "" {
				t.Fatalf("%s of %s (-want +got):\n%s", use.Coordinate(), variables, diff)
			}
			key := appendInput(nil, &part, &fact)
			some := decodeInput(&part, key).Value.(ast.Object).Get(ast.StringTerm("args"))
			for _, ref := range []ast.Ref{{ast.StringTerm("id")}, {ast.StringTerm("list")}, {ast.StringTerm("obj"), ast.StringTerm("in"), ast.StringTerm("d")}} {
				a, errA := all.Value.Find(ref)
				b, errB := some.Value.Find(ref)
				if (errA == nil) != (errB == nil) || errA == nil && a.Compare(b) != 0 {
					t.Fatalf("%v of %s is %v, in part %v", ref, variables, a, b)
				}
			}
			if d := (decoder{key}); d.value(&part) == nil || len(d.rest) > 0 {
				t.Fatalf("%d bytes of the key were not read", len(d.rest))
			}
		}
	})
}

// argumentsOf is what upstream is sent for a use, as a value of Rego.
func argumentsOf(t *testing.T, use *schema.FieldUse, vars *schema.Variables) ast.Value {
	text := []byte{'{'}
	for i := range use.Args {
		v := use.Args[i].Resolve(vars)
		if v.Kind == schema.Absent {
			continue
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		text = append(append(append(text, '"'), use.Args[i].Definition.Name...), `":`...)
		text = v.AppendJSON(text)
	}
	value, err := ast.ValueFromReader(bytes.NewReader(append(text, '}')))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}
