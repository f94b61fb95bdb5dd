package schema

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// RootAnswer is the answer to one root field of an operation.
type RootAnswer struct {
	Key   string       // the response key
	Nodes []*ast.Field // the selections that ask for it
	JSON  []byte
}

// NestedIntrospectionError says that an operation introspects on an object below
// its root, which a [View] does not answer.
type NestedIntrospectionError struct {
	Coordinate   string // of the field that the object is the value of
	Line, Column int    // of the field
}

func (e *NestedIntrospectionError) Error() string {
	return "introspection is answered at the root of a query only, not below " + e.Coordinate
}

// AnswerSizeError says that an introspection answer would be larger than allowed.
type AnswerSizeError struct {
	Max int // bytes
}

func (e *AnswerSizeError) Error() string {
	return fmt.Sprintf("the introspection answer is larger than %d bytes", e.Max)
}

// Answer answers the __schema and __type root fields of an operation of the
// view's schema, as sections 4.2 and 6 of the specification have it, in the
// order in which the document has them; all other root fields are left alone.
// Together the answers have at most max bytes. Errors are *AnswerSizeError and,
// where an object of the query root's type below the root is introspected,
// *NestedIntrospectionError. Work is bounded by the answer's size and the document's.
func (v *View) Answer(op *Operation, vars *Variables, max int) ([]RootAnswer, error) {
	if err := nestedIntrospection(op); err != nil {
		return nil, err
	}
	root := v.schema.Root(op.Kind)
	if root != v.schema.ast.Query {
		return nil, nil
	}
	a := answerer{view: v, op: op, vars: vars, max: max, nodes: map[*ast.Field]uint32{}, known: map[string]*selected{}}
	top := a.selection(root, []ast.SelectionSet{op.Definition.SelectionSet}, metaRoot)
	var out []RootAnswer
	for i := range top.parts {
		p := &top.parts[i]
		start := len(a.out)
		switch {
		case p.name == "__schema":
			a.object(p.below, a.schemaField)
		default:
			def := v.schema.ast.Types[p.typeName]
			if def == nil || !v.shown[def.Name] {
				a.null()
				break
			}
			a.named(p.below, def)
		}
		if a.full {
			return nil, &AnswerSizeError{Max: max}
		}
		out = append(out, RootAnswer{Key: p.key, Nodes: p.nodes, JSON: slices.Clip(a.out[start:])})
	}
	return out, nil
}

// metaRoot reports whether a root field is answered by a view.
func metaRoot(name string) bool { return name == "__schema" || name == "__type" }

// nestedIntrospection finds an object field in whose selection set, fragments
// included, __schema or __type stands, whatever @skip and @include say.
func nestedIntrospection(op *Operation) error {
	if !op.Shape.Introspection {
		return nil
	}
	n := nesting{op: op, fragments: make(map[string]bool, len(op.Fragments))}
	n.introspects(op.Definition.SelectionSet)
	return n.found()
}

type nesting struct {
	op        *Operation
	fragments map[string]bool // those seen, and whether they introspect the object that they stand on
	below     *ast.Field
}

func (n *nesting) found() error {
	if n.below == nil {
		return nil
	}
	e := &NestedIntrospectionError{Coordinate: n.below.ObjectDefinition.Name + "." + n.below.Name}
	if p := n.below.Position; p != nil {
		e.Line, e.Column = p.Line, p.Column
	}
	return e
}

// introspects reports whether a selection set introspects its own object, and
// notes fields below which that is done.
func (n *nesting) introspects(set ast.SelectionSet) (here bool) {
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.Field:
			here = here || metaRoot(sel.Name)
			if n.introspects(sel.SelectionSet) && n.below == nil {
				n.below = sel
			}
		case *ast.InlineFragment:
			here = n.introspects(sel.SelectionSet) || here
		case *ast.FragmentSpread:
			in, known := n.fragments[sel.Name]
			if f := n.op.Fragments.ForName(sel.Name); !known && f != nil {
				in = n.introspects(f.SelectionSet)
				n.fragments[sel.Name] = in
			}
			here = here || in
		}
	}
	return here
}

// answerer writes introspection answers.
type answerer struct {
	view *View
	op   *Operation
	vars *Variables
	out  []byte
	max  int
	full bool // max is exceeded; what is written from here on is of no use

	nodes map[*ast.Field]uint32 // numbers of the document's fields
	known map[string]*selected  // by the nodes that they merge
}

// selected is what a set of merged selection sets asks of one type.
type selected struct{ parts []part }

// part is one response key.
type part struct {
	key, name  string
	deprecated bool   // includeDeprecated
	typeName   string // of __type
	below      *selected
	nodes      []*ast.Field
}

// selection collects the fields (specification section 6.3.2) that sets ask of
// the object type def, then those below them. Each set of nodes that are merged
// is collected once, however many ways lead to it.
func (a *answerer) selection(def *ast.Definition, sets []ast.SelectionSet, wanted func(string) bool) *selected {
	s := &selected{}
	seen := map[string]bool{}
	for _, set := range sets {
		a.collect(s, def, set, seen, wanted)
	}
	for i := range s.parts {
		p := &s.parts[i]
		typ := a.view.schema.ast.Types[p.nodes[0].Definition.Type.Name()]
		if !typ.IsCompositeType() {
			continue
		}
		key := make([]byte, 0, 4*len(p.nodes))
		var below []ast.SelectionSet
		for _, node := range p.nodes {
			n, ok := a.nodes[node]
			if !ok {
				n = uint32(len(a.nodes))
				a.nodes[node] = n
			}
			key = binary.LittleEndian.AppendUint32(key, n)
			below = append(below, node.SelectionSet)
		}
		if p.below = a.known[string(key)]; p.below == nil {
			p.below = a.selection(typ, below, nil)
			a.known[string(key)] = p.below
		}
	}
	return s
}

func (a *answerer) collect(s *selected, def *ast.Definition, set ast.SelectionSet, seen map[string]bool, wanted func(string) bool) {
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.Field:
			if a.included(sel.Directives) && (wanted == nil || wanted(sel.Name)) {
				a.add(s, sel)
			}
		case *ast.InlineFragment:
			if a.included(sel.Directives) && a.applies(def, sel.TypeCondition) {
				a.collect(s, def, sel.SelectionSet, seen, wanted)
			}
		case *ast.FragmentSpread:
			if seen[sel.Name] || !a.included(sel.Directives) {
				continue
			}
			seen[sel.Name] = true
			if f := a.op.Fragments.ForName(sel.Name); f != nil && a.applies(def, f.TypeCondition) {
				a.collect(s, def, f.SelectionSet, seen, wanted)
			}
		}
	}
}

func (a *answerer) add(s *selected, node *ast.Field) {
	for i := range s.parts {
		if s.parts[i].key == node.Alias {
			s.parts[i].nodes = append(s.parts[i].nodes, node)
			return
		}
	}
	p := part{key: node.Alias, name: node.Name, nodes: []*ast.Field{node}}
	p.deprecated, _ = a.argument(node, "includeDeprecated").Bool()
	p.typeName = a.argument(node, "name").Text
	s.parts = append(s.parts, p)
}

// argument returns the value that the client gave, or Absent: the defaults of
// introspection's arguments are false.
func (a *answerer) argument(node *ast.Field, name string) Value {
	arg := node.Arguments.ForName(name)
	if arg == nil {
		return Value{}
	}
	return a.value(arg.Value)
}

// value returns a string, a boolean or a variable's value.
func (a *answerer) value(v *ast.Value) Value {
	switch v.Kind {
	case ast.Variable:
		for i := range a.op.Variables {
			if a.op.Variables[i].Name == v.Raw {
				return a.vars.value(int32(i))
			}
		}
	case ast.BooleanValue:
		return Value{Kind: Bool, Text: v.Raw}
	case ast.StringValue, ast.BlockValue:
		return Value{Kind: String, Text: v.Raw}
	}
	return Value{}
}

func (a *answerer) included(list ast.DirectiveList) bool {
	for _, d := range list {
		if d.Name != "skip" && d.Name != "include" {
			continue
		}
		if val, ok := a.value(d.Arguments.ForName("if").Value).Bool(); ok && val != (d.Name == "include") {
			return false
		}
	}
	return true
}

func (a *answerer) applies(def *ast.Definition, condition string) bool {
	return condition == "" || condition == def.Name || a.view.schema.possible[condition].Has(a.view.schema.ObjectIndex(def.Name))
}

// object writes an object; field writes one field's value, __typename apart.
func (a *answerer) object(s *selected, field func(p *part)) {
	a.out = append(a.out, '{')
	for i := range s.parts {
		if a.full = a.full || len(a.out) > a.max; a.full {
			return
		}
		p := &s.parts[i]
		if i > 0 {
			a.out = append(a.out, ',')
		}
		a.out = append(appendQuoted(a.out, p.key), ':')
		if p.name == typenameField.Name {
			a.text(p.nodes[0].ObjectDefinition.Name)
			continue
		}
		field(p)
	}
	a.out = append(a.out, '}')
	a.full = a.full || len(a.out) > a.max
}

func (a *answerer) null() { a.out = append(a.out, "null"...) }

func (a *answerer) text(s string) { a.out = appendQuoted(a.out, s) }

// optional writes null for an empty text: a description that is not there.
func (a *answerer) optional(s string) {
	if s == "" {
		a.null()
		return
	}
	a.text(s)
}

func (a *answerer) bool(b bool) {
	if b {
		a.out = append(a.out, "true"...)
	} else {
		a.out = append(a.out, "false"...)
	}
}

func writeList[T any](a *answerer, list []T, item func(T)) {
	a.out = append(a.out, '[')
	for i, x := range list {
		if a.full {
			return
		}
		if i > 0 {
			a.out = append(a.out, ',')
		}
		item(x)
	}
	a.out = append(a.out, ']')
}

func (a *answerer) schemaField(p *part) {
	s := a.view.schema.ast
	root := func(def *ast.Definition) {
		if def == nil || !a.view.shown[def.Name] {
			a.null()
			return
		}
		a.named(p.below, def)
	}
	switch p.name {
	case "description":
		a.optional(s.Description)
	case "types":
		writeList(a, a.view.types, func(def *ast.Definition) { a.named(p.below, def) })
	case "queryType":
		root(s.Query)
	case "mutationType":
		root(s.Mutation)
	case "subscriptionType":
		root(s.Subscription)
	case "directives":
		writeList(a, a.view.directives, func(d *ast.DirectiveDefinition) { a.directive(p.below, d) })
	default:
		a.null()
	}
}

func (a *answerer) directive(below *selected, d *ast.DirectiveDefinition) {
	a.object(below, func(p *part) {
		switch p.name {
		case "name":
			a.text(d.Name)
		case "description":
			a.optional(d.Description)
		case "isRepeatable":
			a.bool(d.IsRepeatable)
		case "locations":
			writeList(a, d.Locations, func(l ast.DirectiveLocation) { a.text(string(l)) })
		case "args":
			a.inputs(p, inputsOf(d.Arguments))
		default:
			a.null()
		}
	})
}

// wrapped writes a type reference; inner strips the non-null around it.
func (a *answerer) wrapped(below *selected, t *ast.Type, inner bool) {
	kind := ""
	switch {
	case t.NonNull && !inner:
		kind = "NON_NULL"
	case t.Elem != nil:
		kind = "LIST"
	default:
		a.named(below, a.view.schema.ast.Types[t.NamedType])
		return
	}
	a.object(below, func(p *part) {
		switch {
		case p.name == "kind":
			a.text(kind)
		case p.name == "ofType" && kind == "LIST":
			a.wrapped(p.below, t.Elem, false)
		case p.name == "ofType":
			a.wrapped(p.below, t, true)
		default:
			a.null()
		}
	})
}

// named writes a __Type that has a name.
func (a *answerer) named(below *selected, def *ast.Definition) {
	a.object(below, func(p *part) {
		composite := def.Kind == ast.Object || def.Kind == ast.Interface
		types := func(list []*ast.Definition) {
			writeList(a, list, func(t *ast.Definition) { a.named(p.below, t) })
		}
		switch {
		case p.name == "kind":
			a.text(string(def.Kind))
		case p.name == "name":
			a.text(def.Name)
		case p.name == "description":
			a.optional(def.Description)
		case p.name == "specifiedByURL" && def.Kind == ast.Scalar:
			a.optional(directiveText(def.Directives, "specifiedBy", "url", ""))
		case p.name == "fields" && composite:
			fields := current(a.view.fields(def), p, func(f *ast.FieldDefinition) ast.DirectiveList { return f.Directives })
			writeList(a, fields, func(f *ast.FieldDefinition) { a.field(p.below, f) })
		case p.name == "interfaces" && composite:
			types(a.view.interfaces(def))
		case p.name == "possibleTypes" && (def.Kind == ast.Interface || def.Kind == ast.Union):
			types(a.view.possible(def))
		case p.name == "enumValues" && def.Kind == ast.Enum:
			values := current(def.EnumValues, p, func(e *ast.EnumValueDefinition) ast.DirectiveList { return e.Directives })
			writeList(a, values, func(e *ast.EnumValueDefinition) { a.enumValue(p.below, e) })
		case p.name == "inputFields" && def.Kind == ast.InputObject:
			a.inputs(p, inputFieldsOf(def))
		case p.name == "isOneOf" && def.Kind == ast.InputObject:
			a.bool(def.Directives.ForName("oneOf") != nil)
		default:
			a.null()
		}
	})
}

// current leaves out what is deprecated unless the client asked for it.
func current[T any](list []T, p *part, directives func(T) ast.DirectiveList) []T {
	if p.deprecated {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(x T) bool { return directives(x).ForName("deprecated") != nil })
}

func (a *answerer) field(below *selected, f *ast.FieldDefinition) {
	a.object(below, func(p *part) {
		switch p.name {
		case "name":
			a.text(f.Name)
		case "description":
			a.optional(f.Description)
		case "args":
			a.inputs(p, inputsOf(f.Arguments))
		case "type":
			a.wrapped(p.below, f.Type, false)
		default:
			a.deprecation(p, f.Directives)
		}
	})
}

func (a *answerer) enumValue(below *selected, e *ast.EnumValueDefinition) {
	a.object(below, func(p *part) {
		switch p.name {
		case "name":
			a.text(e.Name)
		case "description":
			a.optional(e.Description)
		default:
			a.deprecation(p, e.Directives)
		}
	})
}

// deprecation writes isDeprecated and deprecationReason.
func (a *answerer) deprecation(p *part, list ast.DirectiveList) {
	is := list.ForName("deprecated") != nil
	switch {
	case p.name == "isDeprecated":
		a.bool(is)
	case p.name == "deprecationReason" && is:
		a.text(directiveText(list, "deprecated", "reason", "No longer supported"))
	default:
		a.null()
	}
}

// directiveText returns a string argument of an applied directive, or absent.
func directiveText(list ast.DirectiveList, directive, argument, absent string) string {
	d := list.ForName(directive)
	if d == nil {
		return absent
	}
	if arg := d.Arguments.ForName(argument); arg != nil && arg.Value.Kind != ast.NullValue {
		return arg.Value.Raw
	}
	return absent
}

// inputValue is an argument or an input field.
type inputValue struct {
	name, description string
	typ               *ast.Type
	value             *ast.Value
	directives        ast.DirectiveList
}

func inputsOf(args ast.ArgumentDefinitionList) []inputValue {
	out := make([]inputValue, len(args))
	for i, a := range args {
		out[i] = inputValue{a.Name, a.Description, a.Type, a.DefaultValue, a.Directives}
	}
	return out
}

func inputFieldsOf(def *ast.Definition) []inputValue {
	out := make([]inputValue, len(def.Fields))
	for i, f := range def.Fields {
		out[i] = inputValue{f.Name, f.Description, f.Type, f.DefaultValue, f.Directives}
	}
	return out
}

func (a *answerer) inputs(p *part, list []inputValue) {
	list = current(list, p, func(in inputValue) ast.DirectiveList { return in.directives })
	writeList(a, list, func(in inputValue) {
		a.object(p.below, func(p *part) {
			switch p.name {
			case "name":
				a.text(in.name)
			case "description":
				a.optional(in.description)
			case "type":
				a.wrapped(p.below, in.typ, false)
			case "defaultValue":
				if in.value == nil {
					a.null()
					return
				}
				a.text(string(appendLiteral(nil, in.value)))
			default:
				a.deprecation(p, in.directives)
			}
		})
	})
}

// appendLiteral prints a constant as graphql-js does.
func appendLiteral(dst []byte, v *ast.Value) []byte {
	switch v.Kind {
	case ast.ListValue, ast.ObjectValue:
		begin, end := byte('['), byte(']')
		if v.Kind == ast.ObjectValue {
			begin, end = '{', '}'
		}
		dst = append(dst, begin)
		for i, child := range v.Children {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			if v.Kind == ast.ObjectValue {
				dst = append(append(dst, child.Name...), ": "...)
			}
			dst = appendLiteral(dst, child.Value)
		}
		return append(dst, end)
	case ast.StringValue, ast.BlockValue:
		return appendQuoted(dst, v.Raw)
	}
	return append(dst, v.Raw...)
}
