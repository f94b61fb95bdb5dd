package schema

import (
	"fmt"

	"github.com/vektah/gqlparser/v2/ast"
)

// maxMembers bounds the fields or values of one type, the arguments of one
// field and the members of one union: gqlparser compares them pairwise.
const maxMembers = 10_000

// findProblems lists the repeated and the unknown names of a document that has
// the specified definitions in it. gqlparser, which checks the rest, stops at
// its first finding.
func findProblems(doc *ast.SchemaDocument) []Problem {
	c := checker{types: map[string]*ast.Definition{}, directives: map[string]bool{}}
	for _, def := range doc.Definitions {
		if c.types[def.Name] != nil {
			c.problem(def.Position, "type %s is defined twice", def.Name)
			continue
		}
		c.types[def.Name] = def
	}
	for _, ext := range doc.Extensions {
		if c.types[ext.Name] == nil {
			c.types[ext.Name] = ext // gqlparser takes an extension for a definition
		}
	}
	for _, def := range doc.Directives {
		if c.directives[def.Name] {
			c.problem(def.Position, "directive @%s is defined twice", def.Name)
		}
		c.directives[def.Name] = true
	}
	members := map[string]map[string]bool{}
	for _, list := range []ast.DefinitionList{doc.Definitions, doc.Extensions} {
		for _, def := range list {
			if members[def.Name] == nil {
				members[def.Name] = map[string]bool{}
			}
			c.definition(def, members[def.Name])
		}
	}
	for _, def := range doc.Directives {
		c.arguments("@"+def.Name, def.Arguments)
	}
	for _, list := range []ast.SchemaDefinitionList{doc.Schema, doc.SchemaExtension} {
		for _, def := range list {
			c.applied(def.Directives)
			for _, root := range def.OperationTypes {
				c.typeName(root.Position, root.Type)
			}
		}
	}
	sortProblems(c.problems)
	return c.problems
}

type checker struct {
	types      map[string]*ast.Definition
	directives map[string]bool
	problems   []Problem
}

func (c *checker) problem(pos *ast.Position, format string, args ...any) {
	c.problems = append(c.problems, problemAt(pos, fmt.Sprintf(format, args...)))
}

// definition checks a definition or extension; seen has the names of the
// type's fields and values so far.
func (c *checker) definition(def *ast.Definition, seen map[string]bool) {
	c.applied(def.Directives)
	c.bounded(def.Position, def.Name, max(len(seen)+len(def.Fields)+len(def.EnumValues), len(def.Types), len(def.Interfaces)))
	for _, name := range def.Interfaces {
		c.typeName(def.Position, name)
	}
	for i, name := range def.Types {
		pos := def.Position
		if i < len(def.TypePositions) && def.TypePositions[i] != nil {
			pos = def.TypePositions[i]
		}
		c.typeName(pos, name)
	}
	for _, f := range def.Fields {
		if seen[f.Name] {
			c.problem(f.Position, "field %s.%s is defined twice", def.Name, f.Name)
		}
		seen[f.Name] = true
		c.typeName(f.Type.Position, f.Type.Name())
		c.applied(f.Directives)
		c.arguments(def.Name+"."+f.Name, f.Arguments)
	}
	for _, v := range def.EnumValues {
		if seen[v.Name] {
			c.problem(v.Position, "enum value %s.%s is defined twice", def.Name, v.Name)
		}
		seen[v.Name] = true
		c.applied(v.Directives)
	}
}

func (c *checker) arguments(of string, args ast.ArgumentDefinitionList) {
	if len(args) > 0 {
		c.bounded(args[0].Position, of, len(args))
	}
	seen := make(map[string]bool, len(args))
	for _, a := range args {
		if seen[a.Name] {
			c.problem(a.Position, "argument %s of %s is defined twice", a.Name, of)
		}
		seen[a.Name] = true
		c.typeName(a.Type.Position, a.Type.Name())
		c.applied(a.Directives)
	}
}

func (c *checker) bounded(pos *ast.Position, of string, n int) {
	if n > maxMembers {
		c.problem(pos, "%s has more than %d members", of, maxMembers)
	}
}

func (c *checker) typeName(pos *ast.Position, name string) {
	if c.types[name] == nil {
		c.problem(pos, "type %s is not defined", name)
	}
}

func (c *checker) applied(directives ast.DirectiveList) {
	for _, d := range directives {
		if !c.directives[d.Name] {
			c.problem(d.Position, "directive @%s is applied but not defined", d.Name)
		}
	}
}
