package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// objectClass is one class that decides a coordinate on the answer.
type objectClass struct {
	class *class
	at    coordinate // what a head with variables is asked for
}

// objectRules holds the object rules of one decision. Nodes whose rules are
// the same and read the same share one.
type objectRules struct{ known map[ruleKey]*ObjectRule }

type ruleKey struct {
	verdict *verdict
	use     int32 // -1: the rule reads no arguments
}

// bind returns the rule that decides the coordinate for each parent.
func (rules *objectRules) bind(s *session, b *Binding, use int32, at *boundCoordinate) *ObjectRule {
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
	r := rules.known[key]
	if r == nil {
		f := s.facts
		f.use = &b.op.Uses[use]
		o := &object{engine: s.engine, facts: f, classes: classes}
		r = &ObjectRule{Head: classes[0].class.rule, Parents: at.verdict.parents, judge: o.judge}
		if rules.known == nil {
			rules.known = map[ruleKey]*ObjectRule{}
		}
		rules.known[key] = r
	}
	return r
}

// object is an object rule with what it reads beside the parent.
type object struct {
	engine  *Engine
	facts   facts
	classes []objectClass

	mu    sync.Mutex
	known map[string]bool // verdicts by the parent's text
	bytes int             // of known's keys
}

// maxKnown bounds the verdicts that one rule remembers in a request, in bytes
// of parents.
const maxKnown = 1 << 20

func (o *object) judge(ctx context.Context, parents [][]byte) ([]bool, error) {
	s := o.engine.begin(ctx, o.facts.subject, o.facts.request)
	defer s.end()
	s.facts = o.facts
	out := make([]bool, len(parents))
	opaque, simple, err := o.split(s)
	if err != nil {
		return nil, err
	}
	if len(simple) > 0 {
		s.arm()
	}
	builtins := topdown.BuiltinContext{Cancel: s.cancel, Time: ast.NumberTerm(json.Number(strconv.FormatInt(time.Now().UnixNano(), 10)))}
	var d parentDecoder
	for i, text := range parents {
		if i&255 == 0 && s.ctx.Err() != nil {
			return nil, s.ctx.Err()
		}
		ask := opaque
		if len(simple) > 0 {
			parent := d.decode(text)
			if parent == nil {
				continue // denied
			}
			for _, r := range simple {
				doubt := false
				if r.holds(parent, &builtins, &doubt) && !doubt {
					out[i] = true
					break
				}
				if doubt {
					ask = o.classes
				}
			}
		}
		if out[i] || len(ask) == 0 {
			continue
		}
		if out[i], err = o.ask(s, ask, text); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// split evaluates the rules partially, and returns what that leaves, and the
// rules of which it leaves something that only OPA can decide.
func (o *object) split(s *session) (opaque []objectClass, simple []*residual, err error) {
	for _, c := range o.classes {
		r, err := s.residual(c)
		switch {
		case err != nil:
			return nil, nil, err
		case r.opaque:
			opaque = append(opaque, c)
		default:
			simple = append(simple, r)
		}
	}
	return opaque, simple, nil
}

// ask asks OPA, once for each distinct parent.
func (o *object) ask(s *session, classes []objectClass, text []byte) (bool, error) {
	o.mu.Lock()
	verdict, ok := o.known[string(text)]
	o.mu.Unlock()
	if ok {
		return verdict, nil
	}
	var d parentDecoder
	parent := d.decode(text)
	if parent == nil {
		return false, nil
	}
	for _, c := range classes {
		var err error
		if verdict, err = c.ask(s, parent); err != nil {
			return false, err
		}
		if verdict {
			break
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bytes += len(text); o.known == nil || o.bytes > maxKnown {
		o.known, o.bytes = map[string]bool{}, len(text)
	}
	o.known[string(text)] = verdict
	return verdict, nil
}

func (c objectClass) ask(s *session, parent ast.Object) (bool, error) {
	same := c.class.same
	query, err := same.queryAt(s.engine, c.at)
	if err != nil {
		return false, &EvalError{Rule: same.group.head, Err: err}
	}
	s.key = appendInput(s.key[:0], &same.shape, &s.facts)
	input := decodeInput(&same.shape, s.key).Value.(ast.Object)
	input.Insert(ast.InternedTerm("parent"), ast.NewTerm(parent))
	answer, err := s.eval(query, ast.NewTerm(input), same.group.head)
	return isTrue(answer), err
}

// parentDecoder turns the JSON of parents into what OPA evaluates.
type parentDecoder struct {
	reader bytes.Reader
	json   *jsontext.Decoder
	keys   map[string]*ast.Term
}

// decode returns nil for what is not one JSON object, or has a number that is too
// large to compute with: left out, it would be a fact for a rule that says not.
func (d *parentDecoder) decode(text []byte) ast.Object {
	d.reader.Reset(text)
	if d.json == nil {
		d.json, d.keys = jsontext.NewDecoder(&d.reader), map[string]*ast.Term{}
	} else {
		d.json.Reset(&d.reader)
	}
	if d.json.PeekKind() != '{' {
		return nil
	}
	v, err := d.value()
	if err != nil {
		return nil
	}
	if _, err := d.json.ReadToken(); err != io.EOF {
		return nil
	}
	return v.Value.(ast.Object)
}

func (d *parentDecoder) value() (*ast.Term, error) {
	token, err := d.json.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case 'n':
		return ast.InternedNullTerm, nil
	case 't', 'f':
		return ast.InternedTerm(token.Bool()), nil
	case '"':
		return ast.StringTerm(token.String()), nil
	case '0':
		n, err := ast.NumberChecked(token.String())
		if err != nil {
			return nil, err
		}
		return ast.NewTerm(n), nil
	case '[':
		return d.list()
	}
	return d.object()
}

func (d *parentDecoder) list() (*ast.Term, error) {
	var terms []*ast.Term
	for d.json.PeekKind() != ']' {
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		terms = append(terms, v)
	}
	_, err := d.json.ReadToken()
	return ast.ArrayTerm(terms...), err
}

func (d *parentDecoder) object() (*ast.Term, error) {
	var buf [4][2]*ast.Term
	pairs := buf[:0]
	for d.json.PeekKind() != '}' {
		token, err := d.json.ReadToken()
		if err != nil {
			return nil, err
		}
		name := token.String()
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		key := d.keys[name]
		if key == nil {
			key = ast.StringTerm(name)
			d.keys[name] = key
		}
		pairs = append(pairs, [2]*ast.Term{key, v})
	}
	_, err := d.json.ReadToken()
	return ast.ObjectTerm(pairs...), err
}
