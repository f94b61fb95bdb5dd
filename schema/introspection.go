package schema

import (
	"crypto/sha256"
	"fmt"
	"math"

	"github.com/go-json-experiment/json"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/lexer"
)

// IntrospectionQuery asks a server for its schema, in the form that
// FromIntrospection reads. It keeps to what every server since the October 2021
// specification answers.
const IntrospectionQuery = `query IntrospectionQuery {
  __schema {
    description
    queryType { name }
    mutationType { name }
    subscriptionType { name }
    types { ...FullType }
    directives {
      name
      description
      isRepeatable
      locations
      args(includeDeprecated: true) { ...InputValue }
    }
  }
}
fragment FullType on __Type {
  kind
  name
  description
  specifiedByURL
  fields(includeDeprecated: true) {
    name
    description
    args(includeDeprecated: true) { ...InputValue }
    type { ...TypeRef }
    isDeprecated
    deprecationReason
  }
  inputFields(includeDeprecated: true) { ...InputValue }
  interfaces { ...TypeRef }
  enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
  possibleTypes { ...TypeRef }
}
fragment InputValue on __InputValue {
  name
  description
  type { ...TypeRef }
  defaultValue
  isDeprecated
  deprecationReason
}
fragment TypeRef on __Type {
  kind
  name
  ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } }
}`

type introspectionResult struct {
	Data   *introspectionData `json:"data"`
	Schema *introspected      `json:"__schema"`
}

type introspectionData struct {
	Schema *introspected `json:"__schema"`
}

type introspected struct {
	Description      string                   `json:"description"`
	QueryType        *introspectedType        `json:"queryType"`
	MutationType     *introspectedType        `json:"mutationType"`
	SubscriptionType *introspectedType        `json:"subscriptionType"`
	Types            []introspectedDefinition `json:"types"`
	Directives       []introspectedDirective  `json:"directives"`
}

type introspectedType struct {
	Kind   string            `json:"kind"`
	Name   string            `json:"name"`
	OfType *introspectedType `json:"ofType"`
}

type introspectedDefinition struct {
	Kind           string              `json:"kind"`
	Name           string              `json:"name"`
	Description    string              `json:"description"`
	SpecifiedByURL string              `json:"specifiedByURL"`
	IsOneOf        bool                `json:"isOneOf"`
	Fields         []introspectedField `json:"fields"`
	InputFields    []introspectedInput `json:"inputFields"`
	Interfaces     []introspectedType  `json:"interfaces"`
	EnumValues     []introspectedField `json:"enumValues"`
	PossibleTypes  []introspectedType  `json:"possibleTypes"`
}

// introspectedField is a field or an enum value.
type introspectedField struct {
	Name              string              `json:"name"`
	Description       string              `json:"description"`
	Args              []introspectedInput `json:"args"`
	Type              introspectedType    `json:"type"`
	IsDeprecated      bool                `json:"isDeprecated"`
	DeprecationReason *string             `json:"deprecationReason"`
}

// introspectedInput is an argument or an input field.
type introspectedInput struct {
	Name              string           `json:"name"`
	Description       string           `json:"description"`
	Type              introspectedType `json:"type"`
	DefaultValue      *string          `json:"defaultValue"`
	IsDeprecated      bool             `json:"isDeprecated"`
	DeprecationReason *string          `json:"deprecationReason"`
}

type introspectedDirective struct {
	Name         string              `json:"name"`
	Description  string              `json:"description"`
	IsRepeatable bool                `json:"isRepeatable"`
	Locations    []string            `json:"locations"`
	Args         []introspectedInput `json:"args"`
}

// FromIntrospection builds a schema from the result of an introspection query:
// {"data":{"__schema":…}} or {"__schema":…}. name is shown in problems. The
// result is data: names must be names, default values must be literals, and
// nothing in it is printed and parsed again. An introspection result does not
// show which directives are applied, other than @deprecated, @specifiedBy and
// @oneOf. The size limit and the errors are Load's.
func FromIntrospection(name string, result []byte) (*Schema, error) {
	if len(result) > MaxSource {
		return nil, &LoadError{[]Problem{{File: name, Message: fmt.Sprintf("larger than %d bytes", MaxSource)}}}
	}
	var r introspectionResult
	if err := json.Unmarshal(result, &r); err != nil {
		return nil, &LoadError{[]Problem{{File: name, Message: "not an introspection result: " + err.Error()}}}
	}
	if r.Data != nil && r.Schema == nil {
		r.Schema = r.Data.Schema
	}
	if r.Schema == nil {
		return nil, &LoadError{[]Problem{{File: name, Message: "not an introspection result: there is no __schema"}}}
	}
	b := introspectionBuilder{pos: &ast.Position{Src: &ast.Source{Name: name}}}
	doc := b.document(r.Schema)
	if len(b.problems) > 0 {
		return nil, &LoadError{b.problems}
	}
	return build(doc, [][32]byte{sha256.Sum256(append([]byte("introspection\x00"), result...))})
}

// introspectionBuilder makes definitions of an introspection result. Their
// position names the source, with line 0.
type introspectionBuilder struct {
	pos      *ast.Position
	problems []Problem
}

func (b *introspectionBuilder) problem(format string, args ...any) {
	b.problems = append(b.problems, problemAt(b.pos, fmt.Sprintf(format, args...)))
}

func (b *introspectionBuilder) document(in *introspected) *ast.SchemaDocument {
	doc := &ast.SchemaDocument{Position: b.pos}
	root := &ast.SchemaDefinition{Description: in.Description, Position: b.pos}
	for _, r := range []struct {
		kind ast.Operation
		typ  *introspectedType
	}{{ast.Query, in.QueryType}, {ast.Mutation, in.MutationType}, {ast.Subscription, in.SubscriptionType}} {
		if r.typ != nil {
			root.OperationTypes = append(root.OperationTypes, &ast.OperationTypeDefinition{
				Operation: r.kind, Type: b.name(r.typ.Name, "the "+string(r.kind)+" type"), Position: b.pos,
			})
		}
	}
	doc.Schema = ast.SchemaDefinitionList{root}
	for i := range in.Types {
		doc.Definitions = append(doc.Definitions, b.definition(&in.Types[i]))
	}
	for i := range in.Directives {
		d := &in.Directives[i]
		def := &ast.DirectiveDefinition{
			Name: b.name(d.Name, "a directive"), Description: d.Description, IsRepeatable: d.IsRepeatable, Position: b.pos,
			Arguments: b.arguments("@"+d.Name, d.Args),
		}
		for _, l := range d.Locations {
			def.Locations = append(def.Locations, ast.DirectiveLocation(l))
		}
		doc.Directives = append(doc.Directives, def)
	}
	return doc
}

func (b *introspectionBuilder) definition(in *introspectedDefinition) *ast.Definition {
	def := &ast.Definition{
		Kind: ast.DefinitionKind(in.Kind), Name: b.name(in.Name, "a type"), Description: in.Description, Position: b.pos,
	}
	switch def.Kind {
	case ast.Object, ast.Interface:
		for i := range in.Fields {
			f := &in.Fields[i]
			def.Fields = append(def.Fields, &ast.FieldDefinition{
				Name: b.name(f.Name, "a field of "+in.Name), Description: f.Description, Position: b.pos,
				Type:       b.typeRef(&f.Type, in.Name+"."+f.Name),
				Arguments:  b.arguments(in.Name+"."+f.Name, f.Args),
				Directives: b.deprecated(f.IsDeprecated, f.DeprecationReason),
			})
		}
		for _, t := range in.Interfaces {
			def.Interfaces = append(def.Interfaces, b.name(t.Name, "an interface of "+in.Name))
		}
	case ast.Union:
		for _, t := range in.PossibleTypes {
			def.Types = append(def.Types, b.name(t.Name, "a member of "+in.Name))
		}
	case ast.Enum:
		for i := range in.EnumValues {
			v := &in.EnumValues[i]
			def.EnumValues = append(def.EnumValues, &ast.EnumValueDefinition{
				Name: b.name(v.Name, "a value of "+in.Name), Description: v.Description, Position: b.pos,
				Directives: b.deprecated(v.IsDeprecated, v.DeprecationReason),
			})
		}
	case ast.InputObject:
		for _, a := range b.arguments(in.Name, in.InputFields) {
			def.Fields = append(def.Fields, &ast.FieldDefinition{
				Name: a.Name, Description: a.Description, Position: b.pos,
				Type: a.Type, DefaultValue: a.DefaultValue, Directives: a.Directives,
			})
		}
		if in.IsOneOf {
			def.Directives = append(def.Directives, b.directive("oneOf", "", ""))
		}
	case ast.Scalar:
		if in.SpecifiedByURL != "" {
			def.Directives = append(def.Directives, b.directive("specifiedBy", "url", in.SpecifiedByURL))
		}
	default:
		b.problem("type %s is of unknown kind %q", clip(in.Name), clip(in.Kind))
	}
	return def
}

func (b *introspectionBuilder) arguments(of string, in []introspectedInput) ast.ArgumentDefinitionList {
	var args ast.ArgumentDefinitionList
	for i := range in {
		a := &in[i]
		def := &ast.ArgumentDefinition{
			Name: b.name(a.Name, "an argument or input field of "+of), Description: a.Description, Position: b.pos,
			Type:       b.typeRef(&a.Type, of+" "+a.Name),
			Directives: b.deprecated(a.IsDeprecated, a.DeprecationReason),
		}
		if a.DefaultValue != nil {
			value, err := parseLiteral(*a.DefaultValue, b.pos)
			if err != nil {
				b.problem("the default of %s of %s is not a literal: %s", clip(a.Name), clip(of), err)
			}
			def.DefaultValue = value
		}
		args = append(args, def)
	}
	return args
}

// name holds s to the grammar of names: no parser has read it.
func (b *introspectionBuilder) name(s, what string) string {
	ok := s != "" && nameStart(s[0])
	for i := 0; ok && i < len(s); i++ {
		ok = nameContinue(s[i])
	}
	if !ok {
		b.problem("%q, the name of %s, is not a name", clip(s), clip(what))
	}
	return s
}

// maxWrapping bounds the lists and non-nulls around a type.
const maxWrapping = 32

func (b *introspectionBuilder) typeRef(in *introspectedType, of string) *ast.Type {
	return b.wrapped(in, of, 0)
}

func (b *introspectionBuilder) wrapped(in *introspectedType, of string, depth int) *ast.Type {
	switch {
	case depth > maxWrapping || in == nil:
		b.problem("the type of %s is incomplete or wrapped too deep", clip(of))
		return ast.NamedType("String", b.pos)
	case in.Kind == "NON_NULL":
		t := b.wrapped(in.OfType, of, depth+1)
		if t.NonNull {
			b.problem("the type of %s is non-null twice", clip(of))
		}
		t.NonNull = true
		return t
	case in.Kind == "LIST":
		return ast.ListType(b.wrapped(in.OfType, of, depth+1), b.pos)
	}
	return ast.NamedType(b.name(in.Name, "the type of "+of), b.pos)
}

func (b *introspectionBuilder) deprecated(is bool, reason *string) ast.DirectiveList {
	switch {
	case !is:
		return nil
	case reason == nil:
		return ast.DirectiveList{b.directive("deprecated", "", "")}
	}
	return ast.DirectiveList{b.directive("deprecated", "reason", *reason)}
}

// directive applies a specified directive with at most one string argument.
func (b *introspectionBuilder) directive(name, argument, value string) *ast.Directive {
	d := &ast.Directive{Name: name, Position: b.pos}
	if argument != "" {
		d.Arguments = ast.ArgumentList{{
			Name: argument, Position: b.pos,
			Value: &ast.Value{Kind: ast.StringValue, Raw: value, Position: b.pos},
		}}
	}
	return d
}

// parseLiteral reads one constant literal and nothing else. All of it is given
// the position at; errors are placed inside the text.
func parseLiteral(text string, at *ast.Position) (*ast.Value, error) {
	text, _, err := scan(text, Limits{Document: MaxSource, Tokens: math.MaxInt})
	if err != nil {
		return nil, err
	}
	p := literalParser{at: at, lexer: lexer.New(&ast.Source{Input: text})}
	if err := p.next(); err != nil {
		return nil, err
	}
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	if p.token.Kind != lexer.EOF {
		return nil, p.unexpected()
	}
	return v, nil
}

// literalParser recurses as deep as scan lets brackets nest.
type literalParser struct {
	at    *ast.Position
	lexer lexer.Lexer
	token lexer.Token
}

func (p *literalParser) next() (err error) {
	p.token, err = p.lexer.ReadToken()
	return err
}

func (p *literalParser) unexpected() error {
	return &ParseError{Message: "unexpected " + p.token.Kind.String(), Line: p.token.Pos.Line, Column: p.token.Pos.Column}
}

func (p *literalParser) value() (*ast.Value, error) {
	v := &ast.Value{Raw: p.token.Value, Position: p.at}
	switch p.token.Kind {
	case lexer.BracketL, lexer.BraceL:
		return v, p.children(v)
	case lexer.Int:
		v.Kind = ast.IntValue
	case lexer.Float:
		v.Kind = ast.FloatValue
	case lexer.String:
		v.Kind = ast.StringValue
	case lexer.Name:
		switch p.token.Value {
		case "true", "false":
			v.Kind = ast.BooleanValue
		case "null":
			v.Kind = ast.NullValue
		default:
			v.Kind = ast.EnumValue
		}
	default:
		return nil, p.unexpected()
	}
	return v, p.next()
}

// children reads a list or an object into v.
func (p *literalParser) children(v *ast.Value) error {
	end := lexer.BracketR
	v.Kind, v.Raw = ast.ListValue, ""
	if p.token.Kind == lexer.BraceL {
		v.Kind, end = ast.ObjectValue, lexer.BraceR
	}
	if err := p.next(); err != nil {
		return err
	}
	for p.token.Kind != end {
		child := &ast.ChildValue{Position: p.at}
		if v.Kind == ast.ObjectValue {
			if p.token.Kind != lexer.Name {
				return p.unexpected()
			}
			child.Name = p.token.Value
			if err := p.next(); err != nil {
				return err
			}
			if p.token.Kind != lexer.Colon {
				return p.unexpected()
			}
			if err := p.next(); err != nil {
				return err
			}
		}
		var err error
		if child.Value, err = p.value(); err != nil {
			return err
		}
		v.Children = append(v.Children, child)
	}
	return p.next()
}
