package schema

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hostileSchema names the parts of a schema that hostile documents are made of.
type hostileSchema struct {
	corpus
	root     string // a leaf selection on the query root
	object   string // an object selection there, without its set
	typ      string // its type
	leaf     string // a leaf field of it
	self     string // a field of it of the same type
	argument string // a selection on it, with %s for an argument's value
	many     string // one whose field declares many arguments

	// abstract is an interface reached by open, with the field common.
	open, abstract, common, end string
	// What overlaps with it, by kind, and all of that.
	objects, interfaces, composites []string
}

func hostileSchemas(tb testing.TB) []hostileSchema {
	tb.Helper()
	list := []hostileSchema{{
		corpus: loadKennel(tb), root: "int(of:1)", object: "dog", typ: "Dog", leaf: "name", self: "mate",
		argument: "friends(filter:{data:%s}){id}", many: "friends(first:1){id}",
		open: "{pet{", abstract: "Pet", common: "mate", end: "}}",
	}, {
		corpus: loadCorpora(tb)[0], root: "__typename", object: `artist(id:"1")`, typ: "Artist", leaf: "name", self: "basedOn",
		argument: "filterArtworksConnection(input:{keyword:%s}){id}", many: "filterArtworksConnection(page:1){id}",
		open: `{homeView{section(id:"1"){`, abstract: "HomeViewSectionGeneric", common: "component", end: "}}}",
	}, {
		corpus: corpus{name: "lattice", schema: mustLoad(tb, latticeSDL(40))}, root: "int", object: "one", typ: "T0", leaf: "name", self: "self",
		argument: "any(value:%s){id}", many: "many(a1:1){id}",
		open: "{all{", abstract: "All", common: "self", end: "}}",
	}}
	for i := range list {
		h := &list[i]
		near := h.schema.Possible(h.abstract)
		for name, def := range h.schema.ast.Types {
			if !def.IsCompositeType() || !h.schema.Possible(name).Intersects(near) {
				continue
			}
			h.composites = append(h.composites, name)
			if def.Kind == "OBJECT" {
				h.objects = append(h.objects, name)
			} else {
				h.interfaces = append(h.interfaces, name)
			}
		}
		slices.Sort(h.composites)
		slices.Sort(h.objects)
		slices.Sort(h.interfaces)
	}
	return list
}

// latticeSDL is a schema of n object types and n interfaces, each of which all
// of them but one implement: type conditions reach each of the 2^n sets.
func latticeSDL(n int) string {
	const fields = " {id: ID! name: String self: T0 all: [All] any(value: Any): T0 many(%s): T0}\n"
	var args, b strings.Builder
	for i := range n {
		fmt.Fprintf(&args, "a%d: Int ", i)
	}
	b.WriteString("scalar Any\ntype Query {int: Int one: T0 all: All}\ninterface All" + fmt.Sprintf(fields, args.String()))
	for i := range n {
		fmt.Fprintf(&b, "interface But%d"+fields, i, args.String())
		fmt.Fprintf(&b, "type T%d implements All", i)
		for k := range n {
			if k != i {
				fmt.Fprintf(&b, " & But%d", k)
			}
		}
		fmt.Fprintf(&b, fields, args.String())
	}
	return b.String()
}

// hostileFamilies build documents that grow with k.
var hostileFamilies = []struct {
	name  string
	build func(h hostileSchema, k int) string
}{
	{"field repetition", func(h hostileSchema, k int) string { return "{" + strings.Repeat(h.root+" ", k) + "}" }},
	{"object repetition", func(h hostileSchema, k int) string {
		return "{" + strings.Repeat(h.object+"{"+h.leaf+"}", k) + "}"
	}},
	{"nested repetition", func(h hostileSchema, k int) string {
		inner := strings.Repeat(h.leaf+" ", k)
		for range 6 {
			inner = strings.Repeat("...{"+inner+"}", 2)
		}
		return "{" + h.object + "{" + inner + "}}"
	}},
	{"nested objects repeated", func(h hostileSchema, k int) string {
		inner := strings.Repeat(h.leaf+" ", k)
		for range 6 {
			inner = strings.Repeat(h.self+"{"+inner+"}", 2)
		}
		return "{" + h.object + "{" + inner + "}}"
	}},
	{"nested inline fragments", func(h hostileSchema, k int) string {
		depth := min(k, 180)
		return "{" + h.object + strings.Repeat("{...", depth) + "{" + strings.Repeat(h.leaf+" ", k) + "}" + strings.Repeat(" "+h.leaf+"}", depth) + "}"
	}},
	{"fragment chain", func(h hostileSchema, k int) string { return fragments(h, k, "%[2]s...F%[1]d") }},
	{"fragment chain under fields", func(h hostileSchema, k int) string { return fragments(h, k, "%[3]s{%[2]s...F%[1]d}") }},
	{"fragment tree", func(h hostileSchema, k int) string {
		return fragments(h, k, strings.Repeat("%[3]s{%[2]s...F%[1]d}", 4))
	}},
	{"fragment tree with aliases", func(h hostileSchema, k int) string {
		return fragments(h, k, "a:%[3]s{...F%[1]d}b:%[3]s{...F%[1]d}c:%[3]s{...F%[1]d}d:%[3]s{...F%[1]d}")
	}},
	{"fragment fan-out", func(h hostileSchema, k int) string { return fragments(h, k, strings.Repeat("...F%[1]d ", 4)) }},
	{"all spread all", allSpreadAll},
	{"conflicting aliases", func(h hostileSchema, k int) string {
		return "{" + strings.Repeat(h.object+"{a:"+h.leaf+" b:"+h.self+"{a:"+h.leaf+"}}", k) + h.object + "{b:" + h.self + "{a:id}}}"
	}},
	{"merging subsets", mergingSubsets},
	{"abstract over concrete", func(h hostileSchema, k int) string {
		return onTypes(h, h.objects, k, "...on %[1]s{x:"+h.common+"{__typename}}...on "+h.abstract+"{x:"+h.common+"{a:__typename}}")
	}},
	{"spreads over all types", func(h hostileSchema, k int) string { return onTypes(h, h.composites, k, "...on %s{__typename}") }},
	{"nested spreads over all types", func(h hostileSchema, k int) string {
		var b strings.Builder
		for i := range min(k, 180) {
			b.WriteString("...on " + h.interfaces[i*7%len(h.interfaces)] + "{__typename ")
		}
		return h.open + b.String() + strings.Repeat("}", min(k, 180)) + h.end
	}},
	{"narrowing", narrowing},
	{"narrowing by nesting", func(h hostileSchema, k int) string {
		var b strings.Builder
		b.WriteString(h.open + "...F0" + h.end)
		for i := range k {
			fmt.Fprintf(&b, "fragment F%d on %s{...F%d ...on %s{...F%d}}", i, h.abstract, i+1, h.interfaces[(i+1)%len(h.interfaces)], i+1)
		}
		fmt.Fprintf(&b, "fragment F%d on %s{__typename}", k, h.abstract)
		return b.String()
	}},
	{"nested values through fragments", func(h hostileSchema, k int) string {
		value := strings.Repeat("[", 7) + "1" + strings.Repeat("]", 7)
		return fragments(h, k, fmt.Sprintf(h.argument, value)+"...F%[1]d")
	}},
	{"long list", func(h hostileSchema, k int) string { return argument(h, "["+strings.Repeat("{a:1}", k)+"]") }},
	{"wide objects", func(h hostileSchema, k int) string {
		var x, y strings.Builder
		for i := range k {
			fmt.Fprintf(&x, "k%d:1 ", i)
			fmt.Fprintf(&y, "k%d:1 ", k-1-i)
		}
		return argument(h, "{"+x.String()+"}", "{"+y.String()+"}")
	}},
	{"equal arguments", func(h hostileSchema, k int) string {
		return "{" + h.object + "{" + strings.Repeat(fmt.Sprintf(h.argument, "{a:[1 2 3]b:{c:1}}"), k) + "}}"
	}},
	{"many arguments declared", func(h hostileSchema, k int) string { return "{" + h.object + "{" + strings.Repeat(h.many, k) + "}}" }},
	{"operations over one fragment", func(h hostileSchema, k int) string {
		return operations(min(200, k), "{...F}") + "fragment F on Query{" + strings.Repeat(h.root+" ", k) + "}"
	}},
	{"operations over a chain", func(h hostileSchema, k int) string {
		return operations(k, "{"+h.object+"{...F0}}") + definitions(h, k, "%[2]s...F%[1]d")
	}},
	{"variables in a fragment", func(h hostileSchema, k int) string {
		var vars, uses strings.Builder
		for i := range k {
			fmt.Fprintf(&vars, "$v%d:Int ", i)
			fmt.Fprintf(&uses, "$v%d ", i)
		}
		return "query(" + vars.String() + "){" + h.object + "{...F}}fragment F on " + h.typ + "{" + fmt.Sprintf(h.argument, "{a:["+uses.String()+"]}") + "}"
	}},
	{"conditions", func(h hostileSchema, k int) string {
		var vars strings.Builder
		for i := range k {
			fmt.Fprintf(&vars, "$v%d:Boolean! ", i)
		}
		return "query(" + vars.String() + ")" + fragments(h, k, "%[2]s ...F%[1]d @include(if:$v%[4]d) ...F%[1]d @skip(if:$v%[4]d) @include(if:$v0)")
	}},
	{"directives", func(h hostileSchema, k int) string {
		return "{" + strings.Repeat(h.root+"@skip(if:false)@include(if:true)", k) + "}"
	}},
	{"repeated directives", func(h hostileSchema, k int) string { return "{" + h.root + strings.Repeat("@note", k) + "}" }},
	{"unknown names of 60 KB", func(_ hostileSchema, k int) string {
		return "{" + strings.Repeat(strings.Repeat("x", 60_000/k)+" ", k) + "}"
	}},
	{"long names", func(h hostileSchema, k int) string {
		return "{" + strings.Repeat(strings.Repeat("x", 60_000/k-len(h.root)-2)+":"+h.root+" ", k) + "}"
	}},
	{"unknown arguments", func(h hostileSchema, k int) string {
		return "{" + h.object + "{id(" + strings.Repeat("x:1 ", k) + ")}}"
	}},
	{"fragments in circles", func(_ hostileSchema, k int) string {
		var b strings.Builder
		for i := range k {
			fmt.Fprintf(&b, "fragment F%d on Query{...F%d}", i, i)
		}
		return b.String()
	}},
	{"one long circle", func(h hostileSchema, k int) string {
		return strings.Replace(fragments(h, k, "%[2]s...F%[1]d"), "{id}", "{...F0}", 1)
	}},
	{"fragments of one name", func(_ hostileSchema, k int) string { return "{...F}" + strings.Repeat("fragment F on Query{...F}", k) }},
	{"brackets", func(_ hostileSchema, k int) string { return strings.Repeat("{a", k) }},
	{"list brackets", func(_ hostileSchema, k int) string { return "{a(b:" + strings.Repeat("[", k) }},
	{"type brackets", func(_ hostileSchema, k int) string { return "query($a:" + strings.Repeat("[", k) }},
	{"comments", func(h hostileSchema, k int) string {
		return strings.Repeat("#\n", 7*k) + "{" + strings.Repeat(h.root+" ", k) + "}"
	}},
	{"escapes", func(h hostileSchema, k int) string {
		return argument(h, slices.Repeat([]string{`"` + strings.Repeat(`\u0001`, 14) + `"`}, k)...)
	}},
	{"block strings", func(h hostileSchema, k int) string {
		return argument(h, slices.Repeat([]string{`"""` + strings.Repeat(" \n", 20) + `"""`}, k)...)
	}},
	{"introspection", func(_ hostileSchema, k int) string {
		return "{" + strings.Repeat("__schema{types{fields{type{fields{name}}}}}", k) + "}"
	}},
	{"introspection chain", func(_ hostileSchema, k int) string {
		return "{__schema{types{...F0}}}" + definitions(hostileSchema{typ: "__Type"}, k, "ofType{name ...F%[1]d}")
	}},
}

// fragments selects a chain of k fragments F0, F1 … on the schema's object. In
// each body %[1]d is the next one's number, %[4]d its own, %[2]s and %[3]s are
// the schema's leaf and self.
func fragments(h hostileSchema, k int, body string) string {
	return "{" + h.object + "{...F0}}" + definitions(h, k, body)
}

func definitions(h hostileSchema, k int, body string) string {
	var b strings.Builder
	for i := range k {
		fmt.Fprintf(&b, "fragment F%d on %s{", i, h.typ)
		text := fmt.Sprintf(body+"%[4]d%[2]s%[3]s", i+1, h.leaf, h.self, i)
		b.WriteString(strings.TrimSuffix(text, fmt.Sprint(i)+h.leaf+h.self) + "}")
	}
	fmt.Fprintf(&b, "fragment F%d on %s{id}", k, h.typ)
	if h.typ == "__Type" {
		return strings.Replace(b.String(), "{id}", "{name}", 1)
	}
	return b.String()
}

func operations(k int, body string) string {
	var b strings.Builder
	for i := range k {
		fmt.Fprintf(&b, "query Q%d%s", i, body)
	}
	return b.String()
}

func argument(h hostileSchema, values ...string) string {
	var b strings.Builder
	for _, v := range values {
		fmt.Fprintf(&b, h.argument+" ", v)
	}
	return "{" + h.object + "{" + b.String() + "}}"
}

func onTypes(h hostileSchema, types []string, k int, selection string) string {
	var b strings.Builder
	for i := range k {
		fmt.Fprintf(&b, selection, types[i%len(types)])
	}
	return h.open + b.String() + h.end
}

// allSpreadAll has k fragments, each of which spreads all that follow.
func allSpreadAll(h hostileSchema, k int) string {
	k = max(1, isqrt(2*k))
	var b strings.Builder
	b.WriteString("{" + h.object + "{...F0}}")
	for i := range k {
		fmt.Fprintf(&b, "fragment F%d on %s{%s", i, h.typ, h.leaf)
		for j := i + 1; j < k; j++ {
			fmt.Fprintf(&b, " ...F%d", j)
		}
		b.WriteString("}")
	}
	return b.String()
}

func isqrt(n int) int {
	i := 0
	for i*i < n {
		i++
	}
	return i
}

// mergingSubsets makes the places of the response meet in as many different
// sets of selection sets as it can: what making an automaton deterministic does.
func mergingSubsets(h hostileSchema, k int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "{%s{...F0 ...F1}}", h.object)
	for i := range k {
		x, y := min(i+1, k), min(i+2, k)
		fmt.Fprintf(&b, "fragment F%d on %s{a:%[3]s{...F%[4]d}b:%[3]s{...F%[4]d ...F%[5]d}c:%[3]s{...F%[5]d id}}", i, h.typ, h.self, x, y)
	}
	fmt.Fprintf(&b, "fragment F%d on %s{id}", k, h.typ)
	return b.String()
}

// narrowing reaches each of k fragments under as many sets of types as it can.
func narrowing(h hostileSchema, k int) string {
	var b strings.Builder
	b.WriteString(h.open + "...F0" + h.end)
	for i := range k {
		fmt.Fprintf(&b, "fragment F%d on %s{...F%d", i, h.abstract, i+1)
		for j := range 3 {
			fmt.Fprintf(&b, " ...on %s{...F%d}", h.interfaces[(3*i+j)*5%len(h.interfaces)], i+1)
		}
		b.WriteString("}")
	}
	fmt.Fprintf(&b, "fragment F%d on %s{__typename}", k, h.abstract)
	return b.String()
}

// wide are limits that let a document of 64 KiB and 4,000 tokens through to
// every stage, as an operator may set them.
var wide = Limits{
	Depth: 1 << 30, Aliases: 1 << 30, RootFields: 1 << 30, Directives: 1 << 30, Fragments: 60_000, ValueDepth: 200, ListItems: 5000,
}

// fit returns the largest k up to most for which fits holds; it holds for all
// smaller ones.
func fit(most int, fits func(k int) bool) int {
	k := 1
	for 2*k <= most && fits(2*k) {
		k *= 2
	}
	for step := k / 2; step > 0; step /= 2 {
		if fits(k + step) {
			k += step
		}
	}
	return k
}

// hostileDocument is a document of a family under some limits.
type hostileDocument struct {
	family, name string
	schema       *Schema
	limits       Limits
	k            int
	build        func(k int) string
}

// eachHostile calls f for each family and schema, under the default and under
// wide limits: with the largest document of 4,000 tokens and 64 KiB, and with
// the largest that breaks no limit, for that one reaches every stage.
func eachHostile(tb testing.TB, f func(d hostileDocument)) {
	schemas := hostileSchemas(tb)
	for _, family := range hostileFamilies {
		for _, h := range schemas {
			build := func(k int) string { return family.build(h, k) }
			within := func(limits Limits, any bool) func(int) bool {
				return func(k int) bool {
					_, _, err := scan(build(k), Limits{})
					var limit *LimitError
					if errors.As(err, &limit) && limit.Kind != LimitNesting {
						return false
					}
					if any {
						return true
					}
					_, err = h.schema.Compile(build(k), "", limits)
					return !errors.As(err, &limit)
				}
			}
			most := fit(DefaultLimits.Tokens, within(Limits{}, true))
			for _, l := range []struct {
				name   string
				limits Limits
			}{{"default", Limits{}}, {"wide", wide}} {
				d := hostileDocument{
					family: strings.ReplaceAll(family.name, " ", "-"), name: h.corpus.name + "/" + l.name + "/largest",
					schema: h.schema, limits: l.limits, k: most, build: build,
				}
				f(d)
				if d.k = fit(most, within(l.limits, false)); d.k < most {
					d.name = h.corpus.name + "/" + l.name + "/unlimited"
					f(d)
				}
			}
		}
	}
}

// doublings calls f for the document, for one half as large, and so on, so many
// times at most: with the sizes to compare. The smallest have some 50 tokens.
func (d hostileDocument) doublings(times int, f func(half, full string)) {
	for k := d.k; k >= 2 && times > 0; k /= 2 {
		times--
		half, full := d.build((k+1)/2), d.build(k)
		if tokens(half) < 50 {
			return
		}
		f(half, full)
	}
}

func tokens(text string) int {
	_, n, _ := scan(text, Limits{Tokens: 1 << 20, Document: 1 << 20})
	return n
}

// hostileBytes is what compiling one document may allocate, whatever it is.
const hostileBytes = 8 << 20

// compileBytes compiles and returns what that allocated.
func compileBytes(s *Schema, text string, limits Limits) (uint64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := s.Compile(text, "", limits)
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, err
}

// TestHostileMemory holds what a hostile document may allocate.
func TestHostileMemory(t *testing.T) {
	eachHostile(t, func(d hostileDocument) {
		text := d.build(d.k)
		got, err := compileBytes(d.schema, text, d.limits)
		if got > hostileBytes {
			t.Errorf("%s/%s: a document of %d bytes allocates %d", d.family, d.name, len(text), got)
		}
		t.Logf("%s/%s: %d bytes of text, %d allocated: %v", d.family, d.name, len(text), got, err)
	})
}

// hostileGrowth is how much dearer a document may be than one half as large.
const hostileGrowth = 2.5

// compileWork counts what compiling does, in steps of following a spread,
// collecting a field, joining two or narrowing a set; a token, from scanning to
// printing, costs as much as tokenSteps of them, and so do 40 bytes of text.
func compileWork(s *Schema, text string, limits Limits) int {
	const tokenSteps, bytesPerToken = 20, 40
	c := &compiler{fragments: map[string]int32{}, variables: map[string]int32{}}
	_, _ = c.compile(s, text, "", limits.orDefaults())
	return tokenSteps*(tokens(text)+len(text)/bytesPerToken) + c.visits + c.merger.steps + c.merger.unifier.steps + c.walker.steps
}

// TestHostileWork holds how the work grows with the size, at every size, without
// a clock.
func TestHostileWork(t *testing.T) {
	eachHostile(t, func(d hostileDocument) {
		d.doublings(20, func(half, full string) {
			less, more := compileWork(d.schema, half, d.limits), compileWork(d.schema, full, d.limits)
			if growth := float64(more) / float64(less); growth > hostileGrowth {
				t.Errorf("%s/%s: %d tokens take %d steps, %d take %d: %.2f times as many",
					d.family, d.name, tokens(half), less, tokens(full), more, growth)
			}
		})
	})
}

// hostileCost is the worst of some documents, and which they are.
type hostileCost struct {
	ms, bytes, growth       float64
	slowest, fattest, grown string
}

func (c *hostileCost) add(o hostileCost) {
	if o.ms > c.ms {
		c.ms, c.slowest = o.ms, o.slowest
	}
	if o.bytes > c.bytes {
		c.bytes, c.fattest = o.bytes, o.fattest
	}
	if o.growth > c.growth {
		c.growth, c.grown = o.growth, o.grown
	}
}

func (c *hostileCost) report(b *testing.B) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(c.ms, "ms-cpu/doc")
	b.ReportMetric(c.bytes/(1<<20), "MiB/doc")
	b.ReportMetric(c.growth, "growth")
}

// BenchmarkHostile prints the worst of each family and in the end the worst of
// all: the CPU time of a document in milliseconds, garbage collection included;
// what it allocates; and how its CPU time grows from a document half as large, at
// three sizes, garbage collection excluded. TestHostileWork looks at all sizes.
func BenchmarkHostile(b *testing.B) {
	var families []string
	documents := map[string][]hostileDocument{}
	eachHostile(b, func(d hostileDocument) {
		if documents[d.family] == nil {
			families = append(families, d.family)
		}
		documents[d.family] = append(documents[d.family], d)
	})
	var worst hostileCost
	for _, family := range families {
		b.Run(family, func(b *testing.B) {
			var cost hostileCost
			for b.Loop() {
				cost = hostileCost{}
				for _, d := range documents[family] {
					cost.add(measureHostile(b, d))
				}
			}
			cost.report(b)
			worst.add(cost)
		})
	}
	b.Run("worst-of-all", func(b *testing.B) {
		for b.Loop() {
			continue
		}
		worst.report(b)
		b.Logf("%.2f ms of CPU (bar 10): %s", worst.ms, worst.slowest)
		b.Logf("%.2f MiB allocated (bar 8): %s", worst.bytes/(1<<20), worst.fattest)
		b.Logf("growth %.2f (bar %.1f): %s", worst.growth, hostileGrowth, worst.grown)
	})
}

func measureHostile(tb testing.TB, d hostileDocument) hostileCost {
	text := d.build(d.k)
	name := fmt.Sprintf("%s/%s of %d tokens", d.family, d.name, tokens(text))
	bytes, _ := compileBytes(d.schema, text, d.limits)
	cost := hostileCost{bytes: float64(bytes), slowest: name, fattest: name}
	var times []float64
	for range 3 {
		times = append(times, compileTime(tb, d, text, 10*time.Millisecond).Seconds()*1000)
	}
	slices.Sort(times)
	cost.ms = times[1]
	d.doublings(3, func(half, full string) {
		growth := compileGrowth(tb, d, half, full)
		cost.add(hostileCost{growth: growth, grown: fmt.Sprintf("%s/%s from %d to %d tokens", d.family, d.name, tokens(half), tokens(full))})
	})
	return cost
}

// compileGrowth is the median of five ratios of the CPU times of two documents,
// each of which is the least of three, without garbage collection in between. The
// two take turns, so that what else the machine does bears on both.
func compileGrowth(tb testing.TB, d hostileDocument, half, full string) float64 {
	const least = 300 * time.Microsecond
	var ratios []float64
	for range 5 {
		runtime.GC()
		percent := debug.SetGCPercent(-1)
		less, more := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
		for range 3 {
			less = min(less, compileTime(tb, d, half, least))
			more = min(more, compileTime(tb, d, full, least))
		}
		debug.SetGCPercent(percent)
		ratios = append(ratios, float64(more)/float64(less))
	}
	slices.Sort(ratios)
	return ratios[2]
}

// compileTime is the process's CPU time for compiling a document once, over as
// many times as take the least time that can be told.
func compileTime(tb testing.TB, d hostileDocument, text string, least time.Duration) time.Duration {
	start := cpuTime(tb)
	for n := time.Duration(1); ; n++ {
		_, _ = d.schema.Compile(text, "", d.limits)
		if spent := cpuTime(tb) - start; spent >= least {
			return spent / n
		}
	}
}

func cpuTime(tb testing.TB) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// FuzzHostile looks for documents that are dearer than the families: it joins
// and cuts two of them.
func FuzzHostile(f *testing.F) {
	schemas := hostileSchemas(f)
	for i := range hostileFamilies {
		f.Add(uint8(i), uint8(i+1), uint16(300), uint16(100), uint16(500))
	}
	f.Fuzz(func(t *testing.T, first, second uint8, k, l, cut uint16) {
		for _, h := range schemas {
			text := hostileFamilies[int(first)%len(hostileFamilies)].build(h, 1+int(k)%2000)
			other := hostileFamilies[int(second)%len(hostileFamilies)].build(h, 1+int(l)%2000)
			at := min(int(cut), len(text), len(other))
			for _, document := range []string{text, text + other, text[:len(text)-at] + other[at:]} {
				for _, limits := range []Limits{{}, wide} {
					if got, _ := compileBytes(h.schema, document, limits); got > 2*hostileBytes {
						t.Errorf("%d bytes allocated for a document of %d", got, len(document))
					}
				}
			}
		}
	})
}
