//go:build differential

package schema

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/lexer"
)

// These tests compare lexing, variables and arguments with graphql-js 16
// (testdata/differential/coerce.mjs, run by node). They fail where node or the
// npm package is missing:
//
//	npm ci --prefix schema/testdata/differential
//	go test -tags differential -run DifferentialValues ./schema
//
// Differences that are ours by intent, which the generators keep clear of:
//   - a number past IEEE 754's range inside a custom scalar is kept, graphql-js reads Infinity;
//   - an ID given as an integer past 2^53 keeps its digits, graphql-js rounds;
//   - a Float literal past the range is refused, graphql-js reads Infinity;
//   - NUL, and a byte order mark that is not at the start, are refused;
//   - limits, which are set out of the way here.
//
// GRAPHWARD_MUTATIONS and GRAPHWARD_SEED are TestDifferential's.

// oracle is a running coerce.mjs.
type oracle struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Reader
}

type oracleAnswer struct {
	Invalid   string
	Errors    string
	Coerced   map[string]any
	Arguments map[string]map[string]any
	Tokens    [][2]string
}

func startOracle(t *testing.T, schemas ...string) *oracle {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("testdata", "differential"))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"coerce.mjs"}
	for _, file := range schemas {
		abs, err := filepath.Abs(file)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, abs)
	}
	cmd := exec.Command("node", args...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &oracle{t: t, in: in, out: bufio.NewReaderSize(out, 1<<20)}
}

func (o *oracle) ask(request any) oracleAnswer {
	o.t.Helper()
	line, err := json.Marshal(request)
	if err != nil {
		o.t.Fatal(err)
	}
	if _, err := o.in.Write(append(line, '\n')); err != nil {
		o.t.Fatal(err)
	}
	line, err = o.out.ReadBytes('\n')
	if err != nil {
		o.t.Fatal(err)
	}
	var answer oracleAnswer
	if err := json.Unmarshal(line, &answer); err != nil {
		o.t.Fatal(err)
	}
	return answer
}

func (o *oracle) coerce(schema int, text, variables string) oracleAnswer {
	o.t.Helper()
	return o.ask(map[string]any{"schema": schema, "text": text, "variables": json.RawMessage(variables)})
}

// plainJSON is v as encoding/json decodes it.
func plainJSON(t *testing.T, v Value) any {
	t.Helper()
	var plain any
	if err := json.Unmarshal(v.AppendJSON(nil), &plain); err != nil {
		t.Fatal(err)
	}
	return plain
}

var comparePlain = cmpopts.EquateEmpty()

// compareRequest judges one request both ways; it returns what became of it.
func compareRequest(t *testing.T, o *oracle, schema int, s *Schema, text, variables string) string {
	t.Helper()
	want := o.coerce(schema, text, variables)
	fail := func(format string, args ...any) string {
		t.Helper()
		t.Errorf("%s\n%s\n%s", text, variables, fmt.Sprintf(format, args...))
		return "different"
	}
	op, err := s.Compile(text, "", noLimits)
	if (err != nil) != (want.Invalid != "") {
		return fail("document: we say %v, graphql-js %q", err, want.Invalid)
	}
	if err != nil {
		return "document refused"
	}
	vars, err := op.Coerce([]byte(variables), noLimits)
	if (err != nil) != (want.Errors != "") {
		return fail("variables: we say %v, graphql-js %q", err, want.Errors)
	}
	if err != nil {
		var v *VariableError
		if !errors.As(err, &v) || v.Limit {
			return fail("got %v", err)
		}
		return "variables refused"
	}
	got := map[string]any{}
	for i, v := range vars.Values {
		if v.Kind != Absent {
			got[op.Variables[i].Name] = plainJSON(t, v)
		}
	}
	if diff := cmp.Diff(want.Coerced, got, comparePlain); diff != "" {
		return fail("variables differ: %s", diff)
	}
	if diff := diffArguments(t, op, vars, want.Arguments); diff != "" {
		return fail("%s", diff)
	}
	forwarded := o.coerce(schema, op.Text, string(op.AppendVariables(nil, vars)))
	if diff := cmp.Diff(want.Coerced, forwarded.Coerced, comparePlain); diff != "" || forwarded.Invalid+forwarded.Errors != "" {
		return fail("forwarded variables: %s%s%s", forwarded.Invalid, forwarded.Errors, diff)
	}
	if diff := cmp.Diff(argumentBag(want), argumentBag(forwarded)); diff != "" {
		return fail("forwarded arguments: %s", diff)
	}
	return "accepted"
}

// argumentBag is the arguments of all fields without their places.
func argumentBag(a oracleAnswer) []string {
	var bag []string
	for _, args := range a.Arguments {
		text, _ := json.Marshal(args)
		bag = append(bag, string(text))
	}
	slices.Sort(bag)
	return bag
}

func diffArguments(t *testing.T, op *Operation, vars *Variables, want map[string]map[string]any) string {
	t.Helper()
	seen := map[string]bool{}
	for i := range op.Uses {
		u := &op.Uses[i]
		place := fmt.Sprintf("%d:%d", u.Field.Position.Line, u.Field.Position.Column)
		args, ok := want[place]
		if len(u.Args) == 0 {
			continue
		}
		if !ok {
			return "graphql-js has no arguments at " + place
		}
		seen[place] = true
		if args == nil {
			continue // a nullable variable that is null where null is not allowed
		}
		got := map[string]any{}
		for j := range u.Args {
			if v := u.Args[j].Resolve(vars); v.Kind != Absent {
				got[u.Args[j].Definition.Name] = plainJSON(t, v)
			}
		}
		if diff := cmp.Diff(args, got, comparePlain); diff != "" {
			return place + ": arguments differ: " + diff
		}
	}
	if len(seen) != len(want) {
		return fmt.Sprintf("%d fields with arguments, graphql-js has %d", len(seen), len(want))
	}
	return ""
}

// inputMaker writes random input values, most of them right, as JSON or as
// literals with variables in them.
type inputMaker struct {
	*rand.Rand
	schema  *Schema
	literal bool
	faults  int // in a thousand

	definitions []string
	variables   []string
}

func (m *inputMaker) chance(inAThousand int) bool { return m.IntN(1000) < inAThousand }

func oneOf[T any](m *inputMaker, list ...T) T { return list[m.IntN(len(list))] }

func (m *inputMaker) value(t *ast.Type, depth int) string {
	switch {
	case m.literal && m.chance(150):
		return m.variable(t, depth)
	case m.chance(m.faults):
		return m.junk()
	case m.chance(80) && (!t.NonNull || m.chance(m.faults)):
		return "null"
	case t.Elem != nil && m.chance(800):
		items := make([]string, m.IntN(4))
		for i := range items {
			items[i] = m.value(t.Elem, depth+1)
		}
		return "[" + strings.Join(items, ",") + "]"
	case t.Elem != nil:
		return m.value(t.Elem, depth)
	}
	def := m.schema.Type(t.Name())
	switch def.Kind {
	case ast.Enum:
		name := oneOf(m, def.EnumValues...).Name
		if m.chance(m.faults) {
			name = oneOf(m, strings.ToLower(name), name+"X", "true")
		}
		if m.literal && !m.chance(m.faults) {
			return name
		}
		return strconv.Quote(name)
	case ast.InputObject:
		return m.object(def, depth)
	}
	return m.scalar(def.Name)
}

func (m *inputMaker) scalar(name string) string {
	switch name {
	case "Int":
		return oneOf(m, "0", "1", "-1", "12", "2147483647", "-2147483648", "-0")
	case "Float":
		return oneOf(m, "0", "1", "-1.5", "1e5", "2.50", "-0.0", "1E-7", "123456789012345678")
	case "Boolean":
		return oneOf(m, "true", "false")
	case "String":
		return m.text()
	case "ID":
		return oneOf(m, m.text(), "0", "17", "-3", "9007199254740991")
	}
	return oneOf(m, m.junk(), m.text())
}

func (m *inputMaker) text() string {
	texts := []string{`""`, `"abc"`, `"\u0041\u00e9\ud83d\ude00"`, `"\"\\\/\b\f\n\r\t"`, `"<é>&"`, `"\u0000\u007f"`, `"RED"`, `"true"`, `"1"`}
	if m.literal {
		texts = append(texts, `"\u{1F600}"`, `"""a "b" c"""`, "\"\"\"\n  a\n    b\n \t\n\"\"\"", `"""\u0041\n"""`, `""""""`, `"""  a \""" b"""`)
	}
	return oneOf(m, texts...)
}

func (m *inputMaker) junk() string {
	junk := []string{"0", "1", "-1", "1.0", "1.5", "1e3", "2147483648", "-2147483649", "4294967296.0", `""`, `"x"`, `"1"`, "true", "false", "null",
		"[]", "{}", "[null]", "[1]", `["a",[1]]`, "[[]]"}
	if m.literal {
		junk = append(junk, "RED", "x", "{a:1}", "{x:{y:[1]}}", `{a:"b",c:E}`)
	} else {
		junk = append(junk, `{"a":1}`, `{"x":{"y":[1]}}`, `{"__proto__":1}`)
	}
	return oneOf(m, junk...)
}

func (m *inputMaker) object(def *ast.Definition, depth int) string {
	var members []string
	add := func(name, value string) {
		if !m.literal {
			name = strconv.Quote(name)
		}
		members = append(members, name+":"+value)
	}
	if def.Directives.ForName("oneOf") != nil {
		for _, i := range m.Perm(len(def.Fields))[:1] {
			f := def.Fields[i]
			add(f.Name, m.value(f.Type, depth+1))
		}
		if m.chance(10 * m.faults) {
			add(def.Fields[0].Name+"x", "1")
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	for _, f := range def.Fields {
		required := f.Type.NonNull && f.DefaultValue == nil
		switch {
		case required && m.chance(m.faults):
		case required && depth < 20, depth < 4 && m.chance(min(400, 3000/len(def.Fields))):
			add(f.Name, m.value(f.Type, depth+1))
		}
	}
	if m.chance(m.faults) {
		add("nope", "1")
	}
	m.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return "{" + strings.Join(members, ",") + "}"
}

// variable declares a variable for a place of type t, gives it a value or not,
// and returns the reference.
func (m *inputMaker) variable(t *ast.Type, depth int) string {
	name := fmt.Sprintf("v%d", len(m.definitions))
	own := *t
	if m.chance(300) {
		own.NonNull = !own.NonNull
	}
	if m.chance(m.faults) {
		own = *oneOf(m, ast.NamedType("String", nil), ast.ListType(t, nil), ast.NonNullNamedType("Int", nil))
	}
	definition := "$" + name + ":" + own.String()
	m.definitions = append(m.definitions, "") // keeps the name
	at := len(m.definitions) - 1
	constant := inputMaker{Rand: m.Rand, schema: m.schema, literal: true, faults: m.faults}
	if m.chance(250) {
		definition += "=" + constant.constant(&own, depth)
	}
	m.definitions[at] = definition
	if m.chance(750) {
		given := inputMaker{Rand: m.Rand, schema: m.schema, faults: m.faults}
		m.variables = append(m.variables, strconv.Quote(name)+":"+given.value(&own, depth))
	}
	return "$" + name
}

// constant writes a literal without variables.
func (m *inputMaker) constant(t *ast.Type, depth int) string {
	for {
		if text := m.value(t, depth); len(m.definitions) == 0 {
			return text
		}
		m.definitions, m.variables = nil, nil
	}
}

// rootField writes a request for one root field with random arguments.
func (m *inputMaker) rootField(kind ast.Operation) (text, variables string) {
	m.literal, m.definitions, m.variables = true, nil, nil
	fields := slices.DeleteFunc(slices.Clone(m.schema.Root(kind).Fields), func(f *ast.FieldDefinition) bool {
		return len(f.Arguments) == 0 || strings.HasPrefix(f.Name, "__")
	})
	f := oneOf(m, fields...)
	var args []string
	for _, a := range f.Arguments {
		required := a.Type.NonNull && a.DefaultValue == nil
		if required && !m.chance(m.faults) || m.chance(400) {
			args = append(args, a.Name+":"+m.value(a.Type, 0))
		}
	}
	text = string(kind)
	if len(m.definitions) > 0 {
		text += "(" + strings.Join(m.definitions, ",") + ")"
	}
	text += "{" + f.Name
	if len(args) > 0 {
		text += "(" + strings.Join(args, ",") + ")"
	}
	if m.schema.Type(f.Type.Name()).IsCompositeType() {
		text += "{__typename}"
	}
	return text + "}", "{" + strings.Join(m.variables, ",") + "}"
}

// given writes random variables for an operation.
func (m *inputMaker) given(op *Operation) string {
	m.literal = false
	var members []string
	for i := range op.Variables {
		v := op.Variables[i].Definition
		if required := v.Type.NonNull && v.DefaultValue == nil; required && !m.chance(m.faults) || m.chance(700) {
			members = append(members, strconv.Quote(v.Variable)+":"+m.value(v.Type, 0))
		}
	}
	if m.chance(50) {
		members = append(members, `"undeclared":{"a":[1]}`)
	}
	m.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return "{" + strings.Join(members, ",") + "}"
}

func TestDifferentialValuesCoercion(t *testing.T) {
	small := filepath.Join(t.TempDir(), "small.graphql")
	if err := os.WriteFile(small, []byte(valuesSDL), 0o600); err != nil {
		t.Fatal(err)
	}
	files, schemas := []string{small}, []*Schema{mustLoad(t, valuesSDL)}
	all := loadCorpora(t)
	for _, c := range all {
		files = append(files, filepath.Join("testdata", "corpora", c.name, "schema.graphql"))
		schemas = append(schemas, c.schema)
	}
	o := startOracle(t, files...)
	cases, seed := environment(t, "GRAPHWARD_MUTATIONS", 24_000), environment(t, "GRAPHWARD_SEED", 1)
	stats := map[string]int{}
	for i, c := range all {
		for _, operation := range c.operations {
			stats["corpus "+compareRequest(t, o, i+1, c.schema, operation.Query, string(operation.Variables))]++
		}
	}
	makers := make([]*inputMaker, len(schemas))
	for i, s := range schemas {
		makers[i] = &inputMaker{Rand: rand.New(rand.NewPCG(uint64(seed), uint64(i))), schema: s, faults: 30}
	}
	for n := range cases {
		i := n % len(schemas)
		m := makers[i]
		if i == 0 || n%2 == 0 {
			kind := ast.Query
			if i > 0 && m.chance(500) {
				kind = ast.Mutation
			}
			text, variables := m.rootField(kind)
			stats["literals "+compareRequest(t, o, i, m.schema, text, variables)]++
			continue
		}
		operation := oneOf(m, all[i-1].operations...)
		op, err := m.schema.Compile(operation.Query, "", noLimits)
		if err != nil {
			t.Fatal(err)
		}
		stats["variables "+compareRequest(t, o, i, m.schema, operation.Query, m.given(op))]++
	}
	t.Logf("%v", stats)
	for _, kind := range []string{"literals", "variables"} {
		if stats[kind+" accepted"] < cases/10 || stats[kind+" variables refused"] < cases/100 {
			t.Errorf("the generator is out of balance: %v", stats)
		}
	}
}

// TestDifferentialValuesLexing compares the tokens of random texts, made of
// pieces that are likely to matter.
func TestDifferentialValuesLexing(t *testing.T) {
	pieces := []string{
		`"`, `""`, `"""`, `\"""`, `\`, `\\`, `\"`, `\n`, `\u0041`, `\uD83D`, `\uDE00`, `\uD83D\uDE00`, `\u{41}`, `\u{1F600}`, `\u{D800}`, `\u{`, `\u`,
		"\n", "\r\n", "\r", " ", "  ", "\t", "a", "b1", "_", "é", "😀", "#", "x y", "1", "0", "-", "1.5", "1e5", ".", "...", ",", "$", "{", "}", "[", "]", ":", "!", "&", "|", "=", "@", "(", ")",
		"\x01", "\x7f", "\u0085", "\u2028", "\uFFFD", "'", "%",
	}
	kinds := map[lexer.Type]string{lexer.Name: "Name", lexer.Int: "Int", lexer.Float: "Float", lexer.String: "String"}
	o := startOracle(t)
	cases, seed := environment(t, "GRAPHWARD_MUTATIONS", 24_000), environment(t, "GRAPHWARD_SEED", 1)
	r := rand.New(rand.NewPCG(uint64(seed), 2))
	stats := map[string]int{}
	for range cases {
		var b strings.Builder
		quote := []string{"", `"`, `"""`}[r.IntN(3)]
		b.WriteString(quote)
		for range r.IntN(12) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		b.WriteString(quote)
		document := b.String()
		want := o.ask(map[string]string{"lex": document})
		got, err := lexAll(document)
		if (err != nil) != (want.Invalid != "") {
			t.Errorf("%q: we say %v, graphql-js %q", document, err, want.Invalid)
			continue
		}
		var own tokenizer
		if ownErr := own.read(document, noLimits); (ownErr != nil) != (err != nil) {
			t.Errorf("%q: the tokenizer says %v, graphql-js %q", document, ownErr, want.Invalid)
			continue
		}
		if err != nil {
			stats["refused"]++
			continue
		}
		stats["accepted"]++
		for i, token := range want.Tokens {
			if token[0] == "BlockString" {
				want.Tokens[i][0] = "String"
			}
		}
		var tokens [][2]string
		for _, token := range got {
			kind := kinds[token.Kind]
			if kind == "" {
				tokens = append(tokens, [2]string{token.Kind.String(), ""})
				continue
			}
			tokens = append(tokens, [2]string{kind, token.Value})
		}
		if diff := cmp.Diff(want.Tokens, tokens, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q: %s", document, diff)
		}
		var ours [][2]string
		for i := range own.tokens[:len(own.tokens)-1] {
			token := &own.tokens[i]
			kind := map[tokenKind]string{tokenName: "Name", tokenInt: "Int", tokenFloat: "Float", tokenString: "String"}[token.kind]
			if kind == "" {
				ours = append(ours, [2]string{own.text(token), ""})
				continue
			}
			ours = append(ours, [2]string{kind, own.text(token)})
		}
		if diff := cmp.Diff(want.Tokens, ours, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q, tokenizer: %s", document, diff)
		}
	}
	t.Logf("%v", stats)
	if stats["accepted"] < cases/10 || stats["refused"] < cases/10 {
		t.Error("the generator is out of balance")
	}
}

// lexAll scans the document and reads what gqlparser's lexer then sees.
func lexAll(document string) (tokens []lexer.Token, err error) {
	text, _, err := scan(document, noLimits)
	if err != nil {
		return nil, err
	}
	l := lexer.New(&ast.Source{Input: text})
	for {
		token, err := l.ReadToken()
		if err != nil {
			return nil, err
		}
		if token.Kind == lexer.EOF {
			return tokens, nil
		}
		tokens = append(tokens, token)
	}
}

// TestDifferentialValuesIntrospection loads graphql-js's introspection of the
// corpora: it must be the schema that their SDL gives.
func TestDifferentialValuesIntrospection(t *testing.T) {
	for _, c := range loadCorpora(t) {
		file, err := filepath.Abs(filepath.Join("testdata", "corpora", c.name, "schema.graphql"))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("node", "introspect.mjs", file)
		cmd.Dir, cmd.Stderr = filepath.Join("testdata", "differential"), os.Stderr
		result, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		s, err := FromIntrospection(c.name, result)
		if err != nil {
			t.Fatal(err)
		}
		if diff := sameSchema(c.schema, s); diff != "" {
			t.Errorf("%s: %.2000s", c.name, diff)
		}
	}
}
