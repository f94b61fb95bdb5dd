package firewall_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/graphward/graphward/examples/backend"
	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/identity"
)

// The upstream's schema by introspection: at start, again only when it has
// changed, and never in place of a good one when the upstream fails.
func TestIntrospectedSchema(t *testing.T) {
	var broken, renamed atomic.Bool
	real := backend.New()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if broken.Load() {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		rec := httptest.NewRecorder()
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		real.ServeHTTP(rec, r)
		text := rec.Body.String()
		if renamed.Load() {
			text = strings.ReplaceAll(text, `"name":"categories"`, `"name":"shelves"`)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, text)
	}))
	defer up.Close()
	c := firewall.DefaultConfig()
	c.Upstream.URL = up.URL
	c.Schema.Introspect = true
	c.AllowAll = true
	c.Operations.Adhoc, c.Identity.Anonymous, c.Audit.Output = "allow", identity.Allow, audit.Off
	f, err := firewall.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	allowed := func(query string) bool {
		var answer struct{ Errors []json.RawMessage }
		res := post(t, f, map[string]any{"query": query})
		return json.Unmarshal(res.Body.Bytes(), &answer) == nil && len(answer.Errors) == 0
	}
	if !allowed("{ categories { name } }") {
		t.Error("a field of the upstream's schema is refused")
	}
	if err := f.Refresh(t.Context()); err != nil || f.Generation() != 1 {
		t.Errorf("nothing changed, and generation %d serves: %v", f.Generation(), err)
	}
	broken.Store(true)
	if err := f.Refresh(t.Context()); err == nil || f.Generation() != 1 {
		t.Errorf("the upstream failed, and generation %d serves: %v", f.Generation(), err)
	}
	broken.Store(false)
	renamed.Store(true)
	if err := f.Refresh(t.Context()); err != nil || f.Generation() != 2 {
		t.Errorf("the schema changed, and generation %d serves: %v", f.Generation(), err)
	}
	if allowed("{ categories { name } }") {
		t.Error("a field that the schema has no more is forwarded")
	}
}
