package policy

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/graphward/graphward/schema"
)

// decisionFile is one file of testdata/decisions: a schema, a policy, and what
// it decides.
type decisionFile struct {
	Schema  string            `yaml:"schema"` // SDL, or the name of a file in testdata
	Policy  string            `yaml:"policy"`
	Modules map[string]string `yaml:"modules"`
	Data    map[string]any    `yaml:"data"`
	// As in Options.
	OnDeny         string         `yaml:"on_deny"`
	OnDenyMutation string         `yaml:"on_deny_mutation"`
	ParentNonNull  string         `yaml:"parent_non_null"`
	Cases          []decisionCase `yaml:"cases"`
}

type decisionCase struct {
	Name      string         `yaml:"name"`
	Query     string         `yaml:"query"`
	Operation string         `yaml:"operation"`
	Variables map[string]any `yaml:"variables"`
	Subject   map[string]any `yaml:"subject"`
	Request   map[string]any `yaml:"request"`
	Facts     OperationFacts `yaml:"facts"`
	// Want lists the denials as "CODE kind coordinate path: message", the
	// message only where it is given; empty means allowed.
	Want []string `yaml:"want"`
	// Error is part of the error's text.
	Error string `yaml:"error"`
	// Reads lists subject and request where the decision read them.
	Reads []string `yaml:"reads"`
	// Guards lists the decision's guards as describeGuard prints them, Drops
	// the dropped nodes as "key Types".
	Guards        []string `yaml:"guards"`
	Drops         []string `yaml:"drops"`
	Introspection string   `yaml:"introspection"`
}

// decode goes through JSON, as claims and variables do.
func decode(t *testing.T, from map[string]any, to any) {
	t.Helper()
	text, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		t.Fatal(err)
	}
}

func loadSchema(t testing.TB, text string) *schema.Schema {
	t.Helper()
	if strings.HasSuffix(text, ".graphql") {
		file, err := os.ReadFile(filepath.Join("testdata", text))
		if err != nil {
			t.Fatal(err)
		}
		text = string(file)
	}
	s, err := schema.Load(schema.Source{Name: "schema.graphql", Text: text})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func compileOperation(t testing.TB, s *schema.Schema, query, name string) *schema.Operation {
	t.Helper()
	op, err := s.Compile(query, name, schema.Limits{})
	if err != nil {
		t.Fatalf("%s\n%v", query, err)
	}
	return op
}

func (f *decisionFile) load(t testing.TB) *Engine {
	t.Helper()
	o := Options{Schema: loadSchema(t, f.Schema), Modules: map[string]string{}, Timeout: time.Minute,
		OnDeny: f.OnDeny, OnDenyMutation: f.OnDenyMutation, ParentNonNull: f.ParentNonNull}
	if f.Policy != "" {
		o.Modules["policy.rego"] = f.Policy
	}
	for name, text := range f.Modules {
		o.Modules[name] = text
	}
	if f.Data != nil {
		o.Data = []string{writeData(t, f.Data)}
	}
	e, err := Load(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func writeData(t testing.TB, data map[string]any) string {
	t.Helper()
	text, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "data.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestDecisions(t *testing.T) {
	files, err := filepath.Glob("testdata/decisions/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var f decisionFile
			if err := yaml.Load(text, &f, yaml.WithKnownFields()); err != nil {
				t.Fatal(err)
			}
			e := f.load(t)
			for _, c := range f.Cases {
				t.Run(c.Name, func(t *testing.T) { c.run(t, e) })
			}
		})
	}
}

func (c *decisionCase) run(t *testing.T, e *Engine) {
	op := compileOperation(t, e.schema, c.Query, c.Operation)
	var variables []byte
	if c.Variables != nil {
		variables, _ = json.Marshal(c.Variables)
	}
	vars, err := op.Coerce(variables, schema.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	sub, req := &Subject{}, &Request{}
	decode(t, c.Subject, sub)
	decode(t, c.Request, req)
	b, err := e.Bind(op)
	if err != nil {
		t.Fatal(err)
	}
	// The second round comes from the caches.
	for range 2 {
		d, err := e.Decide(context.Background(), b, sub, req, c.Facts, vars)
		if err != nil {
			if c.Error == "" || !strings.Contains(err.Error(), c.Error) {
				t.Fatalf("error %v, want %q", err, c.Error)
			}
			continue
		}
		if c.Error != "" {
			t.Fatalf("no error, want %q", c.Error)
		}
		var got []string
		for i, denial := range d.Denials {
			got = append(got, describe(denial, i < len(c.Want) && strings.Contains(c.Want[i], ": ")))
		}
		if diff := cmp.Diff(c.Want, got); diff != "" {
			t.Errorf("denials (-want +got):\n%s", diff)
		}
		if d.Allowed != (len(d.Denials) == 0) {
			t.Errorf("Allowed is %v with %d denials", d.Allowed, len(d.Denials))
		}
		c.compareGuards(t, e.schema, d)
		var reads []string
		if d.ReadsSubject {
			reads = append(reads, "subject")
		}
		if d.ReadsRequest {
			reads = append(reads, "request")
		}
		if c.Reads != nil {
			if diff := cmp.Diff(c.Reads, append([]string{}, reads...)); diff != "" {
				t.Errorf("reads (-want +got):\n%s", diff)
			}
		}
	}
}

func describe(d Denial, message bool) string {
	s := d.Code + " " + string(d.Kind)
	if d.Coordinate != "" {
		s += " " + d.Coordinate
	}
	if d.Path != nil {
		s += " " + strings.Join(d.Path, ".")
	}
	if message {
		s += ": " + d.Message
	}
	return s
}

func (c *decisionCase) compareGuards(t *testing.T, s *schema.Schema, d *Decision) {
	var guards, drops []string
	for i := range d.Guards {
		guards = append(guards, describeGuard(s, &d.Guards[i]))
	}
	for _, drop := range d.Drops {
		drops = append(drops, drop.Field.Alias+" "+typeNames(s, drop.Types))
	}
	if diff := cmp.Diff(c.Guards, guards); diff != "" {
		t.Errorf("guards (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(c.Drops, drops); diff != "" {
		t.Errorf("drops (-want +got):\n%s", diff)
	}
	if c.Introspection != d.Introspection && (c.Introspection != "" || d.Introspection == IntrospectionVisible) {
		t.Errorf("introspection is %q, want %q", d.Introspection, c.Introspection)
	}
}

func typeNames(s *schema.Schema, set schema.TypeSet) string {
	var names []string
	for i, def := range s.Objects() {
		if set.Has(i) {
			names = append(names, def.Name)
		}
	}
	return strings.Join(names, "|")
}

func describeGuard(s *schema.Schema, g *Guard) string {
	out := g.Denial.Code + " " + g.Denial.Coordinate + " " + strings.Join(g.Denial.Path, ".") + " " + typeNames(s, g.Types)
	if g.Whole {
		out += "!"
	}
	if g.Object != nil {
		out += " object"
		for _, p := range g.Object.Parents {
			if g.Types.Has(s.ObjectIndex(p.Type.Name)) {
				out += " " + describeFields(p.Fields)
			}
		}
	}
	if g.Mask != nil {
		out += " mask " + string(g.Mask.Value) + g.Mask.Function
	}
	return out
}

func describeFields(fields []ParentField) string {
	var parts []string
	for _, f := range fields {
		part := f.Definition.Name
		for _, of := range f.Fields {
			if len(f.Fields) > 1 {
				part += " " + of.Type.Name
			}
			part += "{" + describeFields(of.Fields) + "}"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ",")
}
