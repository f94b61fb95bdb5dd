package firewall_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/identity"
)

const hiddenPolicy = `package graphward

import rego.v2

allow.Query.me := true

allow.Query.node := true

allow.Query.search := true

allow.Query.user if input.args.id == "1"

allow.User.id := true

allow.User.name := true

allow.User.friends := true

allow.Vault.code if "admin" in input.subject.roles

allow.Query.secret if "admin" in input.subject.roles

error["*"]["*"] := {"code": "OURS", "message": "denied by our policy"}
`

// In hiddenSchema the lines with # are what the policy denies.
const hiddenSchema = `
type Query {
  me: User
  user(id: ID!): User
  node(id: ID!): Node
  search(first: Int): [Found!]
  secret(of: Int): String #
  vault: Vault #
}
type Mutation { #
  wipe: Int #
} #
interface Node { id: ID! }
type User implements Node {
  id: ID!
  name: String
  ssn: String! #
  friends(first: Int): [User!]
  vault(n: Int!): Vault #
}
type Other implements Node { id: ID! } #
type Vault { code: String } #
union Found = User
`

// hiddenDocuments are documents with denied fields, and what could tell a denied
// field from one that does not exist.
var hiddenDocuments = []string{
	`{ secret }`, `{ a: secret }`, `{ me { name ssn } }`, `{ me { name: ssn } }`,
	`{ me { ...F } } fragment F on User { x: ssn }`, `{ me { ... { ssn } } }`, `{ me { ... on User { ssn } } }`,
	`{ vault { code } }`, `{ vault { __typename } }`, `{ me { vault(n: 1) { code } } }`,
	`{ ... on Query { secret } }`, `{ me { name } secret nothing }`, `{ nothing secret }`, `{ me { friends { friends { ssn } } } }`,
	`query A { me { name } } query B { secret }`, `{ me { name ssn @skip(if: true) } }`, `{ search(first: 1) { ... on Vault { __typename } } }`,
	`query ($n: Boolean = false) { me { name ssn @include(if: $n) } }`,
	// A wrong use of a field tells that it is there.
	`{ secret { x } }`, `{ secret(x: 1) }`, `{ secret(of: "a") }`, `{ vault }`, `{ me { vault { code } } }`, `{ me { ssn: name ssn } }`,
	`{ secret @nothing }`, `query ($v: Nothing) { secret(of: $v) }`, `query ($v: Int!) { secret(of: $v) }`,
	`{ me { ... on Vault { code } } }`, `{ me { ...F } } fragment F on Vault { code }`, `query ($v: Vault) { me { name } }`,
	`{ __typename secret }`, `{ graphward_a: secret }`, `{ __schema { types { name } } secret }`,
	// So does what comes after validation.
	`query ($v: Int!) { search(first: $v) { ... on User { ssn } } }`, `{ search(first: 1000000) { ... on User { ssn friends(first: 1000000) { ssn } } } }`,
	`{ me { friends { friends { friends { friends { friends { friends { friends { ssn } } } } } } } } }`,
}

// A field that is denied beforehand is answered byte for byte as one that the
// schema does not have, whatever is wrong or right with the rest.
func TestDeniedFieldsAreUnknown(t *testing.T) {
	decision := regexp.MustCompile(`"decision_id":"[^"]*"`)
	var absent []string
	for line := range strings.Lines(hiddenSchema) {
		if !strings.Contains(line, "#") {
			absent = append(absent, line)
		}
	}
	whole := strings.ReplaceAll(hiddenSchema, "#", "")
	for _, mode := range []string{"reject", "filter"} {
		for _, explain := range []bool{false, true} {
			hidden, records := hiding(t, whole, mode, explain)
			bare, _ := hiding(t, strings.Join(absent, ""), mode, explain)
			for _, accept := range []string{"application/json", "application/graphql-response+json"} {
				for _, text := range hiddenDocuments {
					got, want := askHidden(t, hidden, text, accept), askHidden(t, bare, text, accept)
					for _, w := range []*httptest.ResponseRecorder{got, want} {
						w.Body = bytes.NewBuffer(decision.ReplaceAll(w.Body.Bytes(), nil))
						w.Header().Del("Content-Length") // decision ids differ in nothing else
					}
					if !strings.Contains(want.Body.String(), "GRAPHQL_VALIDATION_FAILED") {
						t.Fatalf("%s: %s", text, want.Body)
					}
					if diff := cmp.Diff(want.Body.String(), got.Body.String()); diff != "" || got.Code != want.Code {
						t.Errorf("%s, %s, %s: status %d, want %d: %s", mode, accept, text, got.Code, want.Code, diff)
					}
					if diff := cmp.Diff(want.Header(), got.Header()); diff != "" {
						t.Errorf("%s, %s, %s: %s", mode, accept, text, diff)
					}
					if r := records.last(t); text == `{ secret }` && r.Code != "OURS" {
						t.Errorf("the record does not tell the truth: %+v", r)
					}
				}
			}
		}
	}
}

// In a batch too.
func TestDeniedFieldsAreUnknownInBatches(t *testing.T) {
	decision := regexp.MustCompile(`"decision_id":"[^"]*"`)
	f, _ := hiding(t, strings.ReplaceAll(hiddenSchema, "#", ""), "filter", false)
	ask := func(field string) *httptest.ResponseRecorder {
		w := askRaw(f, []byte(`[{"query":"{ `+field+` }"}]`), "application/json")
		w.Body = bytes.NewBuffer(bytes.ReplaceAll(decision.ReplaceAll(w.Body.Bytes(), nil), []byte(field), nil))
		return w
	}
	hidden, absent := ask("secret"), ask("absent")
	if diff := cmp.Diff(absent.Body.String(), hidden.Body.String()); diff != "" || hidden.Code != absent.Code {
		t.Errorf("status %d, want %d: %s", hidden.Code, absent.Code, diff)
	}
	if diff := cmp.Diff(absent.Header(), hidden.Header()); diff != "" {
		t.Error(diff)
	}
}

// What only arguments decide is answered alike too, and an object rule's denial
// with a text that is the same for all.
func TestDeniedArgumentsAreUnknown(t *testing.T) {
	f, _ := hiding(t, strings.ReplaceAll(hiddenSchema, "#", ""), "filter", false)
	got := askHidden(t, f, `{ me { name } user(id: 2) { name } }`, "application/graphql-response+json").Body.String()
	if want := `{"errors":[{"message":"Cannot query field \"user\" on type \"Query\".","locations":[{"line":1,"column":15}],`; !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := askHidden(t, f, `{ user(id: 1) { name } }`, "application/graphql-response+json").Body.String(); got != `{"data":{"user":null}}` {
		t.Errorf("an allowed field: %s", got)
	}
}

func hiding(t *testing.T, schema, mode string, explain bool) (http.Handler, *seen) {
	t.Helper()
	dir := t.TempDir()
	replace(t, dir+"/schema.graphql", []byte(schema))
	policy := hiddenPolicy
	if !strings.Contains(schema, "Vault") { // what a rule names must exist
		var kept []string
		for line := range strings.Lines(policy) {
			if !strings.Contains(line, "Vault") && !strings.Contains(line, "Query.secret") {
				kept = append(kept, line)
			}
		}
		policy = strings.Join(kept, "")
	}
	replace(t, dir+"/policy.rego", []byte(policy))
	c := firewall.DefaultConfig()
	c.Schema.Files = []string{dir + "/schema.graphql"}
	c.Policy.Paths = []string{dir + "/policy.rego"}
	patient(c)
	c.Policy.OnDeny = mode
	c.Operations.Adhoc = "allow"
	c.Identity.Anonymous = identity.Allow
	c.Responses.HideDenied, c.Responses.Explain = true, explain
	c.Cost.Max = 1000
	c.Audit.Output = audit.Off
	records := &seen{}
	f, err := firewall.New(t.Context(), c, firewall.WithAuditSink(records), firewall.WithHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":{"user":null}}`)
	})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f, records
}

func askHidden(t *testing.T, h http.Handler, text, accept string) *httptest.ResponseRecorder {
	t.Helper()
	body, err := json.Marshal(map[string]string{"query": text})
	if err != nil {
		t.Fatal(err)
	}
	return askRaw(h, body, accept)
}

func askRaw(h http.Handler, body []byte, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/graphql", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
