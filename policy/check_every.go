package policy

import "github.com/open-policy-agent/opa/v1/ast"

// checkEvery refuses `every x in input.… {…}` that stands alone: over an empty
// collection it holds, so that a caller without roles would have every role
// that is asked for. The same body must look at count of that collection. A
// collection that was put into a variable first is not seen.
func (c *collector) checkEvery(rule *ast.Rule) {
	ast.WalkBodies(rule, func(body ast.Body) bool {
		for _, expr := range body {
			every, ok := expr.Terms.(*ast.Every)
			if !ok {
				continue
			}
			domain, ok := every.Domain.Value.(ast.Ref)
			if !ok || !domain.HasPrefix(ast.InputRootRef) || counts(body, every.Domain) {
				continue
			}
			c.report.add(expr.Location, "every over %s holds when it is empty, and would grant; write count(%s) > 0 beside it", domain, domain)
		}
		return false
	})
}

// counts reports whether an expression of the body looks at count(collection).
func counts(body ast.Body, collection *ast.Term) bool {
	found := false
	isCount := func(terms []*ast.Term) bool {
		return len(terms) >= 2 && terms[0].Equal(ast.NewTerm(ast.Count.Ref())) && terms[1].Equal(collection)
	}
	for _, expr := range body {
		if terms, ok := expr.Terms.([]*ast.Term); ok && isCount(terms) {
			return true
		}
		ast.WalkTerms(expr, func(t *ast.Term) bool {
			if call, ok := t.Value.(ast.Call); ok && isCount(call) {
				found = true
			}
			return found
		})
	}
	return found
}
