package schema

// saturated is where the counts of an expanded operation stop growing.
const saturated = 1 << 30

// measures are the counts of a definition, first its own, then with those of
// the fragments that it spreads added once for each spread.
type measures struct {
	depth, aliases, rootFields, directives, fields int

	valueDepth, listItems int

	weight int // AST nodes: selections, arguments, directives, values
}

func (m *measures) field(depth int, aliased, top bool) {
	m.fields++
	m.depth = max(m.depth, depth)
	if aliased {
		m.aliases++
	}
	if top {
		m.rootFields++
	}
}

// spread adds what a fragment expands to, spread where selections have depth depth.
func (m *measures) spread(f *measures, depth int, top bool) {
	m.depth = max(m.depth, min(depth-1+f.depth, saturated))
	m.aliases = min(m.aliases+f.aliases, saturated)
	m.directives = min(m.directives+f.directives, saturated)
	m.fields = min(m.fields+f.fields, saturated)
	m.valueDepth = max(m.valueDepth, f.valueDepth)
	m.listItems = max(m.listItems, f.listItems)
	m.weight = min(m.weight+f.weight, saturated)
	if top {
		m.rootFields = min(m.rootFields+f.rootFields, saturated)
	}
}

// order sorts the definitions so that a fragment comes before whatever spreads
// it, and refuses cycles. It is iterative: a chain of fragments may be as long
// as the document.
func (c *compiler) order() error {
	const (
		unseen = iota
		open
		done
	)
	for root := range c.defs {
		if c.defs[root].state != unseen {
			continue
		}
		c.defs[root].state = open
		c.stack = append(c.stack[:0], frame{def: int32(root), next: c.defs[root].spreads})
		for len(c.stack) > 0 {
			top := &c.stack[len(c.stack)-1]
			d := &c.defs[top.def]
			if top.next == d.spreadEnd {
				d.state = done
				c.sorted = append(c.sorted, top.def)
				c.stack = c.stack[:len(c.stack)-1]
				continue
			}
			n := &c.nodes[c.spreads[top.next].node]
			top.next++
			if n.fragment < 0 {
				continue
			}
			target := &c.defs[n.fragment]
			switch target.state {
			case open:
				return invalidAt("NoFragmentCycles", n.spread.Position,
					"Cannot spread fragment "+quoted(n.spread.Name)+" within itself.")
			case unseen:
				target.state = open
				c.stack = append(c.stack, frame{def: n.fragment, next: target.spreads})
			}
		}
	}
	return nil
}

// frame is a step of an iterative walk over definitions.
type frame struct {
	def, next int32
}

// measure expands the measures of every definition and holds them, and the
// walk budget, against the limits. order has run.
func (c *compiler) measure() error {
	for _, i := range c.sorted {
		d := &c.defs[i]
		for _, s := range c.spreads[d.spreads:d.spreadEnd] {
			if n := &c.nodes[s.node]; n.fragment >= 0 {
				d.total.spread(&c.defs[n.fragment].total, int(n.depth), s.top)
			}
		}
	}
	for _, check := range []struct {
		kind LimitKind
		max  int
		got  func(*measures) int
	}{
		{LimitDepth, c.limits.Depth, func(m *measures) int { return m.depth }},
		{LimitRootFields, c.limits.RootFields, func(m *measures) int { return m.rootFields }},
		{LimitAliases, c.limits.Aliases, func(m *measures) int { return m.aliases }},
		{LimitDirectives, c.limits.Directives, func(m *measures) int { return m.directives }},
		{LimitValue, c.limits.ValueDepth, func(m *measures) int { return m.valueDepth }},
		{LimitValue, c.limits.ListItems, func(m *measures) int { return m.listItems }},
	} {
		for i := c.fragmentCount; i < len(c.defs); i++ {
			d := &c.defs[i]
			if got := check.got(&d.total); got > check.max {
				return limitAt(check.kind, got, check.max, d.position())
			}
		}
	}
	return c.budget()
}

// budget bounds the sum, over operations and fragments, of the nodes that each
// reaches. Where the sum is within the limit although each fragment is counted
// once for each way to it, nothing is walked. Otherwise fragments are spread over
// and over, and a smaller limit, which grows with the document, ends the walk.
func (c *compiler) budget() error {
	expanded := 0
	for i := range c.defs {
		expanded = min(expanded+c.defs[i].total.weight, saturated)
	}
	if expanded <= c.limits.Walk {
		return nil
	}
	walk, limit := 0, c.limits.budget(walkPerDocument+walkPerToken*c.tokens)
	for i := range c.defs {
		err := c.reach(int32(i), func(d *definition) error {
			walk += d.weight
			if walk > limit {
				return limitAt(LimitWalk, walk, limit, c.defs[i].position())
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// reach calls visit once for definition i and each fragment that it reaches,
// in order of first use. It follows spreads without recursion.
func (c *compiler) reach(i int32, visit func(*definition) error) error {
	c.walks++
	c.defs[i].stamp = c.walks
	if err := visit(&c.defs[i]); err != nil {
		return err
	}
	c.stack = append(c.stack[:0], frame{def: i, next: c.defs[i].spreads})
	for len(c.stack) > 0 {
		top := &c.stack[len(c.stack)-1]
		if top.next == c.defs[top.def].spreadEnd {
			c.stack = c.stack[:len(c.stack)-1]
			continue
		}
		target := c.spreads[top.next].fragment
		top.next++
		c.visits++
		if target < 0 || c.defs[target].stamp == c.walks {
			continue
		}
		d := &c.defs[target]
		d.stamp = c.walks
		if err := visit(d); err != nil {
			return err
		}
		c.stack = append(c.stack, frame{def: target, next: d.spreads})
	}
	return nil
}
