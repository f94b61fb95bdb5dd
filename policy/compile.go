package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// isolate gives every entry point a name of its own, such as
// data.graphward["allow.User.email"], by renaming the rules' heads. Without
// it OPA evaluates heads with variables and heads without as one document,
// which costs a scan of all rules and turns a grant into a conflict.
//
// Rules that read an entry point (allow.User.phone if allow.User.email) need
// the original names too; then the renamed rules are copies.
func isolate(groups []*group, modules map[string]*ast.Module) {
	keep := entryPointsRead(modules)
	for i, g := range groups {
		g.name, g.text = g.head, definitions(g)
		switch g.kind {
		case entryAllow, entryArgument, entryInput, entryError, entryMask, entryDrop:
		default:
			continue // heads without a coordinate keep their name
		}
		if g.vars {
			g.name = fmt.Sprintf("%s#%d", g.head, i)
		}
		for j, rule := range g.rules {
			if keep {
				original := rule
				rule = rule.Copy()
				g.rules[j] = rule
				original.Module.Rules = append(original.Module.Rules, rule)
			}
			rename(rule, g.name, g.vars)
		}
	}
}

// definitions prints what a group's rules say, without their heads' names.
// Names mean the same only within a module, since imports are its own.
func definitions(g *group) string {
	if g.vars || g.kind == entryDeny {
		return g.head + g.rules[0].Location.String()
	}
	var b strings.Builder
	b.WriteByte(byte(g.kind))
	for _, rule := range g.rules {
		prefix := ""
		if rule.Default {
			prefix = "default "
		}
		text := strings.TrimPrefix(rule.String(), prefix)
		fmt.Fprintf(&b, "%q %s%s\n", rule.Location.File, prefix, strings.TrimPrefix(text, rule.Head.Ref().String()))
	}
	return b.String()
}

func rename(rule *ast.Rule, name string, vars bool) {
	for r := rule; r != nil; r = r.Else {
		first := *r.Head.Ref()[0]
		first.Value = ast.Var(name)
		ref := ast.Ref{&first}
		if vars {
			ref = append(ref, r.Head.Ref()[1:]...)
		}
		r.Head.Name = ast.Var(name)
		r.Head.SetRef(ref)
	}
}

// entryPointsRead reports whether some rule may read an entry point.
func entryPointsRead(modules map[string]*ast.Module) bool {
	found, inside := false, false
	imported := map[ast.Var]bool{} // names that do not mean the module's own rules
	var visitor *ast.GenericVisitor
	visitor = ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case ast.Ref:
			if head, ok := x[0].Value.(ast.Var); ok && head == ast.DefaultRootDocument.Value {
				found = found || reachesEntry(x)
				for _, t := range x[1:] {
					visitor.Walk(t)
				}
				return true
			}
		case ast.Var:
			found = found || x == ast.DefaultRootDocument.Value || inside && entryKinds[string(x)] != entryNone && !imported[x]
		}
		return found
	})
	for _, m := range modules {
		pkg := packagePath(m)
		inside = len(pkg) == 1 && pkg[0] == packageName
		clear(imported)
		for _, imp := range m.Imports {
			visitor.Walk(imp.Path)
			imported[imp.Name()] = true
		}
		for _, rule := range m.Rules {
			for r := rule; r != nil; r = r.Else {
				walkRule(r, visitor)
			}
		}
	}
	return found
}

// walkRule walks everything of a rule but its name and its else branch.
func walkRule(r *ast.Rule, visitor *ast.GenericVisitor) {
	for _, t := range r.Head.Ref()[1:] {
		visitor.Walk(t)
	}
	if r.Head.Key != nil {
		visitor.Walk(r.Head.Key)
	}
	if r.Head.Value != nil {
		visitor.Walk(r.Head.Value)
	}
	visitor.Walk(r.Body)
}

// reachesEntry reports whether a ref that begins with data may reach an entry point.
func reachesEntry(ref ast.Ref) bool {
	if len(ref) == 1 {
		return true
	}
	first, ok := ref[1].Value.(ast.String)
	if !ok {
		return true
	}
	if first != packageName {
		return false
	}
	if len(ref) == 2 {
		return true
	}
	second, ok := ref[2].Value.(ast.String)
	return !ok || entryKinds[string(second)] != entryNone
}

// compiled is what OPA makes of the sources.
type compiled struct {
	compiler *ast.Compiler
	store    storage.Store
}

// forbidden builtins reach outside of the policy, or tell it about the
// machine. net.cidr_* only compute.
func forbidden(name string) bool {
	return name == "http.send" || name == "opa.runtime" || strings.HasPrefix(name, "net.") && !strings.HasPrefix(name, "net.cidr_")
}

func compile(ctx context.Context, modules map[string]*ast.Module, data map[string]any, schemas *ast.SchemaSet, r *report) (*compiled, error) {
	store := inmem.NewFromObjectWithOpts(data, inmem.OptReturnASTValuesOnRead(true), inmem.OptRoundTripOnWrite(false))
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return nil, err
	}
	defer store.Abort(ctx, txn)
	caps := ast.CapabilitiesForThisVersion()
	caps.AllowNet = []string{} // no remote JSON schemas
	caps.Builtins = slices.DeleteFunc(caps.Builtins, func(b *ast.Builtin) bool { return forbidden(b.Name) })
	c := ast.NewCompiler().
		SetErrorLimit(0).
		WithCapabilities(caps).
		WithPathConflictsCheck(storage.NonEmpty(ctx, store, txn)).
		WithSchemas(schemas)
	c.Compile(modules)
	for _, e := range c.Errors {
		if name, ok := strings.CutPrefix(e.Message, "undefined function "); ok && forbidden(name) {
			continue // checkModules says it better
		}
		r.addErr("", e)
	}
	if c.Failed() && len(r.problems) == 0 {
		r.addErr("", c.Errors)
	}
	return &compiled{compiler: c, store: store}, nil
}

// rulesAt returns the compiled rules that define the group.
func (c *compiled) rulesAt(g *group) []*ast.Rule {
	return c.compiler.GetRulesDynamicWithOpts(entryRef(g.name), ast.RulesOptions{})
}

// entryRef is data.graphward[name].
func entryRef(name string) ast.Ref {
	return ast.Ref{ast.DefaultRootDocument, ast.InternedTerm(packageName), ast.StringTerm(name)}
}
