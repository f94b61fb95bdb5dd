package firewall

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/identity"
)

// kilobyte is artsy's kind of operation, of about 1 KB.
func kilobyte() string {
	var b strings.Builder
	b.WriteString("query Kilobyte($id: String!) {\n  artist(id: $id) {\n    name\n    slug\n    ...A\n  }\n}\n\nfragment A on Artist {\n")
	for i := range 40 {
		b.WriteString("  f" + string(rune('a'+i/26)) + string(rune('a'+i%26)) + ": hometown\n")
	}
	for range 8 {
		b.WriteString("  image {\n    url(version: \"wide\")\n    width\n    height\n  }\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func benchFirewall(b *testing.B) *Firewall {
	b.Helper()
	c := DefaultConfig()
	c.Schema.Files = []string{"../schema/testdata/corpora/artsy/schema.graphql"}
	c.AllowAll = true
	c.Operations.Adhoc, c.Identity.Anonymous, c.Audit.Output = "allow", identity.Allow, audit.Off
	f, err := New(b.Context(), c, WithHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":null}`)
	})))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	return f
}

// A plan that is cached: digest of a 1 KB document, lookup, comparison.
func BenchmarkPlanHit(b *testing.B) {
	f, document := benchFirewall(b), kilobyte()
	g := f.current.Load()
	if _, err := f.plans.plan(g, document, ""); err != nil {
		b.Fatal(err)
	}
	f.plans.plans.cache.Wait()
	b.ReportAllocs()
	b.SetBytes(int64(len(document)))
	for b.Loop() {
		if _, err := f.plans.plan(g, document, ""); err != nil {
			b.Fatal(err)
		}
	}
}

// The whole pipeline over an in-process upstream, with a warm plan.
func BenchmarkServe(b *testing.B) {
	f := benchFirewall(b)
	body := `{"query":"query Q($id: String!) { artist(id: $id) { name slug } }","variables":{"id":"x"}}`
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/graphql", strings.NewReader(body))
		r.Header["Content-Type"] = []string{"application/json"}
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatal(w.Body)
		}
	}
}
