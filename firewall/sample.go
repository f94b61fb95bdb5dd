package firewall

import (
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/schema"
)

// sampleVariables makes a value for each variable that must be given: the
// smallest that its type takes.
func sampleVariables(s *schema.Schema, op *schema.Operation) []byte {
	out := []byte{'{'}
	for i := range op.Variables {
		v := op.Variables[i].Definition
		if !v.Type.NonNull || v.DefaultValue != nil {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, '"'), v.Variable...), `":`...)
		out = appendSample(out, s.AST(), v.Type, 0)
	}
	return append(out, '}')
}

// sampleDepth bounds inputs that need themselves.
const sampleDepth = 8

func appendSample(out []byte, s *ast.Schema, t *ast.Type, depth int) []byte {
	if t.Elem != nil {
		if !t.Elem.NonNull || depth == sampleDepth {
			return append(out, "[]"...)
		}
		return append(appendSample(append(out, '['), s, t.Elem, depth+1), ']')
	}
	switch t.NamedType {
	case "Int":
		return append(out, '1')
	case "Float":
		return append(out, "1.5"...)
	case "Boolean":
		return append(out, "true"...)
	}
	def := s.Types[t.NamedType]
	switch {
	case def == nil:
	case def.Kind == ast.Enum && len(def.EnumValues) > 0:
		return append(append(append(out, '"'), def.EnumValues[0].Name...), '"')
	case def.Kind == ast.InputObject:
		return appendSampleObject(out, s, def, depth)
	}
	return append(out, `"1"`...)
}

func appendSampleObject(out []byte, s *ast.Schema, def *ast.Definition, depth int) []byte {
	out = append(out, '{')
	first := true
	oneOf := def.Directives.ForName("oneOf") != nil
	for i, f := range def.Fields {
		t := f.Type
		switch {
		case depth == sampleDepth, oneOf && i > 0, !oneOf && (!t.NonNull || f.DefaultValue != nil):
			continue
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		out = append(append(append(out, '"'), f.Name...), `":`...)
		out = appendSample(out, s, t, depth+1)
	}
	return append(out, '}')
}
