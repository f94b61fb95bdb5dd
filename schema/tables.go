package schema

import (
	"sort"

	"github.com/vektah/gqlparser/v2/ast"
)

// typeTable is what compiling looks up, prepared once for each schema so that
// a document costs no search that grows with the schema.
type typeTable struct {
	types      map[string]*typeInfo
	directives map[string]*directiveInfo

	query, mutation, subscription *typeInfo
	// sets lists the distinct possible-object sets of the composite types by
	// typeInfo.set, setIDs finds them by appendKey.
	sets   []TypeSet
	setIDs map[string]int32
	fields int // that can be selected, over all types
}

// typeInfo is a named type.
type typeInfo struct {
	def *ast.Definition
	// fields are those that can be selected: meta fields included, also on
	// unions; nil for leaf and input types.
	fields   map[string]*fieldInfo
	input    *inputType // nil unless it is an input type
	possible TypeSet
	set      int32 // index of possible in typeTable.sets; -1 unless composite
	object   bool  // an object type: two different ones never overlap
}

func (t *typeInfo) composite() bool { return t.set >= 0 }

// fieldInfo is a field of one type that can be selected.
type fieldInfo struct {
	index      int // over all types
	def        *ast.FieldDefinition
	parent     *typeInfo
	typ        *typeInfo // named type of the result
	coordinate string
	args       argTable
	// omitted is FieldUse.Args when the client gives no argument.
	omitted []*Argument
	// shape identifies the response shape: the list and non-null structure and
	// the leaf type's name. Two fields of different shapes never merge. It is
	// -1 for the meta fields, which graphql-js leaves out of that comparison.
	shape int32
	// listed counts for the introspection depth: fields, interfaces,
	// possibleTypes and inputFields, on whatever type.
	listed bool
	// introspection is set for __schema, __type and _service of the query root.
	introspection bool
}

// argTable is the declared arguments of a field or directive.
type argTable struct {
	list     []argInfo
	index    map[string]int // nil for a short list
	required int
}

type argInfo struct {
	def        *ast.ArgumentDefinition
	typ        *inputType
	required   bool
	hasDefault bool
}

// shortList is how many names are searched one by one rather than hashed.
const shortList = 8

func (t *argTable) find(name string) int {
	if t.index != nil {
		if i, ok := t.index[name]; ok {
			return i
		}
		return -1
	}
	for i := range t.list {
		if t.list[i].def.Name == name {
			return i
		}
	}
	return -1
}

type directiveInfo struct {
	def       *ast.DirectiveDefinition
	args      argTable
	locations map[ast.DirectiveLocation]struct{}
	once      bool
	kind      directiveKind
}

type directiveKind uint8

const (
	directiveOther directiveKind = iota
	directiveSkip
	directiveInclude
	directiveDeferred // @defer and @stream
)

// listedFields are the introspection fields whose nesting graphql-js bounds
// (MaxIntrospectionDepthRule).
func listedField(name string) bool {
	switch name {
	case "fields", "interfaces", "possibleTypes", "inputFields":
		return true
	}
	return false
}

// newTypeTable prepares s, whose objects, index and possible are set.
func newTypeTable(s *Schema) *typeTable {
	t := &typeTable{
		types:      make(map[string]*typeInfo, len(s.ast.Types)),
		directives: make(map[string]*directiveInfo, len(s.ast.Directives)),
		setIDs:     map[string]int32{},
	}
	names := make([]string, 0, len(s.ast.Types))
	for name := range s.ast.Types {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		t.types[name] = t.newType(s, s.ast.Types[name])
	}
	shapes := map[string]int32{}
	for _, name := range names {
		t.fill(s, t.types[name], shapes)
	}
	for name, def := range s.ast.Directives {
		t.directives[name] = t.newDirective(s, def)
	}
	t.query = t.root(s.ast.Query)
	t.mutation = t.root(s.ast.Mutation)
	t.subscription = t.root(s.ast.Subscription)
	return t
}

func (t *typeTable) root(def *ast.Definition) *typeInfo {
	if def == nil {
		return nil
	}
	return t.types[def.Name]
}

func (t *typeTable) newType(s *Schema, def *ast.Definition) *typeInfo {
	info := &typeInfo{def: def, set: -1}
	switch def.Kind {
	case ast.Object, ast.Interface, ast.Union:
		info.object = def.Kind == ast.Object
		info.possible = s.possible[def.Name]
		key := string(info.possible.appendKey(nil))
		id, ok := t.setIDs[key]
		if !ok {
			id = int32(len(t.sets))
			t.sets = append(t.sets, info.possible)
			t.setIDs[key] = id
		}
		info.set = id
	default:
		info.input = s.inputs[def.Name]
	}
	return info
}

// fill completes a type once every type is known by name.
func (t *typeTable) fill(s *Schema, info *typeInfo, shapes map[string]int32) {
	def := info.def
	if !info.composite() {
		return
	}
	info.fields = make(map[string]*fieldInfo, len(def.Fields)+1)
	if def.Kind != ast.Union {
		for _, f := range def.Fields {
			info.fields[f.Name] = t.newField(s, info, f, shapes)
		}
	}
	info.fields[typenameField.Name] = t.newField(s, info, typenameField, shapes)
}

func (t *typeTable) newField(s *Schema, parent *typeInfo, f *ast.FieldDefinition, shapes map[string]int32) *fieldInfo {
	info := &fieldInfo{
		def: f, parent: parent, typ: t.types[f.Type.Name()],
		index: t.fields, coordinate: parent.def.Name + "." + f.Name,
		args:   newArgs(s, f.Arguments),
		listed: listedField(f.Name),
	}
	t.fields++
	info.omitted = make([]*Argument, len(f.Arguments))
	for i, a := range f.Arguments {
		info.omitted[i] = &Argument{Definition: a, Const: s.arguments[a]}
	}
	root := s.ast.Query != nil && parent.def == s.ast.Query
	switch f.Name {
	case "__typename":
		info.shape = -1
		return info
	case "__schema", "__type":
		if root {
			info.shape, info.introspection = -1, true
			return info
		}
	case "_service":
		info.introspection = root
	}
	key := shapeKey(f.Type, !info.typ.composite())
	id, ok := shapes[key]
	if !ok {
		id = int32(len(shapes))
		shapes[key] = id
	}
	info.shape = id
	return info
}

// shapeKey spells the response shape of a type; composite types are alike.
func shapeKey(t *ast.Type, leaf bool) string {
	mark := ""
	if t.NonNull {
		mark = "!"
	}
	switch {
	case t.Elem != nil:
		return "[" + shapeKey(t.Elem, leaf) + "]" + mark
	case leaf:
		return t.NamedType + mark
	}
	return "*" + mark
}

func newArgs(s *Schema, defs ast.ArgumentDefinitionList) argTable {
	table := argTable{list: make([]argInfo, len(defs))}
	for i, a := range defs {
		table.list[i] = argInfo{
			def: a, typ: s.inputOf(a.Type),
			required:   a.Type.NonNull && a.DefaultValue == nil,
			hasDefault: a.DefaultValue != nil && a.DefaultValue.Kind != ast.NullValue,
		}
		if table.list[i].required {
			table.required++
		}
	}
	if len(defs) > shortList {
		table.index = make(map[string]int, len(defs))
		for i, a := range defs {
			table.index[a.Name] = i
		}
	}
	return table
}

func (t *typeTable) newDirective(s *Schema, def *ast.DirectiveDefinition) *directiveInfo {
	d := &directiveInfo{
		def: def, args: newArgs(s, def.Arguments), once: !def.IsRepeatable,
		locations: make(map[ast.DirectiveLocation]struct{}, len(def.Locations)),
	}
	for _, l := range def.Locations {
		d.locations[l] = struct{}{}
	}
	switch def.Name {
	case "skip":
		d.kind = directiveSkip
	case "include":
		d.kind = directiveInclude
	case "defer", "stream":
		d.kind = directiveDeferred
	}
	return d
}
