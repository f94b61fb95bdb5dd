package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/graphward/graphward/firewall/identity/identitytest"
)

const (
	issuerName = "https://id.bench.example"
	subjects   = 64 // distinct callers
	fieldRules = 89 // with the eleven that policyText writes out: 100 rules
)

// scene is the folder of files that graphward is configured with, and the
// tokens that it accepts.
type scene struct {
	dir    string
	tokens [subjects]string
}

// variant is one way to configure graphward.
type variant struct {
	name      string
	responses string // YAML of the responses block
	actual    string // cost.actual
}

var (
	// everything is what the figures are about: the safe defaults, all on.
	everything = variant{"graphward", "{}", "off"}
	// passing guards no answer, so that it can be streamed untouched.
	passing = variant{"graphward-pass", "{errors: pass, suggestions: pass}", "off"}
	// pricing prices every answer.
	pricing = variant{"graphward-actual", "{errors: pass, suggestions: pass}", "on"}
)

func newScene(dir string) (*scene, error) {
	s := &scene{dir: dir}
	key, err := identitytest.NewKey("bench", "ES256")
	if err != nil {
		return nil, err
	}
	public, err := key.JWK()
	if err != nil {
		return nil, err
	}
	keys, err := json.Marshal(map[string]any{"keys": []any{public}})
	if err != nil {
		return nil, err
	}
	expiry := time.Now().Add(24 * time.Hour).Unix()
	for i := range s.tokens {
		payload := fmt.Sprintf(`{"iss":%q,"aud":"bench","sub":%q,"exp":%d,"roles":["member"],"scope":"read","client_id":"web","plan":"gold"}`,
			issuerName, subjectID(i), expiry)
		if s.tokens[i], err = key.Sign([]byte(`{"alg":"ES256","kid":"bench","typ":"JWT"}`), []byte(payload)); err != nil {
			return nil, err
		}
	}
	document := warmDocument("Warm", "p")
	digest := sha256.Sum256([]byte(document))
	manifest, err := json.Marshal(map[string]string{hex.EncodeToString(digest[:]): document})
	if err != nil {
		return nil, err
	}
	for name, text := range map[string][]byte{
		"jwks.json": keys, "schema.graphql": []byte(schemaText()), "policy.rego": []byte(policyText()), "manifest.json": manifest,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func subjectID(i int) string { return fmt.Sprintf("user-%02d", i) }

// config writes graphward's configuration for a variant and returns its path.
func (s *scene) config(v variant, upstream string) (string, error) {
	text := fmt.Sprintf(`listen: 127.0.0.1:0
admin: {listen: "localhost:0"}
path: /graphql
upstream: {url: %q, timeout: 10s}
schema: {files: [schema.graphql]}
policy: {paths: [policy.rego], timeout: 10s}
operations:
  manifests: [{file: manifest.json}]
  adhoc: deny
modes: {OPERATION_NOT_ALLOWED: report}
cost: {max: 2000, actual: %s}
budgets:
  tiers:
    default: {cost: 1000000000/1m, requests: 1000000000/1m, in_flight: 10000}
    gold: {cost: 1000000000/1m, requests: 1000000000/1m, in_flight: 10000}
identity:
  jwt: [{issuer: %q, jwks_file: jwks.json, audiences: [bench], algorithms: [ES256], claims: {roles: roles, scopes: scope, client: client_id}}]
responses: %s
audit: {output: %s}
`, upstream, v.actual, issuerName, v.responses, filepath.Join(s.dir, v.name+".audit.jsonl"))
	path := filepath.Join(s.dir, v.name+".yaml")
	return path, os.WriteFile(path, []byte(text), 0o600)
}

func schemaText() string {
	var b strings.Builder
	b.WriteString("type Query {\n  products(first: Int!, after: String): ProductConnection\n  product(id: ID!): Product\n  orders(owner: ID!): [Order!]\n  salaries: [Int!]\n}\n" +
		"type ProductConnection { edges: [ProductEdge!] }\ntype ProductEdge { node: Product }\ntype Order { id: ID! total: Float items(first: Int): [Product!] }\ntype Product {\n  related(first: Int): [Product!]\n")
	for i := range fieldRules {
		fmt.Fprintf(&b, "  f%d: String\n", i)
	}
	b.WriteString("}\n")
	return b.String()
}

func policyText() string {
	var b strings.Builder
	b.WriteString(`package graphward

import rego.v1

is_member if "member" in input.subject.roles

is_owner if input.args.owner == input.subject.id

allow.Query.products if input.subject.authenticated
allow.Query.product if input.subject.authenticated
allow.Query.orders if is_owner
allow.Query.salaries if "payroll" in input.subject.roles
allow.ProductConnection["*"] if is_member
allow.ProductEdge["*"] if is_member
allow.Order["*"] if is_member
allow.Product.related if is_member
tier := "gold" if input.subject.claims.plan == "gold"
`)
	for i := range fieldRules {
		fmt.Fprintf(&b, "allow.Product.f%d if %s\n", i, []string{"is_member", "input.subject.authenticated", `"read" in input.subject.scopes`}[i%3])
	}
	return b.String()
}

// warmDocument is an operation of about 1 KB over 60 fields. alias and name
// make documents that differ.
func warmDocument(name, alias string) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "query %s($id: ID!, $first: Int!, $after: String, $owner: ID!) {\n  %s: product(id: $id) {\n", name, alias)
	fields := func(indent string, from, to int) {
		for i := from; i < to; i++ {
			fmt.Fprintf(&b, "%sf%d\n", indent, i)
		}
	}
	fields("    ", 0, 20)
	b.WriteString("    related(first: 3) {\n")
	fields("      ", 20, 30)
	b.WriteString("    }\n  }\n  products(first: $first, after: $after) {\n    edges {\n      node {\n")
	fields("        ", 30, 50)
	b.WriteString("      }\n    }\n  }\n  orders(owner: $owner) {\n    id\n    total\n    items(first: 2) {\n")
	fields("      ", 50, 56)
	b.WriteString("    }\n  }\n}\n")
	return b.String()
}
