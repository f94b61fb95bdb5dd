package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/graphward/graphward/schema"
)

// FieldDecision is what [Engine.Explain] says of one coordinate that an
// operation uses.
type FieldDecision struct {
	Kind       Kind     `json:"kind"`
	Coordinate string   `json:"coordinate"`
	Path       []string `json:"path"`
	// Rule is the head that decided, At its file:line; both are empty when no
	// rule governs the coordinate.
	Rule string `json:"rule"`
	At   string `json:"at"`
	// Decision is allow, deny, mask (denied, but shown masked) or object
	// (decided on the answer, for each object).
	Decision string `json:"decision"`
	// Mask is the rule that masks a denied field, MaskAt its file:line; both
	// are empty where it is not masked.
	Mask   string `json:"mask,omitempty"`
	MaskAt string `json:"mask_at,omitempty"`
	// Drop is the rule that leaves denied items out of a list, DropAt its
	// file:line; both are empty where they become null.
	Drop   string `json:"drop,omitempty"`
	DropAt string `json:"drop_at,omitempty"`
	// Reads lists the input paths that the rules of the coordinate can read.
	Reads []string `json:"reads"`
	// Class is constant, identity, request or object: what the answer depends on.
	Class string `json:"class,omitempty"`
	// Why lists for a denial the expressions that were false or undefined.
	Why []string `json:"why,omitempty"`
}

// Explain judges as Decide does and says for each field, argument and input
// field which rule decided. It is slow: every rule is evaluated by itself, with
// a trace. Fields that are skipped are left out.
func (e *Engine) Explain(ctx context.Context, b *Binding, sub *Subject, req *Request, op OperationFacts, vars *schema.Variables) ([]FieldDecision, error) {
	if b.engine != e {
		return nil, fmt.Errorf("policy: the binding belongs to another engine")
	}
	s := e.begin(ctx, sub, req)
	defer s.end()
	s.facts.operation, s.facts.op, s.facts.vars = b.op, op, vars
	if b.conditional {
		s.live = b.op.Live(vars, s.live)
	}
	id, err := s.identity()
	if err != nil {
		return nil, err
	}
	var out []FieldDecision
	for i := range b.op.Uses {
		if !s.isLive(b, int32(i)) {
			continue
		}
		found, err := s.explainUse(b, id, int32(i))
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

func (s *session) explainUse(b *Binding, id *identityAnswer, use int32) ([]FieldDecision, error) {
	var out []FieldDecision
	if slices.Contains(b.introspection, use) {
		d := FieldDecision{Kind: DenyIntrospection, Coordinate: b.op.Uses[use].Coordinate(), Path: b.op.Path(int(use))}
		ok, err := s.introspection(b, use)
		if err == nil {
			err = s.explainClass(&d, s.engine.introspection, ok)
		}
		return append(out, d), err
	}
	for i := range b.uses {
		if b.uses[i].use != use {
			continue
		}
		for _, at := range b.of(&b.uses[i]) {
			d := FieldDecision{Kind: DenyField, Coordinate: at.String(), Path: b.op.Path(int(use))}
			ok, err := s.decide(b, id, use, at.verdict)
			if err == nil {
				err = s.explainVerdict(&d, b, id, use, at, ok)
			}
			if err == nil {
				err = s.explainAnswer(&d, b, use, at, ok)
			}
			if err != nil {
				return nil, err
			}
			out = append(out, d)
		}
	}
	values, err := s.explainValues(b, use)
	return append(out, values...), err
}

// explainValues explains the ruled arguments and input fields given at a use.
func (s *session) explainValues(b *Binding, use int32) ([]FieldDecision, error) {
	var out []FieldDecision
	err := s.eachValueOf(b, use, func(kind Kind, coordinate string, c *class, ok bool) error {
		d := FieldDecision{Kind: kind, Coordinate: coordinate, Path: b.op.Path(int(use))}
		err := s.explainClass(&d, c, ok)
		out = append(out, d)
		return err
	})
	return out, err
}

// explainVerdict names the rule that granted, or else the one that had to.
func (s *session) explainVerdict(d *FieldDecision, b *Binding, id *identityAnswer, use int32, at *boundCoordinate, ok bool) error {
	var reads pathSet
	decided := at.rule
	s.facts.use, s.facts.value = &b.op.Uses[use], schema.Value{}
	granted := false
	for _, lv := range s.engine.allow.levels(at.typ, at.field) {
		for c := range lv.classes {
			reads.merge(&c.reads.paths)
			if c.kind == classObject {
				if !granted && (decided == nil || decided.kind != classObject) {
					decided = c // the answer decides, or it allows every object
				}
				continue
			}
			ask := func() (bool, error) { return s.rule(id, c) }
			if c != lv.rule {
				ask = func() (bool, error) { return s.grant(id, c, lv.at) }
			}
			yes, err := ask()
			if err != nil {
				return err
			}
			if yes && !granted {
				decided, granted = c, true
			}
		}
	}
	if err := s.explainClass(d, decided, ok); err != nil {
		return err
	}
	d.Reads = append([]string{}, reads.paths()...)
	return nil
}

// explainAnswer says what becomes of a field that is not allowed beforehand,
// and of the denied items of a list.
func (s *session) explainAnswer(d *FieldDecision, b *Binding, use int32, at *boundCoordinate, ok bool) error {
	if f := b.op.Uses[use].Field.Definition; s.engine.filter && f != nil && f.Type.Elem != nil {
		s.facts.use, s.facts.value = &b.op.Uses[use], schema.Value{}
		c, v, err := s.first(&s.engine.drops, at.coordinate)
		if err != nil {
			return err
		}
		if isTrue(v) {
			d.Drop, d.DropAt = place(c)
		}
	}
	if ok {
		return nil
	}
	if at.verdict.object {
		s.facts.use, s.facts.value = &b.op.Uses[use], schema.Value{}
		_, never, err := s.objects(at.verdict)
		if err != nil {
			return err
		}
		if !never {
			d.Decision = "object"
		}
	}
	m, err := s.mask(b, use, at.coordinate)
	if m == nil || err != nil {
		return err
	}
	if d.Decision == "deny" {
		d.Decision = "mask"
	}
	c, _, err := s.first(&s.engine.masks, at.coordinate)
	if err == nil && c != nil {
		d.Mask, d.MaskAt = place(c)
	}
	return err
}

func place(c *class) (head, at string) {
	return c.rule.Head, c.rule.At()
}

func (s *session) explainClass(d *FieldDecision, c *class, ok bool) error {
	d.Decision, d.Reads = "allow", []string{}
	if !ok {
		d.Decision = "deny"
	}
	if c == nil {
		if !ok {
			d.Why = []string{"no rule"}
		}
		return nil
	}
	d.Rule, d.At = place(c)
	d.Reads = append(d.Reads, c.paths...)
	d.Class = c.kind.String()
	if c.constant != nil {
		d.Class = "constant"
	}
	if ok || c.kind == classObject {
		return nil
	}
	var err error
	d.Why, err = s.why(c)
	return err
}

// why evaluates a class with a trace and returns the expressions that failed.
func (s *session) why(c *class) ([]string, error) {
	if c.constant != nil {
		return []string{"the rule is " + c.constant.String()}, nil
	}
	query, err := c.query(s.engine)
	if err != nil {
		return nil, err
	}
	tracer := topdown.NewBufferTracer()
	key := appendInput(nil, &c.shape, &s.facts)
	_, err = s.eval(query, decodeInput(&c.shape, key), c.group.head,
		rego.EvalQueryTracer(tracer), rego.EvalRuleIndexing(false))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, event := range *tracer {
		loc := event.Location
		if event.Op != topdown.FailOp || loc == nil || loc.File == "" || len(loc.Text) == 0 {
			continue
		}
		text, _, more := strings.Cut(string(loc.Text), "\n")
		if more {
			text += " …"
		}
		line := fmt.Sprintf("%s:%d: %s", loc.File, loc.Row, text)
		if !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	return out, nil
}
