package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	gql "github.com/vektah/gqlparser/v2/ast"
)

// checkAnswers holds mask and drop heads against the fields that they are for.
func (e *Engine) checkAnswers(r *report) {
	for _, c := range e.classes {
		g := c.group
		if g.vars || len(g.path) != 2 || g.path[0] == star || g.path[1] == star {
			continue
		}
		def := e.schema.Type(g.path[0])
		if def == nil || def.Fields.ForName(g.path[1]) == nil {
			continue // reported
		}
		f := def.Fields.ForName(g.path[1])
		switch g.kind {
		case entryMask:
			e.checkMask(c, def, f, r)
		case entryDrop:
			e.checkDrop(c, def, f, r)
		}
	}
}

func (e *Engine) checkMask(c *class, def *gql.Definition, f *gql.FieldDefinition, r *report) {
	switch {
	case e.effects(def.Name):
		r.add(c.group.loc(), "%s: a denied field of %s is not asked for, so there is nothing to mask", c.group.head, def.Name)
		return
	case !e.maskable(def.Name, f):
		r.add(c.group.loc(), "%s: %s is %s, an object; masks are for scalars, enums and lists of them", c.group.head, f.Name, f.Type)
		return
	}
	for _, rule := range c.group.rules {
		for ; rule != nil; rule = rule.Else {
			v := rule.Head.Value
			if v == nil || !ast.IsConstant(v.Value) {
				continue
			}
			if _, why := e.newMask(v, f.Type); why != "" {
				r.add(rule.Head.Location, "%s: %s", c.group.head, why)
			}
		}
	}
}

// effects reports whether the fields of a type do something: a denied one must
// not be run, whatever its answer would be replaced with.
func (e *Engine) effects(typ string) bool {
	for _, kind := range []gql.Operation{gql.Mutation, gql.Subscription} {
		if root := e.schema.Root(kind); root != nil && root.Name == typ {
			return true
		}
	}
	return false
}

// maskable reports whether values of the field can be masked: they are leaves.
func (e *Engine) maskable(typ string, f *gql.FieldDefinition) bool {
	of := e.schema.Type(f.Type.Name())
	return of != nil && (of.Kind == gql.Scalar || of.Kind == gql.Enum) && !e.effects(typ)
}

// countNames are fields that tell how long a list is that stands beside them.
var countNames = []string{"total", "count", "totalcount", "pageinfo"}

func (e *Engine) checkDrop(c *class, def *gql.Definition, f *gql.FieldDefinition, r *report) {
	if f.Type.Elem == nil {
		r.add(c.group.loc(), "%s: %s is %s, not a list; drop leaves denied items out of a list", c.group.head, f.Name, f.Type)
		return
	}
	for _, sibling := range def.Fields {
		if slices.Contains(countNames, fold(sibling.Name)) {
			r.warn(c.group.loc(), "%s: %s.%s can tell how many items were dropped", c.group.head, def.Name, sibling.Name)
		}
	}
}

// newMask makes a mask for the leaves of a type of a policy's value, or says
// why the value does not fit.
func (e *Engine) newMask(v *ast.Term, t *gql.Type) (*Mask, string) {
	leaf := t
	for leaf.Elem != nil {
		leaf = leaf.Elem
	}
	if m, why := e.functionMask(v, leaf); m != nil || why != "" {
		return m, why
	}
	if why := e.fitsLeaf(v, leaf); why != "" {
		return nil, why
	}
	value, err := encodeTerm(v)
	if err != nil {
		return nil, fmt.Sprintf("%s is not JSON: %s", v, err)
	}
	return &Mask{Value: value}, ""
}

// encodeTerm prints a policy's value as JSON; sets become lists.
func encodeTerm(v *ast.Term) ([]byte, error) {
	plain, err := ast.JSON(v.Value)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(plain); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// fitsLeaf says why a value cannot stand for a leaf of the type; empty where it can.
func (e *Engine) fitsLeaf(v *ast.Term, leaf *gql.Type) string {
	_, null := v.Value.(ast.Null)
	_, isString := v.Value.(ast.String)
	_, isBool := v.Value.(ast.Boolean)
	number, isNumber := v.Value.(ast.Number)
	fits := true
	switch def := e.schema.Type(leaf.Name()); {
	case null:
		fits = !leaf.NonNull
	case def.Kind == gql.Enum:
		s, _ := v.Value.(ast.String)
		fits = isString && def.EnumValues.ForName(string(s)) != nil
	case def.Name == "Int":
		_, err := strconv.ParseInt(string(number), 10, 32)
		fits = isNumber && err == nil
	case def.Name == "Float":
		fits = isNumber
	case def.Name == "String":
		fits = isString
	case def.Name == "ID":
		fits = isString || isNumber && !strings.ContainsAny(string(number), ".eE")
	case def.Name == "Boolean":
		fits = isBool
	}
	if !fits {
		return fmt.Sprintf("%s does not fit %s", v, leaf)
	}
	return ""
}
