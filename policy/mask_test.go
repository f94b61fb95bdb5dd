package policy

import (
	"errors"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/vektah/gqlparser/v2/parser"

	gql "github.com/vektah/gqlparser/v2/ast"
)

const maskSchema = `type Query { a: Int } enum Color { RED BLUE } scalar Any type User { id: ID! }`

var testKey = []byte("0123456789abcdef")

// typeNamed parses a type such as [String!]!.
func typeNamed(t *testing.T, text string) *gql.Type {
	t.Helper()
	doc, err := parser.ParseSchema(&gql.Source{Input: "type T { f: " + text + " }"})
	if err != nil {
		t.Fatal(err)
	}
	return doc.Definitions[0].Fields[0].Type
}

// call is the library's descriptor in Rego.
func call(name, arguments string) string {
	return `{"graphward.mask": {"function": "` + name + `", "arguments": [` + arguments + `]}}`
}

func TestMaskAppend(t *testing.T) {
	s := loadSchema(t, maskSchema).AST()
	for _, c := range []struct{ mask, typ, leaf, want string }{
		{`"x"`, "String!", `"secret"`, `"x"`},
		{`"x"`, "String", `null`, `"x"`},
		{`null`, "String", `"secret"`, `null`},
		{`"a\"\n<"`, "String", `1`, `"a\"\n<"`},
		{`0`, "Int!", `7`, `0`},
		{`1.5`, "Float", `7`, `1.5`},
		{`7`, "Float", `1`, `7`},
		{`7`, "ID", `"a"`, `7`},
		{`"RED"`, "Color!", `"BLUE"`, `"RED"`},
		{`false`, "Boolean", `true`, `false`},
		{`"x"`, "[[String!]!]", `"secret"`, `"x"`},
		{`{"b": [1, {"c": null}], "a": true}`, "Any", `3`, `{"a":true,"b":[1,{"c":null}]}`},
		{`{"graphward.mask": 1}`, "Any", `3`, `{"graphward.mask":1}`},
		{call("keep_last", "4"), "String", `"4111111111111111"`, `"****1111"`},
		{call("keep_last", "4"), "String", `"1111"`, `"****"`},
		{call("keep_last", "4"), "String", `""`, `"****"`},
		{call("keep_last", "0"), "String", `"abc"`, `"****"`},
		{call("keep_last", "1"), "String!", `"añé"`, `"****é"`},
		{call("keep_last", "1"), "String", `"\u00e9\u20ac"`, `"****€"`},
		{call("keep_last", "2"), "ID", `12345`, `"****45"`},
		{call("keep_last", "2"), "[String]", `null`, `null`},
		{call("keep_first", "2"), "String", `"Ámsterdam"`, `"Ám****"`},
		{call("keep_first", "2"), "String", `"ab"`, `"****"`},
		{call("keep_first", "1"), "Any", `"\"q"`, `"\"****"`},
		{call("redact", ""), "String", `"x"`, `"****"`},
		{call("hash", ""), "ID", `"7"`, `"f69cf4852626eee19b92af564b9413e44aa526cc9e726ab9b8972af1d3b39092"`},
		{call("hash", ""), "ID", `7`, `"f69cf4852626eee19b92af564b9413e44aa526cc9e726ab9b8972af1d3b39092"`},
		{call("email", ""), "String", `"jane.doe@example.org"`, `"j****@example.org"`},
		{call("email", ""), "String", `"a@b@example.org"`, `"a****@example.org"`},
		{call("email", ""), "String", `"jd@example.org"`, `"****@example.org"`},
		{call("email", ""), "String", `null`, `null`},
		{call("date", `"year"`), "Any", `"2026-03-15"`, `"2026-01-01"`},
		{call("date", `"month"`), "Any", `"2026-03-15"`, `"2026-03-01"`},
		{call("date", `"day"`), "Any", `"2026-03-15"`, `"2026-03-15"`},
		{call("date", `"day"`), "String", `"2026-03-15T20:10:05Z"`, `"2026-03-15T00:00:00Z"`},
		{call("date", `"month"`), "String", `"2026-03-15T20:10:05.123-05:00"`, `"2026-03-01T00:00:00-05:00"`},
		{call("date", `"month"`), "String", `"2026-03-15T20:10:05.123+05:30"`, `"2026-03-01T00:00:00+05:30"`},
		{call("date", `"year"`), "String", `"2026-03-15T20:10:05"`, `"2026-01-01T00:00:00"`},
		{call("round", "1"), "Float", `52.3702`, `52.4`},
		{call("round", "0"), "Float", `52.3702`, `52`},
		{call("round", "2"), "Float", `-0.0001`, `0`},
		{call("round", "3"), "Float", `10.5`, `10.5`},
		{call("round", "2"), "Float", `1e2`, `100`},
		{call("round", "2"), "Int", `17`, `17`},
		{call("round", "2"), "Any", `90071992547409931`, `90071992547409931`},
		{call("round", "-3"), "Int", `61250`, `61000`},
		{call("round", "-1"), "Int", `-4`, `0`},
		{call("round", "-1"), "Float", `1234.5`, `1230`},
	} {
		m, err := newMask(s, typeNamed(t, c.typ), ast.MustParseTerm(c.mask).Value, testKey)
		if err != nil {
			t.Errorf("%s on %s: %v", c.mask, c.typ, err)
			continue
		}
		if m.Whole {
			t.Errorf("%s on %s: whole", c.mask, c.typ)
		}
		got, err := m.Append([]byte("x:"), []byte(c.leaf))
		if err != nil || string(got) != "x:"+c.want {
			t.Errorf("%s on %s: %s gives %s, %v; want %s", c.mask, c.typ, c.leaf, got, err, c.want)
		}
	}
}

// TestMaskMisfit holds values in answers against functions that cannot be
// applied to them: nothing is written, and the error has nothing of the value.
func TestMaskMisfit(t *testing.T) {
	s := loadSchema(t, maskSchema).AST()
	for _, c := range []struct{ mask, typ, leaf string }{
		{call("keep_last", "4"), "Any", `true`},
		{call("keep_last", "4"), "Any", `771.77`},
		{call("keep_last", "4"), "Any", `77e77`},
		{call("keep_last", "4"), "Any", `["7777"]`},
		{call("keep_last", "4"), "Any", `{"s":"7777"}`},
		{call("email", ""), "String", `"7777"`},
		{call("email", ""), "String", `"@7777"`},
		{call("email", ""), "String", `"7777@"`},
		{call("date", `"year"`), "String", `"7777"`},
		{call("date", `"year"`), "String", `"7777-77-77"`},
		{call("date", `"year"`), "String", `"7777-07-07x"`},
		{call("date", `"year"`), "String", `"7777-07-07T7777"`},
		{call("date", `"year"`), "Any", `7777`},
		{call("round", "1"), "Any", `"77.77"`},
		{call("round", "1"), "Any", `77.7e7777`},
		{call("round", "-7"), "Int", `2147777777`},
	} {
		m, err := newMask(s, typeNamed(t, c.typ), ast.MustParseTerm(c.mask).Value, testKey)
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Append([]byte("x:"), []byte(c.leaf))
		var misfit *MaskError
		if string(got) != "x:" || !errors.As(err, &misfit) || misfit.Function != m.Function || strings.Contains(err.Error(), "77") {
			t.Errorf("%s on %s: %s gives %s, %v", c.mask, c.typ, c.leaf, got, err)
		}
	}
}

func TestNewMask(t *testing.T) {
	s := loadSchema(t, maskSchema).AST()
	for _, c := range []struct{ mask, typ, want string }{
		{`[]`, "[String!]!", "whole"},
		{`["a", null]`, "[String]", "whole"},
		{`[["a"], []]`, "[[String!]!]!", "whole"},
		{`[null]`, "[[String]]", "whole"},
		{`["a"]`, "Any", ""},
		{`[1]`, "[String!]!", "1 is not a value of String!"},
		{`[null]`, "[String!]!", "null is not a value of String!"},
		{`["a"]`, "[[String]]", `"a" is not a value of [String]`},
		{`["a"]`, "String", `["a"] is not a value of String`},
		{`null`, "String!", "null is not a value of String!"},
		{`"x"`, "Int", `"x" is not a value of Int`},
		{`1.5`, "Int", "1.5 is not a value of Int"},
		{`2147483648`, "Int", "2147483648 is not a value of Int"},
		{`"1"`, "Float", `"1" is not a value of Float`},
		{`1`, "String", "1 is not a value of String"},
		{`1.5`, "ID", "1.5 is not a value of ID"},
		{`"true"`, "Boolean", `"true" is not a value of Boolean`},
		{`"GREEN"`, "Color", `"GREEN" is not a value of Color`},
		{`{"a", "b"}`, "Any", `{"a", "b"} has no form in JSON`},
		{`{1: 2}`, "Any", `{1: 2} has no form in JSON`},
		{`"x"`, "User", "only scalars, enums and lists of them can be masked, and this is User"},
		{call("keep_last", "4"), "[ID!]", ""},
		{call("keep_last", "4"), "Int", "mask keep_last: it cannot be applied to Int"},
		{call("keep_last", "4"), "Color", "mask keep_last: it cannot be applied to Color"},
		{call("keep_last", "-1"), "String", "mask keep_last: -1 is not a number of characters from 0 to 1000"},
		{call("keep_last", "1.5"), "String", "mask keep_last: 1.5 is not a number of characters from 0 to 1000"},
		{call("keep_last", ""), "String", `"keep_last" with 0 arguments is not a mask function`},
		{call("keep_last", "1, 2"), "String", `"keep_last" with 2 arguments is not a mask function`},
		{call("encrypt", ""), "String", `"encrypt" with 0 arguments is not a mask function`},
		{call("date", `"hour"`), "String", `mask date: "hour" is not "year", "month" or "day"`},
		{call("date", `"day"`), "ID", "mask date: it cannot be applied to ID"},
		{call("round", "16"), "Float", "mask round: 16 is not a number of digits from -15 to 15"},
		{call("round", "1"), "String", "mask round: it cannot be applied to String"},
	} {
		m, err := newMask(s, typeNamed(t, c.typ), ast.MustParseTerm(c.mask).Value, testKey)
		got := ""
		if err != nil {
			got = err.Error()
		} else if m.Whole {
			got = "whole"
		}
		if got != c.want {
			t.Errorf("%s on %s: %q, want %q", c.mask, c.typ, got, c.want)
		}
	}
	_, err := newMask(s, typeNamed(t, "ID"), ast.MustParseTerm(call("hash", "")).Value, testKey[1:])
	if err == nil || !strings.Contains(err.Error(), "at least 16 bytes") {
		t.Errorf("hash with a short key: %v", err)
	}
}

// TestMaskImport: a call of the library's mask functions reads no entry point,
// though the name of the import is one; else every rule would be compiled twice.
func TestMaskImport(t *testing.T) {
	for text, want := range map[string]bool{
		"import data.graphward.lib.mask\nmask.User.id := mask.keep_last(4)": false,
		"allow.User.id if mask.User.id == 1":                                true,
	} {
		m, err := ast.ParseModuleWithOpts("p.rego", "package graphward\nimport rego.v2\n"+text, ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			t.Fatal(err)
		}
		if got := entryPointsRead(map[string]*ast.Module{"p.rego": m}); got != want {
			t.Errorf("%s: reads an entry point: %v", text, got)
		}
	}
}
