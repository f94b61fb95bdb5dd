package policy

import (
	"context"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/graphward/graphward/schema"
)

// What the differential test under reloads, which stands outside the package because the firewall imports it, needs of the
// other's generator and reference.
const (
	DifferentialSchema = differentialSchema
	DifferentialQuery  = differentialQuery
)

// Reference is a random policy that loads, its data, and plain OPA on both.
type Reference struct {
	Policy string
	Data   map[string]any
	plain  *plain
}

// References draws n policies, each with the data of the differential test and with others.
func References(t *testing.T, seed uint64, n int) []*Reference {
	t.Helper()
	s := loadSchema(t, differentialSchema)
	other := maps.Clone(differentialData)
	other["names"] = map[string]any{"a": "a", "b": "x", "id": "b"}
	other["list"] = []any{"b", "y"}
	other["owners"] = map[string]any{"a": "b", "b": "x"}
	var out []*Reference
	for round := uint64(0); len(out) < 2*n; round++ {
		g := &generator{Rand: rand.New(rand.NewPCG(seed, round))}
		text := g.policy()
		file := writeData(t, differentialData)
		if _, err := Load(t.Context(), Options{Schema: s, Modules: map[string]string{"p.rego": text}, Data: []string{file}, Timeout: time.Minute}); err != nil {
			continue
		}
		for _, data := range []map[string]any{differentialData, other} {
			out = append(out, &Reference{Policy: text, Data: data, plain: newPlain(t, g, data)})
		}
	}
	return out
}

// Draw makes a subject and variables.
func Draw(seed, round uint64) (*Subject, map[string]any) {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, round))}
	return g.subject(), g.variables()
}

// Denied is what OPA denies of an operation. The error is that of an evaluation that failed.
func (r *Reference) Denied(t *testing.T, sub *Subject, req *Request, op *schema.Operation, facts OperationFacts, vars *schema.Variables) (map[string]bool, error) {
	t.Helper()
	denied := map[string]bool{}
	for i := range op.Uses {
		use := &op.Uses[i]
		if use.Field.Name == "__typename" {
			continue
		}
		input, err := ast.InterfaceToValue(fullInput(t, sub, req, op, facts, use, vars))
		if err != nil {
			t.Fatal(err)
		}
		at := coordinate{use.Parent.Name, use.Field.Name}
		ok, err := r.plain.allowed(at, input, true)
		if err != nil {
			return nil, err
		}
		if !ok {
			denied[at.String()] = true
		}
	}
	return denied, context.Cause(t.Context())
}
