package schema

import "github.com/vektah/gqlparser/v2/ast"

// Schema is a loaded, validated GraphQL schema with the tables that compiling
// needs. It is immutable and safe for concurrent use.
type Schema struct {
	ast     *ast.Schema
	digest  [32]byte
	objects []*ast.Definition
	index   map[string]int
	// possible holds the object types of each composite type, by type name.
	possible map[string]TypeSet
}

// AST returns the gqlparser schema. Read only.
func (s *Schema) AST() *ast.Schema { return s.ast }

// Digest identifies the schema's meaning in cache keys: SHA-256 over its
// sources.
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

// TypeSet is a set of object types: a bitset over [Schema.Objects]. It may be
// shorter than the number of types; missing words are zero. Read only once shared.
type TypeSet []uint64

// Has reports whether object type i is in the set.
func (t TypeSet) Has(i int) bool {
	return i>>6 < len(t) && t[i>>6]&(1<<(uint(i)&63)) != 0
}
