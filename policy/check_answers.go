package policy

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	gql "github.com/vektah/gqlparser/v2/ast"
)

// checkAnswers holds mask and drop heads against the fields that they are for.
func (e *Engine) checkAnswers(r *report) {
	for _, c := range e.classes {
		g := c.group
		if g.vars || len(g.path) != 2 {
			continue
		}
		if g.path[1] == star {
			if g.kind == entryDrop {
				e.checkDropped(c, r)
			}
			continue
		}
		def := e.schema.Type(g.path[0])
		if def == nil || def.Fields.ForName(g.path[1]) == nil {
			continue // reported, or "*"
		}
		f := def.Fields.ForName(g.path[1])
		switch g.kind {
		case entryMask:
			e.checkMask(c, def, f, r)
		case entryDrop:
			e.checkDrop(c, def, f, r)
		}
	}
}

// checkMask holds the values of a mask rule that are known against its field.
func (e *Engine) checkMask(c *class, def *gql.Definition, f *gql.FieldDefinition, r *report) {
	if e.effects(def.Name) {
		r.add(c.group.loc(), "%s: a denied field of %s is not asked for, so there is nothing to mask", c.group.head, def.Name)
		return
	}
	if err := maskable(e.schema.AST(), f.Type); err != nil {
		r.add(c.group.loc(), "%s: %s", c.group.head, err)
		return
	}
	for _, rule := range c.group.rules {
		for ; rule != nil; rule = rule.Else {
			if v := rule.Head.Value; v != nil && ast.IsConstant(v.Value) {
				if _, err := e.newMask(f.Type, v); err != nil {
					r.add(rule.Head.Location, "%s: %s", c.group.head, err)
				}
			}
		}
	}
}

// loadTime bounds what Load evaluates. Options.Timeout is for the work of a request: a busy machine must not refuse a good policy.
const loadTime = 30 * time.Second

// checkComputedMasks evaluates the masks that read nothing, such as
// mask.keep_last(4), and holds them against their fields.
func (e *Engine) checkComputedMasks(ctx context.Context, r *report) error {
	s := e.begin(ctx, nil, nil)
	defer s.end()
	s.limit = max(s.limit, loadTime)
	for _, c := range e.classes {
		g := c.group
		if g.kind != entryMask {
			continue
		}
		if len(e.maskKey) == 0 && slices.ContainsFunc(c.reads.rules, isHash) {
			r.add(g.loc(), "%s: a hash needs a key, which policy.mask_key_file gives", g.head)
			continue
		}
		if g.vars || g.path[1] == star || c.constant != nil || c.impure || len(c.paths) > 0 {
			continue
		}
		f := e.schema.Type(g.path[0]).Fields.ForName(g.path[1])
		v, err := s.value(c)
		if broken := (*EvalError)(nil); errors.As(err, &broken) {
			r.add(g.loc(), "%s: %s", g.head, broken.Err)
			continue
		}
		if err != nil {
			return err
		}
		if v != nil {
			if _, err := e.newMask(f.Type, v); err != nil {
				r.add(g.loc(), "%s: %s", g.head, err)
			}
		} else if slices.ContainsFunc(g.rules, bare) {
			r.add(g.loc(), "%s: the value is undefined; a mask function refuses arguments that it cannot use", g.head)
		}
	}
	return nil
}

// bare reports whether a definition has a value and no body.
func bare(rule *ast.Rule) bool {
	return !rule.Default && rule.Else == nil && rule.Body.Equal(ast.NewBody(ast.NewExpr(ast.BooleanTerm(true))))
}

// isHash reports whether a rule is the library's mask function hash.
func isHash(rule *ast.Rule) bool {
	return rule.Location != nil && rule.Location.File == libraryPrefix+"lib/mask.rego" && rule.Head.Name == "hash"
}

// effects reports whether the fields of a type do something: a denied one must
// not be run, whatever its answer would be replaced with.
func (e *Engine) effects(typ string) bool {
	for _, kind := range []gql.Operation{gql.Mutation, gql.Subscription} {
		if root := e.schema.Root(kind); root != nil && root.Name == typ {
			return true
		}
	}
	return false
}

// canMask reports whether a denied value of the field can be masked.
func (e *Engine) canMask(typ string, f *gql.FieldDefinition) bool {
	return !e.effects(typ) && maskable(e.schema.AST(), f.Type) == nil
}

// tellsLength reports whether a field can tell how long the list is that stands
// beside it under the name of list.
func tellsLength(field, list string) bool {
	name, list := fold(field), fold(list)
	for _, word := range []string{"total", "count"} {
		if name == word || name == word+list || name == list+word {
			return true
		}
	}
	return name == "totalcount" || name == "pageinfo"
}

func (e *Engine) checkDrop(c *class, def *gql.Definition, f *gql.FieldDefinition, r *report) {
	if f.Type.Elem == nil {
		r.add(c.group.loc(), "%s: %s is %s, not a list; drop leaves denied items out of a list", c.group.head, f.Name, f.Type)
		return
	}
	e.warnCounted(c, def, f, r)
}

// checkDropped does what checkDrop does for the lists that a wildcard governs.
func (e *Engine) checkDropped(c *class, r *report) {
	for _, def := range e.schema.Objects() {
		if c.group.path[0] != star && c.group.path[0] != def.Name {
			continue
		}
		for _, f := range def.Fields {
			if f.Type.Elem != nil && e.drops.static[coordinate{def.Name, f.Name}] == nil {
				e.warnCounted(c, def, f, r)
			}
		}
	}
}

func (e *Engine) warnCounted(c *class, def *gql.Definition, f *gql.FieldDefinition, r *report) {
	for _, sibling := range def.Fields {
		if tellsLength(sibling.Name, f.Name) {
			r.warn(c.group.loc(), "%s: %s.%s can tell how many items of %s were dropped", c.group.head, def.Name, sibling.Name, f.Name)
		}
	}
}

// newMask makes the mask that a policy's value means for a field of a type.
func (e *Engine) newMask(t *gql.Type, v *ast.Term) (*Mask, error) {
	return newMask(e.schema.AST(), t, v.Value, e.maskKey)
}
