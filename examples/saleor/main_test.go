package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	gql "github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/policy"
	"github.com/graphward/graphward/schema"
)

func TestRequired(t *testing.T) {
	tests := map[string][]string{
		"A list of orders.": nil,
		"Orders. Requires one of the following permissions: MANAGE_ORDERS.":                                    {"MANAGE_ORDERS"},
		"X.\n\nRequires one of the following\npermissions: MANAGE_USERS, MANAGE_APPS. And more.":               {"MANAGE_APPS", "MANAGE_USERS"},
		"Requires one of the following permissions to include the unpublished items: MANAGE_ORDERS.":           nil,
		"Requires one of the following permissions, depending on the type: A_B for `TYPE_X`, C_D for `TYPE_Y`": {"A_B", "C_D"},
	}
	for text, want := range tests {
		if diff := cmp.Diff(want, Required(text)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

// TestPolicy asks every field that saleor's schema reaches, for subjects with different permissions: allowed are exactly the
// fields that name one of them, and those that name none at all.
func TestPolicy(t *testing.T) {
	s, err := schema.LoadFiles("../../schema/testdata/corpora/saleor/schema.graphql")
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := WritePolicy(&text, s); err != nil {
		t.Fatal(err)
	}
	e, err := policy.Load(context.Background(), policy.Options{Schema: s, Modules: map[string]string{"saleor.rego": text.String()}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	coverage := e.Coverage()
	required := map[string]Permissions{}
	for at, names := range Coordinates(s) {
		required[at] = names
	}
	if len(required) < 450 || len(coverage.Explicit) != len(required) {
		t.Fatalf("%d rules for %d statements", len(coverage.Explicit), len(required))
	}
	t.Logf("%d of %d coordinates state permissions", len(required), len(required)+len(coverage.Fallback))
	for _, permissions := range [][]string{nil, {"MANAGE_ORDERS"}, {"MANAGE_APPS", "AUTHENTICATED_USER"}, {"manage_orders"}} {
		claims := make([]any, len(permissions))
		for i, p := range permissions {
			claims[i] = p
		}
		sub := &policy.Subject{Authenticated: true, Claims: map[string]any{"permissions": claims}}
		for at, allowed := range decisions(t, e, s, sub) {
			names := required[at]
			want := names == nil || slices.ContainsFunc(names, func(n string) bool { return slices.Contains(permissions, n) })
			if allowed != want {
				t.Errorf("%v: %s (requires %q) is allowed: %v", permissions, at, names, allowed)
			}
		}
	}
}

// decisions asks for all fields of every object type.
func decisions(t *testing.T, e *policy.Engine, s *schema.Schema, sub *policy.Subject) map[string]bool {
	out := map[string]bool{}
	for _, query := range queries(s) {
		op, err := s.Compile(query.text, "", schema.Limits{Depth: 100, Aliases: 10_000, RootFields: 10_000, Tokens: 100_000, Document: 1 << 20})
		if err != nil {
			t.Fatalf("%v\n%s", err, query.text)
		}
		b, err := e.Bind(op)
		if err != nil {
			t.Fatal(err)
		}
		d, err := e.Decide(context.Background(), b, sub, nil, policy.OperationFacts{}, &schema.Variables{})
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range query.asked {
			out[at] = !slices.ContainsFunc(d.Denials, func(d policy.Denial) bool { return d.Coordinate == at })
		}
	}
	if len(out) < 4000 {
		t.Fatalf("only %d coordinates were asked", len(out))
	}
	return out
}

type query struct {
	text  string
	asked []string
}

// queries reaches each object type by a path of fields and selects all of it.
func queries(s *schema.Schema) []query {
	paths := reach(s)
	var out []query
	for _, def := range s.Objects() {
		path, ok := paths[def.Name]
		if !ok || strings.HasPrefix(def.Name, "__") || def.Name == "Subscription" { // one root field each
			continue
		}
		q := query{}
		var fields strings.Builder
		for _, f := range def.Fields {
			if strings.HasPrefix(f.Name, "__") || f.Name == "_service" || def.Name == "_Service" {
				continue // introspection
			}
			q.asked = append(q.asked, at(def, f))
			fields.WriteString(" " + f.Name + arguments(s, f))
			if s.AST().Types[f.Type.Name()].IsCompositeType() {
				fields.WriteString("{__typename}")
			}
		}
		if q.asked != nil {
			q.text = strings.Replace(path, "…", fields.String(), 1)
			out = append(out, q)
		}
	}
	return out
}

// arguments writes some value for each required argument.
func arguments(s *schema.Schema, f *gql.FieldDefinition) string {
	var out []string
	for _, a := range f.Arguments {
		if a.Type.NonNull && a.DefaultValue == nil {
			out = append(out, a.Name+":"+literal(s, a.Type))
		}
	}
	if out == nil {
		return ""
	}
	return "(" + strings.Join(out, " ") + ")"
}

func literal(s *schema.Schema, t *gql.Type) string {
	def := s.AST().Types[t.Name()]
	switch {
	case t.Elem != nil:
		return "[]"
	case def.Kind == gql.Enum:
		return def.EnumValues[0].Name
	case def.Kind == gql.InputObject:
		var members []string
		for _, f := range def.Fields {
			if f.Type.NonNull && f.DefaultValue == nil {
				members = append(members, f.Name+":"+literal(s, f.Type))
			}
		}
		return "{" + strings.Join(members, " ") + "}"
	case def.Name == "Boolean":
		return "true"
	case def.Name == "String" || def.Name == "ID":
		return `"1"`
	}
	return "1"
}

// reach finds a document around "…" for each type, breadth first.
func reach(s *schema.Schema) map[string]string {
	paths := map[string]string{"Query": "query{…}", "Mutation": "mutation{…}", "Subscription": "subscription{…}"}
	for queue := []string{"Query", "Mutation", "Subscription"}; len(queue) > 0; queue = queue[1:] {
		for _, f := range s.AST().Types[queue[0]].Fields {
			if strings.HasPrefix(f.Name, "__") {
				continue
			}
			for _, possible := range s.AST().GetPossibleTypes(s.AST().Types[f.Type.Name()]) {
				if _, known := paths[possible.Name]; !known && possible.Kind == gql.Object {
					paths[possible.Name] = strings.Replace(paths[queue[0]], "…", f.Name+arguments(s, f)+"{...on "+possible.Name+"{…}}", 1)
					queue = append(queue, possible.Name)
				}
			}
		}
	}
	return paths
}
