package firewall_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/policy"
	"github.com/graphward/graphward/policy/policytest"
	"github.com/graphward/graphward/schema"
)

var (
	oraclePairs = flag.Int("oracle.pairs", 2000, "how many pairs of policy and operation the oracle test compares")
	oracleSeed  = flag.Uint64("oracle.seed", 1, "which pairs")
)

const operationsOfPolicy = 40

// failingFields may be errors upstream. Rules read most of them.
var failingFields = []string{"Query.maybe", "User.id", "User.label", "User.email", "User.level", "User.tags", "User.best", "Doc.public", "Doc.owner", "Doc.level",
	"Doc.ref", "Doc.score", "Wrap.user", "Wrap.doc", "Wrap.value", "Wrap.items", "Item.level", "Item.kind", "Item.owner", "Item.price"}

// TestOracle holds answers through on_deny: filter, object rules, masks and
// drops against a reference executor, which resolves the client's operation and
// asks plain OPA about each field with the whole input. Data must be equal byte
// for byte; so must the paths of the errors, the upstream's apart from ours.
//
//	go test ./firewall -run TestOracle -oracle.pairs 50000 -timeout 0
func TestOracle(t *testing.T) {
	s, err := schema.Load(schema.Source{Name: "oracle.graphql", Text: oracleSDL})
	if err != nil {
		t.Fatal(err)
	}
	compared, guarded, broken := 0, 0, 0
	for n := *oracleSeed; compared < *oraclePairs; n++ {
		g := &generator{rand.New(rand.NewPCG(n, 3)), s.AST(), []string{"Query", "User", "Doc", "Wrap", "Item"}}
		c := oracleCase{schema: s, rules: g.policy(), seed: n, fails: map[string]bool{}, gone: map[string]bool{}}
		if g.IntN(2) == 0 {
			for _, at := range failingFields {
				c.fails[at], c.gone[at] = g.IntN(8) == 0, g.IntN(16) == 0
			}
		}
		f, plain, err := c.load(t)
		if err != nil {
			t.Fatalf("policy %d does not load: %v\n%s", n, err, policyText(c.rules))
		}
		for range operationsOfPolicy {
			c.query, c.variables = g.operation()
			c.subject, c.role = pick(g, "", "1", "3"), pick(g, "", "staff")
			if _, err := s.Compile(c.query, "", schema.Limits{}); err != nil {
				broken++
				continue
			}
			compared++
			want, got := c.want(plain), c.got(f)
			if strings.Contains(want, `"FORBIDDEN"`) {
				guarded++
			}
			if want != got {
				c.shrink(t)
				c.report(t, n)
				_ = f.Close()
				return
			}
		}
		_ = f.Close()
	}
	t.Logf("%d pairs compared, %d with denials, %d operations were not valid", compared, guarded, broken)
	if guarded < compared/10 {
		t.Errorf("only %d of %d answers were guarded", guarded, compared)
	}
}

// oracleCase is a policy, an operation and who asks.
type oracleCase struct {
	schema        *schema.Schema
	rules         []rule
	seed          uint64
	fails, gone   map[string]bool // of the executor
	query         string
	variables     map[string]any
	subject, role string
	records       lastRecord
	forwarded     string // the last document that the backend was asked
}

// lastRecord keeps what the firewall says of its last answer.
type lastRecord struct{ message string }

func (l *lastRecord) Write(r *audit.Record) error { l.message = r.Message; return nil }

func (l *lastRecord) Close() error { return nil }

// bySubject reads who asks from a header.
type bySubject struct{}

func (bySubject) Authenticate(r *http.Request) (*identity.Identity, error) {
	id, role, _ := strings.Cut(r.Header.Get("X-Subject"), "/")
	out := &identity.Identity{Subject: id, Authenticated: id != "", Method: "test"}
	if role != "" {
		out.Roles = []string{role}
	}
	return out, nil
}

func (c *oracleCase) load(t *testing.T) (*firewall.Firewall, *policytest.Plain, error) {
	plain, err := policytest.New(policyText(c.rules) + apart(c.rules))
	if err != nil {
		return nil, nil, err
	}
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := firewall.DefaultConfig()
	config.Schema.Files = []string{file("schema.graphql", oracleSDL)}
	config.Policy.Paths = []string{file("policy.rego", policyText(c.rules))}
	config.Policy.OnDeny, config.Policy.ParentNonNull = "filter", "accept"
	config.Policy.Timeout = firewall.Duration(time.Minute)
	config.Operations.Adhoc, config.Identity.Anonymous = "allow", identity.Allow
	config.Responses.Errors, config.Cost.Max = "pass", 1e15
	f, err := firewall.New(t.Context(), config, firewall.WithHandler(c), firewall.WithAuthenticator(bySubject{}), firewall.WithAuditSink(&c.records))
	return f, plain, err
}

// ServeHTTP is the backend: the same executor over the same graph, without rules.
func (c *oracleCase) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Query     string         `json:"query"`
		Variables map[string]any `json:"variables"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.forwarded = body.Query
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, c.execute(body.Query, body.Variables, nil))
}

// execute answers a document as a server does.
func (c *oracleCase) execute(query string, variables map[string]any, judge func(*executor) func(position) ruling) string {
	doc, err := parser.ParseQuery(&ast.Source{Input: query})
	if err != nil {
		return `{"errors":[{"message":` + strconv.Quote(err.Error()) + `}]}`
	}
	e := &executor{schema: c.schema.AST(), doc: doc, seed: c.seed, fails: c.fails, gone: c.gone, vars: map[string]any{}}
	for name, value := range variables {
		if n, ok := value.(float64); ok {
			value = int(n)
		}
		e.vars[name] = value
	}
	if judge != nil {
		e.rule = judge(e)
	}
	data, errs := e.run(doc.Operations[0])
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"data":%s`, data)
	for i, err := range errs {
		path, _ := json.Marshal(err.path)
		b.WriteString(map[bool]string{true: `,"errors":[`, false: ","}[i == 0])
		fmt.Fprintf(&b, `{"message":"x","path":%s,"extensions":{"code":%q}}`, path, map[bool]string{true: "FORBIDDEN", false: "UPSTREAM"}[err.ours])
	}
	if len(errs) > 0 {
		b.WriteString("]")
	}
	return b.String() + "}"
}

// want is what the reference executor answers, in the form of outline.
func (c *oracleCase) want(plain *policytest.Plain) string {
	return outline(c.execute(c.query, c.variables, func(e *executor) func(position) ruling {
		subject := policy.Subject{Authenticated: c.subject != "", ID: c.subject, Roles: []string{}, Scopes: []string{}, Claims: map[string]any{}, Method: "test"}
		if c.role != "" {
			subject.Roles = []string{c.role}
		}
		return func(p position) ruling { return c.judge(e, plain, &subject, p) }
	}))
}

// has reports whether the policy has a rule with the head.
func (c *oracleCase) has(kind, typ, field string) bool {
	return slices.ContainsFunc(c.rules, func(r rule) bool { return r.kind == kind && r.typ == typ && r.field == field })
}

// lost reports whether the upstream fails to give what the definitions of an allow rule read of an object. That denies,
// whatever the rule makes of the absence, unless a definition that reads nothing of the object allows.
func (c *oracleCase) lost(e *executor, plain *policytest.Plain, typ, field string, o object, input map[string]any) bool {
	lost := false
	for i, r := range c.rules {
		if r.kind != "allow" || r.typ != typ || r.field != field {
			continue
		}
		reads := r.reads()
		if len(reads) == 0 {
			if v, _, err := plain.Eval("definition_"+strconv.Itoa(i), input); err == nil && v == true {
				return false
			}
		}
		lost = lost || slices.ContainsFunc(reads, func(path []string) bool { return e.lost(o, path) })
	}
	return lost
}

// judge asks plain OPA, with the whole input, in the order of DESIGN.md section 5.
func (c *oracleCase) judge(e *executor, plain *policytest.Plain, subject *policy.Subject, p position) ruling {
	typ, field := p.coordinate[0], p.coordinate[1]
	input := map[string]any{"subject": subject, "request": map[string]any{"method": "POST", "headers": map[string]any{}}, "args": p.args}
	if typ != "Query" {
		input["parent"] = e.parent(p.parent, 2)
	}
	eval := func(kind, typ, field string) (any, bool) {
		if !c.has(kind, typ, field) {
			return nil, false
		}
		value, defined, err := plain.Eval(headRef(kind, typ, field), input)
		if err != nil {
			return nil, false
		}
		return value, defined
	}
	var r ruling
	r.drop = func() bool { v, _ := eval("drop", typ, field); return v == true }()
	r.denied = true
	for _, at := range [][2]string{{typ, field}, {typ, "*"}, {"*", "*"}} {
		if c.has("allow", at[0], at[1]) {
			v, _ := eval("allow", at[0], at[1])
			r.denied = v != true || c.lost(e, plain, at[0], at[1], p.parent, input)
			break
		}
	}
	if v, defined := eval("mask", typ, field); r.denied && defined {
		r.mask, r.whole = maskOf(p.def.Type, v)
	}
	return r
}

// maskOf is what a mask rule's value does.
func maskOf(t *ast.Type, v any) (leaf func(string) string, whole *string) {
	call, _ := v.(map[string]any)
	if call == nil {
		text, _ := json.Marshal(v)
		constant := string(text)
		if _, list := v.([]any); list || t.Elem == nil {
			return func(string) string { return constant }, &constant
		}
		return func(string) string { return constant }, nil
	}
	call, _ = call["graphward.mask"].(map[string]any)
	n := 0
	if arguments, _ := call["arguments"].([]any); len(arguments) > 0 {
		n, _ = strconv.Atoi(fmt.Sprint(arguments[0]))
	}
	return func(leaf string) string {
		if leaf == "null" {
			return leaf
		}
		if call["function"] == "round" {
			whole, _, _ := strings.Cut(leaf, ".") // values end with .25
			return whole
		}
		var text string
		_ = json.Unmarshal([]byte(leaf), &text)
		runes := []rune(text)
		shown := "****"
		switch {
		case len(runes) <= n || call["function"] == "redact":
		case call["function"] == "keep_last":
			shown += string(runes[len(runes)-n:])
		case call["function"] == "keep_first":
			shown = string(runes[:n]) + shown
		}
		return strconv.Quote(shown)
	}, nil
}

// got is what the firewall answers, in the form of outline.
func (c *oracleCase) got(f *firewall.Firewall) string {
	body, _ := json.Marshal(map[string]any{"query": c.query, "variables": c.variables})
	r := httptest.NewRequest(http.MethodPost, "/graphql", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Subject", c.subject+"/"+c.role)
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return outline(w.Body.String())
}

// outline is an answer's data, byte for byte, and its errors' paths and codes.
func outline(body string) string {
	var answer struct {
		Data   json.RawMessage `json:"data"`
		Errors []struct {
			Message    string          `json:"message"`
			Path       json.RawMessage `json:"path"`
			Extensions struct {
				Code string `json:"code"`
			} `json:"extensions"`
		} `json:"errors"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return "not JSON: " + body
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", answer.Data)
	for _, e := range answer.Errors {
		if e.Path == nil {
			b.WriteString(e.Message)
		}
		fmt.Fprintf(&b, "%s %q\n", e.Path, e.Extensions.Code)
	}
	return b.String()
}

var errShrink = errors.New("this smaller case is no case")

// differs reports whether the case still shows a difference.
func (c *oracleCase) differs(t *testing.T) bool {
	if _, err := c.schema.Compile(c.query, "", schema.Limits{}); err != nil {
		return false
	}
	f, plain, err := c.load(t)
	if err != nil {
		return false
	}
	defer f.Close()
	return c.want(plain) != c.got(f)
}

// shrink leaves out rules and selections as long as the difference stays.
func (c *oracleCase) shrink(t *testing.T) {
	for again := true; again; {
		again = false
		for size := len(c.rules); size > 0; size /= 2 {
			for i := 0; i+size <= len(c.rules); {
				smaller := *c
				smaller.rules = slices.Delete(slices.Clone(c.rules), i, i+size)
				if smaller.differs(t) {
					c.rules, again = smaller.rules, true
				} else {
					i += size
				}
			}
		}
		for i := 0; ; i++ {
			smaller := *c
			query, err := without(c.query, i)
			if err != nil {
				break
			}
			if smaller.query = query; smaller.differs(t) {
				c.query, again = query, true
				i--
			}
		}
	}
}

// without leaves out the i-th selection or directive of a document.
func without(query string, i int) (string, error) {
	doc, err := parser.ParseQuery(&ast.Source{Input: query})
	if err != nil {
		return "", err
	}
	done := false
	var prune func(set ast.SelectionSet) ast.SelectionSet
	next := func() bool {
		i--
		done = done || i == -1
		return i == -1
	}
	prune = func(set ast.SelectionSet) ast.SelectionSet {
		var out ast.SelectionSet
		for _, sel := range set {
			if next() {
				continue
			}
			switch sel := sel.(type) {
			case *ast.Field:
				if len(sel.Directives) > 0 && next() {
					sel.Directives = nil
				}
				sel.SelectionSet = prune(sel.SelectionSet)
			case *ast.FragmentSpread:
				if f := doc.Fragments.ForName(sel.Name); f != nil && next() { // likewise
					out = append(out, f.SelectionSet...)
					continue
				}
				if len(sel.Directives) > 0 && next() {
					sel.Directives = nil
				}
			case *ast.InlineFragment:
				if next() { // its selections stand for it
					out = append(out, sel.SelectionSet...)
					continue
				}
				sel.SelectionSet = prune(sel.SelectionSet)
			}
			out = append(out, sel)
		}
		return out
	}
	for _, op := range doc.Operations {
		op.SelectionSet = prune(op.SelectionSet)
	}
	for _, f := range doc.Fragments {
		f.SelectionSet = prune(f.SelectionSet)
	}
	if !done {
		return "", errShrink
	}
	used := spreadIn(doc, doc.Operations[0].SelectionSet, map[string]bool{})
	doc.Fragments = slices.DeleteFunc(doc.Fragments, func(f *ast.FragmentDefinition) bool { return !used[f.Name] })
	op := doc.Operations[0]
	variables := op.VariableDefinitions
	op.VariableDefinitions = nil
	var b bytes.Buffer
	formatter.NewFormatter(&b, formatter.WithIndent(" ")).FormatQueryDocument(doc)
	text := b.String()
	op.VariableDefinitions = slices.DeleteFunc(variables, func(v *ast.VariableDefinition) bool { return !strings.Contains(text, "$"+v.Variable) })
	b.Reset()
	formatter.NewFormatter(&b, formatter.WithIndent(" ")).FormatQueryDocument(doc)
	return b.String(), nil
}

// spreadIn adds the fragments that a set reaches.
func spreadIn(doc *ast.QueryDocument, set ast.SelectionSet, used map[string]bool) map[string]bool {
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.Field:
			spreadIn(doc, sel.SelectionSet, used)
		case *ast.InlineFragment:
			spreadIn(doc, sel.SelectionSet, used)
		case *ast.FragmentSpread:
			if f := doc.Fragments.ForName(sel.Name); f != nil && !used[sel.Name] {
				used[sel.Name] = true
				spreadIn(doc, f.SelectionSet, used)
			}
		}
	}
	return used
}

// held lists what a set has.
func held(set map[string]bool) (out []string) {
	for at, is := range set {
		if is {
			out = append(out, at)
		}
	}
	slices.Sort(out)
	return out
}

func (c *oracleCase) report(t *testing.T, n uint64) {
	f, plain, err := c.load(t)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want, got := c.want(plain), c.got(f)
	t.Errorf("policy %d: the answers differ\n%s\nquery: %s\nvariables: %v\nsubject: %q, role %q\nfails upstream: %v, left out: %v\nunguarded: %s\nforwarded: %s\nwant %s\ngot  %s%s",
		n, policyText(c.rules), c.query, c.variables, c.subject, c.role, held(c.fails), held(c.gone), c.execute(c.query, c.variables, nil), c.forwarded, want, got, c.records.message)
}
