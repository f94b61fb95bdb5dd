package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	gql "github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/schema"
)

// Kind says what was refused.
type Kind string

// What can be refused.
const (
	DenyOperation     Kind = "deny" // an element of the policy's deny set
	DenyField         Kind = "field"
	DenyArgument      Kind = "argument"
	DenyInput         Kind = "input"
	DenyIntrospection Kind = "introspection"
)

// The codes of refusals for which the policy names none.
const (
	CodeForbidden     = "FORBIDDEN"
	CodeIntrospection = "INTROSPECTION_DISABLED"
)

// Rule is where a rule stands. The zero Rule means that there is none.
type Rule struct {
	Head         string // as written, such as allow.User["*"]
	File         string
	Line, Column int

	at string // At, where the engine made the rule
}

// At is the rule's place, file:line; empty for no rule. That of a rule that an
// engine named costs nothing.
func (r Rule) At() string {
	if r.at != "" || r.File == "" {
		return r.at
	}
	return r.File + ":" + strconv.Itoa(r.Line)
}

func (r Rule) String() string {
	if r.Head == "" {
		return "no rule"
	}
	return r.Head + " at " + r.At()
}

// Denial is one reason to refuse.
type Denial struct {
	Kind    Kind
	Code    string
	Message string
	// Coordinate is Type.field, Type.field.argument or InputType.field; empty
	// for DenyOperation.
	Coordinate string
	// Path is the response path of the first field use concerned; nil for
	// DenyOperation. Shared: read only.
	Path []string
	// Field is the node of that use; nil for DenyOperation.
	Field *gql.Field
	// Rule decided; zero when no rule governs the coordinate.
	Rule Rule
	// Reads lists the input paths that the rule can read, for records that
	// name what decided without its values. Shared: read only.
	Reads []string

	use int32 // indexes the operation's uses

	reason string // Reason, where the decision stands
}

// Reason says for the operator what denied: the coordinate, the rule and its
// place. That of a decision which is made once for many costs nothing.
func (d *Denial) Reason() string {
	switch {
	case d.reason != "":
		return d.reason
	case d.Rule.File == "":
		return d.Coordinate + " denied: no rule"
	}
	return d.Coordinate + " denied by " + d.Rule.Head + " at " + d.Rule.At()
}

// Plain is the denial of a field with the code and message of one for which the
// policy names none.
func (d Denial) Plain() Denial {
	d.Code, d.Message = CodeForbidden, fieldMessage(d.Coordinate)
	return d
}

// Decision is the answer for one request. It may be shared between requests:
// read only.
type Decision struct {
	Allowed bool
	// Denials is not empty when Allowed is false: first the policy's own deny
	// set, then by coordinate; one for each coordinate.
	Denials []Denial
	// ReadsSubject and ReadsRequest say whether any rule that governs the
	// operation can read input.subject or input.request, so that the answer
	// may differ between clients.
	ReadsSubject, ReadsRequest bool
	// Revision identifies the policy: Engine.Revision.
	Revision string
	// Guards are what the operation's answer must be guarded against; empty:
	// nothing. They, Drops and Introspection stand beside Denials too, for who
	// lets a denied operation through all the same.
	Guards []Guard
	// Drops are the list fields whose denied items are left out of the answer
	// (drop.T.f) instead of becoming null, by node and object type.
	Drops []Drop
	// Introspection is what the operation may see where it introspects:
	// IntrospectionVisible or IntrospectionAll; empty where it has no field
	// that does.
	Introspection string
}

// What an operation that introspects may see.
const (
	IntrospectionAll     = "all"
	IntrospectionVisible = "visible" // what Engine.Visible says
)

// Drop is a list field of the document whose denied items are left out.
type Drop struct {
	Field *gql.Field
	Types schema.TypeSet
}

// Decide judges one request. vars are the coerced variables that will be
// forwarded. sub and req may be nil: anonymous, and nothing known.
//
// Errors are *TimeoutError, *EvalError and ctx's; each means that the operation
// must be refused. Decide is safe for concurrent use.
func (e *Engine) Decide(ctx context.Context, b *Binding, sub *Subject, req *Request, op OperationFacts, vars *schema.Variables) (*Decision, error) {
	if b.engine != e {
		return nil, fmt.Errorf("policy: the binding belongs to another engine")
	}
	s := e.begin(ctx, sub, req)
	defer s.end()
	s.facts.operation, s.facts.op, s.facts.vars = b.op, op, vars
	if b.conditional {
		s.live = b.op.Live(vars, s.live)
	}
	ok, err := s.allowed(b)
	if err != nil {
		return nil, err
	}
	if ok && s.visible {
		return b.visible, nil
	}
	if ok {
		return b.allowed, nil
	}
	if s.lacks {
		return s.lacking(b)
	}
	return s.refusal(b)
}

// refusal is the decision where not everything is allowed beforehand.
func (s *session) refusal(b *Binding) (*Decision, error) {
	d := *b.allowed
	var err error
	if d.Denials, err = s.denials(b, &d); err != nil {
		return nil, err
	}
	if d.Allowed = len(d.Denials) == 0; d.Allowed && len(d.Guards) == 0 {
		return nil, fmt.Errorf("policy: refused without a reason")
	}
	if s.visible {
		d.Introspection = IntrospectionVisible
	}
	return &d, nil
}

// isLive reports whether the use is neither skipped nor excluded.
func (s *session) isLive(b *Binding, use int32) bool {
	return s.holds(b, b.op.Uses[use].Cond)
}

func (s *session) holds(b *Binding, cond int32) bool {
	return !b.conditional || s.live[cond]
}

// allowed answers without gathering reasons.
func (s *session) allowed(b *Binding) (bool, error) {
	if s.engine.deny != nil {
		if refused, err := s.denySet(); err != nil || len(refused) > 0 {
			return false, err
		}
	}
	for _, use := range b.introspection {
		if s.isLive(b, use) {
			if ok, err := s.introspection(b, use); !ok || err != nil {
				return false, err
			}
		}
	}
	id, err := s.identity()
	if err != nil {
		return false, err
	}
	for i := range b.needs {
		n := &b.needs[i]
		if !s.holds(b, n.cond) {
			continue
		}
		for w, bits := range n.bits {
			if bits&^id.allowed[w] != 0 {
				s.lacks = true
				return false, nil
			}
		}
	}
	return s.othersAllowed(b, id)
}

// othersAllowed reports whether everything is allowed that takes more than
// identity verdicts.
func (s *session) othersAllowed(b *Binding, id *identityAnswer) (bool, error) {
	for i := range b.asked {
		a := &b.asked[i]
		if s.isLive(b, a.use) {
			if ok, err := s.decide(b, id, a.use, a.verdict); !ok || err != nil {
				return false, err
			}
		}
	}
	return s.valuesAllowed(b)
}

// valuesAllowed reports whether every argument and input field that the
// client gave may be given.
func (s *session) valuesAllowed(b *Binding) (bool, error) {
	for i := range b.arguments {
		if given, ok, err := s.argument(b, &b.arguments[i]); given && !ok || err != nil {
			return false, err
		}
	}
	for _, use := range b.inputs {
		if ok, err := s.inputsAllowed(b, use); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (s *session) inputsAllowed(b *Binding, use int32) (bool, error) {
	refused := false
	err := s.eachInput(b, use, func(_ Kind, _ string, _ *class, ok bool) error {
		refused = refused || !ok
		return nil
	})
	return !refused, err
}

// decide walks the levels of a verdict for one use. What reads the object
// decides only when it allows every object.
func (s *session) decide(b *Binding, id *identityAnswer, use int32, v *verdict) (bool, error) {
	if v.identity {
		return id.allowed.has(v.bit), id.errors[v.bit]
	}
	s.facts.use, s.facts.value = &b.op.Uses[use], schema.Value{}
	for i := range v.levels {
		lv := &v.levels[i]
		if lv.rule != nil && lv.rule.kind != classObject {
			if ok, err := s.rule(id, lv.rule); ok || err != nil {
				return ok, err
			}
		}
		for _, c := range lv.vars {
			if c.kind == classObject {
				continue
			}
			if ok, err := s.grant(id, c, lv.at); ok || err != nil {
				return ok, err
			}
		}
	}
	if !v.object {
		return false, nil
	}
	some, _, err := s.objects(v)
	return some, err
}

// objects reports whether a verdict's rules about the object allow every
// object, and whether they allow none.
func (s *session) objects(v *verdict) (always, never bool, err error) {
	never = true
	for i := range v.levels {
		lv := &v.levels[i]
		for c := range lv.classes {
			if c.kind != classObject {
				continue
			}
			r, err := s.residual(objectClass{c, lv.at})
			if err != nil {
				return false, false, err
			}
			if r.always() {
				return true, false, nil
			}
			never = never && r.never()
		}
	}
	return false, never, nil
}

func (s *session) rule(id *identityAnswer, c *class) (bool, error) {
	if c.kind == classIdentity {
		return id.rule(c)
	}
	v, err := s.value(c)
	return isTrue(v), err
}

func (s *session) grant(id *identityAnswer, c *class, at coordinate) (bool, error) {
	if c.kind == classIdentity {
		return id.grant(s, c, at)
	}
	v, err := s.value(c)
	if broken := (*EvalError)(nil); errors.As(err, &broken) {
		return s.targeted(c, at)
	}
	return err == nil && isTrue(member(member(v, at.typ), at.field)), err
}

func member(t *ast.Term, key string) *ast.Term {
	if t == nil {
		return nil
	}
	if o, ok := t.Value.(ast.Object); ok {
		return o.Get(ast.StringTerm(key))
	}
	return nil
}

// introspection reports whether the subject may see the schema at a use:
// all of it, or what is visible to it, which the subgraph's SDL cannot be cut to.
func (s *session) introspection(b *Binding, use int32) (bool, error) {
	c := s.engine.introspection
	if c == nil {
		return false, nil
	}
	s.facts.use = nil
	v, err := s.value(c)
	if err != nil || v == nil {
		return false, err
	}
	if ast.String(IntrospectionVisible).Equal(v.Value) {
		s.visible = true
		name := b.op.Uses[use].Field.Name
		return name != "_service" && name != "sdl", nil
	}
	return isTrue(v) || ast.String(IntrospectionAll).Equal(v.Value), nil
}

// denySet returns the elements of the policy's deny set, in OPA's order.
func (s *session) denySet() ([]*ast.Term, error) {
	s.facts.use = nil
	v, err := s.value(s.engine.deny)
	if err != nil || v == nil {
		return nil, err
	}
	set, ok := v.Value.(ast.Set)
	if !ok {
		return nil, &EvalError{Rule: "deny", Err: fmt.Errorf("is %s, not a set", v)}
	}
	return set.Slice(), nil
}

// valueDenials refuses every given argument and input field whose rule does not
// allow it.
func (s *session) valueDenials(b *Binding) (out []Denial, err error) {
	for i := range b.ruled {
		use := b.ruled[i]
		err := s.eachValueOf(b, use, func(kind Kind, coordinate string, c *class, ok bool) error {
			if !ok {
				out = append(out, Denial{Kind: kind, Coordinate: coordinate, Path: b.op.Path(int(use)), Field: b.op.Uses[use].Field, Rule: c.rule, Reads: c.paths, use: use})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// eachValueOf asks the rules of the arguments and input fields that the client
// gave at one use, and calls visit with each answer.
func (s *session) eachValueOf(b *Binding, use int32, visit func(Kind, string, *class, bool) error) error {
	if !s.isLive(b, use) {
		return nil
	}
	for i := range b.arguments {
		a := &b.arguments[i]
		if a.use != use {
			continue
		}
		given, ok, err := s.argument(b, a)
		if given && err == nil {
			err = visit(DenyArgument, a.key.typ+"."+a.key.field+"."+a.key.argument, a.class, ok)
		}
		if err != nil {
			return err
		}
	}
	if slices.Contains(b.inputs, use) {
		return s.eachInput(b, use, visit)
	}
	return nil
}

// argument asks the rule of an argument, if the client gave it.
func (s *session) argument(b *Binding, a *boundArgument) (given, ok bool, err error) {
	if !s.isLive(b, a.use) || a.variable >= 0 && s.absent(a.variable) {
		return false, false, nil
	}
	s.facts.use = &b.op.Uses[a.use]
	s.facts.value = s.facts.use.Args[a.arg].Resolve(s.facts.vars)
	v, err := s.value(a.class)
	return true, isTrue(v), err
}

// eachInput asks the rules of the input fields that the client gave inside
// the arguments of a use.
func (s *session) eachInput(b *Binding, use int32, visit func(Kind, string, *class, bool) error) (err error) {
	if !s.isLive(b, use) {
		return nil
	}
	b.op.InputFields(int(use), s.facts.vars, func(_ *schema.Argument, object *gql.Definition, field *gql.FieldDefinition, v schema.Value) bool {
		at := coordinate{object.Name, field.Name}
		c := s.engine.inputs[at]
		if c == nil {
			return true
		}
		s.facts.use, s.facts.value = &b.op.Uses[use], v
		var answer *ast.Term
		if answer, err = s.value(c); err == nil {
			err = visit(DenyInput, at.String(), c, isTrue(answer))
		}
		return err == nil
	})
	return err
}

func (s *session) absent(variable int32) bool {
	vars := s.facts.vars
	return vars == nil || int(variable) >= len(vars.Values) || vars.Values[variable].Kind == schema.Absent
}

// denials gathers every reason to refuse, and fills in what d's answer must be
// guarded against.
func (s *session) denials(b *Binding, d *Decision) ([]Denial, error) {
	var out []Denial
	if s.engine.deny != nil {
		set, err := s.denySet()
		if err != nil {
			return nil, err
		}
		for _, t := range set {
			d := Denial{Kind: DenyOperation, Code: CodeForbidden, Message: "The policy refuses this operation", Rule: s.engine.deny.rule, Reads: s.engine.deny.paths}
			custom(&d, t)
			out = append(out, d)
		}
	}
	ruled := len(out)
	if err := s.introspectionDenials(b, &out); err != nil {
		return nil, err
	}
	if err := s.guards(b, d, &out); err != nil {
		return nil, err
	}
	if len(b.ruled) > 0 {
		values, err := s.valueDenials(b)
		if err != nil {
			return nil, err
		}
		out = append(out, values...)
	}
	rest := out[ruled:]
	slices.SortStableFunc(rest, func(a, b Denial) int {
		return cmp.Or(strings.Compare(a.Coordinate, b.Coordinate), strings.Compare(string(a.Kind), string(b.Kind)))
	})
	rest = slices.CompactFunc(rest, func(a, b Denial) bool { return a.Coordinate == b.Coordinate && a.Kind == b.Kind })
	for i := range rest {
		if rest[i].Code != "" {
			continue
		}
		if err := s.explainDenial(b, &rest[i]); err != nil {
			return nil, err
		}
	}
	return out[:ruled+len(rest)], nil
}

func (s *session) introspectionDenials(b *Binding, out *[]Denial) error {
	for _, use := range b.introspection {
		if !s.isLive(b, use) {
			continue
		}
		ok, err := s.introspection(b, use)
		if err != nil {
			return err
		}
		if !ok {
			d := Denial{Kind: DenyIntrospection, Coordinate: b.op.Uses[use].Coordinate(), Path: b.op.Path(int(use)), Field: b.op.Uses[use].Field}
			if s.engine.introspection != nil {
				d.Rule, d.Reads = s.engine.introspection.rule, s.engine.introspection.paths
			}
			*out = append(*out, d)
		}
	}
	return nil
}
