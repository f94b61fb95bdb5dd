package answer

import "github.com/vektah/gqlparser/v2/ast"

// fits reports whether a value that begins with c may stand for a leaf. A custom
// scalar may be anything.
func (p *Plan) fits(t *ast.Type, c byte) bool {
	def := p.op.Schema.Type(t.NamedType)
	if def == nil {
		return false
	}
	text, number, truth := c == '"', c == '-' || c >= '0' && c <= '9', c == 't' || c == 'f'
	switch {
	case def.Kind == ast.Enum, def.Name == "String":
		return text
	case def.Kind != ast.Scalar:
		return false
	case def.Name == "Int", def.Name == "Float":
		return number
	case def.Name == "ID":
		return text || number
	case def.Name == "Boolean":
		return truth
	}
	return true
}

// excused refuses a non-null field without a value, unless the upstream says
// that it failed: an error at the position at hand, above it or below it.
func (w *walker) excused(key, what string) error {
	for !w.upstream.known {
		if err := w.lookForErrors(); err != nil {
			return err
		}
	}
	for i := range w.upstream.list {
		if w.upstream.list[i].touches(w.path) {
			return nil
		}
	}
	return &FormatError{key + " " + what + " and must not be"}
}

// touches reports whether the error's path leads to the position, or to one that
// encloses it or that it encloses. An error without a path is about everything.
func (e *upstreamError) touches(path []step) bool {
	for i := range min(len(path), len(e.path)) {
		if e.path[i].key != path[i].key || e.path[i].in != path[i].in {
			return false
		}
	}
	return true
}

// missing refuses an object that lacks a non-null field; seen is where its fields
// begin in w.seen.
func (w *walker) missing(o *object, seen int) error {
	if !w.plan.check {
		return nil
	}
	there := w.seen[seen:]
	for i := range o.fields {
		f := &o.fields[i]
		if f.cut || there[i] || !f.def.Type.NonNull {
			continue
		}
		w.path = append(w.path, step{key: f.key})
		err := w.excused(f.key, "is missing")
		w.path = w.path[:len(w.path)-1]
		if err != nil {
			return err
		}
	}
	return nil
}
