package policy

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/open-policy-agent/opa/v1/ast"
)

// objectClass is one class that decides a coordinate on the answer.
type objectClass struct {
	class *class
	at    coordinate // what a head with variables is asked for
}

// objectRules holds the object rules of one decision. Nodes whose rules are
// the same and read the same share one.
type objectRules map[ruleKey]*ObjectRule

type ruleKey struct {
	verdict *verdict
	use     int32 // -1: the rule reads no arguments
}

// bind returns the rule that decides the coordinate for each parent.
func (rules objectRules) bind(s *session, b *Binding, use int32, at *boundCoordinate) *ObjectRule {
	var classes []objectClass
	key := ruleKey{at.verdict, -1}
	for i := range at.verdict.levels {
		lv := &at.verdict.levels[i]
		for c := range lv.classes {
			if c.kind != classObject {
				continue
			}
			classes = append(classes, objectClass{c, lv.at})
			if c.reads.paths.has("args") {
				key.use = use
			}
		}
	}
	r := rules[key]
	if r == nil {
		f := s.facts
		f.use = &b.op.Uses[use]
		o := &object{engine: s.engine, facts: f, classes: classes}
		r = &ObjectRule{Head: classes[0].class.rule(), Parents: at.verdict.parents, judge: o.judge}
		rules[key] = r
	}
	return r
}

// object is an object rule with what it reads beside the parent.
type object struct {
	engine  *Engine
	facts   facts
	classes []objectClass
}

func (o *object) judge(ctx context.Context, parents [][]byte) ([]bool, error) {
	s := o.engine.begin(ctx, o.facts.subject, o.facts.request)
	defer s.end()
	s.facts = o.facts
	out := make([]bool, len(parents))
	known := map[string]bool{}
	for i, text := range parents {
		verdict, ok := known[string(text)]
		if !ok {
			var err error
			if verdict, err = o.one(s, text); err != nil {
				return nil, err
			}
			known[string(text)] = verdict
		}
		out[i] = verdict
	}
	return out, nil
}

// one decides for one parent. What is not a JSON object is denied.
func (o *object) one(s *session, text []byte) (bool, error) {
	var v any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return false, nil
	}
	value, err := ast.InterfaceToValue(v)
	if err != nil {
		return false, nil
	}
	parent, ok := value.(ast.Object)
	if !ok {
		return false, nil
	}
	for _, c := range o.classes {
		same := c.class.same
		query, err := same.query(s.engine)
		if err != nil {
			return false, &EvalError{Rule: same.group.head, Err: err}
		}
		s.key = appendInput(s.key[:0], &same.shape, &s.facts)
		input := decodeInput(&same.shape, s.key).Value.(ast.Object)
		input.Insert(ast.StringTerm("parent"), ast.NewTerm(parent))
		answer, err := s.eval(query, ast.NewTerm(input), same.group.head)
		if err != nil {
			return false, err
		}
		if c.class.group.vars {
			answer = member(member(answer, c.at.typ), c.at.field)
		}
		if isTrue(answer) {
			return true, nil
		}
	}
	return false, nil
}
