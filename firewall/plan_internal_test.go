package firewall

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/gqlhttp"
	"github.com/graphward/graphward/firewall/identity"
)

// A remembered text gives the plan that the cache gives, for each name and each
// generation, and holds on to none.
func TestKnownPlan(t *testing.T) {
	c := DefaultConfig()
	path := filepath.Join(t.TempDir(), "schema.graphql")
	if err := os.WriteFile(path, []byte("type Query { a: Int b: Int }"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Schema.Files, c.AllowAll = []string{path}, true
	c.Operations.Adhoc, c.Identity.Anonymous, c.Audit.Output = "allow", identity.Allow, audit.Off
	c.Upstream.URL = "http://127.0.0.1:9/graphql"
	f, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	first := f.current.Load()
	second := *first
	second.planKey[0] ^= 1

	doc := document{text: "query A { a } query B { b }", known: new(gqlhttp.Text)}
	for _, name := range []string{"A", "B"} { // the second sight is kept
		for range 2 {
			for _, g := range []*generation{first, &second} {
				if _, err := f.plans.plan(g, doc.text, name); err != nil {
					t.Fatal(err)
				}
			}
			f.plans.plans.cache.Wait()
		}
	}
	for i := range 400 {
		g, name := first, "A"
		if i/7%2 == 1 {
			g = &second
		}
		if i/3%2 == 1 {
			name = "B"
		}
		got, err := f.plans.known(g, &doc, name)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := f.plans.plan(g, doc.text, name); got != want || err != nil {
			t.Fatalf("%d: got %p of %s, the cache has %p, %v", i, got, got.op.Name, want, err)
		}
	}
	if _, err := f.plans.known(first, &doc, "C"); err == nil {
		t.Error("an operation that is not there has a plan")
	}

	f.plans.plans.cache.Clear()
	runtime.GC()
	if note := doc.known.Note.Load().(*noted); note.plan.Value() != nil {
		t.Error("what the cache let go is still there")
	}
	for _, name := range []string{"A", "B"} {
		if p, err := f.plans.known(first, &doc, name); err != nil || p.op.Name != name {
			t.Errorf("afterwards %s: %v", name, err)
		}
	}
}
