package firewall

import (
	"bytes"
	"fmt"
	"io"

	"github.com/graphward/graphward/firewall/gqlhttp"
)

// relay passes a long answer on as it comes. With a scan it lets everything
// through up to the first top-level `errors` or `extensions` member and holds
// what follows, within upstream.max_response, to rewrite it at the end.
type relay struct {
	w      io.Writer
	guard  *guard
	scan   *topLevel     // nil: nothing is looked for
	priced *bytes.Buffer // nil: the answer is not priced
	held   []byte        // from the member on, after "{"; nil before it
	carry  []byte        // a member name that a chunk cut in two
	total  int64
}

// clientError is a failed write to the client.
type clientError struct{ cause error }

func (e *clientError) Error() string { return "writing to the client: " + e.cause.Error() }

func (e *clientError) Unwrap() error { return e.cause }

func (r *relay) write(chunk []byte) error {
	if r.total += int64(len(chunk)); r.total > r.guard.max {
		return errTooLarge
	}
	if r.priced != nil && int64(r.priced.Len()) <= r.guard.pricedMax {
		r.priced.Write(chunk)
	}
	switch {
	case r.scan == nil:
	case r.held != nil:
		r.held = append(r.held, chunk...)
		return nil
	default:
		if len(r.carry) > 0 {
			chunk = append(r.carry, chunk...)
			r.carry = nil
		}
		safe, found := r.scan.find(chunk)
		if found {
			r.held = append(append(make([]byte, 0, 2*(len(chunk)-safe)+1), '{'), chunk[safe:]...)
		} else if safe < len(chunk) {
			r.carry = append([]byte(nil), chunk[safe:]...)
		}
		chunk = chunk[:safe]
	}
	if len(chunk) == 0 {
		return nil
	}
	if _, err := r.w.Write(chunk); err != nil {
		return &clientError{err}
	}
	return nil
}

// end writes what was held, rewritten.
func (r *relay) end() error {
	rest := r.carry
	if r.held != nil {
		out, _, err := gqlhttp.RewriteErrors(r.held, &r.guard.errors)
		if err != nil {
			return &upstreamError{cause: fmt.Errorf("the answer is not a GraphQL response: %w", err), sent: true}
		}
		rest = out[1:]
	}
	if _, err := r.w.Write(rest); err != nil {
		return &clientError{err}
	}
	return nil
}

// topLevel finds the first member of a JSON object that is named errors or
// extensions (or has an escape in its name), in chunks. It checks no grammar:
// what it lets through is only ever passed on as it came.
type topLevel struct {
	depth   int
	text    bool // inside a string that is no top-level name
	escaped bool // the next byte of that string is escaped
	name    bool // a string at depth 1 would be a member's name
}

// find returns how many bytes of p may be passed on. found: the member's name
// begins there. Else the rest, if any, is a name that p cuts: it is to be given
// again with what follows.
func (t *topLevel) find(p []byte) (safe int, found bool) {
	for i := 0; i < len(p); i++ {
		if t.text {
			if i = t.skip(p, i); i == len(p) {
				break
			}
			t.text = false
			continue
		}
		switch p[i] {
		case '{':
			t.depth++
			t.name = t.depth == 1
		case '[':
			t.depth++
		case '}', ']':
			t.depth--
		case ',':
			t.name = t.depth == 1
		case '"':
			if t.depth != 1 || !t.name {
				t.text = true
				continue
			}
			end := bytes.IndexByte(p[i+1:], '"')
			if end < 0 && len(p)-i <= longestName {
				return i, false
			}
			if end < 0 {
				t.text, t.name = true, false
				continue
			}
			name := p[i+1 : i+1+end]
			if string(name) == "errors" || string(name) == "extensions" || bytes.IndexByte(name, '\\') >= 0 {
				return i, true
			}
			t.name = false
			i += end + 1
		}
	}
	return len(p), false
}

// longestName is past any spelling of the names that are looked for, escapes
// included.
const longestName = 6*len("extensions") + 2

// skip returns the index of the quote that ends the string, or len(p).
func (t *topLevel) skip(p []byte, i int) int {
	if t.escaped {
		t.escaped = false
		i++
	}
	for i < len(p) {
		k := bytes.IndexByte(p[i:], '"')
		end := i + k
		if k < 0 {
			end = len(p)
		}
		slashes := 0
		for j := end - 1; j >= i && p[j] == '\\'; j-- {
			slashes++
		}
		if k < 0 {
			t.escaped = slashes%2 == 1
			return len(p)
		}
		if slashes%2 == 0 {
			return end
		}
		i = end + 1
	}
	return len(p)
}
