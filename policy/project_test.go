package policy

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/graphward/graphward/schema"
)

// shapeOf is the shape of a class that reads the dotted paths.
func shapeOf(paths ...[]string) shape {
	var set pathSet
	for _, p := range paths {
		set.add(p)
	}
	return inputShape(&set)
}

// TestProjection encodes facts and decodes what rules get.
func TestProjection(t *testing.T) {
	s := loadSchema(t, differentialSchema)
	op := compileOperation(t, s, `query Q($o: In) { a(id: "1", obj: $o) { __typename } }`, "")
	if _, err := op.Coerce([]byte(`{"o":{"k":null,"tags":["x",null],"in":{"d":12345678901}}}`), schema.Limits{}); err == nil {
		t.Fatal("an Int of more than 32 bits was accepted")
	}
	vars, err := op.Coerce([]byte(`{"o":{"k":null,"tags":["x",null],"in":{"id":"y"}}}`), schema.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	f := facts{
		subject: &Subject{
			ID: "s", Roles: []string{"r"},
			Claims: map[string]any{"n": nil, "big": json.Number("12345678901234567890.5"), "list": []any{nil, true, 1.5, map[string]any{"x": nil}}, "huge": json.Number("1e999999999")},
		},
		request:   &Request{Headers: map[string]string{"x": "", "y": "1"}},
		operation: op, op: OperationFacts{Cost: 3}, vars: vars, use: &op.Uses[0],
	}
	tests := map[string]struct {
		paths [][]string
		want  string
	}{
		"nothing":         {nil, `{}`},
		"a scalar":        {[][]string{{"subject", "id"}}, `{"subject":{"id":"s"}}`},
		"absent scalars":  {[][]string{{"subject", "issuer"}, {"request", "ip"}}, `{"subject":{},"request":{}}`},
		"claims":          {[][]string{{"subject", "claims"}}, `{"subject":{"claims":{"big":12345678901234567890.5,"list":[true,1.5,{}]}}}`},
		"part of claims":  {[][]string{{"subject", "claims", "n"}, {"subject", "claims", "list", "x"}, {"subject", "claims", "none", "x"}}, `{"subject":{"claims":{}}}`},
		"empty lists":     {[][]string{{"subject", "scopes"}, {"subject", "roles"}}, `{"subject":{"scopes":[],"roles":["r"]}}`},
		"a header":        {[][]string{{"request", "headers", "x"}, {"request", "headers", "z"}}, `{"request":{"headers":{"x":""}}}`},
		"all headers":     {[][]string{{"request", "headers"}}, `{"request":{"headers":{"x":"","y":"1"}}}`},
		"operation":       {[][]string{{"operation", "kind"}, {"operation", "cost"}, {"operation", "depth"}, {"operation", "name"}}, `{"operation":{"kind":"query","cost":3,"depth":2,"name":"Q"}}`},
		"all arguments":   {[][]string{{"args"}}, `{"args":{"id":"1","n":3,"obj":{"k":null,"tags":["x",null],"in":{"id":"y","d":7},"d":7}}}`},
		"part of a value": {[][]string{{"args", "obj", "in", "id"}, {"args", "obj", "k"}, {"args", "list"}}, `{"args":{"obj":{"in":{"id":"y"},"k":null}}}`},
		"through a null":  {[][]string{{"args", "obj", "k", "x"}}, `{"args":{"obj":{}}}`},
		"what is unknown": {[][]string{{"nothing", "x"}, {"value"}}, `{}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sh := shapeOf(tt.paths...)
			got := decodeInput(&sh, appendInput(nil, &sh, &f))
			want, err := ast.ValueFromReader(bytes.NewReader([]byte(tt.want)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.String(), got.Value.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzProjection checks that keys are injective: two claims objects have one
// key only if rules see the same. The other direction need not hold.
func FuzzProjection(f *testing.F) {
	f.Add([]byte(`{"a":"1"}`), []byte(`{"a":1}`))
	f.Add([]byte(`{"a":["b","c"]}`), []byte(`{"a":["bc"]}`))
	f.Add([]byte(`{"a":null}`), []byte(`{}`))
	f.Add([]byte(`{"a":{"b":{}}}`), []byte(`{"a":{"b":[]}}`))
	f.Add([]byte(`{"a":"\u0001b","b":false}`), []byte(`{"a":"","b":0}`))
	shapes := []shape{shapeOf([]string{"subject", "claims"}), shapeOf([]string{"subject", "claims", "a"}, []string{"subject", "claims", "b", "a"})}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var x, y map[string]any
		if !decodeObject(a, &x) || !decodeObject(b, &y) {
			return
		}
		for i := range shapes {
			kx := appendInput(nil, &shapes[i], &facts{subject: &Subject{Claims: x}})
			ky := appendInput(nil, &shapes[i], &facts{subject: &Subject{Claims: y}})
			d := decoder{kx}
			vx := d.value(&shapes[i])
			if len(d.rest) > 0 {
				t.Fatalf("%d bytes of the key were not read", len(d.rest))
			}
			if vy := decodeInput(&shapes[i], ky); bytes.Equal(kx, ky) && vx.String() != vy.String() {
				t.Fatalf("one key for %s and %s", vx, vy)
			}
			// What rules see again has the same key.
			again, err := ast.ValueToInterface(vx.Value.(ast.Object).Get(ast.StringTerm("subject")).Value.(ast.Object).Get(ast.StringTerm("claims")).Value, nil)
			if err != nil {
				t.Fatal(err)
			}
			kz := appendInput(nil, &shapes[i], &facts{subject: &Subject{Claims: again.(map[string]any)}})
			if v := decodeInput(&shapes[i], kz); v.Value.Compare(vx.Value) != 0 {
				t.Fatalf("%s became %s", vx, v)
			}
		}
	})
}

func decodeObject(text []byte, into *map[string]any) bool {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(into) == nil
}
