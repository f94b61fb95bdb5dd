package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// checkData reports references into data that meet neither a rule nor the
// data files. Without any data file these are doubts only: data may be meant
// to come later.
func (a *analyser) checkData(data map[string]any, r *report) {
	complain := r.add
	if len(data) == 0 {
		complain = r.warn
	}
	for _, name := range slices.Sorted(maps.Keys(a.compiler.Modules)) {
		m := a.compiler.Modules[name]
		if libraryModule(m) {
			continue
		}
		for _, rule := range m.Rules {
			for _, rd := range a.of(rule).data {
				if missing, known, ok := lookData(data, rd.path); !ok {
					path := strings.Join(append([]string{"data"}, rd.path[:missing+1]...), ".")
					complain(rd.loc, "%s is neither a rule nor in the policy's data%s", path, didYouMean(rd.path[missing], append(known, a.siblings(rd.path[:missing])...)))
				}
			}
		}
	}
}

// lookData follows a path into the data. It returns the first segment that is
// missing, and what there is in its place. A path that ends inside a value
// other than an object cannot be judged.
func lookData(data map[string]any, path []string) (missing int, known []string, ok bool) {
	for i, key := range path {
		next, there := data[key]
		if !there {
			return i, slices.Sorted(maps.Keys(data)), false
		}
		if data, there = next.(map[string]any); !there {
			return 0, nil, true
		}
	}
	return 0, nil, true
}

// siblings lists the packages and rules below a path.
func (a *analyser) siblings(path []string) []string {
	node := a.compiler.RuleTree.Child(ast.DefaultRootDocument.Value)
	for _, key := range path {
		if node == nil {
			return nil
		}
		node = node.Child(ast.String(key))
	}
	if node == nil {
		return nil
	}
	var out []string
	for key := range node.Children {
		if s, ok := key.(ast.String); ok {
			out = append(out, string(s))
		}
	}
	return out
}

// libraryModule reports whether a module is graphward's own library.
func libraryModule(m *ast.Module) bool {
	pkg := packagePath(m)
	return len(pkg) >= 2 && pkg[0] == packageName && pkg[1] == "lib"
}
