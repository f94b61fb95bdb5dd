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
				if i, near := a.missing(data, rd.path); i >= 0 {
					path := strings.Join(append([]string{"data"}, rd.path[:i+1]...), ".")
					complain(rd.loc, "%s is neither a rule nor in the policy's data%s", path, didYouMean(rd.path[i], near))
				}
			}
		}
	}
}

// warnUnused warns of rules that no entry point reaches: they restrict and
// grant nothing, whatever their names say.
func (a *analyser) warnUnused(r *report) {
	for _, name := range slices.Sorted(maps.Keys(a.compiler.Modules)) {
		m := a.compiler.Modules[name]
		if libraryModule(m) {
			continue
		}
		warned := map[string]bool{}
		for _, rule := range m.Rules {
			head := rule.Head.Ref().String()
			first, _ := rule.Head.Ref()[0].Value.(ast.Var)
			if a.used[rule] || warned[head] || entryKinds[string(first)] != entryNone {
				continue
			}
			warned[head] = true
			if meant := meantEntry(string(first)); meant != "" && m.Package.Path.String() == "data.graphward" {
				// What nobody asks restricts nothing: a misspelt deny would open
				// what it was meant to shut (GHSA-g8jh-vg5j-4h3f).
				r.add(rule.Head.Location, "nothing uses %s, and graphward does not ask for it; did you mean %q? A helper of that name must be used, or have another", head, meant)
				continue
			}
			r.warn(rule.Head.Location, "nothing uses %s, and graphward does not ask for it", head)
		}
	}
}

// meantEntry is the entry point that an unused rule's name is likely to mean;
// empty for none.
func meantEntry(name string) string {
	for _, entry := range slices.Sorted(maps.Keys(entryKinds)) {
		if strings.HasPrefix(name, entry[:min(4, len(entry)-1)]) || distance(name, entry, 1) <= 1 {
			return entry
		}
	}
	return ""
}

// missing follows a path through rules and data together. It returns the
// index of the first segment that neither has, with what they have in its
// place, or -1. Below a value that is no object nothing can be judged.
func (a *analyser) missing(data map[string]any, path []string) (int, []string) {
	node := a.compiler.RuleTree.Child(ast.DefaultRootDocument.Value)
	for i, key := range path {
		value, inData := data[key]
		var next *ast.TreeNode
		if node != nil {
			next = node.Child(ast.String(key))
		}
		if !inData && next == nil {
			known := slices.Collect(maps.Keys(data))
			return i, append(known, children(node)...)
		}
		inner, isObject := value.(map[string]any)
		if inData && !isObject || next != nil && len(next.Values) > 0 {
			return -1, nil
		}
		node, data = next, inner
	}
	return -1, nil
}

func children(node *ast.TreeNode) []string {
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
