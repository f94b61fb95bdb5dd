package schema

import (
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// maxIntrospectionLists is how many introspection lists may nest under
// __schema or __type, less one: graphql-js's MaxIntrospectionDepthRule.
const maxIntrospectionLists = 3

// validate applies the specification's rules to the whole document in one pass
// over each definition, fragments before those that spread them, then what
// needs all of them. It stops at the first error. As it goes it fills in the
// AST's definitions and the nodes' types.
func (c *compiler) validate() error {
	if err := c.uniqueNames(); err != nil {
		return err
	}
	for _, i := range c.sorted {
		if err := c.validateDefinition(&c.defs[i]); err != nil {
			return err
		}
	}
	c.markUsed()
	for i := c.fragmentCount; i < len(c.defs); i++ {
		if err := c.checkVariables(int32(i)); err != nil {
			return err
		}
	}
	for i := range c.fragmentCount {
		if !c.defs[i].used {
			return invalidAt("NoUnusedFragments", c.defs[i].position(),
				"Fragment "+quoted(c.defs[i].frag.Name)+" is never used.")
		}
	}
	return c.mergeFields()
}

// uniqueNames holds UniqueOperationNames, LoneAnonymousOperation and
// UniqueFragmentNames.
func (c *compiler) uniqueNames() error {
	if len(c.fragments) < c.fragmentCount {
		for i := range c.fragmentCount {
			f := c.defs[i].frag
			if c.fragments[f.Name] != int32(i) {
				return invalidAt("UniqueFragmentNames", f.Position,
					"There can be only one fragment named "+quoted(f.Name)+".")
			}
		}
	}
	ops := c.defs[c.fragmentCount:]
	if len(ops) < 2 {
		return nil
	}
	seen := make(map[string]struct{}, len(ops))
	for i := range ops {
		op := ops[i].op
		if op.Name == "" {
			return invalidAt("LoneAnonymousOperation", op.Position,
				"This anonymous operation must be the only defined operation.")
		}
		if _, dup := seen[op.Name]; dup {
			return invalidAt("UniqueOperationNames", op.Position,
				"There can be only one operation named "+quoted(op.Name)+".")
		}
		seen[op.Name] = struct{}{}
	}
	return nil
}

func (c *compiler) validateDefinition(d *definition) error {
	d.usages = int32(len(c.usages))
	c.current = d
	var err error
	if d.op != nil {
		err = c.validateOperation(d)
	} else {
		err = c.validateFragment(d)
	}
	d.usageEnd = int32(len(c.usages))
	return err
}

func (c *compiler) validateFragment(d *definition) error {
	f := d.frag
	typ := c.typeNamed(f.TypeCondition)
	if typ == nil {
		return unknownType(f.TypeCondition, f.Position)
	}
	if !typ.composite() {
		return invalidAt("FragmentsOnCompositeTypes", f.Position,
			"Fragment "+quoted(f.Name)+" cannot condition on non composite type "+quoted(f.TypeCondition)+".")
	}
	d.typ, f.Definition = typ, typ.def
	if err := c.validateDirectives(f.Directives, ast.LocationFragmentDefinition, typ); err != nil {
		return err
	}
	lists, err := c.validateSet(d.start, d.end, typ)
	d.lists = lists
	return err
}

func (c *compiler) validateOperation(d *definition) error {
	op := d.op
	location := ast.LocationQuery
	switch op.Operation {
	case ast.Query:
		d.typ = c.types.query
	case ast.Mutation:
		d.typ, location = c.types.mutation, ast.LocationMutation
	case ast.Subscription:
		d.typ, location = c.types.subscription, ast.LocationSubscription
	}
	if d.typ == nil {
		return invalidAt("KnownOperationTypes", op.Position,
			"The "+string(op.Operation)+" operation is not supported by the schema.")
	}
	if err := c.validateVariables(op); err != nil {
		return err
	}
	if err := c.validateDirectives(op.Directives, location, d.typ); err != nil {
		return err
	}
	if _, err := c.validateSet(d.start, d.end, d.typ); err != nil {
		return err
	}
	if op.Operation == ast.Subscription {
		return c.singleField(d)
	}
	return nil
}

// validateSet validates the selections in nodes[start:end], which stand on
// parent. lists is the deepest nesting of introspection lists in it. It
// recurses as deep as selection sets nest, which scan bounds.
func (c *compiler) validateSet(start, end int32, parent *typeInfo) (lists int, err error) {
	for i := start; i < end; i = c.nodes[i].end {
		n := &c.nodes[i]
		n.parent = parent
		inner := 0
		switch n.kind {
		case nodeField:
			inner, err = c.validateField(i, n)
		case nodeInline:
			inner, err = c.validateInline(i, n)
		case nodeSpread:
			inner, err = c.validateSpread(n)
		}
		if err != nil {
			return 0, err
		}
		lists = max(lists, inner)
	}
	return lists, nil
}

func (c *compiler) validateField(i int32, n *node) (lists int, err error) {
	f, parent := n.field, n.parent
	info := parent.fields[f.Name]
	if info == nil || c.view != nil && c.view.hidden[info.def] {
		return 0, UnknownField(parent.def.Name, f)
	}
	n.info, n.typ = info, info.typ
	f.Definition, f.ObjectDefinition = info.def, parent.def
	switch hasSet := n.end > i+1; {
	case hasSet && !info.typ.composite():
		return 0, invalidAt("ScalarLeafs", f.Position,
			"Field "+quoted(f.Name)+" must not have a selection since type "+quoted(info.def.Type.String())+" has no subfields.")
	case !hasSet && info.typ.composite():
		return 0, invalidAt("ScalarLeafs", f.Position,
			"Field "+quoted(f.Name)+" of type "+quoted(info.def.Type.String())+" must have a selection of subfields.")
	}
	if err := c.validateArguments(f.Arguments, &info.args, f.Position, info.coordinate); err != nil {
		return 0, err
	}
	if err := c.validateDirectives(f.Directives, ast.LocationField, info.typ); err != nil {
		return 0, err
	}
	if info.introspection {
		c.current.introspection = true
	}
	lists, err = c.validateSet(i+1, n.end, info.typ)
	if err != nil {
		return 0, err
	}
	if info.listed {
		lists++
	}
	if lists >= maxIntrospectionLists && (f.Name == "__schema" || f.Name == "__type") {
		return 0, invalidAt("MaxIntrospectionDepth", f.Position, "Maximum introspection depth exceeded.")
	}
	return lists, nil
}

func (c *compiler) validateInline(i int32, n *node) (lists int, err error) {
	f := n.inline
	n.typ = n.parent
	f.ObjectDefinition = n.parent.def
	if f.TypeCondition != "" {
		typ := c.typeNamed(f.TypeCondition)
		if typ == nil {
			return 0, unknownType(f.TypeCondition, f.Position)
		}
		if !typ.composite() {
			return 0, invalidAt("FragmentsOnCompositeTypes", f.Position,
				"Fragment cannot condition on non composite type "+quoted(f.TypeCondition)+".")
		}
		if typ != n.parent && !typ.possible.Intersects(n.parent.possible) {
			return 0, invalidAt("PossibleFragmentSpreads", f.Position, "Fragment cannot be spread here as objects of type "+
				quoted(n.parent.def.Name)+" can never be of type "+quoted(f.TypeCondition)+".")
		}
		n.typ = typ
	}
	if err := c.validateDirectives(f.Directives, ast.LocationInlineFragment, n.typ); err != nil {
		return 0, err
	}
	return c.validateSet(i+1, n.end, n.typ)
}

func (c *compiler) validateSpread(n *node) (lists int, err error) {
	f := n.spread
	if n.fragment < 0 {
		return 0, invalidAt("KnownFragmentNames", f.Position, "Unknown fragment "+quoted(f.Name)+".")
	}
	target := &c.defs[n.fragment]
	n.typ = target.typ
	f.Definition, f.ObjectDefinition = target.frag, n.parent.def
	if n.typ != n.parent && !n.typ.possible.Intersects(n.parent.possible) {
		return 0, invalidAt("PossibleFragmentSpreads", f.Position, "Fragment "+quoted(f.Name)+
			" cannot be spread here as objects of type "+quoted(n.parent.def.Name)+" can never be of type "+quoted(n.typ.def.Name)+".")
	}
	return target.lists, c.validateDirectives(f.Directives, ast.LocationFragmentSpread, n.typ)
}

// singleField holds SingleFieldSubscriptions: one response key, which is not
// an introspection field. @skip and @include with variables are refused, as
// the draft has it and as graphql-js does.
func (c *compiler) singleField(d *definition) error {
	subscription := "Subscription " + quoted(d.op.Name)
	key := ""
	c.walks++
	work := [][2]int32{{d.start, d.end}}
	for len(work) > 0 {
		span := work[len(work)-1]
		work = work[:len(work)-1]
		for i := span[0]; i < span[1]; i = c.nodes[i].end {
			n := &c.nodes[i]
			skipped, conditional := constantCondition(n.directives())
			if conditional {
				return invalidAt("SingleFieldSubscriptions", n.position(),
					subscription+" must not use @skip or @include with variables at the top level.")
			}
			if skipped {
				continue
			}
			if n.kind != nodeField {
				if inner, ok := c.inside(i, d.typ); ok {
					work = append(work, inner)
				}
				continue
			}
			if strings.HasPrefix(n.field.Name, "__") {
				return invalidAt("SingleFieldSubscriptions", n.field.Position,
					subscription+" must not select an introspection top level field.")
			}
			if key != "" && key != n.field.Alias {
				return invalidAt("SingleFieldSubscriptions", n.field.Position,
					subscription+" must select only one top level field.")
			}
			key = n.field.Alias
		}
	}
	return nil
}

// inside returns the nodes of an inline fragment or of a spread's fragment,
// unless these are not selected on object or this walk has been there.
func (c *compiler) inside(i int32, object *typeInfo) (span [2]int32, ok bool) {
	n := &c.nodes[i]
	if !object.possible.Intersects(n.typ.possible) {
		return span, false
	}
	if n.kind == nodeInline {
		return [2]int32{i + 1, n.end}, true
	}
	target := &c.defs[n.fragment]
	if target.stamp == c.walks {
		return span, false
	}
	target.stamp = c.walks
	return [2]int32{target.start, target.end}, true
}

// constantCondition evaluates @skip and @include. conditional means that a
// variable decides.
func constantCondition(list ast.DirectiveList) (skipped, conditional bool) {
	for _, d := range list {
		if d.Name != "skip" && d.Name != "include" {
			continue
		}
		v := d.Arguments.ForName("if")
		if v == nil {
			continue
		}
		if v.Value.Kind == ast.Variable {
			conditional = true
			continue
		}
		if (v.Value.Raw == "true") == (d.Name == "skip") {
			skipped = true
		}
	}
	return skipped, conditional
}

// UnknownField is the refusal of a field that the type does not have.
func UnknownField(typ string, f *ast.Field) error {
	return invalidAt("FieldsOnCorrectType", f.Position, "Cannot query field "+quoted(f.Name)+" on type "+quoted(typ)+".")
}

// typeNamed returns the type that a document names; nil where the reader knows
// of none.
func (c *compiler) typeNamed(name string) *typeInfo {
	if c.view != nil && !c.view.shown[name] {
		return nil
	}
	return c.types.types[name]
}

func unknownType(name string, at *ast.Position) error {
	return invalidAt("KnownTypeNames", at, "Unknown type "+quoted(name)+".")
}

// validateDirectives holds KnownDirectives, UniqueDirectivesPerLocation and,
// for each, the rules of arguments. parent is what gqlparser calls the
// directive's parent definition.
func (c *compiler) validateDirectives(list ast.DirectiveList, location ast.DirectiveLocation, parent *typeInfo) error {
	for i, d := range list {
		info := c.types.directives[d.Name]
		if info == nil {
			return invalidAt("KnownDirectives", d.Position, "Unknown directive "+quoted("@"+d.Name)+".")
		}
		d.Definition, d.Location = info.def, location
		if parent != nil {
			d.ParentDefinition = parent.def
		}
		if _, ok := info.locations[location]; !ok {
			return invalidAt("KnownDirectives", d.Position,
				"Directive "+quoted("@"+d.Name)+" may not be used on "+string(location)+".")
		}
		if info.kind == directiveDeferred {
			return invalidAt("DeferStreamNotSupported", d.Position,
				"Directive "+quoted("@"+d.Name)+" is not supported: incremental delivery cannot be guarded yet.")
		}
		if info.once && usedBefore(list[:i], d.Name) {
			return invalidAt("UniqueDirectivesPerLocation", d.Position,
				"The directive "+quoted("@"+d.Name)+" can only be used once at this location.")
		}
		if err := c.validateArguments(d.Arguments, &info.args, d.Position, "@"+d.Name); err != nil {
			return err
		}
	}
	return nil
}

// usedBefore is called once for each of a list of directives; a repetition
// ends the list, so its length is bounded by the schema's directives as long
// as those that repeat are not looked for.
func usedBefore(list ast.DirectiveList, name string) bool {
	for _, d := range list {
		if d.Name == name {
			return true
		}
	}
	return false
}

// validateArguments holds KnownArgumentNames, UniqueArgumentNames,
// ProvidedRequiredArguments and ValuesOfCorrectType. owner is the field's
// coordinate or the directive's name.
func (c *compiler) validateArguments(args ast.ArgumentList, defs *argTable, at *ast.Position, owner string) error {
	if len(args) == 0 && defs.required == 0 {
		return nil
	}
	required := 0
	c.seen = append(c.seen[:0], make([]uint64, len(defs.list)/64+1)...)
	for _, a := range args {
		i := defs.find(a.Name)
		if i < 0 {
			return invalidAt("KnownArgumentNames", a.Position,
				"Unknown argument "+quoted(a.Name)+" on "+quoted(owner)+".")
		}
		word, bit := &c.seen[i>>6], uint64(1)<<(uint(i)&63)
		if *word&bit != 0 {
			return invalidAt("UniqueArgumentNames", a.Position,
				"There can be only one argument named "+quoted(a.Name)+".")
		}
		*word |= bit
		def := &defs.list[i]
		if def.required {
			required++
		}
		if err := c.validateValue(a.Value, def.def.Type, def.typ, def.hasDefault, nil); err != nil {
			return err
		}
	}
	if required == defs.required {
		return nil
	}
	for i := range defs.list {
		if def := &defs.list[i]; def.required && c.seen[i>>6]&(1<<(uint(i)&63)) == 0 {
			return invalidAt("ProvidedRequiredArguments", at, "Argument "+quoted(def.def.Name)+" of "+quoted(owner)+
				" of type "+quoted(def.def.Type.String())+" is required, but it was not provided.")
		}
	}
	return nil
}
