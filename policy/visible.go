package policy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/graphward/graphward/schema"
)

// Visibility is what of the schema a subject may know: what introspection
// shows where the policy says "visible". It is immutable and safe for
// concurrent use. Arguments, input fields and enum values are visible with the
// fields that use them.
type Visibility struct {
	engine *Engine
	shown  bitset              // by verdict
	masked map[coordinate]bool // denied, but with a mask
	digest [32]byte
}

// Visible tells which fields the subject may read, or may be allowed to: what
// only an operation, its arguments or the answer can decide is visible. A rule
// that fails shows nothing. sub and req may be nil, as in Decide.
//
// Errors are *TimeoutError and ctx's: show nothing.
func (e *Engine) Visible(ctx context.Context, sub *Subject, req *Request) (*Visibility, error) {
	s := e.begin(ctx, sub, req)
	defer s.end()
	id, err := s.identity()
	if err != nil {
		return nil, err
	}
	v := &Visibility{engine: e, shown: newBitset(len(e.distinct)), masked: map[coordinate]bool{}}
	for i, d := range e.distinct {
		ok, err := s.may(id, d)
		if err != nil {
			return nil, err
		}
		if ok {
			v.shown.set(i)
		}
	}
	masked, err := s.maskedFields(v)
	if err != nil {
		return nil, err
	}
	v.seal(masked)
	return v, nil
}

// Field reports whether a field of an object type is visible. What the schema
// does not have is not; what begins with two underscores is.
func (v *Visibility) Field(typ, field string) bool {
	if strings.HasPrefix(field, "__") || strings.HasPrefix(typ, "__") {
		return true
	}
	d := v.engine.verdicts[typ][field]
	return d != nil && (v.shown.has(d.index) || v.masked[coordinate{typ, field}])
}

// Digest is equal for the visibilities of one engine that show the same.
func (v *Visibility) Digest() [32]byte { return v.digest }

func (v *Visibility) seal(masked []coordinate) {
	h := sha256.New()
	var word [8]byte
	for _, w := range v.shown {
		binary.LittleEndian.PutUint64(word[:], w)
		h.Write(word[:])
	}
	for _, at := range masked {
		v.masked[at] = true
		h.Write([]byte(at.String() + "\n"))
	}
	h.Sum(v.digest[:0])
}

// may reports whether a verdict allows, or may allow once the operation and
// the answer are known.
func (s *session) may(id *identityAnswer, d *verdict) (bool, error) {
	for i := range d.levels {
		lv := &d.levels[i]
		for c := range lv.classes {
			if !c.foreseen() {
				return true, nil
			}
			var ok bool
			var err error
			if c == lv.rule {
				ok, err = s.rule(id, c)
			} else {
				ok, err = s.grant(id, c, lv.at)
			}
			if broken := (*EvalError)(nil); errors.As(err, &broken) {
				return false, nil
			}
			if ok || err != nil {
				return ok, err
			}
		}
	}
	return false, nil
}

// foreseen reports whether the class can be decided before there is an operation.
func (c *class) foreseen() bool {
	p := &c.reads.paths
	return c.constant != nil || c.kind != classObject && !p.has("operation") && !p.has("args") && !p.has("value")
}

// maskedFields lists the denied fields for which there is, or may be, a mask.
func (s *session) maskedFields(v *Visibility) ([]coordinate, error) {
	e := s.engine
	if e.masks.empty() {
		return nil, nil
	}
	var out []coordinate
	for _, def := range e.schema.Objects() {
		for _, f := range def.Fields {
			at := coordinate{def.Name, f.Name}
			if v.Field(at.typ, at.field) || !e.canMask(at.typ, f) {
				continue
			}
			levels := e.masks.levels(at.typ, at.field)
			unknown := slices.ContainsFunc(levels, func(lv level) bool {
				for c := range lv.classes {
					if !c.foreseen() {
						return true
					}
				}
				return false
			})
			if !unknown {
				s.facts.use, s.facts.value = nil, schema.Value{}
				value, err := s.find(&e.masks, at)
				if broken := (*EvalError)(nil); errors.As(err, &broken) || err == nil && value == nil {
					continue
				}
				if err != nil {
					return nil, err
				}
				if _, err := e.newMask(f.Type, value); err != nil {
					continue
				}
			}
			out = append(out, at)
		}
	}
	return out, nil
}
