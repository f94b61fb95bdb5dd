package policy

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestPaths loads from files and folders, with the links and hidden folders
// that a Kubernetes mount has.
func TestPaths(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{
		"policies/..2026/p.rego":       "package graphward\n\nimport rego.v2\n\nallow.Query.me := true\n",
		"policies/sub/q.rego":          "package graphward\n\nimport rego.v2\n\nallow.Query.user if input.args.id == data.team.names.first\n",
		"policies/sub/q_test.rego":     "package broken {",
		"policies/notes.txt":           "no policy",
		"data/team/names.yaml":         "names: {first: \"1\"}",
		"data/top.json":                `{"flags": {"on": true}}`,
		"empty/readme.md":              "",
		"single.rego":                  "package graphward\n\nallow.User.id := true\n",
		"policies/.git/hooks/old.rego": "package graphward {",
	}
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"policies/p.rego": "..2026/p.rego", "linked": "policies"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	in := func(names ...string) []string {
		for i := range names {
			names[i] = filepath.Join(dir, names[i])
		}
		return names
	}
	s := loadSchema(t, "shop.graphql")
	e, err := Load(context.Background(), Options{Schema: s, Paths: in("linked", "single.rego"), Data: in("data"), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Query.me", "Query.user", "User.id"}
	if diff := cmp.Diff(want, e.Coverage().Explicit); diff != "" {
		t.Errorf("explicit rules (-want +got):\n%s", diff)
	}
	c := decisionCase{Query: `{user(id:"1"){id}}`}
	c.run(t, e)

	same, err := Load(context.Background(), Options{Schema: s, Paths: in("policies", "single.rego", "policies/p.rego"), Data: in("data/top.json", "data")})
	if err != nil {
		t.Fatal(err)
	}
	if same.Revision() != e.Revision() {
		t.Error("the revision depends on the files' names")
	}

	for name, o := range map[string]Options{
		"no such file or directory":     {Paths: in("nowhere")},
		"holds no .rego file":           {Paths: in("empty")},
		"is not a .rego file":           {Paths: in("data/top.json")},
		"holds no data file":            {Paths: in("single.rego"), Data: in("empty")},
		"no policy found":               {},
		"without one everything is den": {Modules: map[string]string{"a_test.rego": "package graphward"}},
	} {
		o.Schema = s
		if _, err := Load(context.Background(), o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want %q", err, name)
		}
	}
	if _, err := Load(context.Background(), Options{}); err == nil {
		t.Error("loaded without a schema")
	}
}
