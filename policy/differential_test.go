package policy

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/graphward/graphward/schema"
)

var (
	pairs = flag.Int("pairs", 2_000, "pairs of policy and input in the differential test; CI runs 100000")
	seed  = flag.Uint64("seed", 1, "seed of the differential test")
)

const differentialSchema = `
type Query {
  a(id: ID, n: Int = 3, list: [String!], obj: In): T
  b(id: ID, n: Int = 3, list: [String!], obj: In): T
  t(id: ID, n: Int = 3, list: [String!], obj: In): T
}
type T {
  x(id: ID, n: Int = 3, list: [String!], obj: In): String
  y(id: ID, n: Int = 3, list: [String!], obj: In): String
  z(id: ID, n: Int = 3, list: [String!], obj: In): String
}
input In { id: ID k: String tags: [String] in: In d: Int = 7 }
`

const differentialQuery = `query($id: ID, $n: Int, $list: [String!], $obj: In) {
  a(id: $id, n: $n, list: $list, obj: $obj) { __typename }
  b(id: $id, n: $n, list: $list, obj: $obj) { __typename }
  t(id: $id) { x(id: $id, n: $n, list: $list, obj: $obj) y(n: $n) z }
}`

var differentialFields = []coordinate{{"Query", "a"}, {"Query", "b"}, {"Query", "t"}, {"T", "x"}, {"T", "y"}, {"T", "z"}}

// generator writes random policies. Their rules read input in every way that
// Rego has: by path, variable, iteration, function, comprehension, walk.
type generator struct {
	*rand.Rand
	helpers, functions int
	heads              map[coordinate]bool // heads without variables
	vars               bool
	// parts are the policy with the heads without variables alone, and with
	// each head with variables alone: what a level of the lookup asks in turn.
	parts []string
}

func (g *generator) pick(from ...string) string { return from[g.IntN(len(from))] }

func (g *generator) scalar() string {
	return g.pick("input.subject.id", "input.subject.issuer", "input.subject.claims.tenant", "input.subject.claims.org.id",
		"input.subject.client.name", "input.subject.method", "input.request.method", "input.request.headers.tenant",
		"input.operation.kind", "input.operation.name", "input.args.id", "input.args.obj.id", "input.args.obj.k",
		"input.args.obj.in.id", "input.args.n", "input.args.obj.d", "input.args.list[0]", "input.subject.roles[_]", `"a"`, `"b"`, `"acme"`, "3", "null", "data.names.a")
}

func (g *generator) list() string {
	return g.pick("input.subject.roles", "input.subject.scopes", "input.args.list", "input.args.obj.tags", "input.subject.claims.groups", "data.list", `["a", "b"]`, "object.get(input.args, \"list\", [])")
}

func (g *generator) object() string {
	return g.pick("input", "input.subject", "input.subject.claims", "input.args", "input.args.obj", "input.args.obj.in", "data.names", "input.request.headers", "input.subject.client")
}

// simple is one expression that binds nothing.
func (g *generator) simple(depth int) string {
	switch g.IntN(17) {
	case 0:
		return "input.subject.authenticated"
	case 1, 2, 3:
		return g.scalar() + " " + g.pick("==", "==", "!=", "<", ">") + " " + g.scalar()
	case 4:
		return g.scalar() + " in " + g.list()
	case 5:
		return fmt.Sprintf("h%d", g.IntN(g.helpers+1))
	case 6:
		return fmt.Sprintf("fn%d(%s)", g.IntN(g.functions+1), g.pick(g.scalar(), g.object()))
	case 7:
		return fmt.Sprintf("object.get(%s, %q, %s) == %s", g.object(), g.pick("id", "tenant", "k", "a"), g.scalar(), g.scalar())
	case 8:
		return fmt.Sprintf("count(%s) %s %d", g.pick(g.list(), g.object()), g.pick(">", "==", "<"), g.IntN(3))
	case 9:
		return fmt.Sprintf("startswith(%s, %q)", g.scalar(), g.pick("a", "b", ""))
	case 10:
		return fmt.Sprintf("count([v | some v in %s; v == %s]) > 0", g.list(), g.scalar())
	case 11:
		return "data.owners[" + g.scalar() + "] == " + g.scalar()
	case 12:
		return "input.operation.registered"
	case 13:
		if depth > 0 {
			return "not {" + g.simple(depth-1) + "}"
		}
	case 14:
		if depth > 0 {
			return "(" + g.simple(depth-1) + " or " + g.simple(depth-1) + ")"
		}
	case 15:
		if depth > 0 {
			return "not {" + g.simple(depth-1) + "; " + g.simple(depth-1) + "}"
		}
	case 16:
		return fmt.Sprintf("object.get(input, [%q, %q], %s) == %s", g.pick("args", "subject"), g.pick("id", "n"), g.scalar(), g.scalar())
	}
	return "input.args.id == input.subject.id"
}

// expr is one or more expressions; n keeps variables apart.
func (g *generator) expr(n int) string {
	switch g.IntN(10) {
	case 0:
		return fmt.Sprintf("some r%d in %s\n\tr%d == %s", n, g.list(), n, g.scalar())
	case 1:
		return fmt.Sprintf("every r%d in %s { r%d != %s }", n, g.list(), n, g.scalar())
	case 2:
		return fmt.Sprintf("o%d := %s\n\to%d.%s == %s", n, g.object(), n, g.pick("id", "tenant", "k", "a", "name"), g.scalar())
	case 3:
		return fmt.Sprintf("walk(%s, [_, %s])", g.object(), g.pick(`"a"`, `"b"`, "3"))
	case 4:
		return fmt.Sprintf("%s[k%d] == %s\n\tk%d != %q", g.object(), n, g.scalar(), n, g.pick("id", "a", "z"))
	case 5:
		return fmt.Sprintf("some k%d, v%d in %s\n\tv%d == %s", n, n, g.object(), n, g.scalar())
	}
	return g.simple(2)
}

func (g *generator) body() string {
	var lines []string
	for i := range 1 + g.IntN(2) {
		lines = append(lines, "\t"+g.expr(i))
	}
	return " if {\n" + strings.Join(lines, "\n") + "\n}"
}

func (g *generator) rule(b *strings.Builder, head string, values bool) {
	value := ""
	if values && g.IntN(5) == 0 {
		fmt.Fprintf(b, "default %s := false\n\n", head)
	}
	if values && g.IntN(4) == 0 {
		fmt.Fprintf(b, "%s := %s%s else := %s%s\n\n", head, g.pick("true", "false"), g.body(), g.pick("true", "false"), g.body())
		if g.IntN(2) == 0 {
			return
		}
	}
	for range 1 + g.IntN(2) {
		fmt.Fprintf(b, "%s%s%s\n\n", head, value, g.body())
	}
}

func (g *generator) policy() string {
	var b strings.Builder
	b.WriteString("package graphward\n\nimport rego.v2\n\n")
	g.heads, g.vars = map[coordinate]bool{}, g.IntN(4) == 0
	g.functions, g.helpers = -1, -1
	// A helper may use those before it.
	for i := range 3 {
		if i == 0 {
			fmt.Fprintf(&b, "fn0(x) if x == %q\n\nh0 if input.subject.authenticated\n\n", g.pick("a", "b"))
		} else {
			fmt.Fprintf(&b, "fn%d(x)%s\n\n", i, strings.Replace(g.body(), "{\n", "{\n\t"+g.pick("x == input.subject.id", "x.id == input.args.id", "x in input.subject.roles", "x[_] == \"a\"")+"\n", 1))
			g.rule(&b, fmt.Sprintf("h%d", i), true)
		}
		g.functions, g.helpers = i, i
	}
	helpers := b.String()
	b.Reset()
	for _, at := range slices.Concat(differentialFields, []coordinate{{"Query", star}, {"T", star}, {star, star}}) {
		if g.IntN(2) == 0 {
			continue
		}
		g.heads[at] = true
		g.rule(&b, headOf(at.typ, at.field), true)
	}
	g.parts = []string{helpers + b.String()}
	policy := g.parts[0]
	if g.vars {
		for _, rule := range []string{
			fmt.Sprintf("allow[t][f] if {\n\tsome role in input.subject.roles\n\tdata.grants[role][t][f]\n%s}\n\n", g.pick("", "\tinput.args.id == \"a\"\n")),
			fmt.Sprintf("allow.T[f] if {\n\tsome f in %s\n\t%s\n}\n\n", g.list(), g.simple(1)),
		} {
			g.parts = append(g.parts, helpers+rule)
			policy += rule
		}
	}
	return policy
}

var differentialData = map[string]any{
	"names": map[string]any{"a": "b", "b": "a", "id": "acme"}, "list": []any{"a", "x"},
	"owners": map[string]any{"a": "a", "b": "acme"},
	"grants": map[string]any{
		"a": map[string]any{"T": map[string]any{"y": true, "*": false}},
		"b": map[string]any{"Query": map[string]any{"a": true, "*": true}},
	},
}

func (g *generator) word() string { return g.pick("", "a", "b", "acme", "x", "y") }

func (g *generator) words() []string {
	var out []string
	for range g.IntN(3) {
		out = append(out, g.pick("a", "b", "x", "y"))
	}
	return out
}

func (g *generator) subject() *Subject {
	s := &Subject{
		Authenticated: g.IntN(2) == 0, ID: g.word(), Issuer: g.word(), Roles: g.words(), Scopes: g.words(),
		Client: Client{Name: g.word()}, Method: g.word(), Claims: map[string]any{},
	}
	if g.IntN(2) == 0 {
		s.Claims["tenant"] = g.pick("a", "acme")
	}
	if g.IntN(3) == 0 {
		s.Claims["groups"] = []any{"a", json.Number("3")}
	}
	if g.IntN(3) == 0 {
		s.Claims["org"] = map[string]any{"id": g.word()}
	}
	return s
}

func (g *generator) variables() map[string]any {
	v := map[string]any{}
	set := func(name string, value any) {
		switch g.IntN(5) {
		case 0:
		case 1:
			v[name] = nil
		default:
			v[name] = value
		}
	}
	set("id", g.word())
	set("n", g.IntN(5))
	set("list", g.words())
	inner := map[string]any{"id": g.word(), "tags": []any{g.word(), nil}}
	if g.IntN(2) == 0 {
		inner["in"] = map[string]any{"id": g.word(), "k": nil}
	}
	set("obj", inner)
	return v
}

// plain is the reference: OPA on the policy as it was written, one evaluation
// for each step of the lookup, with all of input.
type plain struct {
	queries []map[coordinate]rego.PreparedEvalQuery // for each part of the policy
	heads   map[coordinate]bool
}

// newPlain returns nil for a policy that OPA refuses.
func newPlain(t *testing.T, g *generator, data map[string]any) *plain {
	p := &plain{heads: g.heads}
	store := inmem.NewFromObject(data)
	for _, text := range g.parts {
		m, err := ast.ParseModuleWithOpts("p.rego", text, ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		c := ast.NewCompiler()
		if c.Compile(map[string]*ast.Module{"p.rego": m}); c.Failed() {
			return nil
		}
		queries := map[coordinate]rego.PreparedEvalQuery{}
		for _, at := range slices.Concat(differentialFields, []coordinate{{"Query", star}, {"T", star}, {star, star}}) {
			q, err := rego.New(rego.Compiler(c), rego.Store(store), rego.Query(fmt.Sprintf("data.graphward.allow[%q][%q]", at.typ, at.field))).PrepareForEval(context.Background())
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			queries[at] = q
		}
		p.queries = append(p.queries, queries)
	}
	return p
}

func (p *plain) allowed(at coordinate, input ast.Value, indexing bool) (bool, error) {
	for _, level := range []coordinate{at, {at.typ, star}, {star, star}} {
		for _, part := range p.queries {
			q := part[level]
			rs, err := q.Eval(context.Background(), rego.EvalParsedInput(input), rego.EvalRuleIndexing(indexing),
				rego.EvalMetrics(metrics.NoOp()), rego.EvalExternalCancel(topdown.NewCancel()))
			if err != nil {
				return false, err
			}
			if len(rs) > 0 && rs[0].Expressions[0].Value == true {
				return true, nil
			}
		}
		if p.heads[level] {
			break
		}
	}
	return false, nil
}

// fullInput builds input independently of the engine's projection.
func fullInput(t *testing.T, sub *Subject, req *Request, op *schema.Operation, facts OperationFacts, use *schema.FieldUse, vars *schema.Variables) any {
	var s, r any
	for from, to := range map[any]*any{sub: &s, req: &r} {
		text, err := json.Marshal(from)
		if err == nil {
			err = json.Unmarshal(text, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"roles", "scopes"} {
		if s.(map[string]any)[name] == nil {
			s.(map[string]any)[name] = []any{}
		}
	}
	args := map[string]any{}
	for i := range use.Args {
		if v := use.Args[i].Resolve(vars); v.Kind != schema.Absent {
			var value any
			if err := json.Unmarshal(v.AppendJSON(nil), &value); err != nil {
				t.Fatal(err)
			}
			args[use.Args[i].Definition.Name] = value
		}
	}
	operation := map[string]any{
		"kind": string(op.Kind), "hash": fmt.Sprintf("%x", op.Hash), "registered": facts.Registered,
		"cost": facts.Cost, "depth": op.Shape.Depth,
	}
	if op.Name != "" {
		operation["name"] = op.Name
	}
	return map[string]any{"subject": s, "request": r, "operation": operation, "args": args}
}

// TestDifferential compares the engine with plain OPA on random policies and
// inputs: the same fields allowed, the same evaluations failing. Rule indexing
// off must agree too.
func TestDifferential(t *testing.T) {
	s := loadSchema(t, differentialSchema)
	op := compileOperation(t, s, differentialQuery, "")
	data := writeData(t, differentialData)
	const inputs = 50
	tried, failed, allowed, refused := 0, 0, 0, 0
	for round := uint64(0); tried < *pairs; round++ {
		g := &generator{Rand: rand.New(rand.NewPCG(*seed, round))}
		text := g.policy()
		reference := newPlain(t, g, differentialData)
		e, err := Load(context.Background(), Options{Schema: s, Modules: map[string]string{"p.rego": text}, Data: []string{data}, Timeout: time.Minute})
		if err != nil {
			// Most are refused because they read or compare what cannot be there.
			refused++
			continue
		}
		if reference == nil {
			t.Fatalf("OPA refuses this policy, the engine does not:\n%s", text)
		}
		b, err := e.Bind(op)
		if err != nil {
			t.Fatal(err)
		}
		for range inputs {
			tried++
			ok, bad := comparePair(t, g, e, b, reference, text)
			allowed += ok
			failed += bad
		}
	}
	t.Logf("%d pairs; %d fields allowed, %d evaluations failed in both, %d of %d policies refused at load", tried, allowed, failed, refused, tried/inputs+refused)
	if allowed < tried/20 {
		t.Errorf("only %d fields were allowed: the generator has gone stale", allowed)
	}
}

func comparePair(t *testing.T, g *generator, e *Engine, b *Binding, reference *plain, text string) (allowed, failed int) {
	variables := g.variables()
	raw, _ := json.Marshal(variables)
	vars, err := b.op.Coerce(raw, schema.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	sub := g.subject()
	req := &Request{Method: g.word(), Headers: map[string]string{}}
	if g.IntN(2) == 0 {
		req.Headers["tenant"] = g.pick("", "a", "acme")
	}
	facts := OperationFacts{Registered: g.IntN(2) == 0, Cost: float64(g.IntN(5))}
	d, err := e.Decide(context.Background(), b, sub, req, facts, vars)
	again, againErr := e.Decide(context.Background(), b, sub, req, facts, vars)
	if (err == nil) != (againErr == nil) || err == nil && len(d.Denials) != len(again.Denials) {
		t.Fatalf("the second answer differs: %v %v\n%s", err, againErr, text)
	}
	denied := map[string]bool{}
	if err == nil {
		for _, denial := range d.Denials {
			denied[denial.Coordinate] = true
		}
	}
	var broken error
	for i := range b.op.Uses {
		use := &b.op.Uses[i]
		if use.Field.Name == "__typename" {
			continue
		}
		at := coordinate{use.Parent.Name, use.Field.Name}
		input := fullInput(t, sub, req, b.op, facts, use, vars)
		parsed, err2 := ast.InterfaceToValue(input)
		if err2 != nil {
			t.Fatal(err2)
		}
		want, wantErr := reference.allowed(at, parsed, true)
		other, otherErr := reference.allowed(at, parsed, false)
		// The index spares OPA rules that cannot hold, and so their failures.
		if wantErr == nil && otherErr == nil && want != other || wantErr != nil && otherErr == nil {
			t.Fatalf("OPA differs from itself without indexing at %s: %v %v %v %v\n%s", at, want, wantErr, other, otherErr, text)
		}
		if wantErr != nil {
			broken = wantErr
			continue
		}
		if err == nil && want == denied[at.String()] {
			full, _ := json.Marshal(input)
			t.Fatalf("%s: engine says allowed=%v, OPA %v\ninput %s\n%s", at, !denied[at.String()], want, full, text)
		}
		if want {
			allowed++
		}
	}
	if (err != nil) != (broken != nil) {
		t.Fatalf("engine's error %v, OPA's %v\n%s", err, broken, text)
	}
	if err != nil {
		failed++
	}
	return allowed, failed
}
