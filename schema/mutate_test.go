package schema

import (
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// mutator makes documents that are near to valid ones: it edits the tree of a
// real document by the schema, or its tokens without regard to anything.
type mutator struct {
	rng    *rand.Rand
	schema *Schema
	types  []string // composite types first in seedings
	all    []string

	doc *ast.QueryDocument
	// What can be edited, found anew after each edit.
	sets       []*ast.SelectionSet
	setTypes   []*ast.Definition
	fields     []*ast.Field
	inlines    []*ast.InlineFragment
	spreads    []*ast.FragmentSpread
	values     []*ast.Value
	arguments  []*ast.ArgumentList
	directives []*ast.DirectiveList
	members    []*ast.ChildValueList
}

func newMutator(s *Schema, seed uint64) *mutator {
	m := &mutator{rng: rand.New(rand.NewPCG(seed, 7)), schema: s}
	for name, def := range s.ast.Types {
		if def.IsCompositeType() {
			m.types = append(m.types, name)
		}
		m.all = append(m.all, name)
	}
	slices.Sort(m.types)
	slices.Sort(m.all)
	return m
}

func pick[T any](m *mutator, list []T) T { return list[m.rng.IntN(len(list))] }

// without copies, for lists may be shared by what was duplicated.
func without[S ~[]E, E any](list S, i int) S { return append(list[:i:i], list[i+1:]...) }

func (m *mutator) chance(percent int) bool { return m.rng.IntN(100) < percent }

// mutate returns a document made from text, which must parse.
func (m *mutator) mutate(text string) string {
	if m.chance(10) {
		return m.mutateTokens(text)
	}
	doc, err := parser.ParseQuery(&ast.Source{Input: text})
	if err != nil {
		return m.mutateTokens(text)
	}
	m.doc = doc
	for range 1 + m.rng.IntN(3) {
		m.find()
		m.edit()
	}
	text = printDocument(doc)
	if m.chance(3) {
		text = m.mutateTokens(text)
	}
	return text
}

// printDocument prints all definitions of a document, as they stand.
func printDocument(doc *ast.QueryDocument) string {
	var p printer
	for _, op := range doc.Operations {
		if len(doc.Operations) > 1 && op.Name == "" && op.Operation == ast.Query {
			p.word("query")
		}
		p.document(op, nil)
	}
	for _, f := range doc.Fragments {
		p.word("fragment")
		p.word(f.Name)
		p.word("on")
		p.word(f.TypeCondition)
		p.directives(f.Directives)
		p.selections(f.SelectionSet)
	}
	return string(p.out)
}

func (m *mutator) find() {
	m.sets, m.setTypes, m.fields, m.inlines, m.spreads = nil, nil, nil, nil, nil
	m.values, m.arguments, m.directives, m.members = nil, nil, nil, nil
	for _, op := range m.doc.Operations {
		for _, v := range op.VariableDefinitions {
			m.directives = append(m.directives, &v.Directives)
			if v.DefaultValue != nil {
				m.findValue(v.DefaultValue, v.Type)
			}
		}
		m.findDirectives(&op.Directives)
		m.findSet(&op.SelectionSet, m.schema.Root(op.Operation))
	}
	for _, f := range m.doc.Fragments {
		m.findDirectives(&f.Directives)
		m.findSet(&f.SelectionSet, m.schema.ast.Types[f.TypeCondition])
	}
}

func (m *mutator) findSet(set *ast.SelectionSet, def *ast.Definition) {
	m.sets, m.setTypes = append(m.sets, set), append(m.setTypes, def)
	for _, sel := range *set {
		switch sel := sel.(type) {
		case *ast.Field:
			sel.ObjectDefinition, sel.Definition = def, nil
			var next *ast.Definition
			if f := m.schema.Field(def, sel.Name); f != nil {
				sel.Definition, next = f, m.schema.ast.Types[f.Type.Name()]
			}
			m.fields = append(m.fields, sel)
			m.findArguments(&sel.Arguments, sel.Definition)
			m.findDirectives(&sel.Directives)
			if len(sel.SelectionSet) > 0 {
				m.findSet(&sel.SelectionSet, next)
			}
		case *ast.InlineFragment:
			m.inlines = append(m.inlines, sel)
			m.findDirectives(&sel.Directives)
			next := def
			if sel.TypeCondition != "" {
				next = m.schema.ast.Types[sel.TypeCondition]
			}
			m.findSet(&sel.SelectionSet, next)
		case *ast.FragmentSpread:
			sel.ObjectDefinition = def
			m.spreads = append(m.spreads, sel)
			m.findDirectives(&sel.Directives)
		}
	}
}

func (m *mutator) findArguments(args *ast.ArgumentList, def *ast.FieldDefinition) {
	m.arguments = append(m.arguments, args)
	for _, a := range *args {
		var t *ast.Type
		if def != nil {
			if d := def.Arguments.ForName(a.Name); d != nil {
				t = d.Type
			}
		}
		m.findValue(a.Value, t)
	}
}

func (m *mutator) findDirectives(list *ast.DirectiveList) {
	m.directives = append(m.directives, list)
	for _, d := range *list {
		m.findArguments(&d.Arguments, nil)
	}
}

func (m *mutator) findValue(v *ast.Value, t *ast.Type) {
	v.ExpectedType = t
	m.values = append(m.values, v)
	if v.Kind == ast.ObjectValue {
		m.members = append(m.members, &v.Children)
	}
	for _, c := range v.Children {
		var next *ast.Type
		if t != nil && v.Kind == ast.ListValue {
			next = elementType(t)
		}
		if t != nil && v.Kind == ast.ObjectValue {
			if in := m.schema.ast.Types[t.Name()]; in != nil {
				if f := in.Fields.ForName(c.Name); f != nil {
					next = f.Type
				}
			}
		}
		m.findValue(c.Value, next)
	}
}

// edit makes one change somewhere.
func (m *mutator) edit() {
	edits := []func(){
		m.editField, m.editField, m.editSet, m.editSet, m.addSelection, m.addSelection, m.editType,
		m.editSpread, m.editArguments, m.editArguments, m.editValue, m.editValue, m.editVariable,
		m.editDirectives, m.editFragment, m.editOperation, m.editMember,
	}
	pick(m, edits)()
}

func (m *mutator) fieldName(def *ast.Definition) string {
	if def == nil || len(def.Fields) == 0 || m.chance(5) {
		return pick(m, []string{"id", "name", "__typename", "nope", "__schema", "x", "on", "type"})
	}
	return pick(m, def.Fields).Name
}

func (m *mutator) editField() {
	if len(m.fields) == 0 {
		return
	}
	f := pick(m, m.fields)
	switch m.rng.IntN(6) {
	case 0:
		f.Name = m.fieldName(f.ObjectDefinition)
	case 1:
		f.Name = m.fieldName(f.ObjectDefinition)
		f.Alias, f.SelectionSet = f.Name, nil
		f.Arguments = nil
		m.complete(f)
	case 2:
		f.Alias = pick(m, m.fields).Alias
	case 3:
		f.Alias = "a" + f.Alias
	case 4:
		f.SelectionSet = nil
	case 5:
		f.SelectionSet = append(f.SelectionSet, &ast.Field{Alias: "__typename", Name: "__typename"})
	}
}

// complete gives a new field the selection set that its type asks for.
func (m *mutator) complete(f *ast.Field) {
	def := m.schema.Field(f.ObjectDefinition, f.Name)
	if def == nil {
		return
	}
	if t := m.schema.ast.Types[def.Type.Name()]; t != nil && t.IsCompositeType() && m.chance(95) {
		f.SelectionSet = ast.SelectionSet{m.newField(t, 2)}
	}
	for _, a := range def.Arguments {
		if a.Type.NonNull && a.DefaultValue == nil && m.chance(95) || m.chance(5) {
			f.Arguments = append(f.Arguments, &ast.Argument{Name: a.Name, Value: m.value(a.Type, 0)})
		}
	}
}

func (m *mutator) newField(def *ast.Definition, depth int) *ast.Field {
	f := &ast.Field{Alias: "__typename", Name: "__typename", ObjectDefinition: def}
	if depth > 0 && len(def.Fields) > 0 && m.chance(70) {
		f.Name = m.fieldName(def)
		f.Alias = f.Name
		m.complete(f)
	}
	return f
}

func (m *mutator) editSet() {
	set := pick(m, m.sets)
	if len(*set) == 0 {
		return
	}
	i := m.rng.IntN(len(*set))
	switch m.rng.IntN(5) {
	case 0:
		if len(*set) > 1 || m.chance(5) {
			*set = without(*set, i)
		}
	case 1, 2:
		*set = append(*set, m.clone((*set)[i]))
	case 3:
		from := pick(m, m.sets)
		if len(*from) > 0 {
			*set = append(*set, m.clone(pick(m, *from)))
		}
	case 4:
		inner := slices.Clone((*set)[i:])
		*set = append((*set)[:i:i], &ast.InlineFragment{TypeCondition: m.condition(nil), SelectionSet: inner})
	}
}

// clone copies a selection so that later edits reach only one of them.
func (m *mutator) clone(sel ast.Selection) ast.Selection {
	p := printer{}
	p.selections(ast.SelectionSet{sel})
	doc, err := parser.ParseQuery(&ast.Source{Input: string(p.out)})
	if err != nil {
		return sel
	}
	copied := doc.Operations[0].SelectionSet[0]
	if f, ok := copied.(*ast.Field); ok && m.chance(30) {
		switch m.rng.IntN(3) {
		case 0:
			f.Alias = pick(m, []string{"a", "b", "id", "name"})
		case 1:
			f.Arguments = nil
		case 2:
			if original, ok := sel.(*ast.Field); ok {
				f.Name = m.fieldName(original.ObjectDefinition)
			}
		}
	}
	return copied
}

func (m *mutator) addSelection() {
	i := m.rng.IntN(len(m.sets))
	set, def := m.sets[i], m.setTypes[i]
	if def == nil {
		return
	}
	switch m.rng.IntN(5) {
	case 0, 1:
		f := m.newField(def, 3)
		if m.chance(50) && len(m.fields) > 0 {
			f.Alias = pick(m, m.fields).Alias
		}
		*set = append(*set, f)
	case 2:
		condition := m.condition(def)
		inner := m.schema.ast.Types[condition]
		if inner == nil {
			inner = def
		}
		f := m.newField(inner, 2)
		if m.chance(50) && len(m.fields) > 0 {
			f.Alias = pick(m, m.fields).Alias
		}
		*set = append(*set, &ast.InlineFragment{TypeCondition: condition, SelectionSet: ast.SelectionSet{f}})
	case 3:
		if len(m.doc.Fragments) > 0 {
			*set = append(*set, &ast.FragmentSpread{Name: pick(m, m.doc.Fragments).Name})
		}
	case 4:
		name := pick(m, []string{"__typename", "__schema", "__type"})
		f := &ast.Field{Alias: name, Name: name}
		switch name {
		case "__schema":
			f.SelectionSet = ast.SelectionSet{&ast.Field{Alias: "description", Name: "description"}}
		case "__type":
			f.Arguments = ast.ArgumentList{{Name: "name", Value: &ast.Value{Kind: ast.StringValue, Raw: "T"}}}
			f.SelectionSet = ast.SelectionSet{&ast.Field{Alias: "name", Name: "name"}}
		}
		*set = append(*set, f)
	}
}

// condition picks a type condition, mostly one that is possible on def.
func (m *mutator) condition(def *ast.Definition) string {
	switch {
	case m.chance(4):
		return ""
	case m.chance(3):
		return pick(m, m.all)
	case def == nil || m.chance(20):
		return pick(m, m.types)
	}
	var near []string
	near = append(near, def.Name)
	near = append(near, def.Interfaces...)
	for i := range m.schema.Possible(def.Name).All {
		object := m.schema.objects[i]
		near = append(near, object.Name)
		near = append(near, object.Interfaces...)
	}
	return pick(m, near)
}

func (m *mutator) editType() {
	if len(m.inlines) > 0 && m.chance(60) {
		f := pick(m, m.inlines)
		f.TypeCondition = m.condition(m.schema.ast.Types[f.TypeCondition])
		return
	}
	if len(m.doc.Fragments) > 0 {
		f := pick(m, m.doc.Fragments)
		if t := m.condition(m.schema.ast.Types[f.TypeCondition]); t != "" {
			f.TypeCondition = t
		}
	}
}

func (m *mutator) editSpread() {
	if len(m.spreads) == 0 {
		return
	}
	s := pick(m, m.spreads)
	if m.chance(10) {
		s.Name += "x"
		return
	}
	if len(m.doc.Fragments) > 0 {
		s.Name = pick(m, m.doc.Fragments).Name
	}
}

func (m *mutator) editArguments() {
	if m.chance(60) && len(m.fields) > 0 {
		f := pick(m, m.fields)
		if f.Definition != nil && len(f.Definition.Arguments) > 0 {
			a := pick(m, f.Definition.Arguments)
			if m.chance(90) && f.Arguments.ForName(a.Name) != nil {
				f.Arguments.ForName(a.Name).Value = m.value(a.Type, 0)
				return
			}
			f.Arguments = append(f.Arguments, &ast.Argument{Name: a.Name, Value: m.value(a.Type, 0)})
			return
		}
	}
	if len(m.arguments) == 0 {
		return
	}
	args := pick(m, m.arguments)
	if len(*args) == 0 {
		if m.chance(10) {
			*args = append(*args, &ast.Argument{Name: "id", Value: m.value(nil, 0)})
		}
		return
	}
	i := m.rng.IntN(len(*args))
	switch m.rng.IntN(4) {
	case 0:
		*args = without(*args, i)
	case 1:
		*args = append(*args, (*args)[i])
	case 2:
		(*args)[i] = &ast.Argument{Name: (*args)[i].Name + "x", Value: (*args)[i].Value}
	case 3:
		slices.Reverse(*args)
	}
}

func (m *mutator) editValue() {
	if len(m.values) == 0 {
		return
	}
	v := pick(m, m.values)
	*v = *m.value(v.ExpectedType, 0)
}

// value makes a literal, mostly one of type t.
func (m *mutator) value(t *ast.Type, depth int) *ast.Value {
	if t == nil || m.chance(12) {
		return m.anyValue(depth)
	}
	if m.chance(10) {
		if vars := m.variables(); len(vars) > 0 {
			return &ast.Value{Kind: ast.Variable, Raw: pick(m, vars)}
		}
	}
	if !t.NonNull && m.chance(8) {
		return &ast.Value{Kind: ast.NullValue, Raw: "null"}
	}
	if t.Elem != nil {
		if m.chance(15) {
			return m.value(t.Elem, depth+1)
		}
		list := &ast.Value{Kind: ast.ListValue}
		for range m.rng.IntN(3) {
			list.Children = append(list.Children, &ast.ChildValue{Value: m.value(t.Elem, depth+1)})
		}
		return list
	}
	def := m.schema.ast.Types[t.NamedType]
	if def == nil {
		return m.anyValue(depth)
	}
	switch def.Kind {
	case ast.Enum:
		return &ast.Value{Kind: ast.EnumValue, Raw: pick(m, def.EnumValues).Name}
	case ast.InputObject:
		return m.object(def, depth)
	}
	switch t.NamedType {
	case "Int":
		return &ast.Value{Kind: ast.IntValue, Raw: pick(m, []string{"0", "1", "-1", "2147483647", "2147483648", "-2147483648", "-2147483649", "-0"})}
	case "Float":
		return pick(m, []*ast.Value{{Kind: ast.FloatValue, Raw: "1.5"}, {Kind: ast.IntValue, Raw: "3"}, {Kind: ast.FloatValue, Raw: "1e5"}})
	case "Boolean":
		return &ast.Value{Kind: ast.BooleanValue, Raw: pick(m, []string{"true", "false"})}
	case "ID":
		return pick(m, []*ast.Value{{Kind: ast.StringValue, Raw: "1"}, {Kind: ast.IntValue, Raw: "12345678901234567890"}})
	case "String":
		return &ast.Value{Kind: ast.StringValue, Raw: pick(m, []string{"", "a", "é\n\"\\😀\u0001\u007f"})}
	}
	return m.anyValue(depth)
}

func (m *mutator) object(def *ast.Definition, depth int) *ast.Value {
	v := &ast.Value{Kind: ast.ObjectValue}
	oneOf := def.Directives.ForName("oneOf") != nil
	chosen := m.rng.IntN(len(def.Fields))
	for i, f := range def.Fields {
		if depth > 3 && !f.Type.NonNull {
			continue
		}
		want := f.Type.NonNull && f.DefaultValue == nil && m.chance(95) || m.chance(25)
		if oneOf && m.chance(90) {
			want = i == chosen
		}
		if want {
			v.Children = append(v.Children, &ast.ChildValue{Name: f.Name, Value: m.value(f.Type, depth+1)})
		}
	}
	return v
}

func (m *mutator) anyValue(depth int) *ast.Value {
	switch m.rng.IntN(9) {
	case 0:
		return &ast.Value{Kind: ast.NullValue, Raw: "null"}
	case 1:
		return &ast.Value{Kind: ast.IntValue, Raw: "7"}
	case 2:
		return &ast.Value{Kind: ast.FloatValue, Raw: "-1.25e2"}
	case 3:
		return &ast.Value{Kind: ast.StringValue, Raw: "text"}
	case 4:
		return &ast.Value{Kind: ast.BooleanValue, Raw: "true"}
	case 5:
		return &ast.Value{Kind: ast.EnumValue, Raw: pick(m, []string{"GOOD", "SMALL", "DESC", "on"})}
	case 6:
		if vars := m.variables(); len(vars) > 0 {
			return &ast.Value{Kind: ast.Variable, Raw: pick(m, vars)}
		}
	case 7:
		if depth < 4 {
			return &ast.Value{Kind: ast.ListValue, Children: ast.ChildValueList{{Value: m.anyValue(depth + 1)}}}
		}
	}
	if depth > 3 {
		return &ast.Value{Kind: ast.ObjectValue}
	}
	return &ast.Value{Kind: ast.ObjectValue, Children: ast.ChildValueList{{Name: pick(m, []string{"id", "name", "x"}), Value: m.anyValue(depth + 1)}}}
}

func (m *mutator) variables() []string {
	var names []string
	for _, op := range m.doc.Operations {
		for _, v := range op.VariableDefinitions {
			names = append(names, v.Variable)
		}
	}
	if m.chance(3) {
		names = append(names, "undefined")
	}
	return names
}

func (m *mutator) editVariable() {
	op := pick(m, m.doc.Operations)
	if len(op.VariableDefinitions) == 0 || m.chance(10) {
		t := &ast.Type{NamedType: pick(m, m.all)}
		op.VariableDefinitions = append(op.VariableDefinitions, &ast.VariableDefinition{Variable: "v", Type: t})
		if m.chance(50) {
			op.VariableDefinitions = op.VariableDefinitions[:len(op.VariableDefinitions)-1]
		}
		return
	}
	i := m.rng.IntN(len(op.VariableDefinitions))
	v := op.VariableDefinitions[i]
	switch m.rng.IntN(8) {
	case 0:
		op.VariableDefinitions = without(op.VariableDefinitions, i)
	case 1:
		op.VariableDefinitions = append(op.VariableDefinitions, v)
	case 2, 3:
		v.Type.NonNull = !v.Type.NonNull
	case 4:
		v.Type = &ast.Type{Elem: v.Type}
	case 5:
		if v.Type.Elem != nil {
			v.Type = v.Type.Elem
		} else {
			v.Type.NamedType = pick(m, []string{"Int", "String", "ID", "Boolean", "Float", pick(m, m.all)})
		}
	case 6:
		v.DefaultValue = m.value(v.Type, 0)
	case 7:
		v.DefaultValue = nil
	}
}

func (m *mutator) editDirectives() {
	list := pick(m, m.directives)
	if len(*list) > 0 && m.chance(40) {
		i := m.rng.IntN(len(*list))
		if m.chance(50) {
			*list = append(*list, (*list)[i])
			return
		}
		*list = without(*list, i)
		return
	}
	var names []string
	for name := range m.schema.ast.Directives {
		names = append(names, name)
	}
	slices.Sort(names)
	names = append(names, "skip", "include", "skip", "include", "defer", "nope")
	d := &ast.Directive{Name: pick(m, names)}
	if def := m.schema.ast.Directives[d.Name]; def != nil {
		for _, a := range def.Arguments {
			if m.chance(80) {
				d.Arguments = append(d.Arguments, &ast.Argument{Name: a.Name, Value: m.value(a.Type, 0)})
			}
		}
	}
	*list = append(*list, d)
}

func (m *mutator) editFragment() {
	if len(m.doc.Fragments) > 0 && m.chance(40) {
		i := m.rng.IntN(len(m.doc.Fragments))
		f := m.doc.Fragments[i]
		switch m.rng.IntN(3) {
		case 0:
			m.doc.Fragments = without(m.doc.Fragments, i)
		case 1:
			m.doc.Fragments = append(m.doc.Fragments, f)
		case 2:
			f.Name += "x"
		}
		return
	}
	i := m.rng.IntN(len(m.sets))
	set, def := m.sets[i], m.setTypes[i]
	if def == nil || len(*set) == 0 {
		return
	}
	name := "Made" + strings.Repeat("x", m.rng.IntN(2))
	m.doc.Fragments = append(m.doc.Fragments, &ast.FragmentDefinition{
		Name: name, TypeCondition: def.Name, SelectionSet: slices.Clone(*set),
	})
	*set = ast.SelectionSet{&ast.FragmentSpread{Name: name}}
	if m.chance(50) {
		target := pick(m, m.sets)
		*target = append(*target, &ast.FragmentSpread{Name: name})
	}
}

func (m *mutator) editOperation() {
	op := pick(m, m.doc.Operations)
	switch m.rng.IntN(4) {
	case 0:
		op.Operation = pick(m, []ast.Operation{ast.Query, ast.Mutation, ast.Subscription})
	case 1:
		copied := *op
		if m.chance(70) {
			copied.Name += "2"
		}
		m.doc.Operations = append(m.doc.Operations, &copied)
	case 2:
		op.Name = ""
	case 3:
		op.Name += "x"
	}
}

func (m *mutator) editMember() {
	if len(m.members) == 0 {
		return
	}
	list := pick(m, m.members)
	if len(*list) == 0 {
		return
	}
	i := m.rng.IntN(len(*list))
	switch m.rng.IntN(4) {
	case 0:
		*list = without(*list, i)
	case 1:
		*list = append(*list, (*list)[i])
	case 2:
		*list = append(*list, &ast.ChildValue{Name: (*list)[i].Name + "x", Value: (*list)[i].Value})
	case 3:
		slices.Reverse(*list)
	}
}

// oddTokens are what lexers and parsers disagree about.
var oddTokens = []string{
	`"\u{1F600}"`, `"\uD83D\uDE00"`, `"\uD800"`, `"\uDE00\uD83D"`, `"""block"""`, `"""a""""`, `"""a\"""b"""`, `""`, `""""""`, `"`,
	`1.`, `01`, `1a`, `0xF`, `1e5`, `-0`, `-`, `1.5.`, `.5`, `..`, `...`, `&`, "#c\n", "\ufeff", `'`, `$`, `$a`, `!`, `@`, `@skip`, `@include(if: true)`,
	`..."on" Query {__typename}`, `... on Query {__typename}`, `fragment on on Query {__typename}`, `fragment F($x: Int) on Query {__typename}`,
	`{`, `}`, `(`, `)`, `[`, `]`, `()`, `{}`, `[]`, `:`, `=`, `|`, `,`, `null`, `true`, `on`, `query`, `fragment`, `type X { a: Int }`, `"doc"`,
	"é", "\x00", "\x7f", "\u2028", "\r", "\t", `query { __typename }`, `{ __typename }`, `extend type Query { x: Int }`, `"\x"`, `"\u00e9"`, `"a` + "\n" + `b"`,
}

// mutateTokens edits text as a string of tokens.
func (m *mutator) mutateTokens(text string) string {
	tokens := splitTokens(text)
	for range 1 + m.rng.IntN(2) {
		if len(tokens) == 0 {
			break
		}
		i := m.rng.IntN(len(tokens))
		switch m.rng.IntN(5) {
		case 0:
			tokens = without(tokens, i)
		case 1:
			tokens = slices.Insert(tokens, i, tokens[m.rng.IntN(len(tokens))])
		case 2:
			tokens[i] = tokens[m.rng.IntN(len(tokens))]
		case 3:
			tokens = slices.Insert(tokens, i, pick(m, oddTokens))
		case 4:
			tokens[i] = pick(m, oddTokens)
		}
	}
	if m.chance(20) {
		return strings.Join(tokens, "")
	}
	return strings.Join(tokens, " ")
}

func splitTokens(text string) []string {
	var tokens []string
	for i := 0; i < len(text); {
		start := i
		switch c := text[i]; {
		case strings.IndexByte(" \t\r\n,", c) >= 0:
			i++
			continue
		case nameContinue(c) || c == '-':
			for i++; i < len(text) && (nameContinue(text[i]) || text[i] == '.' && i+1 < len(text) && digit(text[i+1])); i++ {
			}
		case strings.HasPrefix(text[i:], "..."):
			i += 3
		case c == '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			i = min(i+1, len(text))
		default:
			i++
		}
		tokens = append(tokens, text[start:i])
	}
	return tokens
}
