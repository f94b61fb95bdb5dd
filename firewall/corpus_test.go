package firewall_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/graphward/graphward/cost"
	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/identity"
)

// operation is one entry of a corpus's operations.json.
type operation struct {
	Name      string         `json:"name"`
	Kind      string         `json:"kind"`
	Query     string         `json:"query"`
	Variables map[string]any `json:"variables"`
}

const corpora = "../schema/testdata/corpora"

func loadOperations(t *testing.T, corpus string) []operation {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(corpora, corpus, "operations.json"))
	if err != nil {
		t.Fatal(err)
	}
	var out []operation
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func corpusConfig(corpus string) *firewall.Config {
	c := firewall.DefaultConfig()
	c.Schema.Files = []string{filepath.Join(corpora, corpus, "schema.graphql")}
	c.AllowAll = true
	c.Operations.Adhoc = "allow"
	c.Identity.Anonymous = identity.Allow
	c.Audit.Output = audit.Off
	patient(c)
	return c
}

// patient leaves a busy machine the time that it needs: only a test that is about
// a time limit sets a short one.
func patient(c *firewall.Config) {
	long := firewall.Duration(patience)
	c.Policy.Timeout = long
	c.Timeouts.Header, c.Timeouts.Body, c.Timeouts.Write, c.Timeouts.Drain = long, long, long, long
}

// Every real operation is accepted and forwarded once, and upstream gets a
// document that means the same: same operation name, same canonical AST, same
// variables.
func TestCorporaPass(t *testing.T) {
	total := 0
	for _, corpus := range []string{"artsy", "saleor"} {
		c := corpusConfig(corpus)
		c.Cost.Max = 1e15
		c.Cost.PageSize = cost.PageSize{}
		var got []string
		f, err := firewall.New(t.Context(), c, firewall.WithHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			got = append(got, string(body))
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"data":{}}`)
		})))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, op := range loadOperations(t, corpus) {
			total++
			got = nil
			res := post(t, f, map[string]any{"query": op.Query, "operationName": op.Name, "variables": op.Variables})
			if res.Code != http.StatusOK || len(got) != 1 || codeOf(res.Body.Bytes()) != "" {
				t.Errorf("%s %s: status %d after %d forwarded: %s", corpus, op.Name, res.Code, len(got), res.Body)
				continue
			}
			sameMeaning(t, op, got[0])
		}
	}
	if total != 1327 {
		t.Errorf("%d operations, want 1327", total)
	}
}

func post(t *testing.T, h http.Handler, body any) *httptest.ResponseRecorder {
	t.Helper()
	return postWith(t, h, body, nil)
}

func postWith(t *testing.T, h http.Handler, body any, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/graphql", bytes.NewReader(text))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/graphql-response+json")
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func sameMeaning(t *testing.T, op operation, body string) {
	t.Helper()
	var sent struct {
		Query         string         `json:"query"`
		OperationName string         `json:"operationName"`
		Variables     map[string]any `json:"variables"`
	}
	d := json.NewDecoder(strings.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&sent); err != nil {
		t.Errorf("%s: %v", op.Name, err)
		return
	}
	if sent.OperationName != op.Name {
		t.Errorf("%s: operation name %q", op.Name, sent.OperationName)
	}
	if sent.Variables == nil {
		sent.Variables = map[string]any{}
	}
	if diff := cmp.Diff(op.Variables, sent.Variables); diff != "" {
		t.Errorf("%s: variables %s", op.Name, diff)
	}
	if diff := cmp.Diff(normalized(t, op.Query), normalized(t, sent.Query)); diff != "" {
		t.Errorf("%s: document %s", op.Name, diff)
	}
}

// normalized prints a document by another printer than the firewall's, with the
// fragments sorted by name.
func normalized(t *testing.T, document string) string {
	t.Helper()
	doc, err := parser.ParseQuery(&ast.Source{Input: document})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(doc.Fragments, func(a, b *ast.FragmentDefinition) int { return strings.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	formatter.NewFormatter(&b).FormatQueryDocument(doc)
	return b.String()
}

// With the default limits every real operation passes the limits of shape.
// What the defaults of cost and page size refuse is listed in
// testdata/corpora-refused.txt, so that a change of the model shows.
func TestCorporaUnderDefaults(t *testing.T) {
	var refused []string
	for _, corpus := range []string{"artsy", "saleor"} {
		f, err := firewall.New(t.Context(), corpusConfig(corpus), firewall.WithHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"data":{}}`)
		})))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, op := range loadOperations(t, corpus) {
			res := post(t, f, map[string]any{"query": op.Query, "operationName": op.Name, "variables": op.Variables})
			switch code := codeOf(res.Body.Bytes()); code {
			case "":
			case "COST_LIMIT", "PAGE_SIZE":
				refused = append(refused, corpus+" "+op.Name+" "+code)
			default:
				t.Errorf("%s %s: %s", corpus, op.Name, res.Body)
			}
		}
	}
	want, err := os.ReadFile("testdata/corpora-refused.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), refused); diff != "" {
		t.Errorf("refused by default cost or page size: %s", diff)
	}
}
