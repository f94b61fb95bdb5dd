package firewall_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/graphward/graphward/firewall"
)

// One document, several operations, other variables and callers, all at once:
// each request gets its own operation, its own variables and its own verdict
// (CVE-2024-32971, CVE-2025-27097: plans and results of another request).
func TestParallelRequestsAreNeverSwapped(t *testing.T) {
	c, _ := laid(t, `package graphward

import rego.v2

allow.Query.user if input.args.id == input.request.headers["x-own"]

allow.Query.node if input.args.id == input.request.headers["x-own"]

allow.User["*"] := true

allow.Post["*"] := true
`)
	c.Policy.Headers = []string{"x-own"}
	f, err := firewall.New(t.Context(), c, firewall.WithHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		out, _ := json.Marshal(map[string]any{"data": map[string]string{"got": string(body)}})
		_, _ = w.Write(out)
	})))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const document = `query A($id: ID!, $short: Boolean!) { user(id: $id) { id name @skip(if: $short) ...F } }
query B($id: ID!, $short: Boolean!) { node(id: $id) { id ...F } b: node(id: $id) @skip(if: $short) { id } }
fragment F on User { email @include(if: $short) }`
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 100 {
				name := string(rune('A' + (worker+i)%2))
				own, asked := fmt.Sprintf("w%d-%d", worker, i), fmt.Sprintf("w%d-%d", worker, i)
				if i%3 == 0 {
					asked = "somebody else's"
				}
				status, body := asOwner(t, f, own, map[string]any{"query": document, "operationName": name,
					"variables": map[string]any{"id": asked, "short": i%2 == 0}})
				if asked != own {
					if status != http.StatusForbidden {
						t.Errorf("%s read %s", own, asked)
					}
					continue
				}
				want := fmt.Sprintf(`\"variables\":{\"id\":\"%s\",\"short\":%v}`, own, i%2 == 0)
				if status != http.StatusOK || !strings.Contains(body, want) || !strings.Contains(body, "query "+name+"(") {
					t.Errorf("%s, operation %s: status %d: %s", own, name, status, body)
				}
			}
		})
	}
	wg.Wait()
}

func asOwner(t *testing.T, f *firewall.Firewall, own string, body any) (int, string) {
	t.Helper()
	w := postWith(t, f, body, http.Header{"X-Own": {own}})
	return w.Code, w.Body.String()
}
