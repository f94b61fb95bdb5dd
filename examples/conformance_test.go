//go:build conformance

package examples_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/graphward/graphward/examples/backend"
	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/identity"
)

// audited is one of graphql-http's audits: ok, notice, warn or error.
type audited struct{ Name, Status, Reason string }

// TestConformance runs graphql-http's audit suite against the example backend
// and through the firewall with everything allowed: whatever the backend passes
// must pass through the firewall. Its packages are those of package-lock.json;
// `task conformance` installs them.
func TestConformance(t *testing.T) {
	up := httptest.NewServer(backend.New())
	defer up.Close()
	c := firewall.DefaultConfig()
	c.Upstream.URL = up.URL + "/graphql"
	c.Schema.Files = []string{"backend/schema.graphql"}
	c.AllowAll, c.Operations.Adhoc, c.Identity.Anonymous, c.Audit.Output = true, "allow", identity.Allow, audit.Off
	c.Responses.Errors, c.Responses.Suggestions = "pass", "pass"
	f, err := firewall.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	front := httptest.NewServer(f)
	defer front.Close()

	direct, through := auditsOf(t, up.URL+"/graphql"), auditsOf(t, front.URL+"/graphql")
	count := func(audits map[string]audited) map[string]int {
		n := map[string]int{}
		for _, a := range audits {
			n[a.Status]++
		}
		return n
	}
	fmt.Printf("backend %v\nthrough the firewall %v\n", count(direct), count(through))
	if len(direct) < 50 || len(direct) != len(through) {
		t.Errorf("%d audits and %d", len(direct), len(through))
	}
	for _, id := range slices.Sorted(maps.Keys(direct)) {
		was, is := direct[id], through[id]
		if was.Status == "ok" && is.Status != "ok" {
			t.Errorf("%s %s: the backend passes, through the firewall it is %s: %s", id, was.Name, is.Status, is.Reason)
		} else if was.Status != is.Status {
			fmt.Printf("%s %s: %s, through the firewall %s\n", id, was.Name, was.Status, is.Status)
		}
	}
}

func auditsOf(t *testing.T, url string) map[string]audited {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "audit.mjs", url)
	cmd.Dir, cmd.Stderr = filepath.Join("testdata", "conformance"), os.Stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]audited
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}
