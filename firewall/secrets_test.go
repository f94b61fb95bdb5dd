package firewall_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
	"golang.org/x/tools/txtar"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/policy"
	"github.com/graphward/graphward/policy/policytest"
	"github.com/graphward/graphward/schema"
)

// What a secret has in it, whatever its position. Neither stands in any text
// that the tests send, or in a value that is not secret.
const (
	secretText   = "QXZ"       // in strings and IDs, followed by the position's own ten letters
	secretNumber = "198765432" // in numbers
)

// planting puts a secret into every value at and below a denied position, and
// into the errors there. What rules read of a value (null or not, a number's
// place in their order, the digits in a string) stays, so that who may read
// what does not depend on it.
type planting struct {
	denied func(position) bool
	inside []bool // of each field that is open
	count  int    // of secrets
}

// enter opens a field and returns what an error at it says.
func (p *planting) enter(at position, n uint64) (message string) {
	hidden := len(p.inside) > 0 && p.inside[len(p.inside)-1] || p.denied(at)
	p.inside = append(p.inside, hidden)
	if !hidden {
		return ""
	}
	p.count++
	return "cannot read " + secretOf(n) + " at " + at.coordinate[0]
}

func (p *planting) leave() { p.inside = p.inside[:len(p.inside)-1] }

// secretOf is text of its own for each number.
func secretOf(n uint64) string {
	b := []byte(secretText)
	for range 10 {
		b = append(b, 'A'+byte(n%16))
		n = mix(n)
	}
	return string(b)
}

// leaf is a value as JSON. Every function of masks leaves out the middle of a
// text and the fraction of a number.
func (p *planting) leaf(def *ast.Definition, n uint64) string {
	plain := leafOf(def, n)
	if !p.inside[len(p.inside)-1] || def.Kind == ast.Enum {
		return plain
	}
	p.count++
	switch def.Name {
	case "ID":
		if plain != `"1"` && plain != `"3"` { // who asks is 1 or 3
			return strconv.Quote("id " + secretOf(n) + " end")
		}
	case "Int":
		if plain == "4" { // no rule tells it from what is larger
			return secretNumber + strconv.Itoa(int(n/5%10))
		}
	case "Float":
		return plain + secretNumber + strconv.Itoa(int(n%10))
	case "String":
		return strconv.Quote(strings.TrimSuffix(plain[1:], `"`) + secretOf(n) + " end")
	}
	p.count--
	return plain
}

// secretCase is a firewall in front of a backend with secrets, and who asks.
type secretCase struct {
	oracleCase
	plain    *policytest.Plain
	firewall *firewall.Firewall
	said     recorder   // audit records and the operator's log
	backend  sync.Mutex // the elements of a batch come at the same time
	asked    int        // how often the backend answered
	planted  int        // secrets in its answers
}

// everything is an audit sink that keeps all of a record.
type everything struct{ to io.Writer }

func (e everything) Write(r *audit.Record) error { return json.NewEncoder(e.to).Encode(r) }

func (everything) Close() error { return nil }

// newSecretCase serves the rules with everything on that says more to a client.
func newSecretCase(sdl string, rules []rule, seed uint64, fails map[string]bool, dir string) (*secretCase, error) {
	s, err := schema.Load(schema.Source{Name: "schema.graphql", Text: sdl})
	if err != nil {
		return nil, err
	}
	c := &secretCase{oracleCase: oracleCase{schema: s, rules: rules, seed: seed, fails: fails}}
	if c.plain, err = policytest.New(policyText(rules) + apart(rules)); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"schema.graphql": sdl, "policy.rego": policyText(rules)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	config := firewall.DefaultConfig()
	config.Schema.Files = []string{filepath.Join(dir, "schema.graphql")}
	config.Policy.Paths = []string{filepath.Join(dir, "policy.rego")}
	config.Policy.OnDeny, config.Policy.OnDenyMutation, config.Policy.ParentNonNull = "filter", "filter", "accept"
	config.Policy.Timeout = firewall.Duration(time.Minute)
	config.Operations.Adhoc, config.Identity.Anonymous = "allow", identity.Allow
	config.Responses.Errors, config.Responses.Suggestions, config.Responses.Explain = "pass", "pass", true
	config.Cost.Max, config.Limits.Batch = 1e15, 10
	c.firewall, err = firewall.New(context.Background(), config, firewall.WithHandler(c), firewall.WithAuthenticator(bySubject{}),
		firewall.WithAuditSink(everything{&c.said}), firewall.WithLogger(zerolog.New(&c.said)))
	return c, err
}

// ServeHTTP is the backend.
func (c *secretCase) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Query         string         `json:"query"`
		OperationName string         `json:"operationName"`
		Variables     map[string]any `json:"variables"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	doc, err := parser.ParseQuery(&ast.Source{Input: body.Query})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	op := doc.Operations.ForName(body.OperationName)
	if op == nil {
		op = doc.Operations[0]
	}
	c.backend.Lock()
	defer c.backend.Unlock()
	c.asked++
	e := &executor{schema: c.schema.AST(), doc: doc, seed: c.seed, fails: c.fails, vars: map[string]any{}}
	for _, v := range op.VariableDefinitions {
		if v.DefaultValue != nil {
			e.vars[v.Variable] = e.value(v.DefaultValue)
		}
	}
	for name, value := range body.Variables {
		if n, ok := value.(float64); ok {
			value = int(n)
		}
		e.vars[name] = value
	}
	who := c.who()
	e.plant = &planting{denied: func(p position) bool { return c.judge(e, c.plain, who, p).denied }}
	data, errs := e.run(op)
	c.planted += e.plant.count
	c.forwarded = body.Query
	w.Header().Set("Content-Type", "application/json")
	answer := envelopeOf(data, errs)
	if e.plant.count > 0 { // as a trace has it
		answer = strings.TrimSuffix(answer, "}") + `,"extensions":{"tracing":{"values":["` + secretText + `",` + secretNumber + `]}}}`
	}
	_, _ = io.WriteString(w, answer)
}

func envelopeOf(data string, errs []pathError) string {
	type upstreamError struct {
		Message    string         `json:"message"`
		Path       []any          `json:"path"`
		Extensions map[string]any `json:"extensions"`
	}
	list := []upstreamError{}
	for _, e := range errs {
		list = append(list, upstreamError{e.message, e.path, map[string]any{"code": "UPSTREAM", "trace": e.message}})
	}
	text, _ := json.Marshal(list)
	if len(list) == 0 {
		return `{"data":` + data + `}`
	}
	if len(data)%2 == 0 { // errors before data are held in another way
		return `{"errors":` + string(text) + `,"data":` + data + `}`
	}
	return `{"data":` + data + `,"errors":` + string(text) + `}`
}

func (c *secretCase) who() *policy.Subject {
	s := &policy.Subject{Authenticated: c.subject != "", ID: c.subject, Roles: []string{}, Scopes: []string{}, Claims: map[string]any{}, Method: "test"}
	if c.role != "" {
		s.Roles = []string{c.role}
	}
	return s
}

// send answers a request and returns where a secret stands; "": nowhere.
func (c *secretCase) send(r *http.Request) string {
	r.Header.Set("X-Subject", c.subject+"/"+c.role)
	w := httptest.NewRecorder()
	c.firewall.ServeHTTP(w, r)
	var text bytes.Buffer
	_ = w.Header().Write(&text)
	text.WriteString(w.Body.String())
	c.said.mu.Lock()
	text.Write(c.said.text.Bytes())
	c.said.text.Reset()
	c.said.mu.Unlock()
	return c.find(text.String())
}

func (c *secretCase) find(text string) string {
	for _, mark := range []string{secretText, secretNumber} {
		if strings.Contains(text, mark) {
			return fmt.Sprintf("a secret is in\n%s\npolicy: %s\nsubject %q, role %q, fails upstream: %v, forwarded: %s", text, policyText(c.rules), c.subject, c.role, c.fails, c.forwarded)
		}
	}
	return ""
}

// as sets who asks.
func (c *secretCase) as(n uint64) {
	c.subject, c.role = []string{"", "1", "3", "3"}[n%4], ""
	if n%4 == 3 {
		c.role = "staff"
	}
}

// operation sends a document with variables.
func (c *secretCase) operation(query string, variables map[string]any) string {
	c.query = query
	body, _ := json.Marshal(map[string]any{"query": query, "variables": variables})
	r := httptest.NewRequest(http.MethodPost, "/graphql", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return c.send(r)
}

// close ends the firewall and returns where its metrics have a secret.
func (c *secretCase) close(t testing.TB) {
	t.Helper()
	h, err := c.firewall.AdminHandler()
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if found := c.find(w.Body.String()); found != "" || w.Code != http.StatusOK {
		t.Errorf("metrics, status %d: %s", w.Code, found)
	}
	if err := c.firewall.Close(); err != nil {
		t.Error(err)
	}
}

// basePolicies are for testdata/base's schema, which most attacks are about.
var basePolicies = [][]rule{
	baseRules(`allow["*"]["*"] if staff`, `allow.Query["*"] := true`, `allow.Query.secret if staff`, `allow.Query.boom if staff`, `allow.Query.user if input.args.id == input.subject.id`,
		`allow.Mutation.login := true`, `allow.UserConnection["*"] := true`, `allow.UserEdge["*"] := true`, `allow.PageInfo["*"] := true`,
		`allow.User.id := true`, `allow.User.name if input.parent.id == input.subject.id`, `allow.User.friends := true`, `allow.User.posts if input.parent.id != "3"`,
		`allow.Post["*"] := true`, `allow.Post.title if input.parent.author.id == input.subject.id`),
	baseRules(`allow["*"]["*"] := true`, `allow.User["*"] if { input.parent.id == input.subject.id }`, `allow.User.id := true`, `mask.User.email := mask.keep_last(3)`,
		`mask.User.ssn := mask.redact`, `mask.User.name := "somebody"`, `drop.UserConnection.nodes := true`, `drop.Query.posts := true`, `allow.Post.title if staff`,
		`mask.Post.title := mask.keep_first(2) if input.subject.authenticated`, `allow.UserEdge.node if input.parent.cursor != "1"`, `allow.Query.boom := false`),
	baseRules(`allow["*"]["*"] := true`, `allow.Query.users if input.subject.authenticated`, `allow.Query.search if staff`, `allow.User.friends := false`, `allow.User.email := false`,
		`allow.Post.author if contains(input.parent.title, "1")`, `allow.Post.id if input.parent.author.name`, `drop.User.posts := true`, `allow.User.id if staff`, `mask.User.id := mask.redact`),
}

// baseRules reads rules by their heads.
func baseRules(texts ...string) []rule {
	head := regexp.MustCompile(`^(\w+)(?:\.(\w+)|\["\*"\])(?:\.(\w+)|\["\*"\])`)
	var out []rule
	for _, text := range texts {
		m := head.FindStringSubmatch(text)
		r := rule{m[1], m[2], m[3], text}
		if r.typ == "" {
			r.typ = "*"
		}
		if r.field == "" {
			r.field = "*"
		}
		out = append(out, r)
	}
	return out
}

// caseOf makes the n-th case with generated operations: every fourth has the
// schema of the attacks.
func caseOf(n uint64, dir string) (*secretCase, *generator, error) {
	sdl, rules := oracleSDL, []rule(nil)
	if n%4 == 3 {
		base, err := os.ReadFile("testdata/base/schema.graphql")
		if err != nil {
			return nil, nil, err
		}
		sdl, rules = string(base), basePolicies[n/4%uint64(len(basePolicies))]
	}
	s, err := schema.Load(schema.Source{Name: "schema.graphql", Text: sdl})
	if err != nil {
		return nil, nil, err
	}
	g := &generator{rand.New(rand.NewPCG(n, 11)), s.AST(), []string{"Query", "User", "Doc", "Wrap", "Item"}}
	if rules == nil {
		rules = g.policy()
	}
	c, err := newSecretCase(sdl, rules, n, failing(g), dir)
	return c, g, err
}

// failing picks fields that are errors upstream, of non-null type too.
func failing(g *generator) map[string]bool {
	out := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(g.schema.Types)) {
		def := g.schema.Types[name]
		if def.Kind != ast.Object || strings.HasPrefix(name, "__") {
			continue
		}
		for _, f := range def.Fields {
			if !strings.HasPrefix(f.Name, "__") && g.IntN(9) == 0 {
				out[name+"."+f.Name] = true
			}
		}
	}
	return out
}

// TestSecrets plants a secret in every denied and masked value of the backend,
// in what is below them, and in the upstream's errors there, and looks for it in
// all that the firewall says: answers, headers, logs, audit records and metrics.
func TestSecrets(t *testing.T) {
	t.Run("attacks", func(t *testing.T) { secretsFromCorpus(t) })
	t.Run("generated", func(t *testing.T) {
		asked, planted := 0, 0
		for n := range uint64(20) {
			c, g, err := caseOf(n, t.TempDir())
			if err != nil {
				t.Fatalf("case %d: %v", n, err)
			}
			for i := uint64(0); i < 50; i++ {
				query, variables := g.operation()
				for _, err := c.schema.Compile(query, "", schema.Limits{}); err != nil; _, err = c.schema.Compile(query, "", schema.Limits{}) {
					query, variables = g.operation() // not every one is valid
				}
				c.as(i)
				if found := c.operation(query, variables); found != "" {
					t.Fatalf("case %d, operation %d: %s\n%s", n, i, query, found)
				}
			}
			c.close(t)
			asked, planted = asked+c.asked, planted+c.planted
		}
		t.Logf("%d answers with %d secrets", asked, planted)
		if asked < 400 || planted < 1000 {
			t.Errorf("%d answers had only %d secrets", asked, planted)
		}
	})
}

// secretsFromCorpus sends every request of the attack and benign cases that
// net/http can read.
func secretsFromCorpus(t *testing.T) {
	base, err := os.ReadFile("testdata/base/schema.graphql")
	if err != nil {
		t.Fatal(err)
	}
	requests := corpusRequests(t)
	asked, planted := 0, 0
	for n, rules := range basePolicies {
		for failures, fails := range []map[string]bool{nil, {"User.email": true, "User.friends": true, "Post.title": true, "Post.id": true, "UserEdge.cursor": true, "Query.secret": true, "Query.boom": true}} {
			c, err := newSecretCase(string(base), rules, uint64(n), fails, t.TempDir())
			if err != nil {
				t.Fatalf("policy %d: %v", n, err)
			}
			for i, request := range requests {
				r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request.send)))
				if err != nil {
					t.Fatal(err)
				}
				c.as(uint64(i + n + failures))
				if found := c.send(r); found != "" {
					t.Errorf("%s: %.300s\n%s", request.name, request.send, found)
					break
				}
			}
			c.close(t)
			t.Logf("policy %d: %d requests, %d forwarded, %d secrets", n, len(requests), c.asked, c.planted)
			asked, planted = asked+c.asked, planted+c.planted
		}
	}
	if asked < 1000 || planted < 1000 {
		t.Errorf("%d answers had only %d secrets", asked, planted)
	}
}

// corpusRequest is one request of the case.
type corpusRequest struct {
	name string
	send []byte
}

func corpusRequests(t *testing.T) (out []corpusRequest) {
	t.Helper()
	for _, dir := range []string{"attacks", "benign"} {
		files, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
		if err != nil || len(files) < 100 {
			t.Fatalf("%d cases in %s: %v", len(files), dir, err)
		}
		for _, file := range files {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := newCase(filepath.Base(file), archive, map[string]string{})
			if err != nil {
				t.Fatal(err)
			}
			if c.verdicts[0].word == "unserved" {
				continue
			}
			steps, err := c.steps()
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			for _, s := range steps {
				if seen[string(s.send)] {
					continue
				}
				seen[string(s.send)] = true
				if _, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(s.send))); err == nil {
					out = append(out, corpusRequest{c.name, s.send})
				}
			}
		}
	}
	return out
}

// FuzzSecrets sends generated operations, or the fuzzer's own text.
func FuzzSecrets(f *testing.F) {
	for n := range uint64(64) {
		f.Add(n, n, "")
	}
	for _, text := range []string{"{me{id email best{email}}}", "{nodes{...on User{email best{docs{title}}}}}", "{users{nodes{a:ssn email friends{name}}}}", "query($n:Int){users(first:$n){edges{node{posts{title author{email}}}}}}"} {
		f.Add(uint64(2), uint64(2), text)
		f.Add(uint64(3), uint64(3), text)
	}
	const most = 48
	dir := f.TempDir() // what a case needs is read when it is made
	cases := map[uint64]*secretCase{}
	schemas := map[uint64]*generator{}
	f.Cleanup(func() {
		for _, c := range cases {
			c.close(f)
		}
	})
	f.Fuzz(func(t *testing.T, policy, which uint64, text string) {
		if strings.Contains(text, secretText) || strings.Contains(text, secretNumber) {
			return
		}
		policy %= most
		c := cases[policy]
		if c == nil {
			var err error
			if c, schemas[policy], err = caseOf(policy, dir); err != nil {
				t.Fatalf("case %d: %v", policy, err)
			}
			cases[policy] = c
		}
		c.as(which)
		variables := map[string]any{"n": which % 5}
		if text == "" {
			g := &generator{rand.New(rand.NewPCG(which, 12)), schemas[policy].schema, nil}
			text, variables = g.operation()
		}
		if found := c.operation(text, variables); found != "" {
			t.Fatalf("%s\n%s", text, found)
		}
	})
}
