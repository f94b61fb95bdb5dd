// Package policytest evaluates policies by plain OPA, without anything of
// package policy: what its answers are compared with.
package policytest

import (
	"context"
	"encoding/json"
	"io/fs"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	oparego "github.com/open-policy-agent/opa/v1/rego"

	"github.com/graphward/graphward/rego"
)

// Plain is a policy with the library, compiled by OPA. It is not safe for
// concurrent use.
type Plain struct {
	compiler *ast.Compiler
	queries  map[string]*oparego.PreparedEvalQuery
	known    map[string]any
}

type answer struct {
	value   any
	defined bool
}

// New compiles a module.
func New(module string) (*Plain, error) {
	parsed := map[string]*ast.Module{}
	parse := func(name, text string) error {
		m, err := ast.ParseModuleWithOpts(name, text, ast.ParserOptions{RegoVersion: ast.RegoV1})
		parsed[name] = m
		return err
	}
	if err := parse("policy.rego", module); err != nil {
		return nil, err
	}
	files, err := fs.Glob(rego.Library, "lib/*.rego")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.rego") {
			continue
		}
		text, err := fs.ReadFile(rego.Library, file)
		if err != nil {
			return nil, err
		}
		if err := parse(file, string(text)); err != nil {
			return nil, err
		}
	}
	c := ast.NewCompiler()
	if c.Compile(parsed); c.Failed() {
		return nil, c.Errors
	}
	return &Plain{compiler: c, queries: map[string]*oparego.PreparedEvalQuery{}, known: map[string]any{}}, nil
}

// Eval evaluates data.graphward.<ref>, such as allow.User["*"], with the whole
// input, a JSON value. Defined is false where there is no value.
func (p *Plain) Eval(ref string, input any) (value any, defined bool, err error) {
	text, err := json.Marshal(input)
	if err != nil {
		return nil, false, err
	}
	key := ref + "\x00" + string(text)
	if a, ok := p.known[key].(answer); ok {
		return a.value, a.defined, nil
	}
	q := p.queries[ref]
	if q == nil {
		prepared, err := oparego.New(oparego.Query("data.graphward."+ref), oparego.Compiler(p.compiler)).PrepareForEval(context.Background())
		if err != nil {
			return nil, false, err
		}
		q = &prepared
		p.queries[ref] = q
	}
	term, err := ast.ValueFromReader(strings.NewReader(string(text)))
	if err != nil {
		return nil, false, err
	}
	rs, err := q.Eval(context.Background(), oparego.EvalParsedInput(term), oparego.EvalRuleIndexing(false))
	if err != nil {
		return nil, false, err
	}
	a := answer{}
	if len(rs) > 0 && len(rs[0].Expressions) > 0 {
		a = answer{rs[0].Expressions[0].Value, true}
	}
	p.known[key] = a
	return a.value, a.defined, nil
}
