//go:build differential

package firewall_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/schema/persisted"
)

const tools = "../schema/persisted/testdata/tools"

// TestDifferentialTools makes manifests with the tools that client teams use, at
// the versions that testdata/tools/package-lock.json pins, and sends in deny mode
// what those clients send. It fails where node or the packages are missing:
//
//	npm ci --prefix schema/persisted/testdata/tools
//	go test -tags differential -run Differential ./firewall
func TestDifferentialTools(t *testing.T) {
	dir := toolsFolder(t)
	posts := map[string]any{"first": 3}
	t.Run("apollo", func(t *testing.T) {
		run(t, dir, "generate-persisted-query-manifest", "--config", "persisted-query-manifest.config.json")
		var manifest struct {
			Operations []struct{ ID, Name, Body string }
		}
		readJSON(t, filepath.Join(dir, "out/apollo.json"), &manifest)
		f := denying(t, dir, "out/apollo.json")
		for _, o := range manifest.Operations {
			// createPersistedQueryLink with generatePersistedQueryIdsFromManifest
			// sends the manifest's id as a hash; without the link the text goes out.
			vars := map[string]any{"Posts": posts, "User": map[string]any{"id": "1"}, "Rename": map[string]any{"id": "1", "name": "n"}}[o.Name]
			allowed(t, f, map[string]any{"operationName": o.Name, "variables": vars,
				"extensions": map[string]any{"persistedQuery": map[string]any{"version": 1, "sha256Hash": o.ID}}})
			allowed(t, f, map[string]any{"operationName": o.Name, "variables": vars, "query": o.Body})
		}
		if len(manifest.Operations) != 3 {
			t.Errorf("%d operations", len(manifest.Operations))
		}
		// What our own extraction finds in the same sources is the same operations,
		// which the manifest lists with __typename added.
		definitions, problems, err := persisted.ExtractFiles(filepath.Join(dir, "src/apollo"))
		documents, more := persisted.Compose(definitions)
		if err != nil || len(problems)+len(more) > 0 || len(documents) != 3 {
			t.Fatal(documents, problems, more, err)
		}
		for _, d := range documents {
			vars := map[string]any{"Posts": posts, "User": map[string]any{"id": "1"}, "Rename": map[string]any{"id": "1", "name": "n"}}[d.Name]
			allowed(t, f, map[string]any{"query": d.Text, "variables": vars})
		}
	})
	t.Run("relay", func(t *testing.T) {
		run(t, dir, "relay-compiler", "relay.config.json")
		f := denying(t, dir, "out/relay.json")
		for name, vars := range map[string]any{"PostsQuery": posts, "PostsRenameMutation": map[string]any{"id": "1", "name": "n"}} {
			artifact, err := os.ReadFile(filepath.Join(dir, "src/relay/__generated__", name+".graphql.ts"))
			if err != nil {
				t.Fatal(err)
			}
			id := regexp.MustCompile(`"id": "([0-9a-f]{32})"`).FindSubmatch(artifact)
			if id == nil {
				t.Fatalf("%s has no params.id:\n%s", name, artifact)
			}
			for _, member := range []string{"id", "doc_id", "documentId"} { // what network layers call it
				allowed(t, f, map[string]any{member: string(id[1]), "variables": vars})
			}
		}
	})
	t.Run("codegen", func(t *testing.T) {
		run(t, dir, "graphql-codegen", "--config", "codegen.json")
		var manifest map[string]string
		readJSON(t, filepath.Join(dir, "out/codegen/persisted-documents.json"), &manifest)
		generated, err := os.ReadFile(filepath.Join(dir, "out/codegen/graphql.ts"))
		if err != nil {
			t.Fatal(err)
		}
		var hashes []string // __meta__.hash, what the client sends
		for _, m := range regexp.MustCompile(`"hash":"([0-9a-f]+)"`).FindAllSubmatch(generated, -1) {
			hashes = append(hashes, string(m[1]))
		}
		slices.Sort(hashes)
		if hashes = slices.Compact(hashes); len(hashes) != 2 || len(manifest) != 2 {
			t.Fatalf("hashes %q, manifest %q", hashes, manifest)
		}
		f := denying(t, dir, "out/codegen/persisted-documents.json")
		for _, hash := range hashes {
			vars := any(posts)
			if regexp.MustCompile(`^mutation`).MatchString(manifest[hash]) {
				vars = map[string]any{"id": "1", "name": "n"}
			}
			allowed(t, f, map[string]any{"documentId": hash, "variables": vars})
			allowed(t, f, map[string]any{"query": manifest[hash], "variables": vars})
		}
	})
}

// toolsFolder is a copy of the example sources that the tools may write into.
func toolsFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"schema.graphql", "codegen.json", "relay.config.json", "persisted-query-manifest.config.json"} {
		text, err := os.ReadFile(filepath.Join(tools, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "src"), os.DirFS(filepath.Join(tools, "src"))); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"out", "src/relay/__generated__"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "out/relay.json"), []byte("{}"), 0o600); err != nil { // relay-compiler adds to what is there
		t.Fatal(err)
	}
	modules, err := filepath.Abs(filepath.Join(tools, "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func run(t *testing.T, dir, tool string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join("node_modules", ".bin", tool), args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s\nnpm ci --prefix schema/persisted/testdata/tools installs it", tool, err, out)
	}
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// denying guards the example with one manifest in deny mode.
func denying(t *testing.T, dir, manifest string) *firewall.Firewall {
	t.Helper()
	c := firewall.DefaultConfig()
	c.Schema.Files = []string{filepath.Join(dir, "schema.graphql")}
	c.AllowAll = true
	c.Operations.Adhoc = "deny"
	c.Operations.Compile = firewall.CompileAhead
	c.Operations.Manifests = []firewall.ManifestConfig{{File: filepath.Join(dir, manifest)}}
	c.Identity.Anonymous = identity.Allow
	c.Audit.Output = audit.Off
	f := opened(t, c)
	for _, body := range []map[string]any{{"query": "{ me { id } }"}, {"documentId": "0123456789abcdef0123456789abcdef"}} {
		if res := post(t, f, body); res.Code == http.StatusOK {
			t.Errorf("%v is not registered: %s", body, res.Body)
		}
	}
	return f
}

func allowed(t *testing.T, f *firewall.Firewall, body map[string]any) {
	t.Helper()
	if res := post(t, f, body); res.Code != http.StatusOK || codeOf(res.Body.Bytes()) != "" {
		t.Errorf("%v: status %d: %s", body, res.Code, res.Body)
	}
}
