package policy

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// checkModules refuses what no runtime rule may use, wherever it stands.
func checkModules(modules map[string]*ast.Module, r *report) {
	for _, m := range modules {
		for _, rule := range m.Rules {
			ast.WalkExprs(rule, func(expr *ast.Expr) bool {
				for _, w := range expr.With {
					r.add(w.Location, "`with` replaces what the firewall vouches for; it is for tests only")
				}
				return false
			})
			ast.WalkTerms(rule, func(t *ast.Term) bool {
				if ref, ok := t.Value.(ast.Ref); ok && len(ref) > 1 {
					if name := ref.String(); forbidden(name) {
						r.add(t.Location, "%s is forbidden in policies: rules decide from input and data alone", name)
					}
				}
				return false
			})
		}
	}
}

// readable lists what each kind of entry point may read of input, as path
// prefixes; nil means everything that a field rule may read.
var readable = map[entryKind][]string{
	entryTier:          {"subject", "request"},
	entryAdhoc:         {"subject", "request", "operation.kind", "operation.name", "operation.hash"},
	entryDeny:          {"subject", "request", "operation"},
	entryIntrospection: {"subject", "request", "operation"},
	entryAllow:         {"subject", "request", "operation", "args"},
	entryError:         {"subject", "request", "operation", "args"},
	entryArgument:      {"subject", "request", "operation", "args", "value"},
	entryInput:         {"subject", "request", "operation", "args", "value"},
}

// checkReads holds what a class reads against what there is when it is asked.
func checkReads(c *class, r *report) {
	allowed := readable[c.group.kind]
	for _, rd := range c.reads.reads {
		path := strings.Join(rd.path, ".")
		loc := rd.loc
		if loc == nil {
			loc = c.group.loc()
		}
		switch {
		case len(rd.path) > 0 && rd.path[0] == "parent":
			r.add(loc, "%s reads input.%s, the resolved object: a later version of graphward decides such rules on the answer; this one cannot%s", c.group.head, path, through(c, rd))
		case len(rd.path) == 0 && (c.group.kind == entryTier || c.group.kind == entryAdhoc):
			r.add(loc, "%s reads all of input; it may read %s only%s", c.group.head, inputNames(allowed), through(c, rd))
		case len(rd.path) > 0 && !slices.ContainsFunc(allowed, func(p string) bool { return path == p || strings.HasPrefix(path, p+".") }):
			if slices.Contains([]string{"subject", "request", "operation", "args", "value"}, rd.path[0]) {
				r.add(loc, "%s reads input.%s; it may read %s only%s", c.group.head, path, inputNames(allowed), through(c, rd))
			}
		}
	}
}

func inputNames(paths []string) string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = "input." + p
	}
	return strings.Join(out, ", ")
}

// through names the helper that reads a path on behalf of an entry point.
func through(c *class, rd read) string {
	if slices.Contains(c.group.rules, rd.rule) {
		return ""
	}
	name := rd.rule.Head.Ref().String()
	if name == c.group.name || rd.rule.Head.Location != nil && c.group.loc() == rd.rule.Head.Location {
		return ""
	}
	return " (through " + name + ")"
}

// inputSchemas is what OPA's type checker knows about input.
func inputSchemas(*Options) (*ast.SchemaSet, error) { return nil, nil }
