package answer

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// body rewrites the envelope. Members that a GraphQL response does not have, such
// as incremental, are left out: nothing guards what is in them. errors and extensions keep their place where they
// follow data; before it, they are held and written at the end, since ours are
// not known.
func (w *walker) body() error {
	for {
		first, err := w.in.peek()
		if err != nil {
			return err
		}
		if first == '{' {
			break
		}
		if !space(first) {
			return &FormatError{"it is not a JSON object"}
		}
		w.out = append(w.out, first)
		w.in.pos++
	}
	w.in.pos++
	w.depth = 1
	w.out = append(w.out, '{')
	e := envelope{w: w}
	for first := true; ; first = false {
		end, err := w.separator('}', first)
		if err != nil {
			return err
		}
		if end {
			break
		}
		if err := e.member(); err != nil {
			return err
		}
	}
	closing := bytes.Clone(w.sep)
	if err := e.end(); err != nil {
		return err
	}
	w.in.pos++
	w.out = append(append(w.out, closing...), '}')
	return w.tail()
}

// tail passes space behind the body; anything else is an error.
func (w *walker) tail() error {
	for {
		c, err := w.in.peek()
		if err == errEarly {
			return nil
		}
		if err != nil {
			return err
		}
		if !space(c) {
			return &FormatError{"something follows it"}
		}
		w.out = append(w.out, c)
		w.in.pos++
	}
}

// envelope is the outermost object.
type envelope struct {
	w                        *walker
	emitted                  bool
	data, errors, extensions bool // seen
	null                     bool // data is null
	heldErrors, heldExtra    []byte
	wrote                    bool // errors
}

func (e *envelope) member() error {
	w := e.w
	raw, err := w.in.string()
	if err != nil {
		return err
	}
	key, err := unquote(raw)
	if err != nil {
		return err
	}
	switch string(key) {
	case "data":
		if e.data {
			return &FormatError{"it has data twice"}
		}
		e.data = true
		return e.readData()
	case "errors":
		if e.errors {
			return &FormatError{"it has errors twice"}
		}
		e.errors = true
		return e.readErrors()
	case "extensions":
		if e.extensions {
			return &FormatError{"it has extensions twice"}
		}
		e.extensions = true
		return e.readExtensions()
	}
	if err := w.colon(); err != nil {
		return err
	}
	return w.raw(false)
}

// begin writes what stands before a member that passes, and its name.
func (e *envelope) begin(raw []byte) {
	e.w.separate(e.emitted)
	e.emitted = true
	e.w.out = append(e.w.out, raw...)
}

func (e *envelope) readData() error {
	w := e.w
	e.begin([]byte(`"data"`))
	if err := w.colon(); err != nil {
		return err
	}
	w.out = append(w.out, w.between...)
	c, err := w.in.peek()
	if err != nil {
		return err
	}
	if c != '{' {
		if c != 'n' {
			return &FormatError{"data is no object"}
		}
		e.null = true
		return w.raw(true)
	}
	m := w.mark()
	held := w.plan.root.fails
	if held {
		w.hold++
	}
	failed, err := w.object(w.shape.root)
	if held {
		w.hold--
	}
	if err != nil || !failed {
		return err
	}
	if err := w.back(m); err != nil {
		return err
	}
	e.null = true
	return w.null()
}

func (e *envelope) readErrors() error {
	w := e.w
	sep := bytes.Clone(w.sep)
	if err := w.colon(); err != nil {
		return err
	}
	v, err := w.in.value()
	if err != nil {
		return err
	}
	if err := w.upstream.read(v); err != nil {
		return err
	}
	v = bytes.Clone(v)
	if !e.data {
		e.heldErrors = v
		return nil
	}
	w.sep = append(w.sep[:0], sep...)
	return e.writeErrors(v)
}

func (e *envelope) writeErrors(raw []byte) error {
	w := e.w
	e.wrote = true
	v, err := w.errors(raw, e.null)
	if err != nil || v == nil {
		return err
	}
	e.begin([]byte(`"errors"`))
	w.out = append(w.out, w.between...)
	return w.write(v)
}

func (e *envelope) readExtensions() error {
	w := e.w
	sep := bytes.Clone(w.sep)
	if err := w.colon(); err != nil {
		return err
	}
	v, err := w.in.value()
	if err != nil {
		return err
	}
	if w.opts.Extensions != nil {
		e.heldExtra = bytes.Clone(v)
		return nil
	}
	if v, err = w.extensions(v); err != nil || v == nil {
		return err
	}
	w.sep = append(w.sep[:0], sep...)
	e.begin([]byte(`"extensions"`))
	w.out = append(w.out, w.between...)
	return w.write(v)
}

// end writes what was held and what is ours alone.
func (e *envelope) end() error {
	w := e.w
	w.sep, w.between = w.sep[:0], append(w.between[:0], ':')
	w.upstream.known = true
	if !e.wrote && (len(w.errs) > 0 || e.heldErrors != nil) {
		if err := e.writeErrors(e.heldErrors); err != nil {
			return err
		}
	}
	var added []byte
	if w.opts.Extensions != nil {
		added = w.opts.Extensions(&w.report)
	}
	v, err := w.extensions(e.heldExtra)
	if err != nil || v == nil && len(added) == 0 {
		return err
	}
	if v == nil {
		v = []byte("{}")
	}
	if len(added) > 0 && v[0] == '{' {
		v = v[:len(v)-1]
		if len(bytes.TrimSpace(v)) > 1 {
			v = append(v, ',')
		}
		v = append(append(v, added...), '}')
	}
	e.begin([]byte(`"extensions"`))
	w.out = append(w.out, ':')
	return w.write(v)
}

// extensions returns what stays of the upstream's; nil: nothing.
func (w *walker) extensions(raw []byte) ([]byte, error) {
	if raw == nil || !w.opts.Reduced {
		return w.applied("extensions", raw)
	}
	var kept []byte
	if raw[0] == '{' {
		if err := members(raw, 0, func(key []byte, start, end int) (bool, error) {
			if !slices.Contains(w.opts.Keep, string(key)) {
				return true, nil
			}
			kept = append(kept, ',')
			kept, _ = jsontext.AppendQuote(kept, string(key))
			kept = append(append(kept, ':'), raw[start:end]...)
			return true, nil
		}); err != nil {
			return nil, err
		}
	}
	if kept == nil {
		return nil, nil
	}
	kept[0] = '{'
	return w.applied("extensions", append(kept, '}'))
}
