//go:build differential

package firewall_test

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/graphward/graphward/schema"
)

// cachePolicy denies and masks in every way that an answer shows.
var cachePolicy = baseRules(`allow["*"]["*"] := true`,
	`allow.User.label := false`, `allow.User.email := false`, `allow.User.phone := false`, `mask.User.phone := mask.keep_last(3)`,
	`allow.User.name := false`, `mask.User.name := "somebody"`, `allow.User.best if input.parent.level > 1`, `allow.User.level if input.parent.id != "5"`,
	`allow.Doc.body if input.parent.public`, `allow.Doc.owner if input.parent.level > 1`, `allow.Doc.label if input.subject.authenticated`,
	`allow.Doc.title if high(input.parent.level)`, `allow.Item.price if input.parent.kind == "A"`, `allow.Wrap.user := false`,
	`drop.User.docs := true`, `drop.Query.owned := true`, `allow.Query.total := false`, `allow.Query.now := false`)

// cacheOperations are sent in this order, also over one cache.
var cacheOperations = []struct {
	Name      string         `json:"name"`
	Query     string         `json:"query"`
	Variables map[string]any `json:"variables,omitempty"`
}{
	{Name: "cut", Query: `{ me { id label tags } now }`},
	{Name: "everything cut", Query: `{ now }`},
	{Name: "non-null cut", Query: `{ must { value inner { value user { id } } } maybe { id email } me { id best { id email } } }`},
	{Name: "no data", Query: `{ total me { id } }`},
	{Name: "masks", Query: `{ users(first: 3) { id phone name short: name(short: true) } }`},
	{Name: "object rules", Query: `query Q($n: Int) { users(first: $n) { id best { id tags } } search(kind: A) { __typename ... on Doc { id body owner { id } } ... on User { id best { id } } ... on Item { sku price } } }`,
		Variables: map[string]any{"n": 2}},
	{Name: "object rules by default", Query: `query Q($n: Int) { users(first: $n) { id best { id tags } } }`},
	{Name: "drops", Query: `{ me { id docs { id title } } owned { level owner { id } } nodes { id ... on User { docs { id title label } } } }`},
	{Name: "aliases", Query: `{ me { id a: label b: label c: best { id x: phone y: tags } best { id phone } } other: me { id l: label again: best { id } } }`},
	{Name: "fragments", Query: `{ nodes { ...N ...U } search { ... on Doc { ...D } ... on Item { sku price kind } ...U } }
		fragment N on Node { id label } fragment U on User { id phone best { ...N } } fragment D on Doc { id body owner { ...U } ref { ...N } }`},
	{Name: "lists of lists", Query: `{ grid { id body label related { id label } } }`},
	{Name: "introspection of names", Query: `{ __typename me { __typename id level label } }`},
	{Name: "again", Query: `{ me { id label phone name tags best { id label phone } } }`},
}

// TestDifferentialCaches reads filtered answers through the caches of Apollo
// Client and urql: no warning of a missing field, the whole answer, the errors as
// they came, and the same data when only the cache is read. It fails where node
// or the packages are missing:
//
//	npm ci --prefix firewall/testdata/caches
//	go test -tags differential -run Differential ./firewall
func TestDifferentialCaches(t *testing.T) {
	s, err := schema.Load(schema.Source{Name: "schema.graphql", Text: oracleSDL})
	if err != nil {
		t.Fatal(err)
	}
	errors := 0
	for _, seed := range []uint64{4, 5, 6} { // graphs
		c := oracleCase{schema: s, rules: cachePolicy, seed: seed}
		f, _, err := c.load(t)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(f)
		readings := readByClients(t, server.URL+"/graphql")
		server.Close()
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		for _, r := range readings {
			errors += r.Errors
			r.check(t, seed)
		}
	}
	if t.Logf("%d errors", errors); errors < 150 {
		t.Errorf("only %d errors: the policy denies little", errors)
	}
}

// readByClients sends the operations by both clients.
func readByClients(t *testing.T, url string) (out []cacheReading) {
	t.Helper()
	input, err := json.Marshal(map[string]any{"url": url, "sdl": oracleSDL, "subject": "1/", "operations": cacheOperations})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "--conditions", "development", "caches.mjs")
	cmd.Dir, cmd.Stdin = "testdata/caches", bytes.NewReader(input)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\nnpm ci --prefix firewall/testdata/caches installs what it needs", err, &complaint)
	}
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if want := 2 * (2*len(cacheOperations) + 1); len(out) != want {
		t.Fatalf("%d readings, want %d", len(out), want)
	}
	return out
}

// cacheReading is what one client made of one answer.
type cacheReading struct {
	Client, Cache, Operation string
	Requests, Errors         int
	Warnings                 []string
	Outcome                  string // of reading the cache alone: hit, partial, miss
	Same, Whole, Told        bool
	Data, Cached, Answer     json.RawMessage
}

func (r *cacheReading) check(t *testing.T, seed uint64) {
	t.Helper()
	if r.Cache == "spoiled" { // the same check sees a field that is missing
		missing := strings.Contains(strings.ToLower(strings.Join(r.Warnings, "\n")), "missing")
		if r.Outcome == "hit" || r.Client == "apollo" && !missing {
			t.Errorf("%s does not notice that a field is missing: %s, %q", r.Client, r.Cached, r.Warnings)
		}
		return
	}
	whole, outcome := r.Whole, "hit"
	switch {
	case r.Client == "apollo" && string(r.Data) == "null":
		outcome = "partial" // null data is not kept
	case r.Client == "urql" && r.Errors > 0:
		// Graphcache keeps no value at an error's path, whoever sent it: it
		// reads null there, calls that partial, and so asks again next time.
		// Where nothing else was answered it has nothing. Above an error that
		// was passed upwards the null is kept.
		if outcome = r.Outcome; string(r.Data) == "null" {
			whole, outcome = true, "miss"
		} else if outcome != "hit" {
			outcome = "partial"
		}
	}
	if len(r.Warnings) > 0 || !r.Same || !whole || !r.Told || r.Requests != 1 || r.Outcome != outcome {
		t.Errorf("graph %d, %s, %s cache, %s: %d requests, same data %t, whole %t, errors told %t, outcome %s, warnings %q\nanswer %s\ndata   %s\ncached %s",
			seed, r.Client, r.Cache, r.Operation, r.Requests, r.Same, r.Whole, r.Told, r.Outcome, r.Warnings, r.Answer, r.Data, r.Cached)
	}
}
