package cost

import (
	"errors"

	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/graphward/graphward/schema"
)

// subject is a random operation ready to be priced.
type subject struct {
	schema *schema.Schema
	doc    *document
	text   string
	op     *schema.Operation
	vars   *schema.Variables
	json   string
}

func drawSubject(t *rapid.T, negative bool) *subject {
	w := drawWorld(t, negative)
	s, err := schema.Load(schema.Source{Name: "world.graphql", Text: w.sdl})
	if err != nil {
		t.Fatalf("%v\n%s", err, w.sdl)
	}
	d := drawDocument(t, w)
	sub := &subject{schema: s, doc: d, json: drawVariables(t)}
	if err := sub.compile(d.text()); err != nil {
		t.Fatalf("%v\n%s\n%s", err, sub.text, w.sdl)
	}
	return sub
}

func tooLarge(err error) bool {
	var limit *schema.LimitError
	return errors.As(err, &limit)
}

var openLimits = schema.Limits{Depth: 1000, Aliases: 1 << 20, RootFields: 1 << 20, Directives: 1 << 20, Fragments: 10_000, Tokens: 1 << 20,
	Document: 4 << 20, Walk: 1 << 24}

func (s *subject) compile(text string) (err error) {
	s.text = text
	if s.op, err = s.schema.Compile(text, "", openLimits); err != nil {
		return err
	}
	s.vars, err = s.op.Coerce([]byte(s.json), openLimits)
	return err
}

func (s *subject) estimate(t *rapid.T, m *Model) (Estimate, error) {
	p, err := m.Compile(s.op)
	if err != nil {
		t.Fatal(err)
	}
	return p.Estimate(s.vars)
}

func drawOptions(t *rapid.T) Options {
	o := Options{Profile: rapid.SampledFrom(Profiles()).Draw(t, "profile")}
	if rapid.Bool().Draw(t, "sized") {
		n := rapid.IntRange(0, 4).Draw(t, "default size")
		o.DefaultListSize = &n
	}
	return o
}

func model(t *rapid.T, s *schema.Schema, o Options) *Model {
	m, err := NewModel(s, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestAgainstReference compares every number with full enumeration.
func TestAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSubject(t, true)
		o := drawOptions(t)
		m := model(t, s.schema, o)
		got, err := s.estimate(t, m)
		size := m.algebra.listSize
		r := newReference(s.op, s.vars, m.profile, size)
		want := r.total()
		if r.failed != (err != nil && got == Estimate{}) {
			t.Fatalf("%s: error %v, the reference fails: %v\n%s\n%s\n%s", m.profile, err, r.failed, s.text, s.json, s.doc.world.sdl)
		}
		if r.failed {
			return
		}
		e := m.estimate(want.a, want.b, false)
		if got != e {
			t.Fatalf("%s, size %v:\ngot  %+v\nwant %+v\n%s\n%s\n%s", m.profile, size, got, e, s.text, s.json, s.doc.world.sdl)
		}
		p, _ := m.Compile(s.op)
		checkInvariants(t, p, s.vars, got, err)
	})
}

// TestRewriting holds that the price is a function of what executes.
func TestRewriting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSubject(t, true)
		m := model(t, s.schema, drawOptions(t))
		want, wantErr := s.estimate(t, m)
		for name, rewritten := range map[string]*document{
			"inlined":    s.doc.inlined(),
			"split":      s.doc.split(),
			"reversed":   s.doc.rewrite(func(n []node) []node { n = slices.Clone(n); slices.Reverse(n); return n }),
			"duplicated": s.doc.duplicated(rapid.IntRange(0, s.doc.count()-1).Draw(t, "duplicate")),
			"renamed":    s.doc.renamed(),
		} {
			o := *s
			if err := o.compile(rewritten.text()); tooLarge(err) {
				continue // inlining can multiply a document
			} else if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, o.text)
			}
			got, err := o.estimate(t, m)
			if (err == nil) != (wantErr == nil) || got != want {
				t.Fatalf("%s, %s: %+v (%v), was %+v (%v)\n%s\n%s\n%s", m.profile, name, got, err, want, wantErr, s.text, o.text, s.json)
			}
		}
	})
}

// inlined replaces spreads by what they spread. A fragment that a guard holds
// back keeps it.
func (d *document) inlined() *document {
	var inline func(nodes []node) []node
	inline = func(nodes []node) []node {
		out := slices.Clone(nodes)
		for i, n := range out {
			if n.fragment > 0 {
				f := d.fragments[n.fragment-1]
				out[i] = node{condition: f.on, guard: n.guard, below: inline(f.below)}
				continue
			}
			out[i].below = inline(n.below)
		}
		return out
	}
	c := *d
	c.root = inline(d.root)
	return &c
}

// split puts each selection into a fragment of its own.
func (d *document) split() *document {
	return d.rewrite(func(nodes []node) []node {
		out := make([]node, len(nodes))
		for i, n := range nodes {
			out[i] = node{below: []node{n}}
		}
		return out
	})
}

func (d *document) count() int {
	n := 0
	d.rewrite(func(nodes []node) []node { n += len(nodes); return nodes })
	return n
}

// duplicated repeats one selection.
func (d *document) duplicated(which int) *document {
	seen := 0
	return d.rewrite(func(nodes []node) []node {
		var out []node
		for _, n := range nodes {
			out = append(out, n)
			if seen == which {
				out = append(out, n)
			}
			seen++
		}
		return out
	})
}

// renamed gives every response key another name.
func (d *document) renamed() *document {
	given := map[string]string{}
	for key, args := range d.given {
		given["r_"+key] = args
	}
	c := d.rewrite(func(nodes []node) []node {
		out := slices.Clone(nodes)
		for i := range out {
			if out[i].field != "" {
				out[i].alias = "r_" + out[i].alias
			}
		}
		return out
	})
	c.given = given
	return c
}

// TestMonotone holds that nothing added makes an operation cheaper.
func TestMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSubject(t, true)
		m := model(t, s.schema, drawOptions(t))
		more, err := s.estimate(t, m)
		if err != nil {
			return
		}
		drop, seen := rapid.IntRange(0, s.doc.count()-1).Draw(t, "drop"), 0
		fewer := s.doc.rewrite(func(nodes []node) []node {
			out := make([]node, 0, len(nodes))
			for _, n := range nodes {
				if seen++; seen-1 != drop || len(nodes) == 1 {
					out = append(out, n)
				}
			}
			return out
		})
		o := *s
		if err := o.compile(fewer.text()); err != nil {
			t.Fatalf("%v\n%s", err, o.text)
		}
		less, err := o.estimate(t, m)
		if err != nil || less.Total > more.Total || less.Nodes > more.Nodes || less.Field > more.Field || less.Type > more.Type {
			t.Fatalf("%s: %+v (%v) without a selection, %+v with it\n%s\n%s\n%s", m.profile, less, err, more, o.text, s.text, s.json)
		}
		raised := *s
		raised.json = strings.NewReplacer(`"n0": 1`, `"n0": 2`, `"n0": 3`, `"n0": 30`, `"n1": 0`, `"n1": 4`).Replace(s.json)
		if err := raised.compile(s.text); err != nil {
			t.Fatal(err)
		}
		dear, err := raised.estimate(t, m)
		var page *PageSizeError
		var unbounded *UnboundedError
		if errors.As(err, &page) || errors.As(err, &unbounded) {
			return // dearer than any price
		}
		if err != nil || dear.Total < more.Total || dear.Nodes < more.Nodes {
			t.Fatalf("%s: %+v (%v) with larger pages %s, %+v with %s\n%s", m.profile, dear, err, raised.json, more, s.json, s.text)
		}
	})
}

// TestLiteralsLikeVariables holds that a value costs the same wherever it stands.
func TestLiteralsLikeVariables(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSubject(t, true)
		m := model(t, s.schema, drawOptions(t))
		s.json = `{"b0": true, "b1": false, "n0": 3, "n1": 2, "in": {"level": 1}, "id": "a"}`
		if err := s.compile(s.text); err != nil {
			t.Fatal(err)
		}
		want, wantErr := s.estimate(t, m)
		o := *s
		body := s.text[strings.Index(s.text, " {"):]
		body = strings.NewReplacer("$b0", "true", "$b1", "false", "$n0", "3", "$n1", "2", "$in", "{level: 1}", "$id", `"a"`).Replace(body)
		if err := o.compile(s.doc.kind + " Q" + body); err != nil {
			t.Fatalf("%v\n%s", err, o.text)
		}
		got, err := o.estimate(t, m)
		if (err == nil) != (wantErr == nil) || got != want {
			t.Fatalf("%s: %+v (%v) by literals, %+v (%v) by variables\n%s", m.profile, got, err, want, wantErr, s.text)
		}
	})
}

// TestReuse holds that a program forgets the variables of earlier calls.
func TestReuse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSubject(t, true)
		m := model(t, s.schema, drawOptions(t))
		kept, err := m.Compile(s.op)
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			vars, err := s.op.Coerce([]byte(drawVariables(t)), openLimits)
			if err != nil {
				t.Fatal(err)
			}
			fresh, err := m.Compile(s.op)
			if err != nil {
				t.Fatal(err)
			}
			a, errA := kept.Estimate(vars)
			b, errB := fresh.Estimate(vars)
			if a != b || (errA == nil) != (errB == nil) {
				t.Fatalf("%+v (%v) from the kept program, %+v (%v) from a fresh one", a, errA, b, errB)
			}
		}
	})
}

// TestSyntacticBound holds that the bound past the work budget is one.
func TestSyntacticBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSubject(t, true)
		m := model(t, s.schema, drawOptions(t))
		exact, err := s.estimate(t, m)
		p := m.compileSyntactic(s.op)
		bound, boundErr := p.Estimate(s.vars)
		if boundErr == nil && err != nil {
			t.Fatalf("%s: the bound is %+v, exactly it is refused: %v\n%s", m.profile, bound, err, s.text)
		}
		if boundErr == nil && (bound.Total < exact.Total || bound.Field < exact.Field || bound.Type < exact.Type || bound.Nodes < exact.Nodes || !bound.Approximate) {
			t.Fatalf("%s: the bound %+v is below %+v\n%s\n%s", m.profile, bound, exact, s.text, s.json)
		}
		checkInvariants(t, p, s.vars, bound, boundErr)
	})
}

// TestWorstCase holds that no variables cost more than the worst case.
func TestWorstCase(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSubject(t, true)
		o := drawOptions(t)
		nine := 9
		if rapid.Bool().Draw(t, "bounded") {
			o.PageSize.Max = &nine
		}
		m := model(t, s.schema, o)
		p, err := m.Compile(s.op)
		if err != nil {
			t.Fatal(err)
		}
		e, err := p.Estimate(s.vars)
		var limit *NodeLimitError
		if err != nil && !errors.As(err, &limit) {
			return
		}
		worst, err := p.WorstCase()
		if err != nil && !errors.As(err, &limit) {
			t.Fatalf("%s: %v, but %s costs %+v\n%s", m.profile, err, s.json, e, s.text)
		}
		if e.Total > worst.Total || e.Nodes > worst.Nodes || e.Field > worst.Field || e.Type > worst.Type {
			t.Fatalf("%s: %s costs %+v, the worst case is %+v\n%s\n%s", m.profile, s.json, e, worst, s.text, s.doc.world.sdl)
		}
	})
}

// TestWorstCaseNumbers states worst cases that are known.
func TestWorstCaseNumbers(t *testing.T) {
	s := loadSchema(t, `
		type Query { users(first: Int, last: Int): [User] ids(ids: [ID]): [User] @listSize(slicingArguments: ["ids"]) in(f: F @cost(weight: "2")): Int user: User }
		type User { name: String friends(first: Int): [User] }
		input F { a: Int @cost(weight: "-5") b: [F] c: Int @cost(weight: "1") }`)
	ten, five := 10, 5
	for _, c := range []struct {
		query string
		max   *int
		total float64
		flags []string
	}{
		{`{ users(first: 3) { name } }`, &ten, 5, nil},
		{`query ($n: Int) { users(first: $n) { name } }`, &ten, 12, nil},
		{`query ($n: Int) { users(first: $n) { name } }`, &five, 12, nil},
		{`query ($n: Int!) { users(first: $n) { name } }`, &five, 7, nil},
		{`query ($n: Int!) { users(first: $n) { name } }`, nil, Saturation, []string{"saturated"}},
		{`query ($n: [ID]) { ids(ids: $n) { name } }`, &ten, 502, nil},
		{`query ($x: Boolean!) { user @include(if: $x) { name } users(first: 2) @skip(if: $x) { name } }`, &ten, 4, nil},
		{`query ($n: Int = 500) { users(first: $n) { name } }`, &ten, 12, nil},
	} {
		m, err := NewModel(s, Options{PageSize: PageSize{Max: c.max}})
		if err != nil {
			t.Fatal(err)
		}
		op, err := s.Compile(c.query, "", openLimits)
		if err != nil {
			t.Fatal(err)
		}
		p, err := m.Compile(op)
		if err != nil {
			t.Fatal(err)
		}
		e, err := p.WorstCase()
		if err != nil || e.Total != c.total {
			t.Errorf("%s: %+v, %v, want %v", c.query, e, err, c.total)
		}
		checkFlags(t, e, c.flags)
	}
}
