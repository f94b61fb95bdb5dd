package main

import (
	"bytes"
	"context"
	"os"
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
	type want struct {
		Requirement Requirement
		Conditional bool
	}
	tests := map[string]want{
		"A list of orders.": {},
		"Orders. Requires one of the following permissions: MANAGE_ORDERS.":                                                                     {Requirement: Requirement{{"MANAGE_ORDERS"}}},
		"X.\n\nRequires one of the following\npermissions: MANAGE_USERS, MANAGE_APPS. And more.":                                                {Requirement: Requirement{{"MANAGE_APPS"}, {"MANAGE_USERS"}}},
		"Requires one of the following permissions to include the unpublished items: MANAGE_ORDERS.":                                            {Conditional: true},
		"Requires one of the following permissions, depending on the type: A_B for `TYPE_X`, C_D for `TYPE_Y`":                                  {Requirement: Requirement{{"A_B"}, {"C_D"}}},
		"The user. Requires of of the following permissions: MANAGE_USERS, OWNER.":                                                              {Requirement: Requirement{{"MANAGE_USERS"}, {"OWNER"}}},
		"Requires the following permissions: AUTHENTICATED_STAFF_USER and MANAGE_APPS.":                                                         {Requirement: Requirement{{"AUTHENTICATED_STAFF_USER", "MANAGE_APPS"}}},
		"Requires one of following set of permissions: A_B or C_D + E_F.":                                                                       {Requirement: Requirement{{"A_B"}, {"C_D", "E_F"}}},
		"Requires the following permissions: OWNER and A_B for apps, A_B for staff users.":                                                      {Requirement: Requirement{{"AUTHENTICATED_APP", "A_B", "OWNER"}, {"AUTHENTICATED_STAFF_USER", "A_B"}}},
		"ID of a customer. Requires B_C and AUTHENTICATED_APP permission.":                                                                      {Requirement: Requirement{{"AUTHENTICATED_APP", "B_C"}}},
		"Can be set only by apps with `A_B` permission.":                                                                                        {Requirement: Requirement{{"AUTHENTICATED_APP", "A_B"}}},
		"Private data. Requires staff permissions to access.":                                                                                   {Requirement: Requirement{{"AUTHENTICATED_APP"}, {"AUTHENTICATED_STAFF_USER"}}},
		"Requires one of the following permissions: A_B. Requires one of the following permissions when updating only `x` field: `A_B`, `C_D`.": {Requirement: Requirement{{"A_B"}, {"C_D"}}},
		"Requires MANAGE_GIFT_CARD permission to access all events.":                                                                            {Conditional: true},
	}
	for text, want := range tests {
		for _, all := range want.Requirement {
			slices.Sort(all)
		}
		r, conditional := Required(text)
		if diff := cmp.Diff(want.Requirement, r); diff != "" || conditional != want.Conditional {
			t.Errorf("%q: conditional %v (-want +got):\n%s", text, conditional, diff)
		}
	}
}

// TestStatements counts what the schema states, in two ways: by a search of its text, and by what is made of it.
func TestStatements(t *testing.T) {
	const words = "Requires one of the following permissions"
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte(words)); n != 778 {
		t.Fatalf("the schema says it %d times", n)
	}
	s := loadSchema(t)
	said := map[string]int{}
	count := func(kind, description string) {
		if n := strings.Count(description, words); n > 0 {
			if r, _ := Required(description); r == nil {
				kind += ", for some cases"
			}
			said[kind] += n
		}
	}
	for _, def := range s.AST().Types {
		count("type", def.Description)
		for _, f := range def.Fields {
			kind := "field"
			switch {
			case def.Kind == gql.Interface:
				kind = "interface field"
			case def.Kind == gql.InputObject:
				kind = "input field"
			case def == s.AST().Query || def == s.AST().Mutation || def == s.AST().Subscription:
				kind = def.Name + " field"
			}
			count(kind, f.Description)
			for _, a := range f.Arguments {
				count("argument", a.Description)
			}
		}
	}
	sum := 0
	for _, n := range said {
		sum += n
	}
	if sum != 778 {
		t.Errorf("%d of 778 are in descriptions", sum)
	}
	if diff := cmp.Diff(wantSaid, said); diff != "" {
		t.Errorf("descriptions that say so (-want +got):\n%s", diff)
	}
	made := map[Kind]int{}
	for statement := range Statements(s) {
		made[statement.Kind]++
	}
	if diff := cmp.Diff(wantMade, made); diff != "" {
		t.Errorf("rules made, of all forms (-want +got):\n%s", diff)
	}
}

var (
	wantSaid = map[string]int{
		"type": 291, "Mutation field": 291, "Query field": 57, "Query field, for some cases": 7, "field": 126, "field, for some cases": 3,
		"interface field": 1, "argument": 1, "input field": 1,
	}
	wantMade = map[Kind]int{Type: 295, Field: 587, Argument: 6, Input: 5}
)

const schemaFile = "../../schema/testdata/corpora/saleor/schema.graphql"

func loadSchema(t *testing.T) *schema.Schema {
	t.Helper()
	s, err := schema.LoadFiles(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestPolicy asks every field that saleor's schema reaches, and every argument and input field that states permissions, for
// subjects with each permission alone and with some together: allowed is exactly what they are enough for, and what states nothing.
func TestPolicy(t *testing.T) {
	s := loadSchema(t)
	var text bytes.Buffer
	if err := WritePolicy(&text, s); err != nil {
		t.Fatal(err)
	}
	e, err := policy.Load(context.Background(), policy.Options{Schema: s, Modules: map[string]string{"saleor.rego": text.String()}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	required := map[string]Requirement{}
	subjects := [][]string{
		nil, {Owner}, {"manage_orders"}, {"MANAGE_APPS", "AUTHENTICATED_USER"}, {"MANAGE_APPS", "AUTHENTICATED_STAFF_USER"},
		{"AUTHENTICATED_APP", "HANDLE_PAYMENTS", "HANDLE_CHECKOUTS", Owner}, {"AUTHENTICATED_APP", "IMPERSONATE_USER"},
	}
	for statement := range Statements(s) {
		required[statement.Coordinate] = statement.Requirement
		for _, p := range slices.Concat(statement.Requirement...) {
			if !slices.ContainsFunc(subjects, func(have []string) bool { return slices.Equal(have, []string{p}) }) {
				subjects = append(subjects, []string{p})
			}
		}
	}
	plans := bind(t, e, s)
	asked := map[string]bool{}
	for _, permissions := range subjects {
		for at, allowed := range decisions(t, e, plans, permissions) {
			asked[at] = true
			r, states := required[at]
			if !states {
				r, states = required[strings.Split(at, ".")[0]] // the type's
			}
			if want := !states || r.Met(permissions); allowed != want {
				t.Errorf("%v: %s (requires %q) is allowed: %v", permissions, at, r, allowed)
			}
		}
	}
	for at := range required {
		if strings.Contains(at, ".") && !asked[at] {
			t.Errorf("%s was not asked", at)
		}
	}
	t.Logf("%d coordinates asked for %d subjects; %d state permissions", len(asked), len(subjects), len(required))
}

// plan is a bound query.
type plan struct {
	query
	binding *policy.Binding
}

func bind(t *testing.T, e *policy.Engine, s *schema.Schema) []plan {
	t.Helper()
	var out []plan
	for _, q := range queries(t, s) {
		op, err := s.Compile(q.text, "", schema.Limits{Depth: 100, Aliases: 10_000, RootFields: 10_000, Tokens: 100_000, Document: 1 << 20})
		if err != nil {
			t.Fatalf("%v\n%s", err, q.text)
		}
		b, err := e.Bind(op)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, plan{q, b})
	}
	return out
}

// decisions asks for all that the plans are about, as a subject whose claim lists permissions.
func decisions(t *testing.T, e *policy.Engine, plans []plan, permissions []string) map[string]bool {
	t.Helper()
	claims := make([]any, len(permissions))
	for i, p := range permissions {
		claims[i] = p
	}
	subject := &policy.Subject{Authenticated: true, Claims: map[string]any{"permissions": claims}}
	out := map[string]bool{}
	for _, p := range plans {
		d, err := e.Decide(context.Background(), p.binding, subject, nil, policy.OperationFacts{}, &schema.Variables{})
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range p.asked {
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

// queries reaches each object type by a path of fields and selects all of it, and gives each argument and input field that states
// something once.
func queries(t *testing.T, s *schema.Schema) []query {
	t.Helper()
	paths := reach(s)
	var out []query
	for _, def := range s.Objects() {
		path, ok := paths[def.Name]
		if !ok || strings.HasPrefix(def.Name, "__") {
			continue
		}
		q := query{}
		var fields strings.Builder
		flush := func() {
			if q.asked != nil {
				q.text = strings.Replace(path, "…", fields.String(), 1)
				out = append(out, q)
			}
			q = query{}
			fields.Reset()
		}
		for _, f := range def.Fields {
			if strings.HasPrefix(f.Name, "__") || f.Name == "_service" || def.Name == "_Service" {
				continue // introspection
			}
			q.asked = append(q.asked, at(def, f))
			fields.WriteString(" " + selection(s, f, ""))
			if def == s.AST().Subscription { // one root field each
				flush()
			}
		}
		flush()
	}
	for statement := range Statements(s) {
		parts := strings.Split(statement.Coordinate, ".")
		switch statement.Kind {
		case Argument:
			def := s.AST().Types[parts[0]]
			f := def.Fields.ForName(parts[1])
			given := parts[2] + ":" + literal(s, f.Arguments.ForName(parts[2]).Type)
			out = append(out, query{strings.Replace(paths[def.Name], "…", selection(s, f, given), 1), []string{statement.Coordinate}})
		case Input:
			out = append(out, query{giving(t, s, parts[0], parts[1]), []string{statement.Coordinate}})
		}
	}
	return out
}

// selection selects a field with its required arguments and one more.
func selection(s *schema.Schema, f *gql.FieldDefinition, given string) string {
	name, _, _ := strings.Cut(given, ":")
	var required gql.ArgumentDefinitionList
	for _, a := range f.Arguments {
		if a.Name != name {
			required = append(required, a)
		}
	}
	text := f.Name
	if list := strings.Trim(arguments(s, &gql.FieldDefinition{Arguments: required}), "()"); list+given != "" {
		text += "(" + list + " " + given + ")"
	}
	if s.AST().Types[f.Type.Name()].IsCompositeType() {
		text += "{__typename}"
	}
	return text
}

// giving is a mutation whose arguments hold an input field, directly or in other inputs.
func giving(t *testing.T, s *schema.Schema, input, field string) string {
	t.Helper()
	literals := map[string]string{input: "{" + members(s, s.AST().Types[input], field, "") + "}"}
	for grown := true; grown; {
		grown = false
		for _, def := range inputs(s) {
			for _, f := range def.Fields {
				inner, ok := literals[f.Type.Name()]
				if _, known := literals[def.Name]; ok && !known {
					literals[def.Name] = "{" + members(s, def, f.Name, inner) + "}"
					grown = true
				}
			}
		}
		for _, f := range s.AST().Mutation.Fields {
			for _, a := range f.Arguments {
				if inner, ok := literals[a.Type.Name()]; ok {
					return "mutation{" + selection(s, f, a.Name+":"+inner) + "}"
				}
			}
		}
	}
	t.Fatalf("no mutation takes %s.%s", input, field)
	return ""
}

// members writes the required members of an input and one more, with the value given or some.
func members(s *schema.Schema, def *gql.Definition, field, value string) string {
	var out []string
	for _, f := range def.Fields {
		switch {
		case f.Name == field && value != "":
			out = append(out, f.Name+":"+value)
		case f.Name == field || f.Type.NonNull && f.DefaultValue == nil:
			out = append(out, f.Name+":"+literal(s, f.Type))
		}
	}
	return strings.Join(out, " ")
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
		return literal(s, t.Elem) // a single value is a list of one
	case def.Kind == gql.Enum:
		return def.EnumValues[0].Name
	case def.Kind == gql.InputObject:
		return "{" + members(s, def, "", "") + "}"
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
