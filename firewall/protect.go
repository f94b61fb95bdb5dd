package firewall

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/cost"
	"github.com/graphward/graphward/firewall/answer"
	"github.com/graphward/graphward/firewall/gqlhttp"
	"github.com/graphward/graphward/policy"
	"github.com/graphward/graphward/schema"
)

// protection is what an allowed call's answer must be guarded with: the
// decision's guards as far as the mode of FORBIDDEN enforces them, and what is
// forwarded in the place of the client's document.
type protection struct {
	*substitute
	guards    []policy.Guard
	bound     []answer.Guard
	local     map[*ast.Field][]byte // root fields that the firewall answers itself
	variables *schema.Variables     // of substitute.op; nil where nothing is forwarded
	// withhold: a denied position refuses the whole answer (on_deny: reject).
	// observe: it is recorded, and passes (modes.FORBIDDEN: report).
	withhold, observe bool
	// alters: the answer depends on who asks; else it is only checked.
	alters bool
}

// forwards reports whether there is anything to ask the upstream for.
func (p *protection) forwards() bool { return p.variables != nil }

// substitute is the document that a set of guards makes of a plan's, compiled
// and priced like any other.
type substitute struct {
	key     substituteKey
	answers *answer.Plan
	op      *schema.Operation // nil where no selection is left
	program *cost.Program
	lenient *cost.Program
	prefix  []byte
}

// substituteKey is all that a substitute depends on besides the plan.
type substituteKey struct {
	guards []policy.Guard
	drops  []policy.Drop
	local  []*ast.Field
}

func (k *substituteKey) equal(o *substituteKey) bool {
	return slices.EqualFunc(k.guards, o.guards, sameGuard) && slices.Equal(k.local, o.local) &&
		slices.EqualFunc(k.drops, o.drops, func(a, b policy.Drop) bool { return a.Field == b.Field && a.Types.Equal(b.Types) })
}

// sameGuard compares what a document depends on: neither messages nor bound
// values.
func sameGuard(a, b policy.Guard) bool {
	if a.Field != b.Field || a.Whole != b.Whole || !a.Types.Equal(b.Types) || (a.Object == nil) != (b.Object == nil) || (a.Mask == nil) != (b.Mask == nil) {
		return false
	}
	if a.Object != nil && !sameParents(a.Object.Parents, b.Object.Parents) {
		return false
	}
	return a.Mask == nil || a.Mask.Whole == b.Mask.Whole && (a.Mask.Value == nil) == (b.Mask.Value == nil)
}

// sameParents compares what rules read: the engine gives the same rule the same
// slice each time.
func sameParents(a, b []policy.ParentFields) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// keptSubstitutes bounds how many sets of guards one plan remembers.
const keptSubstitutes = 8

// substitutes are those of one plan, the last used first.
type substitutes struct {
	mu   sync.Mutex
	list []*substitute
}

func (s *substitutes) find(key *substituteKey) *substitute {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, one := range s.list {
		if one.key.equal(key) {
			copy(s.list[1:i+1], s.list[:i])
			s.list[0] = one
			return one
		}
	}
	return nil
}

func (s *substitutes) add(one *substitute) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = slices.Insert(s.list, 0, one)
	s.list = s.list[:min(len(s.list), keptSubstitutes)]
}

// protect turns a decision's guards into the verdict's protection, and prices
// what is forwarded instead. The verdict is left alone where there is nothing to
// guard.
func (j *judge) protect(ctx context.Context, v *verdict, d *policy.Decision, who *caller, batchCost float64) (ok bool) {
	check := j.g.config.Responses.Shape == "check"
	if len(d.Guards) == 0 && d.Introspection != policy.IntrospectionVisible && !check {
		return true
	}
	var local map[*ast.Field][]byte
	if d.Introspection == policy.IntrospectionVisible {
		var err error
		if local, err = j.g.introspect(ctx, v.plan.op, v.variables, who); err != nil {
			return j.always(StageAuthorize, err)
		}
	}
	p := &protection{local: local, withhold: len(d.Guards) > 0 && j.g.config.Policy.OnDeny != "filter"}
	p.guards = j.enforced(p, d.Guards)
	if j.hides() {
		p.guards = plain(p.guards)
	}
	p.alters = len(p.guards)+len(p.local) > 0
	if !p.alters && !check {
		return true
	}
	key := substituteKey{guards: p.guards, drops: d.Drops}
	for f := range local {
		key.local = append(key.local, f)
	}
	slices.SortFunc(key.local, func(a, b *ast.Field) int { return a.Position.Start - b.Position.Start })
	p.bound = bindGuards(p.guards)
	if p.substitute = v.plan.substitutes.find(&key); p.substitute == nil {
		var err error
		if p.substitute, err = j.substitute(v.plan, key, p.bound); err != nil {
			return j.always(StageAuthorize, err)
		}
		v.plan.substitutes.add(p.substitute)
	}
	v.protection, v.readsSubject = p, v.readsSubject || p.alters
	asked, measured := v.estimate, v.measured
	ok = true
	if p.op == nil || !p.answers.Forwards(v.variables) {
		v.estimate, v.measured = cost.Estimate{}, true
	} else {
		p.variables = p.op.Carry(v.plan.op, v.variables)
		ok = j.measure(v, p.program, p.lenient, p.variables, batchCost)
	}
	if len(p.local) > 0 && asked.Total > v.estimate.Total {
		// What the firewall answers itself costs too.
		v.estimate, v.measured = asked, measured
	}
	return ok
}

// always refuses whatever the modes say: what it stands for cannot be let
// through unguarded.
func (j *judge) always(stage Stage, err error) (ok bool) {
	j.refusals = append(j.refusals, refuse(stage, err))
	return false
}

// enforced returns the guards that hold under the mode of FORBIDDEN. What a mask
// replaces is no refusal: masks always hold.
func (j *judge) enforced(p *protection, guards []policy.Guard) []policy.Guard {
	mode := j.g.mode(policy.CodeForbidden)
	if mode == Enforce {
		return guards
	}
	var out []policy.Guard
	for i := range guards {
		g := &guards[i]
		switch {
		case g.Mask != nil, g.Object != nil && mode == Report:
			out = append(out, *g)
		case mode == Report:
			j.refuse(StageAuthorize, &deniedError{[]policy.Denial{g.Denial}})
		}
	}
	p.observe, p.withhold = true, false
	return out
}

// substitute edits, compiles and prices. Its limits are wide: what the client
// sent was within the real ones, and what is added is the policy's.
func (j *judge) substitute(p *plan, key substituteKey, bound []answer.Guard) (*substitute, error) {
	g := j.g
	drops := make([]answer.Drop, len(key.drops))
	for i, d := range key.drops {
		drops[i] = answer.Drop{Field: d.Field, Types: d.Types}
	}
	s := &substitute{key: key, answers: answer.New(p.op, bound, drops, key.local, g.config.Responses.Shape == "check")}
	text := s.answers.Text()
	if text == "" {
		return s, nil
	}
	limits := schema.Limits{
		Document: 16 * g.compile.Document, Tokens: 16 * g.compile.Tokens, Walk: 16 * schema.DefaultLimits.Walk,
		Depth: openCeiling, Aliases: openCeiling, RootFields: openCeiling, Directives: openCeiling,
		Fragments: g.compile.Fragments, ValueDepth: g.compile.ValueDepth, ListItems: g.compile.ListItems,
	}
	var err error
	if s.op, err = g.schema.Compile(text, p.op.Name, limits); err != nil {
		return nil, err
	}
	if s.program, err = g.model.Compile(s.op); err != nil {
		return nil, err
	}
	if g.lenient != nil {
		if s.lenient, err = g.lenient.Compile(s.op); err != nil {
			return nil, err
		}
	}
	s.prefix = gqlhttp.AppendPrefix(nil, s.op.Text, s.op.Name)
	return s, nil
}

// bindGuards translates the policy's guards: answer knows no policy.
func bindGuards(guards []policy.Guard) []answer.Guard {
	out := make([]answer.Guard, len(guards))
	for i := range guards {
		g := &guards[i]
		out[i] = answer.Guard{Field: g.Field, Types: g.Types, Whole: g.Whole, Code: g.Denial.Code, Message: g.Denial.Message}
		if g.Object != nil {
			out[i].Rule, out[i].Parents = g.Object, parentsOf(g.Object.Parents)
		}
		if g.Mask != nil {
			out[i].Mask, out[i].Constant, out[i].Position = g.Mask, bytes.Clone(g.Mask.Value), g.Mask.Whole
		}
	}
	return out
}

func parentsOf(parents []policy.ParentFields) []answer.Parent {
	if parents == nil {
		return nil
	}
	out := make([]answer.Parent, len(parents))
	for i := range parents {
		out[i].Type = parents[i].Type
		for _, f := range parents[i].Fields {
			out[i].Fields = append(out[i].Fields, answer.ParentField{Definition: f.Definition, Fields: parentsOf(f.Fields)})
		}
	}
	return out
}
