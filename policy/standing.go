package policy

import "sync/atomic"

// standing is the decision for every request that lacks the same identity
// verdicts and is refused nothing else: as long as Binding.stands, no more of
// the request has a say in it.
type standing struct {
	lacking  bitset // of those that the operation needs
	decision *Decision
}

// Bounds of what a binding keeps, of which there are as many as cached documents.
const (
	keptStandings = 4 // one takes the place of the oldest
	maxStanding   = 8 // denials and guards of one
)

// standings are those of one binding. The zero value is ready; safe for
// concurrent use.
type standings struct {
	kept [keptStandings]atomic.Pointer[standing]
	turn atomic.Uint32
}

// find returns the decision for who has the verdicts allowed, of those needed;
// nil where there is none.
func (l *standings) find(needed, allowed bitset) *Decision {
	for i := range l.kept {
		if one := l.kept[i].Load(); one != nil && one.holds(needed, allowed) {
			return one.decision
		}
	}
	return nil
}

func (one *standing) holds(needed, allowed bitset) bool {
	for w, bits := range needed {
		if bits&^allowed[w] != one.lacking[w] {
			return false
		}
	}
	return true
}

func (l *standings) keep(needed, allowed bitset, d *Decision) {
	if len(d.Denials)+len(d.Guards) > maxStanding {
		return
	}
	for i := range d.Denials {
		d.Denials[i].reason = d.Denials[i].Reason()
	}
	one := &standing{lacking: make(bitset, len(needed)), decision: d}
	for w, bits := range needed {
		one.lacking[w] = bits &^ allowed[w]
	}
	l.kept[(l.turn.Add(1)-1)%keptStandings].Store(one)
}

// stands reports whether a request that lacks identity verdicts, and is refused
// nothing else, is answered alike whatever else is in it: all of the document is
// live, it does not introspect, and neither messages nor masks nor what is
// dropped, nor any rule that is asked twice, can turn out otherwise.
func (b *Binding) stands() bool {
	return !b.conditional && !b.varies && len(b.introspection) == 0 && len(b.needs) == 1
}

// lacking decides for a subject that lacks identity verdicts, where neither the
// deny set nor introspection refuses. It is s.refusal, made once for all who
// lack the same.
func (s *session) lacking(b *Binding) (*Decision, error) {
	id := s.answer
	if !b.stands() || id.errors != nil {
		return s.refusal(b)
	}
	if ok, err := s.othersAllowed(b, id); !ok || err != nil {
		return s.refusal(b)
	}
	needed := b.needs[0].bits
	if d := b.standings.find(needed, id.allowed); d != nil {
		return d, nil
	}
	d, err := s.refusal(b)
	if err == nil {
		b.standings.keep(needed, id.allowed, d)
	}
	return d, err
}

// constant reports whether every class that has a say in a coordinate is a constant.
func (l *lookup) constant(typ, field string) bool {
	for _, at := range steps(typ, field) {
		c := l.static[at]
		if c != nil && c.constant == nil {
			return false
		}
		for _, v := range l.vars {
			if matches(v.group.match, at) {
				return false
			}
		}
		if c != nil {
			return true
		}
	}
	return true
}

// varies reports whether what is told of the coordinate's denial, or stands in
// its place, can be another for another request. Only identity verdicts are
// asked: where other rules deny, there is nothing that could stand.
func (e *Engine) varies(typ, field string, v *verdict) bool {
	return v.impure || !e.drops.constant(typ, field) ||
		v.identity && !(e.errors.constant(typ, field) && e.masks.constant(typ, field))
}
