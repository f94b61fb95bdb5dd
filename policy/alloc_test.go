package policy

import (
	"context"
	"testing"

	"github.com/graphward/graphward/schema"
)

// TestWarmAllocations sees that a decision from the caches allocates nothing.
func TestWarmAllocations(t *testing.T) {
	f := decisionFile{Schema: "shop.graphql", Policy: `package graphward

import rego.v2

allow.Query.me if input.subject.claims.org.id == "acme"

allow.User["*"] if "reader" in input.subject.roles

allow.Query.user if input.args.id == input.subject.id

allow_argument.User.orders.limit if input.value < 10

deny contains "closed" if input.request.headers["x-closed"] == "1"
`}
	e := f.load(t)
	op := compileOperation(t, e.schema, `query($i:ID,$s:Boolean!){me @skip(if:$s){name} user(id:$i){name orders(limit:3){__typename}}}`, "")
	vars, err := op.Coerce([]byte(`{"i":"7","s":false}`), schema.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.Bind(op)
	if err != nil {
		t.Fatal(err)
	}
	sub := &Subject{ID: "7", Roles: []string{"writer", "reader"}, Claims: map[string]any{"org": map[string]any{"id": "acme"}}}
	req := &Request{Headers: map[string]string{"x-closed": "0"}}
	allocs := testing.AllocsPerRun(200, func() {
		d, err := e.Decide(context.Background(), b, sub, req, OperationFacts{}, vars)
		if err != nil || !d.Allowed {
			t.Fatal(d, err)
		}
	})
	if allocs > 0 && !raced {
		t.Errorf("%v allocations", allocs)
	}
}
