package schema

import (
	"sort"
	"sync"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator"
)

// Schema is a loaded, validated GraphQL schema with the tables that compiling
// needs. It is immutable and safe for concurrent use.
type Schema struct {
	ast     *ast.Schema
	digest  [32]byte
	objects []*ast.Definition
	index   map[string]int
	// possible holds the object types of each composite type, by type name.
	possible map[string]TypeSet
	// fields indexes the fields of types that have too many to search.
	fields map[*ast.Definition]map[string]*ast.FieldDefinition
	inputs map[string]*inputType
	// arguments holds the coerced defaults of field and directive arguments.
	arguments map[*ast.ArgumentDefinition]Value
	// reach memoises InputReach: *inputType to []InputField.
	reach sync.Map
	// strictest memoises Strictest: *ast.FieldDefinition to *ast.Type.
	strictest sync.Map
	types     *typeTable
}

// AST returns the gqlparser schema. Read only. As gqlparser has it, the query
// root's Fields end with __schema and __type.
func (s *Schema) AST() *ast.Schema { return s.ast }

// Digest identifies the schema's meaning in cache keys: SHA-256 over its
// sources' texts, whatever their names and order.
func (s *Schema) Digest() [32]byte { return s.digest }

// Objects lists every object type, sorted by name. A [TypeSet] indexes it.
func (s *Schema) Objects() []*ast.Definition { return s.objects }

// ObjectIndex returns the position of the object type in Objects, or -1.
func (s *Schema) ObjectIndex(name string) int {
	if i, ok := s.index[name]; ok {
		return i
	}
	return -1
}

// Possible returns the object types that a value of the composite type may
// have; nil for a type that is not composite or not known. Read only.
func (s *Schema) Possible(name string) TypeSet { return s.possible[name] }

// Type returns the definition of the named type; nil when there is none.
func (s *Schema) Type(name string) *ast.Definition { return s.ast.Types[name] }

// Root returns the root type for the kind of operation; nil when the schema
// does not support that kind.
func (s *Schema) Root(kind ast.Operation) *ast.Definition {
	switch kind {
	case ast.Query:
		return s.ast.Query
	case ast.Mutation:
		return s.ast.Mutation
	case ast.Subscription:
		return s.ast.Subscription
	}
	return nil
}

// Field returns the definition of a field that can be selected on parent: one
// of its own, __typename on every composite type, __schema and __type on the
// query root. It returns nil when there is none.
func (s *Schema) Field(parent *ast.Definition, name string) *ast.FieldDefinition {
	if parent == nil || !parent.IsCompositeType() {
		return nil
	}
	if name == typenameField.Name {
		return typenameField
	}
	return s.member(parent, name)
}

// FieldCount is the number of coordinates of fields that can be selected, meta
// fields included. [Schema.FieldIndex] and [FieldUse.Index] are less.
func (s *Schema) FieldCount() int { return s.types.fields }

// FieldIndex numbers the coordinates of fields that can be selected, so that what
// is known of each can stand in a list. It returns -1 where there is none. Another
// Schema of the same digest may number them otherwise.
func (s *Schema) FieldIndex(typ, field string) int {
	if t := s.types.types[typ]; t != nil && t.fields[field] != nil {
		return t.fields[field].index
	}
	return -1
}

// typenameField is the definition of __typename, the same on every type.
var typenameField = &ast.FieldDefinition{
	Name:        "__typename",
	Description: "The name of the object's type.",
	Type:        ast.NonNullNamedType("String", nil),
}

// fewFields is how many names are searched one by one rather than hashed.
const fewFields = 8

// member returns the field of an object, interface or input object type.
func (s *Schema) member(def *ast.Definition, name string) *ast.FieldDefinition {
	if byName, ok := s.fields[def]; ok {
		return byName[name]
	}
	return def.Fields.ForName(name)
}

// newSchema builds the tables over a schema that gqlparser has validated.
func newSchema(validated *ast.Schema, digest [32]byte) (*Schema, []Problem) {
	s := &Schema{
		ast:      validated,
		digest:   digest,
		index:    map[string]int{},
		possible: map[string]TypeSet{},
		fields:   map[*ast.Definition]map[string]*ast.FieldDefinition{},
	}
	for _, def := range validated.Types {
		if def.Kind == ast.Object {
			s.objects = append(s.objects, def)
		}
		if len(def.Fields) > fewFields {
			byName := make(map[string]*ast.FieldDefinition, len(def.Fields))
			for _, f := range def.Fields {
				byName[f.Name] = f
			}
			s.fields[def] = byName
		}
	}
	sort.Slice(s.objects, func(i, j int) bool { return s.objects[i].Name < s.objects[j].Name })
	words := (len(s.objects) + 63) / 64
	add := func(name string, i int) {
		if s.possible[name] == nil {
			s.possible[name] = make(TypeSet, words)
		}
		s.possible[name][i>>6] |= 1 << (uint(i) & 63)
	}
	for i, def := range s.objects {
		s.index[def.Name] = i
		add(def.Name, i)
		for _, name := range def.Interfaces {
			add(name, i)
		}
	}
	for _, def := range validated.Types {
		switch def.Kind {
		case ast.Union:
			for _, name := range def.Types {
				add(def.Name, s.index[name])
			}
		case ast.Interface:
			if s.possible[def.Name] == nil {
				s.possible[def.Name] = make(TypeSet, words)
			}
		}
	}
	problems := s.buildInputs()
	s.types = newTypeTable(s)
	return s, problems
}

// specified returns the types and directives that every schema has without
// defining them. gqlparser's list also has @defer, which is known only where
// the schema defines it.
func specified() *ast.SchemaDocument {
	doc := validator.PreludeDocument()
	kept := doc.Directives[:0]
	for _, d := range doc.Directives {
		if d.Name != "defer" {
			kept = append(kept, d)
		}
	}
	doc.Directives = kept
	return doc
}

// TypeSet is a set of object types: a bitset over [Schema.Objects]. It may be
// shorter than the number of types; missing words are zero. Read only once shared.
type TypeSet []uint64

// Has reports whether object type i is in the set.
func (t TypeSet) Has(i int) bool {
	return i>>6 < len(t) && t[i>>6]&(1<<(uint(i)&63)) != 0
}
