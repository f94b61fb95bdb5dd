package cost

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// listSpec finds what sizes field f of def: the options, then @listSize, each
// on the field itself and then on the interfaces' field, then the profile's
// heuristics. Nil means that nothing does.
func (b *modelBuilder) listSpec(f *ast.FieldDefinition, spec *fieldSpec, coordinates []string) *listSpec {
	for _, c := range coordinates {
		if l, ok := b.options.ListSizes[c]; ok {
			return b.resolveListSize("list_sizes."+c, l, f, spec)
		}
	}
	for _, c := range coordinates {
		typeName, field, _ := strings.Cut(c, ".")
		owner := b.schema.AST().Types[typeName]
		for _, d := range owner.Fields.ForName(field).Directives {
			if b.names.listSize[d.Name] {
				key := "schema: " + c + " @" + d.Name
				return b.resolveListSize(key, b.parseListSize(key, d), f, spec)
			}
		}
	}
	if b.algebra.heuristic {
		return b.heuristicSize(f, spec)
	}
	return nil
}

// pageArguments are the names that size a list by convention; the first two
// also size a connection (https://relay.dev/graphql/connections.htm).
var pageArguments = []string{"first", "last", "limit", "take"}

func (b *modelBuilder) heuristicSize(f *ast.FieldDefinition, spec *fieldSpec) *listSpec {
	names := pageArguments
	var sized []string
	switch {
	case spec.list && !spec.page:
	case !spec.list && spec.returns.connection:
		names = pageArguments[:2]
		sized = sizedByName(b.schema.AST().Types[spec.returns.name])
	default:
		return nil
	}
	l := &listSpec{assumed: none}
	for _, name := range names {
		if a := f.Arguments.ForName(name); a != nil && a.Type.NamedType == "Int" {
			l.slicing = append(l.slicing, slicingPath{text: name, arg: spec.argument(name)})
		}
	}
	if len(l.slicing) == 0 {
		return nil
	}
	for _, name := range sized {
		l.sized = append(l.sized, []string{name})
	}
	return l
}

func (s *fieldSpec) argument(name string) *inputSpec {
	for _, a := range s.args {
		if a.name == name {
			return a
		}
	}
	return nil
}

// parseListSize reads a directive's arguments; requireOneSlicingArgument is
// true unless the directive says otherwise (draft, section 8.4).
func (b *modelBuilder) parseListSize(key string, d *ast.Directive) ListSize {
	l := ListSize{RequireOne: true}
	for _, a := range d.Arguments {
		if a.Value == nil || a.Value.Kind == ast.NullValue {
			continue
		}
		switch a.Name {
		case "assumedSize":
			n, err := strconv.Atoi(a.Value.Raw)
			if err != nil {
				b.problem(key, fmt.Sprintf("assumedSize %q is not a size", a.Value.Raw))
				continue
			}
			l.Assumed = &n
		case "slicingArguments":
			l.Slicing = stringList(a.Value)
		case "sizedFields":
			l.SizedFields = stringList(a.Value)
		case "requireOneSlicingArgument":
			l.RequireOne = a.Value.Raw == "true"
		}
	}
	return l
}

func stringList(v *ast.Value) []string {
	if v.Kind != ast.ListValue {
		return []string{v.Raw}
	}
	out := make([]string, 0, len(v.Children))
	for _, item := range v.Children {
		out = append(out, item.Value.Raw)
	}
	return out
}

func (b *modelBuilder) resolveListSize(key string, l ListSize, f *ast.FieldDefinition, spec *fieldSpec) *listSpec {
	out := &listSpec{assumed: none, require: l.RequireOne && !b.options.IgnoreRequireOne}
	if l.Assumed != nil {
		if out.assumed = float64(*l.Assumed); *l.Assumed < 0 {
			b.problem(key, fmt.Sprintf("the assumed size is %d, a size cannot be negative", *l.Assumed))
		}
	}
	for _, text := range l.Slicing {
		path := splitPath(text)
		if len(path) == 0 {
			b.problem(key, "a slicing argument has no name")
			continue
		}
		arg := spec.argument(path[0])
		if arg == nil {
			b.problem(key, f.Name+" has no argument "+strconv.Quote(path[0])+nearest(path[0], argumentNames(f.Arguments)))
			continue
		}
		if bad := badInputPath(arg, path[1:]); bad != "" {
			b.problem(key, strconv.Quote(text)+": "+bad)
			continue
		}
		out.slicing = append(out.slicing, slicingPath{text: text, arg: arg, path: path[1:]})
	}
	b.resolveSizedFields(key, l, spec, out)
	return out
}

// resolveSizedFields checks the sized fields. Servers annotate every connection
// with edges and nodes, whichever it has: one that exists is enough.
func (b *modelBuilder) resolveSizedFields(key string, l ListSize, spec *fieldSpec, out *listSpec) {
	var missing []string
	for _, text := range l.SizedFields {
		path := splitPath(text)
		bad := "a sized field has no name"
		if len(path) > 0 {
			bad = b.badFieldPath(spec.returns.name, path)
		}
		if bad == "" {
			out.sized = append(out.sized, path)
		} else {
			missing = append(missing, strconv.Quote(text)+": "+bad)
		}
	}
	if len(out.sized) == 0 {
		for _, m := range missing {
			b.problem(key, m)
		}
	}
}

// splitPath reads "a.b.c" and "a { b { c } }" alike.
func splitPath(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(".{} \t\n\r,", r) })
}

func badInputPath(arg *inputSpec, path []string) string {
	for _, name := range path {
		if arg.typ == nil {
			return arg.name + " is not an input object"
		}
		next := arg.typ.fields[name]
		if next == nil {
			return arg.typ.name + " has no field " + strconv.Quote(name) + nearest(name, sortedKeys(arg.typ.fields))
		}
		arg = next
	}
	return ""
}

func (b *modelBuilder) badFieldPath(typeName string, path []string) string {
	for _, name := range path {
		def := b.schema.AST().Types[typeName]
		if def == nil || !def.IsCompositeType() {
			return typeName + " has no fields"
		}
		f := def.Fields.ForName(name)
		if def.Kind == ast.Union {
			f = b.memberField(def, name)
		}
		if f == nil {
			return typeName + " has no field " + strconv.Quote(name) + nearest(name, fieldNames(def))
		}
		typeName = f.Type.Name()
	}
	return ""
}

func (b *modelBuilder) memberField(union *ast.Definition, name string) *ast.FieldDefinition {
	i := slices.IndexFunc(union.Types, func(t string) bool {
		return b.schema.AST().Types[t].Fields.ForName(name) != nil
	})
	if i < 0 {
		return nil
	}
	return b.schema.AST().Types[union.Types[i]].Fields.ForName(name)
}
