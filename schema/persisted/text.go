package persisted

// outline is what a look at a document's top level shows, without parsing it.
type outline struct {
	operations int
	kind       kind   // of the first operation
	name       string // of the first operation, a piece of the text
	nameAt     int
}

// outlineOf scans top-level definitions: linear, no recursion. On text that is
// not GraphQL it says something or other; the parser refuses that text.
func outlineOf(text string) outline {
	var o outline
	depth := 0
	start := true // a definition may begin here
	for i := 0; i < len(text); {
		if depth > 0 { // most of a text: only what ends it, or hides what does, counts
			for i < len(text) && !structural[text[i]] {
				i++
			}
			if i == len(text) {
				break
			}
		}
		c := text[i]
		if end := skipLiteral(text, i); end > i {
			i = end
			continue
		}
		switch {
		case c == '{' || c == '(' || c == '[':
			if c == '{' && depth == 0 && start {
				o.add(query, "", i)
			}
			depth++
			start = false
			i++
		case c == '}' || c == ')' || c == ']':
			depth--
			start = start || c == '}' && depth == 0
			i++
		case isNameStart(c):
			end := nameEnd(text, i)
			if depth == 0 && start {
				word := text[i:end]
				start = false
				if k := kindOf(word); k != unknown {
					at := skipIgnored(text, end)
					end = at
					if at < len(text) && isNameStart(text[at]) {
						end = nameEnd(text, at)
					}
					o.add(k, text[at:end], at)
				}
			}
			i = end
		default:
			i++
		}
	}
	return o
}

// structural are the bytes that outlineOf looks at within brackets.
var structural = [256]bool{'{': true, '}': true, '(': true, ')': true, '[': true, ']': true, '"': true, '#': true}

func (o *outline) add(k kind, name string, at int) {
	o.operations++
	if o.operations == 1 {
		o.kind, o.name, o.nameAt = k, name, at
		return
	}
	o.kind, o.name, o.nameAt = unknown, "", 0
}

func isNameStart(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func nameEnd(text string, i int) int {
	for i < len(text) && (isNameStart(text[i]) || '0' <= text[i] && text[i] <= '9') {
		i++
	}
	return i
}

// skipIgnored skips white space, commas and comments.
func skipIgnored(text string, i int) int {
	for i < len(text) {
		switch c := text[i]; {
		case c == '#':
			i = skipLiteral(text, i)
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ',':
			i++
		default:
			return i
		}
	}
	return i
}

// skipLiteral returns the index after the comment or string at i, or i where
// there is neither.
func skipLiteral(text string, i int) int {
	switch text[i] {
	case '"':
		return skipString(text, i)
	case '#':
		for i < len(text) && text[i] != '\n' && text[i] != '\r' {
			i++
		}
	}
	return i
}

// skipString returns the index after the string or block string at i.
func skipString(text string, i int) int {
	if len(text) >= i+3 && text[i:i+3] == `"""` {
		for i += 3; i < len(text); i++ {
			if text[i] == '\\' && len(text) >= i+4 && text[i:i+4] == `\"""` {
				i += 3
			} else if text[i] == '"' && len(text) >= i+3 && text[i:i+3] == `"""` {
				return i + 3
			}
		}
		return i
	}
	for i++; i < len(text) && text[i] != '"' && text[i] != '\n'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return min(i+1, len(text))
}
