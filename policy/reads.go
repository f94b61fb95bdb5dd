package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// pathSet is a set of input paths, as a tree of object keys. A node with all
// set stands for its whole subtree. The zero value is the empty set.
type pathSet struct {
	all  bool
	kids map[string]*pathSet
}

// add puts the path (without input) into the set.
func (p *pathSet) add(path []string) {
	for _, key := range path {
		if p.all {
			return
		}
		if p.kids == nil {
			p.kids = map[string]*pathSet{}
		}
		next := p.kids[key]
		if next == nil {
			next = &pathSet{}
			p.kids[key] = next
		}
		p = next
	}
	p.all, p.kids = true, nil
}

// merge adds every path of other.
func (p *pathSet) merge(other *pathSet) {
	switch {
	case p.all:
	case other.all:
		p.all, p.kids = true, nil
	default:
		for key, kid := range other.kids {
			if p.kids == nil {
				p.kids = map[string]*pathSet{}
			}
			if p.kids[key] == nil {
				p.kids[key] = &pathSet{}
			}
			p.kids[key].merge(kid)
		}
	}
}

// has reports whether any path that begins with key is in the set.
func (p *pathSet) has(key string) bool { return p.all || p.kids[key] != nil }

// paths lists the set as dotted paths, sorted; "input" alone for everything.
func (p *pathSet) paths() []string {
	var out []string
	p.walk("input", func(path string) { out = append(out, path) })
	return out
}

func (p *pathSet) walk(prefix string, visit func(string)) {
	if p.all {
		visit(prefix)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(p.kids)) {
		p.kids[key].walk(prefix+"."+key, visit)
	}
}

// read is one place where a rule reads a path.
type read struct {
	path []string
	// open marks a path that went on with a variable: the whole subtree is read.
	open bool
	loc  *ast.Location
	expr *ast.Expr
	rule *ast.Rule
	// ref is the reference into input; nil where input stands alone.
	ref ast.Ref
	// of parentReads: what the rule has in place of ref, and what it does with it.
	spelt ast.Value
	use   parentUse
}

// ofParent reports whether the read is of the resolved object.
func (rd *read) ofParent() bool { return len(rd.path) > 0 && rd.path[0] == "parent" }

// derived reports whether the rule reads ref through a variable.
func (rd *read) derived() bool { return rd.spelt == nil || rd.ref.Compare(rd.spelt) != 0 }

// ruleFacts is what one compiled rule does by itself.
type ruleFacts struct {
	reads  []read
	data   []read // references into data that meet no rule
	deps   []*ast.Rule
	impure []string // builtins whose result does not depend on their operands alone
}

// analyser extracts what compiled rules can read. It over-approximates: a
// variable in a reference takes the whole subtree, and a reference into data
// reaches every rule that OPA says it may reach.
type analyser struct {
	compiler *ast.Compiler
	impure   map[string]bool
	facts    map[*ast.Rule]*ruleFacts
	used     map[*ast.Rule]bool // rules that some entry point reaches
}

func newAnalyser(c *ast.Compiler) *analyser {
	return &analyser{compiler: c, impure: impureBuiltins(), facts: map[*ast.Rule]*ruleFacts{}, used: map[*ast.Rule]bool{}}
}

// impureBuiltins lists the builtins whose result depends on more than their
// operands: those that OPA flags, and those that it does not.
func impureBuiltins() map[string]bool {
	out := map[string]bool{"trace": true, "print": true, "internal.print": true}
	for _, b := range ast.Builtins {
		if b.Nondeterministic || strings.HasPrefix(b.Name, "crypto.x509.parse_and_verify_certificates") {
			out[b.Name] = true
		}
	}
	return out
}

func (a *analyser) of(rule *ast.Rule) *ruleFacts {
	if f := a.facts[rule]; f != nil {
		return f
	}
	f := &ruleFacts{}
	a.facts[rule] = f
	w := &ruleWalk{a: a, facts: f, rule: rule, seen: map[*ast.Rule]bool{}}
	w.visitor = ast.NewGenericVisitor(w.visit)
	for r := rule; r != nil; r = r.Else {
		for _, t := range r.Head.Reference[min(1, len(r.Head.Reference)):] {
			w.visitor.Walk(t)
		}
	}
	w.visitor.Walk(rule)
	return f
}

// ruleWalk walks one rule with its else branches.
type ruleWalk struct {
	a       *analyser
	facts   *ruleFacts
	rule    *ast.Rule
	expr    *ast.Expr
	seen    map[*ast.Rule]bool
	visitor *ast.GenericVisitor
}

func (w *ruleWalk) visit(x any) bool {
	switch x := x.(type) {
	case *ast.Expr:
		outer := w.expr
		w.expr = x
		// Walk the parts here, so that the enclosing expression is known.
		switch ts := x.Terms.(type) {
		case []*ast.Term:
			for _, t := range ts {
				w.visitor.Walk(t)
			}
		default:
			w.visitor.Walk(ts)
		}
		for _, with := range x.With {
			w.visitor.Walk(with)
		}
		w.expr = outer
		return true
	case *ast.Term:
		if ref, ok := x.Value.(ast.Ref); ok {
			w.ref(ref, x.Location)
			return true
		}
		if s, ok := x.Value.(ast.String); ok && s == "Local" {
			w.facts.impure = append(w.facts.impure, "the time zone Local")
		}
	case ast.Ref: // operators of calls are terms; this is a with target or a package
		w.ref(x, nil)
		return true
	case ast.Var:
		if x == ast.InputRootDocument.Value {
			w.facts.reads = append(w.facts.reads, read{rule: w.rule, expr: w.expr, open: true})
		}
	}
	return false
}

func (w *ruleWalk) ref(ref ast.Ref, loc *ast.Location) {
	for _, t := range ref[1:] {
		w.visitor.Walk(t)
	}
	head, ok := ref[0].Value.(ast.Var)
	switch {
	case !ok:
		w.visitor.Walk(ref[0])
	case head == ast.InputRootDocument.Value:
		path, open := groundPath(ref)
		if loc == nil && w.expr != nil {
			loc = w.expr.Location
		}
		w.facts.reads = append(w.facts.reads, read{path: path, open: open, loc: loc, expr: w.expr, rule: w.rule, ref: ref})
	case head == ast.DefaultRootDocument.Value:
		w.dataRef(ref, loc)
	default:
		if name := ref.String(); w.a.impure[name] {
			w.facts.impure = append(w.facts.impure, name)
		}
	}
}

func (w *ruleWalk) dataRef(ref ast.Ref, loc *ast.Location) {
	rules := w.a.compiler.GetRulesDynamicWithOpts(ref, ast.RulesOptions{IncludeHiddenModules: true})
	if path, open := groundPath(ref); len(rules) == 0 && len(path) > 0 {
		if loc == nil && w.expr != nil {
			loc = w.expr.Location
		}
		w.facts.data = append(w.facts.data, read{path: path, open: open, loc: loc, rule: w.rule})
	}
	for _, dep := range rules {
		if !w.seen[dep] {
			w.seen[dep] = true
			w.facts.deps = append(w.facts.deps, dep)
		}
	}
}

// groundPath returns the leading string keys of a ref after its head, and
// whether something else follows them.
func groundPath(ref ast.Ref) (path []string, open bool) {
	for _, t := range ref[1:] {
		s, ok := t.Value.(ast.String)
		if !ok {
			return path, true
		}
		path = append(path, string(s))
	}
	return path, false
}

// closure is what a set of rules and all that they reach can do.
type closure struct {
	paths  pathSet
	reads  []read
	parent []read // parentReads
	impure []string
	rules  []*ast.Rule
}

// close follows rules to everything that they may reach.
func (a *analyser) close(rules []*ast.Rule) *closure {
	out := &closure{}
	seen := map[*ast.Rule]bool{}
	todo := slices.Clone(rules)
	for len(todo) > 0 {
		rule := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[rule] {
			continue
		}
		seen[rule], a.used[rule] = true, true
		f := a.of(rule)
		out.rules = append(out.rules, rule)
		for _, rd := range f.reads {
			out.paths.add(rd.path)
		}
		out.reads = append(out.reads, f.reads...)
		out.impure = append(out.impure, f.impure...)
		todo = append(todo, f.deps...)
	}
	slices.Sort(out.impure)
	out.impure = slices.Compact(out.impure)
	return out
}
