package answer

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/graphward/graphward/firewall/gqlhttp"
)

// upstreamErrors are the upstream's own, once they have been seen.
type upstreamErrors struct {
	known bool
	list  []upstreamError
	// under has every prefix of the paths of errors about what the firewall
	// itself asked for; at the paths to the last key of its own.
	under, at map[string]bool
	// places are the paths of all errors; loose those with a step that stands
	// for any index, with every index so. everywhere: one says no place.
	places, loose map[string]bool
	everywhere    bool
	// edited: the document that upstream got is not the client's, so that what
	// the errors say of places in it is removed: it would tell of what was added.
	edited bool
	// relocated: some error had such places.
	relocated bool
}

type upstreamError struct {
	raw   []byte
	path  []step // nil: none
	begin int    // of the path's value in raw
	end   int
	own   bool // about what the firewall asked for
}

// possible reports whether there are errors, or may be.
func (u *upstreamErrors) possible() bool { return !u.known || len(u.list) > 0 }

// absent reports whether the value at w.path, under a key of ours, is there
// because of an error only: an error at the position, below it, or above it, which
// then may be about it as well. It returns errUnknown where that cannot be known yet.
func (u *upstreamErrors) absent(w *walker, v []byte) (bool, error) {
	if !u.known {
		if holdsNull(v) {
			return false, errUnknown
		}
		return false, nil
	}
	if len(u.list) == 0 {
		return false, nil
	}
	w.scratch = appendPath(w.scratch[:0], w.path)
	return u.at[string(w.scratch)] || v[0] == 'n' && (u.under[string(w.scratch)] || u.covers(w.path)), nil
}

// anyIndex is what gateways write in the place of an index where an error is about
// every element.
const anyIndex = "@"

// covers reports whether an error is about the position or about what encloses it.
func (u *upstreamErrors) covers(path []step) bool {
	if u.everywhere {
		return true
	}
	var exact, loose []byte
	for i := range path {
		if exact = appendPath(exact, path[i:i+1]); u.places[string(exact)] {
			return true
		}
		if len(u.loose) == 0 {
			continue
		}
		if loose = appendLoose(loose, path[i:i+1]); u.loose[string(loose)] {
			return true
		}
	}
	return false
}

// appendLoose is appendPath with every index as any.
func appendLoose(dst []byte, path []step) []byte {
	for i := range path {
		key := path[i].key
		if key == "" {
			key = anyIndex
		}
		dst = append(append(dst, key...), 0)
	}
	return dst
}

// place notes where an error is.
func (u *upstreamErrors) place(path []step) {
	if len(path) == 0 {
		u.everywhere = true
		return
	}
	u.places[string(appendPath(nil, path))] = true
	if slices.ContainsFunc(path, func(s step) bool { return s.key == anyIndex }) {
		if u.loose == nil {
			u.loose = map[string]bool{}
		}
		u.loose[string(appendLoose(nil, path))] = true
	}
}

// read parses the value of errors.
func (u *upstreamErrors) read(raw []byte) error {
	u.known, u.list, u.under, u.at = true, nil, map[string]bool{}, map[string]bool{}
	u.places, u.loose, u.everywhere = map[string]bool{}, nil, false
	d := jsontext.NewDecoder(bytes.NewReader(raw), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if d.PeekKind() == 'n' {
		return nil
	}
	if d.PeekKind() != '[' {
		return &FormatError{"errors is no list"}
	}
	if _, err := d.ReadToken(); err != nil {
		return errJSON
	}
	for d.PeekKind() != ']' {
		v, err := d.ReadValue()
		if err != nil {
			return errJSON
		}
		e := upstreamError{raw: slices.Clone(v)}
		if u.edited && e.raw[0] == '{' {
			if err := u.unlocated(&e); err != nil {
				return err
			}
		}
		if err := e.locate(); err != nil {
			return err
		}
		u.place(e.path)
		last := 0
		for i := range e.path {
			if own(e.path[i].key) {
				e.own, last = true, i+1
			}
		}
		if e.own {
			for i := range e.path {
				u.under[string(appendPath(nil, e.path[:i+1]))] = true
			}
			u.at[string(appendPath(nil, e.path[:last]))] = true
		}
		u.list = append(u.list, e)
	}
	return nil
}

// unlocated removes the error's locations.
func (u *upstreamErrors) unlocated(e *upstreamError) error {
	d := jsontext.NewDecoder(bytes.NewReader(e.raw), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if _, err := d.ReadToken(); err != nil {
		return errJSON
	}
	out, found := []byte{'{'}, false
	for d.PeekKind() != '}' {
		name, err := d.ReadValue()
		if err != nil {
			return errJSON
		}
		key, err := unquote(name)
		if err != nil {
			return err
		}
		if string(key) == "locations" {
			found = true
			if err := d.SkipValue(); err != nil {
				return errJSON
			}
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(out, name...), ':')
		value, err := d.ReadValue()
		if err != nil {
			return errJSON
		}
		out = append(out, value...)
	}
	if found {
		e.raw, u.relocated = append(out, '}'), true
	}
	return nil
}

// locate finds the error's path. Of several the last counts, as for readers of
// JSON.
func (e *upstreamError) locate() error {
	if e.raw[0] != '{' {
		return nil
	}
	return members(e.raw, 0, func(key []byte, start, end int) (bool, error) {
		if string(key) != "path" || e.raw[start] != '[' {
			return true, nil
		}
		e.path, e.begin, e.end = []step{}, start, end
		d := jsontext.NewDecoder(bytes.NewReader(e.raw[start:end]), jsontext.AllowInvalidUTF8(true))
		if _, err := d.ReadToken(); err != nil {
			return false, errJSON
		}
		for d.PeekKind() != ']' {
			t, err := d.ReadToken()
			if err != nil {
				return false, errJSON
			}
			switch t.Kind() {
			case '"':
				one := step{key: t.String()}
				if n, err := strconv.Atoi(one.key); err == nil && n >= 0 { // no name: some servers write indices so
					one = step{in: n, out: n}
				}
				e.path = append(e.path, one)
			case '0':
				n, err := strconv.Atoi(t.String())
				if err != nil {
					return false, &FormatError{"an error's path has an index that is none"}
				}
				e.path = append(e.path, step{in: n, out: n})
			default:
				return false, &FormatError{"an error's path has a step that is no key or index"}
			}
		}
		return true, nil
	})
}

// appendPath appends a key for a path as upstream counts.
func appendPath(dst []byte, path []step) []byte {
	for i := range path {
		if path[i].key != "" {
			dst = append(append(dst, path[i].key...), 0)
			continue
		}
		dst = append(strconv.AppendInt(append(dst, '#'), int64(path[i].in), 10), 0)
	}
	return dst
}

// region notes that the position at hand became null by a denial.
func (w *walker) region() {
	if !w.upstream.possible() {
		return
	}
	at := len(w.regions)
	w.regions = append(w.regions, 0, 0, 0, 0)
	w.regions = appendPath(w.regions, w.path)
	binary.LittleEndian.PutUint32(w.regions[at:], uint32(len(w.regions)-at-4))
}

var passSeed = maphash.MakeSeed()

// pass notes that the position at hand is there and may be seen.
func (w *walker) pass() {
	if !w.upstream.possible() {
		return
	}
	if w.passed == nil {
		w.passed = map[uint64]struct{}{}
	}
	w.scratch = appendPath(w.scratch[:0], w.path)
	w.passed[maphash.Bytes(passSeed, w.scratch)] = struct{}{}
}

// drop notes that an element of the list at hand is left out; its index is the
// last step.
func (w *walker) drop(index int) {
	w.report.Dropped++
	if !w.upstream.possible() {
		return
	}
	if w.dropped == nil {
		w.dropped = map[string][]int{}
	}
	key := string(appendPath(nil, w.path[:len(w.path)-1]))
	w.dropped[key] = append(w.dropped[key], index)
}

// appendPathJSON appends a path as the client counts.
func appendPathJSON(dst []byte, path []step) []byte {
	dst = append(dst, '[')
	for i := range path {
		if i > 0 {
			dst = append(dst, ',')
		}
		if path[i].key != "" {
			dst = appendKey(dst, path[i].key)
			continue
		}
		dst = strconv.AppendInt(dst, int64(path[i].out), 10)
	}
	return append(dst, ']')
}

// appendKey appends a key as JSON. In a path of the upstream's it may be any text.
func appendKey(dst []byte, key string) []byte {
	for i := range len(key) {
		if c := key[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			dst, _ = jsontext.AppendQuote(dst, key)
			return dst
		}
	}
	return append(append(append(dst, '"'), key...), '"')
}

// lookForErrors reads the rest of the answer into memory to find the upstream's
// errors behind the data. It happens where a field that a rule reads is null.
func (w *walker) lookForErrors() error {
	s := skipper{depth: w.depth - 1}
	at := 0
	for {
		n, end := s.advance(w.in.data[w.in.pos+at:])
		at += n
		if end {
			break
		}
		if err := w.in.more(); err != nil {
			return err
		}
	}
	for {
		raw, err := errorsAfter(w.in.data, w.in.pos+at)
		if err == nil {
			if raw == nil {
				raw = nullText
			}
			return w.upstream.read(raw)
		}
		if err != errShort {
			return err
		}
		if err := w.in.more(); err != nil {
			return err
		}
	}
}

// errorsAfter finds the member errors among those that follow b[i] in the
// envelope; nil: there is none.
func errorsAfter(b []byte, i int) (raw []byte, err error) {
	for {
		if i, err = nextItem(b, i, '}'); err != nil || b[i] == '}' {
			return raw, err
		}
		end, err := skipString(b, i)
		if err != nil {
			return nil, err
		}
		key, err := unquote(b[i:end])
		if err != nil {
			return nil, err
		}
		i = skipSpace(b, end)
		if i >= len(b) {
			return nil, errShort
		}
		start := skipSpace(b, i+1)
		if i, err = skipValue(b, start); err != nil {
			return nil, err
		}
		if string(key) == "errors" {
			raw = b[start:i]
		}
	}
}

// errors returns the value of errors in the client's answer: what stays of the
// upstream's, then ours; nil: there are none.
func (w *walker) errors(raw []byte, dataNull bool) ([]byte, error) {
	removed := w.removals()
	var kept []byte
	changed := len(w.errs) > 0 || w.upstream.relocated
	count := 0
	said := map[string]bool{} // of errors that were made of several
	for i := range w.upstream.list {
		e := &w.upstream.list[i]
		text, ok, err := w.keep(e, removed)
		if err != nil {
			return nil, err
		}
		changed = changed || !ok || len(text) != len(e.raw) || !bytes.Equal(text, e.raw)
		if !ok || said[string(text)] {
			continue
		}
		if bytes.HasPrefix(text, []byte(hiddenError)) {
			said[string(text)] = true
		}
		if count++; count > 1 {
			kept = append(kept, ',')
		}
		kept = append(kept, text...)
	}
	if !changed {
		return w.maskErrors(raw)
	}
	if count > 0 {
		masked, err := w.maskErrors(append(append([]byte{'['}, kept...), ']'))
		if err != nil {
			return nil, err
		}
		kept = append(kept[:0], masked[1:len(masked)-1]...)
	}
	const perError = 100
	out := append(make([]byte, 0, len(kept)+len(w.texts)+perError*len(w.errs)+2), '[')
	out = append(out, kept...)
	start := 0
	for i := range w.errs {
		if len(out) > 1 {
			out = append(out, ',')
		}
		e := &w.errs[i]
		out = w.appendError(out, e.guard, w.texts[start:e.end])
		start = e.end
	}
	if len(out) == 1 {
		if !dataNull {
			return nil, nil
		}
		// The data is null because of a field that the firewall asked for.
		out = append(out, `{"message":"`+gqlhttp.MaskedMessage+`","extensions":{"code":"`+gqlhttp.MaskedCode+`"}}`...)
	}
	return append(out, ']'), nil
}

func (w *walker) appendError(dst []byte, guard int32, path []byte) []byte {
	g := &w.opts.Guards[guard]
	dst = append(dst, `{"message":`...)
	dst, _ = jsontext.AppendQuote(dst, g.Message)
	dst = append(append(dst, `,"path":`...), path...)
	dst = append(dst, `,"extensions":{"code":`...)
	dst, _ = jsontext.AppendQuote(dst, g.Code)
	return append(dst, "}}"...)
}

// removals is regions as a set.
func (w *walker) removals() map[string]bool {
	if len(w.upstream.list) == 0 {
		return nil
	}
	set := map[string]bool{}
	for b := w.regions; len(b) > 0; {
		n := binary.LittleEndian.Uint32(b)
		set[string(b[4:4+n])] = true
		b = b[4+n:]
	}
	return set
}

// hiddenError begins an error that takes the place of one that may not be read.
const hiddenError = `{"message":"` + gqlhttp.MaskedMessage + `","extensions":{"code":"` + gqlhttp.MaskedCode + `"},"path":`

// keep returns an error of the upstream's as the client may see it, or false:
// it is about what the firewall asked for, or about a region that is gone. What
// it says of a guarded position that the answer does not hold, because what
// encloses it is null, is not told: no rule has decided who may read that.
func (w *walker) keep(e *upstreamError, removed map[string]bool) (text []byte, ok bool, err error) {
	if e.own {
		return nil, false, nil
	}
	if e.path == nil {
		return e.raw, true, nil
	}
	if removed[""] {
		return nil, false, nil
	}
	moved, hidden := false, 0 // hidden: how much of the path may be told
	path := slices.Clone(e.path)
	var key []byte
	places := []*place{w.shape.root}
	for i := range path {
		if path[i].key == "" {
			for _, gone := range w.dropped[string(key)] {
				switch {
				case gone == e.path[i].in:
					return nil, false, nil
				case gone < e.path[i].in:
					path[i].out--
					moved = true
				}
			}
		}
		key = appendPath(key, e.path[i:i+1])
		if removed[string(key)] {
			return nil, false, nil
		}
		if path[i].key == "" || hidden > 0 {
			continue
		}
		var guarded bool
		if guarded, places, err = w.shape.guarded(places, path[i].key); err != nil {
			return nil, false, err
		}
		if _, passed := w.passed[maphash.Bytes(passSeed, key)]; guarded && !passed {
			hidden = i + 1
		}
	}
	switch {
	case hidden > 0:
		return append(appendPathJSON([]byte(hiddenError), path[:hidden]), '}'), true, nil
	case !moved:
		return e.raw, true, nil
	}
	out := appendPathJSON(slices.Clone(e.raw[:e.begin]), path)
	return append(out, e.raw[e.end:]...), true, nil
}

// maskErrors applies responses.errors to the value of errors.
func (w *walker) maskErrors(raw []byte) ([]byte, error) {
	return w.applied("errors", raw)
}

// applied applies Options.Errors to the value of one member of the envelope.
func (w *walker) applied(name string, raw []byte) ([]byte, error) {
	if raw == nil {
		return nil, nil
	}
	begin := `{"` + name + `":`
	body := append(append([]byte(begin), raw...), '}')
	out, _, err := gqlhttp.RewriteErrors(body, &w.opts.Errors)
	if err != nil {
		return nil, err
	}
	return out[len(begin) : len(out)-1], nil
}
