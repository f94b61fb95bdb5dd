package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	gql "github.com/vektah/gqlparser/v2/ast"
)

// argumentChecker holds what rules read below input.args and input.value
// against the GraphQL types of the coordinates that reach them.
type argumentChecker struct {
	schema *gql.Schema
	report *report
	seen   map[Problem]bool
}

// check looks at every read of the class, its own and its helpers'.
func (a *argumentChecker) check(c *class) {
	for _, rd := range c.reads.reads {
		if len(rd.path) < 2 {
			if len(rd.path) == 1 && rd.path[0] == "value" {
				a.compare(c, rd, a.valueType(c))
			}
			continue
		}
		switch {
		case rd.path[0] == "value":
			a.follow(c, rd, a.valueType(c), rd.path[1:])
		case rd.path[0] == "args":
			a.args(c, rd)
		case rd.path[0] == "operation" && rd.path[1] == "kind" && !rd.open:
			a.constants(c, rd, []string{"query", "mutation", "subscription"}, "input.operation.kind")
		}
	}
}

func (a *argumentChecker) problem(c *class, rd read, format string, args ...any) {
	loc := rd.loc
	if loc == nil {
		loc = c.group.loc()
	}
	p := at(loc, fmt.Sprintf("%s: ", c.group.head)+fmt.Sprintf(format, args...)+through(c, rd))
	if !a.seen[p] {
		a.seen[p] = true
		a.report.problems = append(a.report.problems, p)
	}
}

// args checks a path below input.args: the argument must exist on the field,
// or, for a wildcard, on one of the fields that it governs.
func (a *argumentChecker) args(c *class, rd read) {
	fields := a.fields(c)
	if fields == nil {
		return
	}
	var names []string
	var first *gql.ArgumentDefinition
	for _, f := range fields {
		for _, arg := range f.Arguments {
			if arg.Name != rd.path[1] {
				names = append(names, arg.Name)
				continue
			}
			if first == nil || !a.fits(first.Type, rd.path[2:]) {
				first = arg
			}
		}
	}
	if first != nil {
		a.follow(c, rd, first.Type, rd.path[2:])
		return
	}
	slices.Sort(names)
	names = slices.Compact(names)
	what := "field " + strings.Join(c.group.path[:min(2, len(c.group.path))], ".") + " has"
	if len(fields) != 1 {
		what = "no field that it governs has"
	}
	switch {
	case len(names) == 0:
		a.problem(c, rd, "reads input.%s, but %s no arguments", strings.Join(rd.path, "."), strings.TrimSuffix(what, " has")+" has")
	case len(fields) != 1:
		a.problem(c, rd, "reads input.%s, but %s an argument %q%s", strings.Join(rd.path, "."), what, rd.path[1], didYouMean(rd.path[1], names))
	default:
		a.problem(c, rd, "reads input.%s, but %s no argument %q; it has %s%s", strings.Join(rd.path, "."), what, rd.path[1],
			strings.Join(names, ", "), didYouMean(rd.path[1], names))
	}
}

// fields lists the fields whose rule the class can be; nil where its head
// does not say.
func (a *argumentChecker) fields(c *class) []*gql.FieldDefinition {
	var typ, field *string
	switch g := c.group; {
	case g.kind == entryInput || g.kind == entryError && len(g.path) == 2 && a.isInput(g.path[0]):
		return nil
	case g.vars:
		typ, field = g.match[0], g.match[1]
	case len(g.path) >= 2:
		typ, field = &g.path[0], &g.path[1]
	default:
		return nil
	}
	open := func(s *string) bool { return s == nil || *s == star }
	var out []*gql.FieldDefinition
	for name, def := range a.schema.Types {
		if def.Kind != gql.Object || strings.HasPrefix(name, "__") || !open(typ) && *typ != name {
			continue
		}
		for _, f := range def.Fields {
			if open(field) || f.Name == *field {
				out = append(out, f)
			}
		}
	}
	return out
}

func (a *argumentChecker) isInput(typ string) bool {
	def := a.schema.Types[typ]
	return def != nil && def.Kind == gql.InputObject
}

// valueType is the type of input.value for an allow_argument or allow_input
// class, or nil.
func (a *argumentChecker) valueType(c *class) *gql.Type {
	g := c.group
	def := (*gql.Definition)(nil)
	if len(g.path) > 0 {
		def = a.schema.Types[g.path[0]]
	}
	if def == nil {
		return nil
	}
	f := def.Fields.ForName(g.path[1])
	switch {
	case f == nil:
		return nil
	case g.kind == entryInput:
		return f.Type
	case g.kind == entryArgument:
		if arg := f.Arguments.ForName(g.path[2]); arg != nil {
			return arg.Type
		}
	}
	return nil
}

// fits reports whether a path can be followed into a type.
func (a *argumentChecker) fits(t *gql.Type, path []string) bool {
	_, _, ok := a.walk(t, path)
	return ok
}

// walk follows a path as far as it exists. rest is what could not be
// followed. A custom scalar may hold anything: the type is nil then.
func (a *argumentChecker) walk(t *gql.Type, path []string) (at *gql.Type, rest []string, ok bool) {
	for i, key := range path {
		if t.Elem != nil {
			return t, path[i:], false
		}
		def := a.schema.Types[t.Name()]
		switch {
		case def == nil || def.Kind == gql.Scalar && !builtinScalar(def.Name):
			return nil, nil, true
		case def.Kind != gql.InputObject:
			return t, path[i:], false
		}
		f := def.Fields.ForName(key)
		if f == nil {
			return t, path[i:], false
		}
		t = f.Type
	}
	return t, nil, true
}

func builtinScalar(name string) bool {
	return slices.Contains([]string{"Int", "Float", "String", "Boolean", "ID"}, name)
}

// follow reports a path that the type does not have, and constants that the
// value is compared with and can never equal.
func (a *argumentChecker) follow(c *class, rd read, t *gql.Type, path []string) {
	if t == nil {
		return
	}
	end, rest, ok := a.walk(t, path)
	if ok {
		if end != nil && !rd.open {
			a.compare(c, rd, end)
		}
		return
	}
	done := strings.Join(rd.path[:len(rd.path)-len(rest)], ".")
	def := a.schema.Types[end.Name()]
	switch {
	case end.Elem != nil:
		a.problem(c, rd, "reads %q of input.%s, which is a list, %s", rest[0], done, end)
	case def.Kind == gql.InputObject:
		a.problem(c, rd, "reads input.%s.%s, but %s has no field %q%s", done, rest[0], def.Name, rest[0], didYouMean(rest[0], fieldNames(def)))
	default:
		a.problem(c, rd, "reads %q of input.%s, which is %s", rest[0], done, end)
	}
}

// compare checks the constants that a value of type t is compared with.
func (a *argumentChecker) compare(c *class, rd read, t *gql.Type) {
	if t == nil || rd.open {
		return
	}
	def := a.schema.Types[t.Name()]
	if def == nil || def.Kind != gql.Enum {
		return
	}
	var values []string
	for _, v := range def.EnumValues {
		values = append(values, v.Name)
	}
	a.constants(c, rd, values, def.Name)
}

// constants reports strings that the read value is compared with and that are
// none of the known values.
func (a *argumentChecker) constants(c *class, rd read, known []string, what string) {
	for _, s := range comparedWith(rd) {
		if !slices.Contains(known, s) {
			a.problem(c, rd, "compares input.%s with %q, which is no value of %s%s", strings.Join(rd.path, "."), s, what, oneOf(s, known))
		}
	}
}

func oneOf(name string, known []string) string {
	if near := didYouMean(name, known); near != "" {
		return near
	}
	if len(known) == 0 {
		return "; it has none"
	}
	return "; it has " + strings.Join(known, ", ")
}

// comparedWith lists the string constants that a read is compared with by ==,
// != or in. OPA gives a read that is an operand of a call a variable first.
func comparedWith(rd read) []string {
	if rd.expr == nil || !rd.expr.IsCall() {
		return nil
	}
	is := func(t *ast.Term) bool {
		ref, ok := t.Value.(ast.Ref)
		if !ok || ref[0].Value.Compare(ast.InputRootDocument.Value) != 0 {
			return false
		}
		path, open := groundPath(ref)
		return !open && slices.Equal(path, rd.path)
	}
	variable := assigned(rd.expr, is)
	if variable == nil {
		return constantsBeside(rd.expr, is)
	}
	var out []string
	ast.WalkExprs(rd.rule, func(expr *ast.Expr) bool {
		out = append(out, constantsBeside(expr, func(t *ast.Term) bool { return t.Value.Compare(variable) == 0 })...)
		return false
	})
	return out
}

// assigned returns the variable that an expression sets to the read, or nil.
func assigned(expr *ast.Expr, is func(*ast.Term) bool) ast.Value {
	if !expr.IsEquality() {
		return nil
	}
	for i := range 2 {
		if v, ok := expr.Operand(i).Value.(ast.Var); ok && is(expr.Operand(1-i)) {
			return v
		}
	}
	return nil
}

// constantsBeside returns the string constants beside the operand that is meant.
func constantsBeside(expr *ast.Expr, is func(*ast.Term) bool) []string {
	if !expr.IsCall() {
		return nil
	}
	switch expr.Operator().String() {
	case ast.Equality.Name, ast.Equal.Name, ast.NotEqual.Name, ast.Assign.Name, ast.Member.Name:
	default:
		return nil
	}
	operands := expr.Operands()
	at := slices.IndexFunc(operands, is)
	if at < 0 || len(operands) < 2 {
		return nil
	}
	var out []string
	switch v := operands[1-min(at, 1)].Value.(type) {
	case ast.String:
		out = append(out, string(v))
	case ast.Set:
		v.Foreach(func(t *ast.Term) { out = append(out, constantString(t)...) })
	case *ast.Array:
		v.Foreach(func(t *ast.Term) { out = append(out, constantString(t)...) })
	}
	return out
}

func constantString(t *ast.Term) []string {
	if s, ok := t.Value.(ast.String); ok {
		return []string{string(s)}
	}
	return nil
}
