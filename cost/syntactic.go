package cost

import (
	"encoding/binary"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// syntacticScope prices a selection set without merging: each occurrence apart,
// each fragment once for each way in which sizes are handed down to it. The sum
// is never below the exact cost as long as no item weighs less than nothing,
// so negative item weights count as 0. Work is linear in the document.
func (c *compiler) syntacticScope(set ast.SelectionSet, ctx int32) int32 {
	base := int32(len(c.members))
	c.syntacticMembers(set, ctx, alwaysLive)
	id := c.p.addScope([]draft{{members: span{base, int32(len(c.members))}}}, c.members)
	c.members = c.members[:base]
	return id
}

// syntacticMembers pushes a member for each selection.
func (c *compiler) syntacticMembers(set ast.SelectionSet, ctx, guard int32) {
	for _, s := range set {
		c.p.work++
		switch s := s.(type) {
		case *ast.Field:
			g := c.and(guard, c.condition(s.Directives))
			if g == neverLive || strings.HasPrefix(s.Name, "__") {
				continue
			}
			for _, id := range c.syntacticGroups(s, ctx) {
				c.members = append(c.members, member{group: id, guard: g})
			}
		case *ast.InlineFragment:
			if g := c.and(guard, c.condition(s.Directives)); g != neverLive {
				c.syntacticMembers(s.SelectionSet, ctx, g)
			}
		case *ast.FragmentSpread:
			if g := c.and(guard, c.condition(s.Directives)); g != neverLive {
				id := c.syntacticFragment(s.Definition, ctx)
				c.members = append(c.members, member{group: ^id, guard: g})
			}
		}
	}
}

func (c *compiler) fieldID(f *ast.Field) int32 {
	id, ok := c.fieldIDs[f]
	if !ok {
		id = int32(len(c.fieldIDs))
		c.fieldIDs[f] = id
	}
	return id
}

func (c *compiler) syntacticFragment(f *ast.FragmentDefinition, ctx int32) int32 {
	key := binary.AppendUvarint([]byte{'f'}, uint64(c.rank[f]))
	key = binary.AppendUvarint(key, uint64(ctx))
	if id, ok := c.merged[string(key)]; ok {
		return id
	}
	id := c.syntacticScope(f.SelectionSet, ctx)
	c.merged[string(key)] = id
	return id
}

// syntacticGroups prices one occurrence: once for each kind of price that the
// field can have. Their sum bounds the maximum.
func (c *compiler) syntacticGroups(f *ast.Field, ctx int32) []int32 {
	key := binary.AppendUvarint([]byte{'g'}, uint64(c.fieldID(f)))
	key = binary.AppendUvarint(key, uint64(ctx))
	if id, ok := c.merged[string(key)]; ok {
		return c.occurrenceGroups[id]
	}
	var ids []int32
	for _, spec := range c.specs(f) {
		ids = append(ids, c.syntacticGroup(f, spec, ctx))
	}
	c.merged[string(key)] = int32(len(c.occurrenceGroups))
	c.occurrenceGroups = append(c.occurrenceGroups, ids)
	return ids
}

func (c *compiler) specs(f *ast.Field) []*fieldSpec {
	owner := f.ObjectDefinition.Name
	if fields := c.model.bounds[owner]; fields != nil {
		return fields[f.Name]
	}
	if i := c.model.schema.ObjectIndex(owner); i >= 0 {
		if spec := c.model.objects[i][f.Name]; spec != nil {
			return []*fieldSpec{spec}
		}
	}
	return nil
}

func (c *compiler) syntacticGroup(f *ast.Field, spec *fieldSpec, ctx int32) int32 {
	if spec.itemA < 0 || spec.itemB < 0 {
		raised := *spec
		raised.itemA, raised.itemB = max(0, spec.itemA), max(0, spec.itemB)
		spec = &raised
	}
	c.cells = append(c.cells, cell{piece: piece{f, alwaysLive}})
	id := int32(len(c.cells))
	g := group{field: f, spec: spec, shared: true, child: -1}
	c.price(&g, &occurrences{field: f, first: id, last: id}, c.contexts[ctx])
	if spec.returns.composite {
		g.child = c.syntacticScope(f.SelectionSet, c.context(g.spec, g.expected, c.contexts[ctx]))
	}
	return c.p.addGroup(&g)
}
