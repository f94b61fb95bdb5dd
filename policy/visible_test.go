package policy

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVisible(t *testing.T) {
	f := decisionFile{Schema: "shop.graphql", ParentNonNull: "accept", Policy: `package graphward

import rego.v2

allow.Query.me if input.subject.authenticated

allow.Query.user if input.args.id == input.subject.id

allow.Query.users := false

allow.Query.products if input.request.headers["x-shop"] == "1"

allow.Query.node if input.operation.registered

allow.User["*"] if "staff" in input.subject.roles

allow.User.email if input.parent.id == input.subject.id

allow.Company[f] if f := input.subject.claims.company

allow.Product.name := data.contradiction

allow.Order.id := false

mask.Order.id := "hidden"

mask.Order.total := 0 if input.subject.authenticated
`, Data: map[string]any{"contradiction": "no"}}
	e := f.load(t)
	for _, c := range []struct {
		name string
		sub  *Subject
		req  *Request
		want []string
	}{
		{"nobody", nil, nil, []string{"Query.user", "Query.node", "User.email", "Order.id"}},
		{"staff", &Subject{Authenticated: true, Roles: []string{"staff"}}, nil, []string{
			"Query.me", "Query.user", "Query.node", "User.id", "User.email", "User.phone", "User.name", "User.friends", "User.orders", "Order.id", "Order.total",
		}},
		{"a header", nil, &Request{Headers: map[string]string{"x-shop": "1"}}, []string{"Query.user", "Query.products", "Query.node", "User.email", "Order.id"}},
		{"a grant", &Subject{Claims: map[string]any{"company": "name"}}, nil, []string{"Query.user", "Query.node", "User.email", "Company.name", "Order.id"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := e.Visible(context.Background(), c.sub, c.req)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, typ := range []string{"Query", "User", "Company", "Order", "Product", "Mutation"} {
				for _, f := range e.schema.Type(typ).Fields {
					if v.Field(typ, f.Name) && f.Name[0] != '_' {
						got = append(got, typ+"."+f.Name)
					}
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			again, err := e.Visible(context.Background(), c.sub, c.req)
			if err != nil || again.Digest() != v.Digest() {
				t.Error("the same subject has another digest", err)
			}
		})
	}
	v, err := e.Visible(context.Background(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := e.Visible(context.Background(), &Subject{Claims: map[string]any{"company": "name"}}, nil)
	if err != nil || v.Digest() == other.Digest() {
		t.Error("what differs has the same digest", err)
	}
	if v.Field("Nothing", "x") || v.Field("User", "nothing") || !v.Field("User", "__typename") {
		t.Error("what the schema lacks is visible, or __typename is not")
	}
}
