package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	gql "github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/schema"
)

const standingSchema = `
type Query { me: Person node(id: ID): Node any: [Any!] items(first: Int, in: In): [Item] price: Int shop: Shop! }
type Mutation { rename(id: ID, in: In): Person close: Boolean }
interface Node { id: ID label: String tags: [String] }
union Any = Person | Item | Shop
type Person implements Node { id: ID label: String tags: [String] mail: String boss: Person items: [Item] }
type Item implements Node { id: ID label: String tags: [String] price: Int owner: Person }
type Shop implements Node { id: ID label: String tags: [String] open: Boolean! }
input In { name: String secret: String }
`

var standingDocuments = []string{
	`{ me { id label mail } price }`,
	`{ price me { boss { mail boss { mail label } } items { price owner { mail } } } }`,
	`query($id: ID) { a: node(id: $id) { id label } b: node(id: "x") { ...N ... on Item { price owner { label } } } } fragment N on Node { label tags }`,
	`query($n: Int, $in: In) { items(first: $n, in: $in) { id label price tags } me { tags } }`,
	`{ any { __typename ... on Node { id label } ... on Person { mail } ... on Shop { open } } shop { open label } }`,
	`{ one: me { ...P } two: me { ...P boss { ...P } } } fragment P on Person { mail items { price } }`,
	`query($s: Boolean!) { me { id mail @skip(if: $s) label } price @include(if: $s) }`,
	`{ me @skip(if: true) { mail } price }`,
	`mutation($id: ID, $in: In) { rename(id: $id, in: $in) { id mail label } close }`,
	`{ __schema { queryType { name } } me { mail } price }`,
	`{ me { items { label } tags } items { tags } any { ... on Item { tags } } }`,
}

// standingPolicies writes policies whose denials depend on all that there is;
// calm ones' on the subject alone.
type standingPolicies struct {
	*rand.Rand
	calm bool
}

func (g standingPolicies) pick(from ...string) string { return from[g.IntN(len(from))] }

func (g standingPolicies) one(n int) bool { return g.IntN(n) == 0 }

func (g standingPolicies) identity() string {
	return fmt.Sprintf(" if %q in input.subject.roles", g.pick("a", "b", "c", "d"))
}

// other is a condition on something that is not the subject alone.
func (g standingPolicies) other() string {
	return g.pick(` if input.request.method == "POST"`, ` if input.operation.cost < 2`, ` if time.now_ns() < 0`, ` if time.now_ns() > 0`)
}

func (g standingPolicies) allow(b *strings.Builder, typ, field string) {
	head := headOf(typ, field)
	rule := func(tail string) { fmt.Fprintf(b, "%s%s\n\n", head, tail) }
	switch n := g.IntN(24); {
	case n < 9:
		rule(" := true")
	case n < 10:
		rule(" := false")
	case n > 13 || g.calm:
		rule(g.identity())
	case n == 10:
		rule(g.other())
	case n == 11 && typ != "Query" && typ != "Mutation" && typ != star:
		rule(" if input.parent.id == input.subject.id")
	case n == 12 && (field == "node" || field == "rename"):
		rule(" if input.args.id == input.subject.id")
	case n == 13 && g.one(4): // two values
		fmt.Fprintf(b, "%s := true%s\n\n%s := false%s\n\n", head, g.identity(), head, g.identity())
	default:
		rule(g.identity())
	}
}

func (g standingPolicies) value(constants ...string) string {
	value := " := " + g.pick(constants...)
	switch n := g.IntN(6); {
	case n > 1 || g.calm:
		return value
	case n == 1:
		return value + g.identity()
	}
	return value + g.other()
}

func (g standingPolicies) policy() string {
	var b strings.Builder
	b.WriteString("package graphward\n\nimport rego.v2\n\n")
	for _, at := range [][2]string{
		{"Query", "me"}, {"Query", "node"}, {"Query", "items"}, {"Query", "price"}, {"Mutation", "rename"}, {"Mutation", "close"},
		{"Person", "mail"}, {"Person", "boss"}, {"Person", "label"}, {"Item", "price"}, {"Item", "tags"}, {"Item", "label"}, {"Shop", "open"}, {"Shop", "label"},
	} {
		if !g.one(3) {
			g.allow(&b, at[0], at[1])
		}
	}
	for _, typ := range []string{"Query", "Mutation", "Person", "Item", "Shop"} {
		if !g.one(4) {
			g.allow(&b, typ, star)
		}
	}
	if !g.one(3) {
		g.allow(&b, star, star)
	}
	if g.one(5) && !g.calm {
		b.WriteString("allow[t][f] if {\n\tsome r in input.subject.roles\n\tdata.grants[r][t][f]\n}\n\n")
	}
	for _, rule := range []struct {
		often int
		text  string
	}{
		{3, `error.Person.mail` + g.value(`{"code": "NO_MAIL", "message": "ask first"}`, `"ask first"`)},
		{3, `error.Query.me` + g.value(`{"code": "LOGIN"}`, `{"message": "log in"}`)},
		{6, `error.Item["*"]` + g.value(`"no items"`)},
		{9, `error["*"]["*"]` + g.value(`{"code": "NO"}`)},
		{3, `introspection` + g.value("true", `"visible"`)},
		{8, `allow_argument.Query.items.first if input.value < 5`},
		{8, `allow_input.In.secret` + g.identity()},
		{8, `deny contains {"code": "CLOSED", "message": "later"} if input.request.method == "PUT"`},
		{}, // what follows is not for calm policies
		{6, `error.Query.node := {"message": input.args.id}`},
		{8, `mask.Shop.label := data.names[input.request.method]`},
		{12, "error[t][f] := \"ask a manager\" if {\n\tsome r in input.subject.roles\n\tdata.grants[r][t][f]\n}"},
		{2, `mask.Person.mail` + g.value(`"x@example.com"`, `null`)},
		{3, `mask.Item.tags` + g.value(`["t"]`, `"t"`)},
		{4, `drop.Query.items` + g.value("true")},
		{6, `drop.Query.any` + g.value("true")},
		{12, `deny contains "not you"` + g.identity()},
		{8, `allow_argument.Query.node.id if input.value == input.subject.id`},
	} {
		if n := rule.often; n == 0 && g.calm {
			break
		} else if n > 0 && g.one(n) {
			b.WriteString(rule.text + "\n\n")
		}
	}
	return b.String()
}

var standingData = map[string]any{
	"names":  map[string]any{"GET": "g", "POST": "p"},
	"grants": map[string]any{"a": map[string]any{"Person": map[string]any{"mail": true, "*": false}}, "b": map[string]any{"Query": map[string]any{"me": true}}},
}

// asked is one request.
type asked struct {
	sub   *Subject
	req   *Request
	facts OperationFacts
	vars  *schema.Variables
}

func (g standingPolicies) request(t testing.TB, op *schema.Operation) asked {
	variables := map[string]any{"s": g.one(2)}
	if !g.one(3) {
		variables["id"] = g.pick("x", "y")
	}
	if !g.one(3) {
		variables["n"] = g.IntN(8)
	}
	if g.one(2) {
		variables["in"] = map[string]any{g.pick("name", "secret"): "v"}
	}
	for name := range variables {
		found := false
		for i := range op.Variables {
			found = found || op.Variables[i].Name == name
		}
		if !found {
			delete(variables, name)
		}
	}
	raw, err := json.Marshal(variables)
	if err != nil {
		t.Fatal(err)
	}
	vars, err := op.Coerce(raw, schema.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	a := asked{sub: &Subject{ID: g.pick("x", "y")}, req: &Request{Method: g.pick("GET", "POST", "PUT")}, facts: OperationFacts{Cost: float64(g.IntN(4))}, vars: vars}
	roles := [][]string{nil, {"a"}, {"b", "c"}, {"a", "c", "d"}, {"d"}, {"a", "b", "c", "d"}}
	a.sub.Roles = roles[g.IntN(len(roles))]
	return a
}

// whole compares everything of two decisions but the reasons that one has at
// hand. An object rule is judged by what it was bound to, which its head and
// fields stand for.
var whole = cmp.Options{
	cmp.AllowUnexported(Denial{}, Rule{}, Mask{}),
	cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".reason" }, cmp.Ignore()),
	cmp.Comparer(func(a, b *gql.Field) bool { return a == b }),
	cmp.Comparer(func(a, b *ObjectRule) bool {
		return (a == nil) == (b == nil) && (a == nil || a.Head == b.Head && len(a.Parents) == len(b.Parents) && (len(a.Parents) == 0 || &a.Parents[0] == &b.Parents[0]))
	}),
}

// compareStanding decides on b, on which decisions may stand, and on a binding
// on which none does, and returns the former, and what is wrong about it.
func compareStanding(e *Engine, b *Binding, a asked) (d *Decision, wrong string) {
	slow, err := e.Bind(b.op)
	if err != nil {
		return nil, err.Error()
	}
	slow.varies = true
	want, wantErr := e.Decide(context.Background(), slow, a.sub, a.req, a.facts, a.vars)
	got, err := e.Decide(context.Background(), b, a.sub, a.req, a.facts, a.vars)
	if fmt.Sprint(err) != fmt.Sprint(wantErr) {
		return nil, fmt.Sprintf("error %v, want %v", err, wantErr)
	}
	if diff := cmp.Diff(want, got, whole); diff != "" {
		wrong = fmt.Sprintf("%s\nsubject %+v, request %+v (-made for it +stands):\n%s", b.op.Text, a.sub, a.req, diff)
	}
	if wrong == "" && got != nil {
		for i := range got.Denials {
			if g, w := got.Denials[i].Reason(), want.Denials[i].Reason(); g != w {
				wrong = fmt.Sprintf("the reason %q, want %q", g, w)
			}
		}
	}
	return got, wrong
}

// TestStanding holds decisions that stand for many requests to those that are
// made for one, on random policies.
func TestStanding(t *testing.T) {
	s := loadSchema(t, standingSchema)
	data := writeData(t, standingData)
	var ops []*schema.Operation
	for _, text := range standingDocuments {
		ops = append(ops, compileOperation(t, s, text, ""))
	}
	modes := []Options{{}, {OnDeny: "filter"}, {OnDeny: "filter", OnDenyMutation: "filter"}}
	count := map[string]int{}
	for round := uint64(0); count["requests"] < 5**pairs; round++ {
		g := standingPolicies{rand.New(rand.NewPCG(*seed, round)), round/3%2 == 0}
		o, text := modes[round%3], g.policy()
		o.Schema, o.Modules, o.Data, o.Timeout = s, map[string]string{"p.rego": text}, []string{data}, time.Minute
		e, err := Load(context.Background(), o)
		if count["policies"]++; err != nil {
			if count["refused"]++; count["refused"] > 20 && count["refused"]*2 > count["policies"] {
				t.Fatalf("most policies are refused: %v\n%s", err, text)
			}
			continue
		}
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Log(text)
				}
			}()
			for _, op := range ops {
				b, err := e.Bind(op)
				if err != nil {
					t.Fatal(err)
				}
				known := map[*Decision]bool{}
				for range 12 {
					d, wrong := compareStanding(e, b, g.request(t, op))
					if wrong != "" {
						t.Fatal(wrong)
					}
					count["requests"]++
					if d == nil || d == b.allowed || d == b.visible {
						continue
					}
					count["refused or guarded"]++
					if !known[d] {
						known[d] = true
						continue
					}
					count["standing"]++
					for what, holds := range map[string]bool{
						"denials": len(d.Denials) > 0, "several denials": len(d.Denials) > 1, "guards": len(d.Guards) > 0, "masks": slices.ContainsFunc(d.Guards, func(g Guard) bool { return g.Mask != nil }),
						"drops": len(d.Drops) > 0, "messages": len(d.Denials) > 0 && d.Denials[0].Message != fieldMessage(d.Denials[0].Coordinate),
						"other rules": len(b.asked)+len(b.ruled) > 0, "mutations": op.Kind == gql.Mutation, "several types": len(b.coords) > len(b.uses),
					} {
						if holds {
							count[what]++
						}
					}
				}
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Log(count)
	for what, least := range map[string]int{
		"standing": 6, "denials": 16, "several denials": 20, "guards": 10, "masks": 2000, "drops": 1000, "messages": 500, "other rules": 150, "mutations": 50, "several types": 30,
	} {
		if count[what] < count["refused or guarded"]/least {
			t.Errorf("only %d of %d were %s: the generator has gone stale", count[what], count["refused or guarded"], what)
		}
	}
}

// TestStandingTogether asks at once for more decisions than a binding keeps.
func TestStandingTogether(t *testing.T) {
	e := (&decisionFile{Schema: standingSchema, OnDeny: "filter", Policy: `package graphward

import rego.v2

allow.Query["*"] := true

allow.Person.id if "a" in input.subject.roles

allow.Person.label if "b" in input.subject.roles

allow.Person.mail if "c" in input.subject.roles

mask.Person.mail := "hidden"
`}).load(t)
	op := compileOperation(t, e.schema, standingDocuments[0], "")
	vars, err := op.Coerce(nil, schema.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.Bind(op)
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			for n := range 64 {
				a := asked{sub: &Subject{}, req: &Request{}, vars: vars}
				for bit, role := range []string{"a", "b", "c"} {
					if (n*(2*i+1))>>bit&1 == 1 {
						a.sub.Roles = append(a.sub.Roles, role)
					}
				}
				if _, wrong := compareStanding(e, b, a); wrong != "" {
					t.Error(wrong)
				}
			}
		})
	}
	wait.Wait()
	if b.standings.turn.Load() <= keptStandings {
		t.Errorf("%d decisions were kept, of which none took another's place", b.standings.turn.Load())
	}
}

// TestStandingAllocations sees that a refusal by identity, once made, costs
// nothing more.
func TestStandingAllocations(t *testing.T) {
	b, ask := deniedByIdentity(t)
	if d, err := ask(); err != nil || len(d.Denials) != 1 || d.Denials[0].Message != "ask first" {
		t.Fatal(d, err)
	}
	allocs := testing.AllocsPerRun(200, func() {
		if d, err := ask(); err != nil || d.Allowed {
			t.Fatal(d, err)
		}
	})
	if allocs > 0 && !raced {
		t.Errorf("%v allocations", allocs)
	}
	// As many as are told of are not kept with every document.
	many, err := b.engine.Bind(compileOperation(t, b.engine.schema, `{ me { boss { label tags items { price label id tags owner { label } } } } any { ... on Shop { id label open } } }`, ""))
	if err != nil {
		t.Fatal(err)
	}
	if d, err := b.engine.Decide(context.Background(), many, nil, nil, OperationFacts{}, nil); err != nil || len(d.Denials) <= maxStanding {
		t.Fatal(d, err)
	}
	if many.standings.turn.Load() > 0 {
		t.Error("a large decision was kept")
	}
}

func deniedByIdentity(t testing.TB) (*Binding, func() (*Decision, error)) {
	e := (&decisionFile{Schema: standingSchema, Policy: `package graphward

import rego.v2

allow.Query["*"] if "reader" in input.subject.roles

allow.Query.node if input.args.id == input.subject.id

allow.Person.id if "reader" in input.subject.roles

allow.Person.mail if "admin" in input.subject.roles

error.Person.mail := "ask first"

deny contains "closed" if input.request.headers["x-closed"] == "1"
`}).load(t)
	op := compileOperation(t, e.schema, `query($id: ID) { node(id: $id) { __typename } me { id mail } }`, "")
	vars, err := op.Coerce([]byte(`{"id":"7"}`), schema.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.Bind(op)
	if err != nil {
		t.Fatal(err)
	}
	sub, req := &Subject{ID: "7", Roles: []string{"writer", "reader"}}, &Request{Headers: map[string]string{"x-closed": "0"}}
	return b, func() (*Decision, error) {
		return e.Decide(context.Background(), b, sub, req, OperationFacts{}, vars)
	}
}

func BenchmarkDenied(b *testing.B) {
	_, ask := deniedByIdentity(b)
	b.ReportAllocs()
	for b.Loop() {
		if d, err := ask(); err != nil || d.Allowed {
			b.Fatal(d, err)
		}
	}
}

// TestStands says which operations have decisions that stand. What the random
// policies seldom come upon is here too.
func TestStands(t *testing.T) {
	const identity = `

allow.Query["*"] if "a" in input.subject.roles

allow.Person["*"] if "b" in input.subject.roles

allow.Query.items if input.args.first == 1

`
	for _, test := range []struct {
		name, rules, query string
		want               bool
	}{
		{"identity alone", ``, `{ me { mail } }`, true},
		{"an argument's rule beside it", ``, `{ me { mail } items(first: 1) { __typename } }`, true},
		{"another operation's rule", `error.Query.node := input.args.id`, `{ me { mail } }`, true},
		{"constants in place", "error.Person.mail := \"no\"\n\nmask.Person.mail := \"x\"\n\ndrop.Query.items := true", `{ me { mail } items(first: 1) { __typename } }`, true},
		{"no identity verdict", ``, `{ items(first: 1) { __typename } }`, false},
		{"a condition", `drop.Query.items := true`, `query($s: Boolean!) { me { mail } items(first: 1) @include(if: $s) { __typename } }`, false},
		{"introspection", `introspection := "visible" if input.request.method == "GET" else := "all"`, `{ me { mail } __schema { __typename } }`, false},
		{"a message", `error.Person.mail := input.request.method`, `{ me { mail } }`, false},
		{"a message of the type", `error.Person["*"] := input.subject.id`, `{ me { mail } }`, false},
		{"a message of all", `error["*"]["*"] := input.subject.id`, `{ me { mail } }`, false},
		{"a message by a head with variables", "error[t][f] := \"no\" if {\n\tsome r in input.subject.roles\n\tdata.grants[r][t][f]\n}", `{ me { mail } }`, false},
		{"a mask", `mask.Person.mail := input.subject.id`, `{ me { mail } }`, false},
		{"a drop", `drop.Query.items if input.request.method == "GET"`, `{ me { mail } items(first: 1) { __typename } }`, false},
		{"the time decides of a field", `allow.Query.price if time.now_ns() > 0`, `{ me { mail } price }`, false},
		{"the time decides of an argument", `allow_argument.Query.node.id if time.now_ns() > 0`, `{ me { mail } node(id: 1) { id } }`, false},
		{"the time decides of an input field", `allow_input.In.name if time.now_ns() > 0`, `{ me { mail } items(first: 1, in: {name: ""}) { __typename } }`, false},
		{"the time decides of all", `deny contains "late" if time.now_ns() < 0`, `{ me { mail } }`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := (&decisionFile{Schema: standingSchema, OnDeny: "filter", Policy: "package graphward\n\nimport rego.v2" + identity + test.rules, Data: standingData}).load(t)
			b, err := e.Bind(compileOperation(t, e.schema, test.query, ""))
			if err != nil {
				t.Fatal(err)
			}
			if b.stands() != test.want {
				t.Errorf("stands is %v", b.stands())
			}
			g := standingPolicies{rand.New(rand.NewPCG(*seed, 0)), false}
			for range 40 {
				if _, wrong := compareStanding(e, b, g.request(t, b.op)); wrong != "" {
					t.Fatal(wrong)
				}
			}
		})
	}
}
