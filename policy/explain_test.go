package policy

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphward/graphward/schema"
)

func TestExplain(t *testing.T) {
	f := decisionFile{Schema: "shop.graphql", Policy: `package graphward

import rego.v2

is_self if input.args.id == input.subject.id

allow.Query.user if is_self

allow.User["*"] if {
	input.subject.authenticated
	not "banned" in input.subject.roles
}

allow.User.email := false

allow.Query.products := true

allow_argument.Query.products.includeUnpublished if "staff" in input.subject.roles

allow[t][f] if data.grants[input.subject.id][t][f]
`, Data: map[string]any{"grants": map[string]any{"2": map[string]any{"User": map[string]any{"email": true}}}}}
	e := f.load(t)
	op := compileOperation(t, e.schema, `query($s:Boolean=true){user(id:"1"){name email} me @skip(if:$s){id} products(includeUnpublished:true){price} __schema{__typename}}`, "")
	vars, err := op.Coerce(nil, schema.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.Bind(op)
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.Explain(context.Background(), b, &Subject{ID: "2", Roles: []string{"banned"}}, nil, OperationFacts{}, vars)
	if err != nil {
		t.Fatal(err)
	}
	want := []FieldDecision{
		{
			Kind: DenyField, Coordinate: "Query.user", Path: []string{"user"}, Rule: "allow.Query.user", At: "policy.rego:7",
			Decision: "deny", Reads: []string{"input.args.id", "input.subject.id"}, Class: "request",
			Why: []string{"policy.rego:5: input.args.id == input.subject.id", "policy.rego:7: is_self"},
		},
		{
			Kind: DenyField, Coordinate: "Query.products", Path: []string{"products"}, Rule: "allow.Query.products", At: "policy.rego:16",
			Decision: "allow", Reads: []string{"input.subject.id"}, Class: "constant",
		},
		{
			Kind: DenyArgument, Coordinate: "Query.products.includeUnpublished", Path: []string{"products"},
			Rule: "allow_argument.Query.products.includeUnpublished", At: "policy.rego:18", Decision: "deny",
			Reads: []string{"input.subject.roles"}, Class: "identity", Why: []string{`policy.rego:18: "staff" in input.subject.roles`},
		},
		{
			Kind: DenyIntrospection, Coordinate: "Query.__schema", Path: []string{"__schema"}, Decision: "deny",
			Reads: []string{}, Why: []string{"no rule"},
		},
		{
			Kind: DenyField, Coordinate: "User.name", Path: []string{"user", "name"}, Rule: `allow.User["*"]`, At: "policy.rego:9",
			Decision: "deny", Reads: []string{"input.subject.authenticated", "input.subject.id", "input.subject.roles"}, Class: "identity",
			Why: []string{"policy.rego:10: input.subject.authenticated"},
		},
		{
			Kind: DenyField, Coordinate: "User.email", Path: []string{"user", "email"}, Rule: "allow[t][f]", At: "policy.rego:20",
			Decision: "allow", Reads: []string{"input.subject.id"}, Class: "identity",
		},
		{
			Kind: DenyField, Coordinate: "Product.price", Path: []string{"products", "price"}, Decision: "deny",
			Reads: []string{"input.subject.id"}, Why: []string{"no rule"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestExplainAnswer explains what is decided on the answer.
func TestExplainAnswer(t *testing.T) {
	f := decisionFile{Schema: "shop.graphql", OnDeny: "filter", ParentNonNull: "accept", Policy: `package graphward

import rego.v2

allow.Query.users := true

allow.User.phone if input.parent.id == input.subject.id

allow.User.phone if "admin" in input.subject.roles

allow.User.name if false

mask.User["*"] := "hidden" if "support" in input.subject.roles

drop.Query.users := true
`}
	e := f.load(t)
	op := compileOperation(t, e.schema, `{users{phone name email}}`, "")
	b, err := e.Bind(op)
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.Explain(context.Background(), b, &Subject{ID: "7", Roles: []string{"support"}}, nil, OperationFacts{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []FieldDecision{
		{
			Kind: DenyField, Coordinate: "Query.users", Path: []string{"users"}, Rule: "allow.Query.users", At: "policy.rego:5",
			Decision: "allow", Reads: []string{}, Class: "constant", Drop: "drop.Query.users", DropAt: "policy.rego:15",
		},
		{
			Kind: DenyField, Coordinate: "User.phone", Path: []string{"users", "phone"}, Rule: "allow.User.phone", At: "policy.rego:7",
			Decision: "object", Reads: []string{"input.parent.id", "input.subject.id", "input.subject.roles"}, Class: "object",
			Mask: `mask.User["*"]`, MaskAt: "policy.rego:13",
		},
		{
			Kind: DenyField, Coordinate: "User.name", Path: []string{"users", "name"}, Rule: "allow.User.name", At: "policy.rego:11",
			Decision: "mask", Reads: []string{}, Class: "identity", Why: []string{"policy.rego:11: false"},
			Mask: `mask.User["*"]`, MaskAt: "policy.rego:13",
		},
		{
			Kind: DenyField, Coordinate: "User.email", Path: []string{"users", "email"}, Decision: "mask", Reads: []string{}, Why: []string{"no rule"},
			Mask: `mask.User["*"]`, MaskAt: "policy.rego:13",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestQuickstart loads the example policy, which has its own Rego tests.
func TestQuickstart(t *testing.T) {
	s, err := schema.LoadFiles("../examples/quickstart/schema.graphql")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Schema: s, Paths: []string{"../examples/quickstart/policies"}, Data: []string{"../examples/quickstart/data.yaml"}}
	e, err := Load(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if w := e.Warnings(); len(w) > 0 {
		t.Errorf("warnings: %v", w)
	}
	report, err := Test(context.Background(), o, TestOptions{}, t.Output())
	if err != nil || report.Failed+report.Errors > 0 || report.Passed < 10 {
		t.Errorf("%+v, %v", report, err)
	}
}
