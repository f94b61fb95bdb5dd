package policy

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/graphward/graphward/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// asker decides one query again and again.
type asker struct {
	t     *testing.T
	query string
}

func (a asker) allowed(e *Engine, sub *Subject, variables string) bool {
	a.t.Helper()
	op := compileOperation(a.t, e.schema, a.query, "")
	vars, err := op.Coerce([]byte(variables), schema.Limits{})
	if err != nil {
		a.t.Fatal(err)
	}
	b, err := e.Bind(op)
	if err != nil {
		a.t.Fatal(err)
	}
	d, err := e.Decide(context.Background(), b, sub, nil, OperationFacts{}, vars)
	if err != nil {
		a.t.Fatal(err)
	}
	return d.Allowed
}

// TestFresh sees that each change shows in the next decision, after answers
// for the old state were cached.
func TestFresh(t *testing.T) {
	dir := t.TempDir()
	policyFile, dataFile := filepath.Join(dir, "p.rego"), filepath.Join(dir, "d.yaml")
	write := func(file, text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := loadSchema(t, "shop.graphql")
	load := func() *Engine {
		e, err := Load(context.Background(), Options{Schema: s, Paths: []string{dir}, Data: []string{dataFile}, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	write(policyFile, "package graphward\n\nimport rego.v2\n\nallow.Query.me if input.subject.claims.plan in data.plans\n\nallow.Query.user if input.args.id == input.subject.id\n")
	write(dataFile, "plans: [gold]\n")
	me, user := asker{t, "{me{__typename}}"}, asker{t, "query($i:ID){user(id:$i){__typename}}"}
	gold := &Subject{ID: "1", Claims: map[string]any{"plan": "gold"}}
	silver := &Subject{ID: "1", Claims: map[string]any{"plan": "silver"}}
	e := load()
	check := func(what string, got, want bool) {
		t.Helper()
		if got != want {
			t.Errorf("%s: allowed is %v", what, got)
		}
	}
	check("gold", me.allowed(e, gold, ""), true)
	check("another claim", me.allowed(e, silver, ""), false)
	check("the claim again", me.allowed(e, gold, ""), true)
	check("own id", user.allowed(e, gold, `{"i":"1"}`), true)
	check("another argument", user.allowed(e, gold, `{"i":"2"}`), false)
	check("a number for an id", user.allowed(e, gold, `{"i":1}`), true)
	check("null", user.allowed(e, gold, `{"i":null}`), false)
	check("absent", user.allowed(e, gold, ``), false)

	first := e.Revision()
	write(dataFile, "plans: [silver]\n")
	e = load()
	check("data changed, gold", me.allowed(e, gold, ""), false)
	check("data changed, silver", me.allowed(e, silver, ""), true)
	second := e.Revision()
	write(policyFile, "package graphward\n\nimport rego.v2\n\nallow.Query.me if input.subject.claims.plan == \"bronze\"\n")
	e = load()
	check("policy changed", me.allowed(e, silver, ""), false)
	if third := e.Revision(); first == second || second == third {
		t.Error("revisions repeat")
	}
}

// TestParallel decides for two subjects with one document and different
// variables, over an engine that is replaced all the time.
func TestParallel(t *testing.T) {
	f := decisionFile{Schema: "shop.graphql", Policy: `package graphward

import rego.v2

allow.Query.user if input.args.id == input.subject.id

allow.User["*"] if "reader" in input.subject.roles

allow_argument.User.orders.limit if input.value <= input.subject.claims.limit
`}
	var engine atomic.Pointer[Engine]
	engine.Store(f.load(t))
	query := `query($i:ID,$l:Int){user(id:$i){name orders(limit:$l){__typename}}}`
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 300 {
				e := engine.Load()
				op, err := e.schema.Compile(query, "", schema.Limits{})
				if err != nil {
					t.Error(err)
					return
				}
				own, limit, reader := i%3 != 0, i%7, i%5 != 0
				id := fmt.Sprintf("w%d", worker)
				sub := &Subject{ID: id, Claims: map[string]any{"limit": 4}}
				if reader {
					sub.Roles = []string{"reader"}
				}
				if !own {
					id = fmt.Sprintf("w%d", (worker+1)%4)
				}
				vars, err := op.Coerce(fmt.Appendf(nil, `{"i":%q,"l":%d}`, id, limit), schema.Limits{})
				if err != nil {
					t.Error(err)
					return
				}
				b, err := e.Bind(op)
				if err != nil {
					t.Error(err)
					return
				}
				d, err := e.Decide(context.Background(), b, sub, nil, OperationFacts{}, vars)
				if err != nil {
					t.Error(err)
					return
				}
				if want := own && reader && limit <= 4; d.Allowed != want {
					t.Errorf("worker %d, own %v, limit %d, reader %v: allowed is %v", worker, own, limit, reader, d.Allowed)
				}
			}
		})
	}
	for range 10 {
		engine.Store(f.load(t))
	}
	wg.Wait()
}

// TestTimeout stops rules that do not end in time, and an ended context.
func TestTimeout(t *testing.T) {
	e, err := Load(context.Background(), Options{
		Schema: loadSchema(t, "shop.graphql"), Timeout: time.Millisecond,
		Modules: map[string]string{"p.rego": `package graphward

import rego.v2

slow if count([x | some x in numbers.range(1, 100000); some y in numbers.range(1, 100000); x == y + 200000]) > 0

allow.Query.me if {
	input.subject.authenticated
	slow
}

allow.Query.user if {
	input.args.id == "1"
	slow
}
`},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"{me{__typename}}", `{user(id:"1"){__typename}}`} {
		op := compileOperation(t, e.schema, query, "")
		b, err := e.Bind(op)
		if err != nil {
			t.Fatal(err)
		}
		sub := &Subject{Authenticated: true}
		_, err = e.Decide(context.Background(), b, sub, nil, OperationFacts{}, nil)
		if _, ok := err.(*TimeoutError); !ok {
			t.Errorf("%s: error %v, want a *TimeoutError", query, err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if d, err := e.Decide(ctx, b, sub, nil, OperationFacts{}, nil); err == nil {
			t.Errorf("%s: %+v under an ended context", query, d)
		}
	}
}

// TestBrokenRule sees that a rule that fails refuses what it governs with an
// error, and nothing else.
func TestBrokenRule(t *testing.T) {
	f := decisionFile{Schema: "shop.graphql", Policy: `package graphward

import rego.v2

allow.Query.me := true if input.subject.authenticated

allow.Query.me := false if input.subject.id == "1"

allow.Query.users if input.subject.authenticated
`}
	e := f.load(t)
	sub := map[string]any{"authenticated": true, "id": "1"}
	for _, c := range []decisionCase{
		{Query: "{me{__typename}}", Subject: sub, Error: "allow.Query.me"},
		{Query: "{users{__typename}}", Subject: sub},
		{Query: "{me{__typename}}", Subject: map[string]any{"authenticated": true, "id": "2"}},
	} {
		c.run(t, e)
	}
}

func TestGates(t *testing.T) {
	e, err := Load(context.Background(), Options{
		Schema: loadSchema(t, "shop.graphql"), Tiers: []string{"gold", "default"}, Timeout: time.Minute,
		Modules: map[string]string{"p.rego": `package graphward

import rego.v2

tier := input.subject.claims.plan

adhoc if {
	input.subject.authenticated
	input.operation.kind == "query"
}
`},
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		plan any
		want string
		fail bool
	}{{nil, "", false}, {"gold", "gold", false}, {"unknown", "", true}, {5, "", true}}
	for _, tt := range tests {
		got, err := e.Tier(context.Background(), &Subject{Claims: map[string]any{"plan": tt.plan}}, nil)
		if got != tt.want || (err != nil) != tt.fail {
			t.Errorf("plan %v: tier %q, %v", tt.plan, got, err)
		}
	}
	for query, want := range map[string]bool{"{__typename}": true, "mutation{__typename}": false} {
		got, err := e.AdHoc(context.Background(), &Subject{Authenticated: true}, nil, compileOperation(t, e.schema, query, ""))
		if got != want || err != nil {
			t.Errorf("%s: %v, %v", query, got, err)
		}
	}
	if got, err := e.AdHoc(context.Background(), nil, nil, compileOperation(t, e.schema, "{__typename}", "")); got || err != nil {
		t.Errorf("anonymous: %v, %v", got, err)
	}
}

// TestClock sees that rules that read the clock are never cached.
func TestClock(t *testing.T) {
	f := decisionFile{Schema: "shop.graphql", Policy: `package graphward

import rego.v2

import data.graphward.lib.clock

allow.Query.me if clock.since("2020-01-01T00:00:00Z")

allow.Query.users if uuid.rfc4122("x") != input.subject.id

allow.Query.user if time.clock([0, "Local"])[0] >= 0
`}
	e := f.load(t)
	for _, c := range e.classes {
		if !c.impure || c.kind == classIdentity {
			t.Errorf("%s is cached", c.group.head)
		}
	}
	c := decisionCase{Query: "{me{__typename} users{__typename} user{__typename}}", Subject: map[string]any{"id": "1"}}
	c.run(t, e)
}
