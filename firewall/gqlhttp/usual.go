package gqlhttp

import "github.com/graphward/graphward/jsonscan"

// usual decodes a body of the form that nearly all requests have: one object
// with query, and perhaps variables and operationName, each once. It reports
// false, and leaves the message as it was, for everything else: the decoder then
// says what is wrong with it, if anything is.
func (m *Message) usual(o *Options) bool {
	r := jsonscan.New(m.body)
	if !r.Take('{') {
		return false
	}
	var c Call
	var seen [3]bool
	for more := true; more; {
		name, ok := r.Name()
		if !ok {
			return false
		}
		member := -1
		switch string(name) {
		case "query":
			member = 0
			c.Query, c.Known, ok = readText(&r, o.Texts)
		case "operationName":
			member = 1
			c.OperationName, _, ok = readText(&r, nil)
		case "variables":
			member = 2
			c.Variables, ok = readObject(&r, o.MaxNesting-1)
		}
		if member < 0 || !ok || seen[member] {
			return false
		}
		seen[member] = true
		if more, ok = r.Next('}'); !ok {
			return false
		}
	}
	if r.Peek() != 0 || r.Offset() != len(m.body) || c.Query == "" {
		return false
	}
	m.Calls = m.one[:1]
	m.Calls[0] = c
	return true
}

// readText is [Message.text]. A text that texts has is not judged again: it was
// when it was first read.
func readText(r *jsonscan.Reader, texts *Texts) (string, *Text, bool) {
	if r.Peek() == 'n' {
		return "", nil, r.Word("null")
	}
	guess, ok := r.Ahead()
	if !ok {
		return "", nil, false
	}
	known, sum := texts.find(guess)
	if known != nil {
		r.Skip(guess)
		return known.text, known, true
	}
	inside, _, ok := r.String()
	if !ok || len(inside) != len(guess) {
		return "", nil, false
	}
	return texts.add(inside, sum), nil, true
}

// readObject is [Message.object] for one whose brackets nest at most depth deep.
func readObject(r *jsonscan.Reader, depth int) ([]byte, bool) {
	switch r.Peek() {
	case 'n':
		return nil, r.Word("null")
	case '{':
		return r.Value(min(depth, usualDepth))
	}
	return nil, false
}

// usualDepth bounds how deep variables are read without the decoder.
const usualDepth = 16
