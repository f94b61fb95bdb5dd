package schema

import (
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// CanonicalForm returns a digest by which a document is known whatever the
// order of its definitions, its blanks and comments, how its strings are
// escaped, and wherever a client library has added __typename without alias or
// directives. All else counts: names, aliases, arguments and their order,
// literals, directives.
//
// Documents with the same form differ in meaning at most by these __typename.
// It does not validate: beyond limits it refuses fragment cycles, repeated
// fragment names and documents that do not hold exactly one operation
// (*OperationNameError). Errors are otherwise those of [Schema.Compile]; it
// depends on the document only.
func (s *Schema) CanonicalForm(document string, limits Limits) ([32]byte, error) {
	c := compilers.Get().(*compiler)
	defer c.release()
	c.schema, c.types, c.limits = s, s.types, limits.orDefaults()
	if err := c.parse(document); err != nil {
		return [32]byte{}, err
	}
	operations := c.defs[c.fragmentCount:]
	if len(operations) != 1 {
		return [32]byte{}, &OperationNameError{Known: len(operations)}
	}
	if err := c.uniqueNames(); err != nil {
		return [32]byte{}, err
	}
	if err := c.order(); err != nil {
		return [32]byte{}, err
	}
	fragments := make(ast.FragmentDefinitionList, c.fragmentCount)
	for i := range fragments {
		fragments[i] = c.defs[i].frag
	}
	return canonicalForm(operations[0].op, fragments, len(document)), nil
}

func canonicalForm(op *ast.OperationDefinition, fragments ast.FragmentDefinitionList, length int) [32]byte {
	fragments = slices.Clone(fragments)
	slices.SortFunc(fragments, byFragmentName)
	p := printer{out: make([]byte, 0, length), bare: true}
	p.document(op, fragments)
	return sha256.Sum256(p.out)
}

func byFragmentName(a, b *ast.FragmentDefinition) int { return strings.Compare(a.Name, b.Name) }

// CanonicalForm is [Schema.CanonicalForm] of the document that the operation
// was compiled from, without parsing it again; false where the document holds
// other operations. A valid document has no fragment that nothing spreads.
func (op *Operation) CanonicalForm() ([32]byte, bool) {
	if !op.sole || len(op.Fragments) != op.Shape.Fragments {
		return [32]byte{}, false
	}
	if op.canonical {
		return op.Hash, true
	}
	return canonicalForm(op.Definition, op.Fragments, len(op.Text)), true
}

// print sets the operation's canonical text, the shortest that parses to the same:
// no comment, no description, no blank that the grammar does not need. It recurses
// as deep as the document nests. buffer is used for printing.
func (op *Operation) print(buffer []byte) []byte {
	p := printer{out: buffer[:0]}
	p.document(op.Definition, op.Fragments)
	op.Text, op.Hash = string(p.out), sha256.Sum256(p.out)
	op.canonical = !p.typename && slices.IsSortedFunc(op.Fragments, byFragmentName)
	return p.out
}

type printer struct {
	out []byte
	// bare leaves out __typename where it has no alias and no directives.
	bare bool
	// typename says that there was such a one.
	typename bool
}

func (p *printer) document(op *ast.OperationDefinition, fragments ast.FragmentDefinitionList) {
	if op.Operation != ast.Query || op.Name != "" || len(op.VariableDefinitions) > 0 || len(op.Directives) > 0 {
		p.word(string(op.Operation))
		if op.Name != "" {
			p.word(op.Name)
		}
		for i, v := range op.VariableDefinitions {
			p.list(i, '(')
			p.variable(v)
		}
		if len(op.VariableDefinitions) > 0 {
			p.byte(')')
		}
		p.directives(op.Directives)
	}
	p.selections(op.SelectionSet)
	for _, f := range fragments {
		p.word("fragment")
		p.word(f.Name)
		p.word("on")
		p.word(f.TypeCondition)
		p.directives(f.Directives)
		p.selections(f.SelectionSet)
	}
}

func (p *printer) byte(c byte) { p.out = append(p.out, c) }

// word prints a name or number, apart from one that precedes it.
func (p *printer) word(s string) {
	if n := len(p.out); n > 0 && nameContinue(p.out[n-1]) {
		p.byte(' ')
	}
	p.out = append(p.out, s...)
}

// list prints what stands before item i of a list that begins with open.
func (p *printer) list(i int, open byte) {
	if i == 0 {
		p.byte(open)
		return
	}
	p.byte(',')
}

func (p *printer) variable(v *ast.VariableDefinition) {
	p.byte('$')
	p.word(v.Variable)
	p.byte(':')
	p.typ(v.Type)
	if v.DefaultValue != nil {
		p.byte('=')
		p.value(v.DefaultValue)
	}
	p.directives(v.Directives)
}

func (p *printer) typ(t *ast.Type) {
	if t.Elem != nil {
		p.byte('[')
		p.typ(t.Elem)
		p.byte(']')
	} else {
		p.word(t.NamedType)
	}
	if t.NonNull {
		p.byte('!')
	}
}

func (p *printer) selections(set ast.SelectionSet) {
	p.byte('{')
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.Field:
			if sel.Alias == "__typename" && sel.Name == sel.Alias &&
				len(sel.Arguments)+len(sel.Directives)+len(sel.SelectionSet) == 0 {
				p.typename = true
				if p.bare {
					continue
				}
			}
			p.word(sel.Alias)
			if sel.Alias != sel.Name {
				p.byte(':')
				p.word(sel.Name)
			}
			p.arguments(sel.Arguments)
			p.directives(sel.Directives)
			if len(sel.SelectionSet) > 0 {
				p.selections(sel.SelectionSet)
			}
		case *ast.InlineFragment:
			p.out = append(p.out, "..."...)
			if sel.TypeCondition != "" {
				p.word("on")
				p.word(sel.TypeCondition)
			}
			p.directives(sel.Directives)
			p.selections(sel.SelectionSet)
		case *ast.FragmentSpread:
			p.out = append(p.out, "..."...)
			p.word(sel.Name)
			p.directives(sel.Directives)
		}
	}
	p.byte('}')
}

func (p *printer) arguments(args ast.ArgumentList) {
	for i, a := range args {
		p.list(i, '(')
		p.word(a.Name)
		p.byte(':')
		p.value(a.Value)
	}
	if len(args) > 0 {
		p.byte(')')
	}
}

func (p *printer) directives(list ast.DirectiveList) {
	for _, d := range list {
		p.byte('@')
		p.word(d.Name)
		p.arguments(d.Arguments)
	}
}

func (p *printer) value(v *ast.Value) {
	switch v.Kind {
	case ast.Variable:
		p.byte('$')
		p.word(v.Raw)
	case ast.StringValue, ast.BlockValue:
		p.string(v.Raw)
	case ast.ListValue:
		for i, item := range v.Children {
			p.list(i, '[')
			p.value(item.Value)
		}
		if len(v.Children) == 0 {
			p.byte('[')
		}
		p.byte(']')
	case ast.ObjectValue:
		for i, m := range v.Children {
			p.list(i, '{')
			p.word(m.Name)
			p.byte(':')
			p.value(m.Value)
		}
		if len(v.Children) == 0 {
			p.byte('{')
		}
		p.byte('}')
	default:
		p.word(v.Raw)
	}
}

// string prints a plain string of the same value.
func (p *printer) string(s string) {
	p.out = appendString(p.out, s)
}
