package persisted

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// realOperation is one line of a corpus of schema/testdata.
type realOperation struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Query string `json:"query"`
}

func corpus(t testing.TB, name string) []realOperation {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "testdata", "corpora", name, "operations.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ops []realOperation
	if err := json.Unmarshal(data, &ops); err != nil {
		t.Fatal(err)
	}
	return ops
}

// textForm stands in for schema.CanonicalForm where only identity matters.
func textForm(text string) ([32]byte, error) { return sha256.Sum256([]byte(text)), nil }

func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func quote(s string) string {
	b, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// relayMap is what relay-compiler's persistConfig writes: MD5 to text.
func relayMap(ops []realOperation) string {
	var b strings.Builder
	b.WriteString("{\n")
	for i, op := range ops {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, "  %s: %s", quote(relayID(op.Query)), quote(op.Query))
	}
	b.WriteString("\n}\n")
	return b.String()
}

func relayID(text string) string {
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

// apolloManifest is what @apollo/generate-persisted-query-manifest writes.
func apolloManifest(ops []realOperation) string {
	var b strings.Builder
	b.WriteString("{\n  \"format\": \"apollo-persisted-query-manifest\",\n  \"version\": 1,\n  \"operations\": [\n")
	for i, op := range ops {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, "    {\n      \"id\": %s,\n      \"name\": %s,\n      \"type\": %s,\n      \"body\": %s\n    }",
			quote(apolloID(op.Query)), quote(op.Name), quote(op.Kind), quote(op.Query))
	}
	b.WriteString("\n  ]\n}\n")
	return b.String()
}

func apolloID(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func TestRealManifests(t *testing.T) {
	for _, c := range []struct {
		corpus   string
		manifest func([]realOperation) string
		id       func(string) string
	}{
		{"artsy", relayMap, relayID},
		{"saleor", apolloManifest, apolloID},
	} {
		t.Run(c.corpus, func(t *testing.T) {
			ops := corpus(t, c.corpus)
			path := write(t, "manifest.json", c.manifest(ops))
			set, err := Load(context.Background(), []Source{{Path: path, Client: "web"}}, Options{Canonical: textForm})
			if err != nil {
				t.Fatal(err)
			}
			distinct := map[string]bool{}
			for _, op := range ops {
				distinct[op.Query] = true
				d, ok := set.Lookup("web", c.id(op.Query))
				if !ok || d.Text != op.Query || d.Name != op.Name || d.Kind != op.Kind || d.Client != "web" {
					t.Fatalf("%s: %v, %+v", op.Name, ok, d)
				}
				form, _ := textForm(op.Query)
				if m, ok := set.Match("web", form); !ok || m.Text != op.Query {
					t.Errorf("%s is not found by its text", op.Name)
				}
				if _, ok := set.Lookup("ios", c.id(op.Query)); ok {
					t.Errorf("%s: another client's id is known", op.Name)
				}
				if _, ok := set.Match("", form); ok {
					t.Errorf("%s: another client's text is known", op.Name)
				}
			}
			if set.Len() != len(distinct) {
				t.Errorf("%d documents of %d distinct texts", set.Len(), len(distinct))
			}
		})
	}
}
