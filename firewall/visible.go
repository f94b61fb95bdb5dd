package firewall

import (
	"context"
	"errors"
	"sync"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/policy"
	"github.com/graphward/graphward/schema"
)

// keptViews bounds how many views of the schema a generation remembers.
const keptViews = 32

// views are what introspection shows under `introspection := "visible"`, by the
// digest of the visibility. The zero value is ready; safe for concurrent use.
type views struct {
	mu   sync.Mutex
	list []*keptView // the last used first
}

type keptView struct {
	digest [32]byte
	once   sync.Once
	view   *schema.View
	known  sync.Once
	names  *schema.View // what documents may name, for responses.hide_denied
}

// get returns the view of a visibility. It is built once, however many ask.
func (v *views) get(s *schema.Schema, shown *policy.Visibility) *schema.View {
	k := v.kept(shown.Digest())
	k.once.Do(func() { k.view = s.View(shown.Field) })
	return k.view
}

// names returns what documents may name under a visibility.
func (v *views) names(s *schema.Schema, shown *policy.Visibility) *schema.View {
	k := v.kept(shown.Digest())
	k.known.Do(func() { k.names = s.Known(shown.Field) })
	return k.names
}

func (v *views) kept(digest [32]byte) *keptView {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, k := range v.list {
		if k.digest == digest {
			copy(v.list[1:i+1], v.list[:i])
			v.list[0] = k
			return k
		}
	}
	k := &keptView{digest: digest}
	v.list = append(v.list, nil)
	copy(v.list[1:], v.list)
	v.list[0] = k
	v.list = v.list[:min(len(v.list), keptViews)]
	return k
}

// introspect answers the root fields that introspect from what the subject may
// see of the schema: their values by node, of every such node of the operation.
// What is refused is refused in every mode, since what would be let through is
// the whole schema.
func (g *generation) introspect(ctx context.Context, op *schema.Operation, vars *schema.Variables, who *caller) (map[*ast.Field][]byte, error) {
	shown, err := g.policy.Visible(ctx, who.subject, who.request)
	if err != nil {
		return nil, err
	}
	answers, err := g.views.get(g.schema, shown).Answer(op, vars, int(g.route.guard.max))
	var nested *schema.NestedIntrospectionError
	var size *schema.AnswerSizeError
	switch {
	case errors.As(err, &nested):
		return nil, &callError{code: "GRAPHQL_VALIDATION_FAILED", message: "Introspection is answered at the root of a query only", detail: nested.Error()}
	case errors.As(err, &size):
		return nil, &callError{code: "COMPLEXITY_LIMIT", message: "The introspection answer is too large", detail: size.Error()}
	case err != nil:
		return nil, err
	}
	out := map[*ast.Field][]byte{}
	for i := range op.Uses {
		if f := op.Uses[i].Field; f.Name == "__schema" || f.Name == "__type" {
			out[f] = []byte("null") // skipped
		}
	}
	for i := range answers {
		for _, node := range answers[i].Nodes {
			out[node] = answers[i].JSON
		}
	}
	return out, nil
}
