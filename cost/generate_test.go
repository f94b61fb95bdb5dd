package cost

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"pgregory.net/rapid"
)

// world is a random schema. Every field name means the same return type and
// arguments wherever it occurs, so that random documents merge; weights and
// list sizes differ by object type.
type world struct {
	sdl        string
	fields     map[string]worldField
	objects    map[string][]string // object type -> its fields
	interfaces map[string][]string // interface -> its fields
	possible   map[string][]string // composite type -> object types
}

type worldField struct {
	returns string // "[O1]", "S", ...
	named   string
	args    []string
}

func (f worldField) composite(w *world) bool { return len(w.possible[f.named]) > 0 }

const (
	costDirective = `directive @cost(weight: String!) on ARGUMENT_DEFINITION | ENUM | FIELD_DEFINITION | INPUT_FIELD_DEFINITION | OBJECT | SCALAR
directive @listSize(assumedSize: Int, slicingArguments: [String!], sizedFields: [String!], requireOneSlicingArgument: Boolean = true) on FIELD_DEFINITION
directive @tag(level: Int @cost(weight: "-2"), in: Filter @cost(weight: "3")) repeatable on FIELD
`
)

func drawWeight(t *rapid.T, negative bool) string {
	low := 0
	if negative {
		low = -12
	}
	if rapid.IntRange(0, 2).Draw(t, "weighted") > 0 {
		return ""
	}
	return fmt.Sprintf(` @cost(weight: "%v")`, float64(rapid.IntRange(low, 40).Draw(t, "weight"))/4)
}

func drawWorld(t *rapid.T, negative bool) *world {
	w := &world{fields: map[string]worldField{}, objects: map[string][]string{}, interfaces: map[string][]string{}, possible: map[string][]string{}}
	objects := []string{"O0", "O1", "O2", "O3", "P0Connection"}
	named := []string{"S", "E", "O0", "O1", "O2", "O3", "I0", "I1", "U0", "P0Connection"}
	for i := range 9 {
		f := worldField{named: rapid.SampledFrom(named).Draw(t, "returns")}
		f.returns = f.named
		if f.named != "P0Connection" {
			f.returns = rapid.SampledFrom([]string{"%s", "%s!", "[%s]", "[%s!]!", "[[%s]]"}).Draw(t, "wrap")
			f.returns = fmt.Sprintf(f.returns, f.named)
		}
		for _, a := range []string{"first: Int", "last: Int = 3", "limit: Int", "ids: [ID]", "in: Filter", "ins: [Filter]", "flag: Boolean"} {
			if rapid.IntRange(0, 3).Draw(t, "argument") == 0 {
				f.args = append(f.args, a)
			}
		}
		w.fields[fmt.Sprintf("f%d", i)] = f
	}
	w.fields["edges"] = worldField{returns: "[O0!]", named: "O0"}
	w.fields["nodes"] = worldField{returns: "[I0]", named: "I0"}
	w.fields["pageInfo"] = worldField{returns: "O3", named: "O3"}
	w.fields["id"] = worldField{returns: "ID", named: "ID"}
	shared := map[string][]string{"I0": {"id"}, "I1": {"id"}}
	for i := range 9 {
		for _, iface := range []string{"I0", "I1"} {
			if rapid.IntRange(0, 2).Draw(t, "in interface") == 0 {
				shared[iface] = append(shared[iface], fmt.Sprintf("f%d", i))
			}
		}
	}
	maps.Copy(w.interfaces, shared)
	implements := map[string][]string{"O0": {"I0"}, "O1": {"I0", "I1"}, "O2": {"I1"}}
	w.possible["I0"], w.possible["I1"] = []string{"O0", "O1"}, []string{"O1", "O2"}
	w.possible["U0"] = []string{"O0", "O2", "O3"}
	for _, o := range append(slices.Clone(objects), "Query", "Mutation") {
		set := map[string]bool{"id": true}
		for _, i := range implements[o] {
			for _, f := range shared[i] {
				set[f] = true
			}
		}
		for i := range 9 {
			if rapid.IntRange(0, 2).Draw(t, "has") == 0 {
				set[fmt.Sprintf("f%d", i)] = true
			}
		}
		if o == "P0Connection" {
			set = map[string]bool{"edges": true, "nodes": true, "pageInfo": true, "id": true}
		}
		w.objects[o] = slices.Sorted(maps.Keys(set))
		w.possible[o] = []string{o}
	}
	w.sdl = w.render(t, implements, negative)
	return w
}

func (w *world) render(t *rapid.T, implements map[string][]string, negative bool) string {
	b := &strings.Builder{}
	b.WriteString(costDirective)
	fmt.Fprintf(b, "scalar S%s\nenum E%s { A B }\n", drawWeight(t, negative), drawWeight(t, negative))
	fmt.Fprintf(b, "input Filter { level: Int%s deep: Filter%s many: [Filter!]%s first: Int = 2%s }\n",
		drawWeight(t, true), drawWeight(t, true), drawWeight(t, true), drawWeight(t, true))
	b.WriteString("union U0 = O0 | O2 | O3\n")
	for _, i := range []string{"I0", "I1"} {
		fmt.Fprintf(b, "interface %s {\n", i)
		for _, f := range w.interfaces[i] {
			fmt.Fprintf(b, "  %s%s: %s\n", f, arguments(w.fields[f].args, nil), w.fields[f].returns)
		}
		b.WriteString("}\n")
	}
	for _, o := range slices.Sorted(maps.Keys(w.objects)) {
		fmt.Fprintf(b, "type %s", o)
		if of := implements[o]; len(of) > 0 {
			fmt.Fprintf(b, " implements %s", strings.Join(of, " & "))
		}
		fmt.Fprintf(b, "%s {\n", drawWeight(t, negative))
		for _, f := range w.objects[o] {
			field := w.fields[f]
			weigh := func() string { return drawWeight(t, true) }
			fmt.Fprintf(b, "  %s%s: %s%s%s\n", f, arguments(field.args, weigh), field.returns, drawWeight(t, negative), w.drawListSize(t, field))
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func arguments(args []string, weigh func() string) string {
	if len(args) == 0 {
		return ""
	}
	out := slices.Clone(args)
	if weigh != nil {
		for i := range out {
			out[i] += weigh()
		}
	}
	return "(" + strings.Join(out, ", ") + ")"
}

// drawListSize annotates a field that can have a size.
func (w *world) drawListSize(t *rapid.T, f worldField) string {
	if rapid.IntRange(0, 1).Draw(t, "listSize") == 0 {
		return ""
	}
	var slicing []string
	for _, a := range f.args {
		name, _, _ := strings.Cut(a, ":")
		if name == "first" || name == "limit" || name == "last" || name == "ids" {
			slicing = append(slicing, fmt.Sprintf("%q", name))
		}
	}
	sized := ""
	switch {
	case f.named == "P0Connection":
		sized = `, sizedFields: ["edges", "nodes"]`
	case !strings.HasPrefix(f.returns, "["):
		return ""
	}
	assumed := ""
	if rapid.Bool().Draw(t, "assumed") {
		assumed = fmt.Sprintf(", assumedSize: %d", rapid.IntRange(0, 5).Draw(t, "size"))
	}
	return fmt.Sprintf(" @listSize(slicingArguments: [%s]%s%s, requireOneSlicingArgument: false)", strings.Join(slicing, ", "), sized, assumed)
}

// draft of a document: its own small syntax tree, so that it can be rewritten.
type node struct {
	field     string // "" for a fragment
	alias     string
	condition string // inline fragment on it
	fragment  int    // spread of fragment-1; 0: none
	guard     string // " @include(if: $b0)"
	tags      string // " @tag(level: 1)"
	below     []node
}

type document struct {
	world     *world
	kind      string
	root      []node
	fragments []fragment
	// given holds the arguments of each response key.
	given map[string]string
}

type fragment struct {
	on    string
	below []node
}

const fragmentCount = 3

func drawDocument(t *rapid.T, w *world) *document {
	d := &document{world: w, given: map[string]string{}, kind: rapid.SampledFrom([]string{"query", "query", "mutation"}).Draw(t, "kind")}
	root := "Query"
	if d.kind == "mutation" {
		root = "Mutation"
	}
	on := slices.Sorted(maps.Keys(w.possible))
	for range fragmentCount {
		d.fragments = append(d.fragments, fragment{on: rapid.SampledFrom(on).Draw(t, "on")})
	}
	for i := fragmentCount - 1; i >= 0; i-- {
		d.fragments[i].below = d.drawNodes(t, d.fragments[i].on, 2, i+1)
	}
	d.root = d.drawNodes(t, root, 4, 0)
	return d
}

func drawGuard(t *rapid.T) string {
	guards := []string{"", "", "", "", " @include(if: $b0)", " @skip(if: $b0)", " @include(if: $b1)", " @skip(if: $b1)",
		" @include(if: true)", " @skip(if: true)", " @include(if: $b0) @skip(if: $b1)"}
	return rapid.SampledFrom(guards).Draw(t, "guard")
}

// drawNodes draws a selection set on the type that may spread fragments from
// number spreads on.
func (d *document) drawNodes(t *rapid.T, on string, depth, spreads int) []node {
	out := []node{{field: "id", alias: "id", guard: drawGuard(t)}}
	fields := d.world.objects[on]
	if fields == nil {
		fields = d.world.interfaces[on]
	}
	if fields == nil {
		out = []node{{field: "__typename", alias: "__typename"}}
	}
	for range rapid.IntRange(1, 4).Draw(t, "selections") {
		switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
		case kind < 6 && len(fields) > 0:
			name := rapid.SampledFrom(fields).Draw(t, "field")
			f := d.world.fields[name]
			if f.composite(d.world) && depth == 0 {
				continue
			}
			n := node{field: name, alias: name, guard: drawGuard(t)}
			if len(f.args) > 0 || rapid.IntRange(0, 5).Draw(t, "renamed") == 0 {
				n.alias = rapid.SampledFrom([]string{"", "a_", "b_"}).Draw(t, "alias") + name
			}
			if _, ok := d.given[n.alias]; !ok {
				d.given[n.alias] = drawArguments(t, f)
			}
			if rapid.IntRange(0, 7).Draw(t, "tagged") == 0 {
				n.tags = rapid.SampledFrom([]string{" @tag(level: 1)", " @tag(in: $in)", " @tag(in: {level: 2}) @tag(level: null)"}).Draw(t, "tags")
			}
			if f.composite(d.world) {
				n.below = d.drawNodes(t, f.named, depth-1, spreads)
			}
			out = append(out, n)
		case kind < 8 && depth > 0:
			on := d.drawOverlap(t, on)
			out = append(out, node{condition: on, guard: drawGuard(t), below: d.drawNodes(t, on, depth-1, spreads)})
		case spreads < fragmentCount:
			i := rapid.IntRange(spreads, fragmentCount-1).Draw(t, "spread")
			if overlap(d.world.possible[on], d.world.possible[d.fragments[i].on]) {
				out = append(out, node{fragment: i + 1, guard: drawGuard(t)})
			}
		}
	}
	return out
}

func (d *document) drawOverlap(t *rapid.T, on string) string {
	var candidates []string
	for _, name := range slices.Sorted(maps.Keys(d.world.possible)) {
		if overlap(d.world.possible[on], d.world.possible[name]) {
			candidates = append(candidates, name)
		}
	}
	return rapid.SampledFrom(candidates).Draw(t, "condition")
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

func drawArguments(t *rapid.T, f worldField) string {
	values := map[string][]string{
		"first": {"", "2", "0", "7", "$n0", "$n1", "null"},
		"last":  {"", "4", "$n1"},
		"limit": {"", "3", "$n0"},
		"ids":   {"", "[1, 2]", `"x"`, "[$id]"},
		"in":    {"", "{}", "{level: 1}", "{deep: {level: 2}, many: [{}, {level: 1}]}", "$in", "{deep: $in, level: $n0}", "null"},
		"ins":   {"", "[{level: 1}, $in]", "{level: 3}", "[]"},
		"flag":  {"", "true", "$b0"},
	}
	var out []string
	for _, a := range f.args {
		name, _, _ := strings.Cut(a, ":")
		if v := rapid.SampledFrom(values[name]).Draw(t, name); v != "" {
			out = append(out, name+": "+v)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "(" + strings.Join(out, ", ") + ")"
}

// text renders the document with the fragments and variables that it uses.
func (d *document) text() string {
	used := map[int]bool{}
	body := d.renderNodes(d.root, used)
	fragments := map[int]string{}
	for len(fragments) < len(used) {
		for i := range used {
			if _, ok := fragments[i]; !ok {
				f := d.fragments[i-1]
				fragments[i] = fmt.Sprintf("fragment F%d on %s %s\n", i-1, f.on, d.renderNodes(f.below, used))
			}
		}
	}
	keys := slices.Sorted(maps.Keys(fragments))
	var tail string
	for _, k := range keys {
		tail += fragments[k]
	}
	whole := body + tail
	var variables []string
	for name, typ := range map[string]string{"b0": "Boolean!", "b1": "Boolean! = true", "n0": "Int", "n1": "Int = 5", "in": "Filter", "id": "ID"} {
		if strings.Contains(whole, "$"+name) {
			variables = append(variables, "$"+name+": "+typ)
		}
	}
	sort.Strings(variables)
	head := d.kind + " Q"
	if len(variables) > 0 {
		head += "(" + strings.Join(variables, ", ") + ")"
	}
	return head + " " + whole
}

func (d *document) renderNodes(nodes []node, used map[int]bool) string {
	b := &strings.Builder{}
	b.WriteString("{")
	for _, n := range nodes {
		switch {
		case n.fragment > 0:
			used[n.fragment] = true
			fmt.Fprintf(b, " ...F%d%s", n.fragment-1, n.guard)
		case n.field == "":
			on := ""
			if n.condition != "" {
				on = " on " + n.condition
			}
			fmt.Fprintf(b, " ...%s%s %s", on, n.guard, d.renderNodes(n.below, used))
		default:
			fmt.Fprintf(b, " %s: %s%s%s%s", n.alias, n.field, d.given[n.alias], n.guard, n.tags)
			if len(n.below) > 0 {
				b.WriteString(" " + d.renderNodes(n.below, used))
			}
		}
	}
	b.WriteString(" }\n")
	return b.String()
}

// rewrite returns a copy whose selection sets went through f, the inner first.
func (d *document) rewrite(f func([]node) []node) *document {
	out := *d
	var walk func(nodes []node) []node
	walk = func(nodes []node) []node {
		nodes = slices.Clone(nodes)
		for i := range nodes {
			if len(nodes[i].below) > 0 {
				nodes[i].below = walk(nodes[i].below)
			}
		}
		return f(nodes)
	}
	out.root = walk(d.root)
	out.fragments = slices.Clone(d.fragments)
	for i := range out.fragments {
		out.fragments[i].below = walk(out.fragments[i].below)
	}
	return &out
}

func drawVariables(t *rapid.T) string {
	n := func(label string) string {
		return rapid.SampledFrom([]string{"0", "1", "3", "9", "null"}).Draw(t, label)
	}
	in := rapid.SampledFrom([]string{"null", "{}", `{"level": 1}`, `{"deep": {"level": 2}, "many": [{"first": 3}]}`}).Draw(t, "in")
	out := fmt.Sprintf(`{"b0": %v, "in": %s, "id": "a"`, rapid.Bool().Draw(t, "b0"), in)
	for _, name := range []string{"n0", "n1"} {
		if rapid.Bool().Draw(t, "give "+name) {
			out += fmt.Sprintf(`, %q: %s`, name, n(name))
		}
	}
	if rapid.Bool().Draw(t, "give b1") {
		out += fmt.Sprintf(`, "b1": %v`, rapid.Bool().Draw(t, "b1"))
	}
	return out + "}"
}
