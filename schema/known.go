package schema

import (
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// knownDirectives are commonly applied without being defined: those of Apollo
// Federation 1 and 2 (https://www.apollographql.com/docs/graphos/schema-design/federated-schemas/reference/directives),
// of core schemas (@link), of the IBM cost specification (@cost, @listSize) and
// Apollo's cache hints. A schema that defines one keeps its own.
const knownDirectives = `
directive @link(url: String!, as: String, for: link__Purpose, import: [link__Import]) repeatable on SCHEMA
directive @core(feature: String!, as: String, for: link__Purpose) repeatable on SCHEMA
directive @composeDirective(name: String!) repeatable on SCHEMA
directive @key(fields: String!, resolvable: Boolean = true) repeatable on OBJECT | INTERFACE
directive @requires(fields: String!) on FIELD_DEFINITION
directive @provides(fields: String!) on FIELD_DEFINITION
directive @external(reason: String) on OBJECT | FIELD_DEFINITION
directive @extends on OBJECT | INTERFACE
directive @shareable repeatable on OBJECT | FIELD_DEFINITION
directive @override(from: String!, label: String) on FIELD_DEFINITION
directive @interfaceObject on OBJECT
directive @inaccessible on FIELD_DEFINITION | OBJECT | INTERFACE | UNION | ARGUMENT_DEFINITION | SCALAR | ENUM | ENUM_VALUE | INPUT_OBJECT | INPUT_FIELD_DEFINITION
directive @tag(name: String!) repeatable on FIELD_DEFINITION | INTERFACE | OBJECT | UNION | ARGUMENT_DEFINITION | SCALAR | ENUM | ENUM_VALUE | INPUT_OBJECT | INPUT_FIELD_DEFINITION | SCHEMA
directive @authenticated on FIELD_DEFINITION | OBJECT | INTERFACE | SCALAR | ENUM
directive @requiresScopes(scopes: [[String!]!]!) on FIELD_DEFINITION | OBJECT | INTERFACE | SCALAR | ENUM
directive @policy(policies: [[String!]!]!) on FIELD_DEFINITION | OBJECT | INTERFACE | SCALAR | ENUM
directive @context(name: String!) repeatable on INTERFACE | OBJECT | UNION
directive @fromContext(field: String!) on ARGUMENT_DEFINITION
directive @cost(weight: String!) on ARGUMENT_DEFINITION | ENUM | FIELD_DEFINITION | INPUT_FIELD_DEFINITION | OBJECT | SCALAR | INTERFACE | UNION | INPUT_OBJECT
directive @listSize(assumedSize: Int, slicingArguments: [String!], sizedFields: [String!], requireOneSlicingArgument: Boolean = true) on FIELD_DEFINITION
directive @cacheControl(maxAge: Int, scope: CacheControlScope, inheritMaxAge: Boolean) on FIELD_DEFINITION | OBJECT | INTERFACE | UNION
scalar link__Import
enum link__Purpose { SECURITY EXECUTION }
enum CacheControlScope { PUBLIC PRIVATE }
`

// assumedSource names where the definitions stand that the schema lacks.
const assumedSource = "known directives"

// assumed reports whether a definition is ours and not the schema's.
func assumed(p *ast.Position) bool { return p != nil && p.Src != nil && p.Src.Name == assumedSource }

// addKnownDirectives defines the known directives that doc applies and does not
// define, with the types of their arguments.
func addKnownDirectives(doc *ast.SchemaDocument) {
	// Parsed each time: extensions in doc would change shared definitions.
	known, err := parser.ParseSchema(&ast.Source{Name: assumedSource, Input: knownDirectives})
	if err != nil {
		panic("schema: knownDirectives does not parse: " + err.Error())
	}
	defined := map[string]bool{}
	for _, d := range doc.Directives {
		defined[d.Name] = true
	}
	eachApplied(doc, func(applied ast.DirectiveList) {
		for _, a := range applied {
			if defined[a.Name] {
				continue
			}
			def := known.Directives.ForName(a.Name)
			if def == nil {
				continue
			}
			defined[a.Name] = true
			doc.Directives = append(doc.Directives, def)
			for _, arg := range def.Arguments {
				name := arg.Type.Name()
				if t := known.Definitions.ForName(name); t != nil && doc.Definitions.ForName(name) == nil {
					doc.Definitions = append(doc.Definitions, t)
				}
			}
		}
	})
}

// eachApplied calls f with each list of directives that doc applies.
func eachApplied(doc *ast.SchemaDocument, f func(ast.DirectiveList)) {
	arguments := func(args ast.ArgumentDefinitionList) {
		for _, a := range args {
			f(a.Directives)
		}
	}
	for _, def := range slices.Concat(doc.Schema, doc.SchemaExtension) {
		f(def.Directives)
	}
	for _, def := range doc.Directives {
		arguments(def.Arguments)
	}
	for _, def := range slices.Concat(doc.Definitions, doc.Extensions) {
		f(def.Directives)
		for _, field := range def.Fields {
			f(field.Directives)
			arguments(field.Arguments)
		}
		for _, v := range def.EnumValues {
			f(v.Directives)
		}
	}
}

// dropSpecified removes definitions of what every schema has: printed schemas
// often list them, and the specification's meaning is the only one.
func dropSpecified(doc *ast.SchemaDocument) {
	given := specified()
	doc.Definitions = slices.DeleteFunc(doc.Definitions, func(d *ast.Definition) bool {
		return given.Definitions.ForName(d.Name) != nil
	})
	doc.Directives = slices.DeleteFunc(doc.Directives, func(d *ast.DirectiveDefinition) bool {
		return given.Directives.ForName(d.Name) != nil
	})
}
