package persisted

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// apolloFormat is the format member of an Apollo persisted query manifest.
const apolloFormat = "apollo-persisted-query-manifest"

// manifest loads a JSON manifest of either format; the error is ctx's.
//
// An Apollo manifest is known by a member that cannot be an entry of a map:
// format with Apollo's own value, a version that is a number, operations that
// are an array. Anything else is a map from id to text. Duplicate names are
// looked for here and not by the decoder, which would hold a map of a million.
func (l *loader) manifest(path string, r io.Reader) error {
	if !l.open(path) {
		return nil
	}
	m := &manifest{loader: l, lines: &lines{source: r, line: 1}}
	m.decoder = jsontext.NewDecoder(m.lines, jsontext.AllowDuplicateNames(true))
	err := m.read()
	if ctxErr := l.ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	if err != nil {
		p := Problem{File: path, Message: err.Error()}
		p.Line, p.Column = m.place.line, m.place.column
		if p.Line == 0 {
			p.Line, p.Column = m.lines.at(m.decoder.InputOffset())
		}
		if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
			p.Message = "not valid JSON: " + syntactic.Err.Error()
			p.Line, p.Column = m.lines.at(syntactic.ByteOffset)
		}
		l.broken(p)
	}
	return nil
}

type manifest struct {
	*loader
	decoder *jsontext.Decoder
	lines   *lines
	apollo  bool
	format  bool
	version bool
	listed  bool // operations
	text    []byte
	values  [len(operationMembers)][]byte
	place   place // of an error of the manifest as a whole, when it has one
}

type place struct{ line, column int }

var errMixed = errors.New("the manifest mixes {id: text} entries with Apollo's format, version or operations")

// read reads the whole file. An error means that the file cannot be used.
func (m *manifest) read() error {
	if kind := m.decoder.PeekKind(); kind != '{' {
		if _, err := m.decoder.ReadToken(); err != nil {
			return err
		}
		return errors.New("the manifest must be a JSON object: an Apollo persisted query manifest or a map from id to text")
	}
	if _, err := m.decoder.ReadToken(); err != nil {
		return err
	}
	entries := 0
	for m.decoder.PeekKind() != '}' {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		name, err := m.decoder.ReadValue()
		if err != nil {
			return err
		}
		line, column := m.lines.at(m.decoder.InputOffset() - int64(len(name)))
		if m.text, err = jsontext.AppendUnquote(m.text[:0], name); err != nil {
			return err
		}
		id := string(m.text)
		apollo, err := m.apolloMember(id)
		if err != nil {
			return err
		}
		if apollo {
			continue
		}
		if m.apollo && m.decoder.PeekKind() != '"' {
			if err := m.decoder.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if entries++; m.apollo {
			m.place = place{line, column}
			return errMixed
		}
		if err := m.mapEntry(id, line, column); err != nil {
			return err
		}
	}
	if _, err := m.decoder.ReadToken(); err != nil {
		return err
	}
	if _, err := m.decoder.ReadToken(); err != io.EOF {
		return errors.New("the manifest goes on after its JSON object")
	}
	switch {
	case m.apollo && entries > 0:
		return errMixed
	case m.apollo && !m.format:
		return fmt.Errorf("the manifest's format must be %q", apolloFormat)
	case m.apollo && !m.version:
		return errors.New("the manifest's version must be 1: others are not known")
	case m.apollo && !m.listed:
		return errors.New("the manifest has no operations")
	}
	return nil
}

// apolloMember reads the value of a member that belongs to Apollo's format and
// reports whether it did.
func (m *manifest) apolloMember(name string) (bool, error) {
	kind := m.decoder.PeekKind()
	switch {
	case name == "format" && kind == '"':
		value, err := m.decoder.ReadToken()
		if err != nil {
			return false, err
		}
		if value.String() != apolloFormat {
			return false, fmt.Errorf("the format %.60q is not known", value.String())
		}
		m.apollo, m.format = true, true
	case name == "version" && kind == '0':
		value, err := m.decoder.ReadToken()
		if err != nil {
			return false, err
		}
		if value.String() != "1" {
			return false, fmt.Errorf("version %.20s of the manifest is not known, only 1", value.String())
		}
		m.apollo, m.version = true, true
	case name == "operations" && kind == '[':
		m.apollo, m.listed = true, true
		return true, m.operations()
	default:
		return false, nil
	}
	return true, nil
}

// mapEntry reads the text of one {id: text} entry.
func (m *manifest) mapEntry(id string, line, column int) error {
	r := record{id: id, client: m.from.Client, line: line, column: column}
	if m.decoder.PeekKind() != '"' {
		if err := m.decoder.SkipValue(); err != nil {
			return err
		}
		m.problem(Problem{m.set.files[m.file], line, column, id, "the text must be a string"})
		return nil
	}
	var err error
	if r.text, err = m.str(); err != nil {
		return err
	}
	m.add(&r)
	return nil
}

// str reads a string into the shared buffer.
func (m *manifest) str() ([]byte, error) {
	raw, err := m.decoder.ReadValue()
	if err != nil {
		return nil, err
	}
	m.text, err = appendText(m.text[:0], raw)
	return m.text, err
}

// letters are the escapes of one letter (RFC 8259 section 7).
var letters = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// appendText is jsontext.AppendUnquote for a valid string: documents have many
// line ends and few other escapes.
func appendText(dst []byte, raw jsontext.Value) ([]byte, error) {
	out := dst
	for rest := raw[1 : len(raw)-1]; ; {
		i := bytes.IndexByte(rest, '\\')
		if i < 0 {
			return append(out, rest...), nil
		}
		c := letters[rest[i+1]]
		if c == 0 {
			return jsontext.AppendUnquote(dst, raw)
		}
		out = append(append(out, rest[:i]...), c)
		rest = rest[i+2:]
	}
}

func (m *manifest) operations() error {
	if _, err := m.decoder.ReadToken(); err != nil {
		return err
	}
	for m.decoder.PeekKind() != ']' {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		if err := m.operation(); err != nil {
			return err
		}
	}
	_, err := m.decoder.ReadToken()
	return err
}

// operationMembers are the members of an operation that mean something here.
var operationMembers = [...]string{"id", "name", "type", "clientName", "body"}

const idMember, bodyMember = 0, 4

// operation reads {"id","name","type","body"}, the optional clientName and the
// optional limits (ours: a [Raise]); other members are ignored.
func (m *manifest) operation() error {
	kind := m.decoder.PeekKind()
	if kind != '{' {
		raw, err := m.decoder.ReadValue()
		if err != nil {
			return err
		}
		line, column := m.lines.at(m.decoder.InputOffset() - int64(len(raw)))
		m.problem(Problem{m.set.files[m.file], line, column, "", "an operation must be an object"})
		return nil
	}
	if _, err := m.decoder.ReadToken(); err != nil {
		return err
	}
	var r record
	r.line, r.column = m.lines.at(m.decoder.InputOffset() - 1)
	var values [len(operationMembers)][]byte
	var seen [len(operationMembers)]bool
	var wrong string
	for m.decoder.PeekKind() != '}' {
		name, err := m.decoder.ReadToken()
		if err != nil {
			return err
		}
		member := name.String()
		i, kind := slices.Index(operationMembers[:], member), m.decoder.PeekKind()
		if member == "limits" {
			why, err := m.limits(&r.raise)
			if err != nil {
				return err
			}
			wrong = cmp.Or(wrong, why)
			continue
		}
		if i < 0 || kind != '"' {
			if i >= 0 && (kind != 'n' || i == idMember || i == bodyMember) {
				wrong = cmp.Or(wrong, operationMembers[i]+" must be a string")
			}
			if err := m.decoder.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if seen[i] {
			wrong = cmp.Or(wrong, operationMembers[i]+" is given twice")
		}
		seen[i] = true
		raw, err := m.decoder.ReadValue()
		if err != nil {
			return err
		}
		if values[i], err = jsontext.AppendUnquote(m.values[i][:0], raw); err != nil {
			return err
		}
		m.values[i] = values[i]
	}
	if _, err := m.decoder.ReadToken(); err != nil {
		return err
	}
	r.id, r.name, r.kind, r.client = string(values[idMember]), string(values[1]), string(values[2]), string(values[3])
	r.text = values[bodyMember]
	m.take(&r, wrong, seen[bodyMember])
	return nil
}

// take adds an operation once its client is settled.
func (m *manifest) take(r *record, wrong string, hasBody bool) {
	if r.client == "" {
		r.client = m.from.Client
	}
	switch {
	case wrong != "":
	case !hasBody:
		wrong = "the body is missing"
	case m.from.Client != "" && r.client != m.from.Client:
		wrong = fmt.Sprintf("the clientName is %q and the manifest is configured for %q", r.client, m.from.Client)
	}
	if wrong != "" {
		m.problem(Problem{m.set.files[m.file], r.line, r.column, cmp.Or(r.id, r.name), wrong})
		return
	}
	m.add(r)
}

// lines passes a file through and remembers where the lines begin that the
// decoder has read ahead but not yet consumed.
type lines struct {
	source io.Reader
	read   int64
	ahead  []int64 // offsets of newlines not yet passed
	line   int     // 1-based, of the last position asked for
	start  int64   // offset at which that line begins
}

func (l *lines) Read(p []byte) (int, error) {
	n, err := l.source.Read(p)
	for chunk, at := p[:n], l.read; ; {
		i := bytes.IndexByte(chunk, '\n')
		if i < 0 {
			break
		}
		l.ahead = append(l.ahead, at+int64(i))
		chunk, at = chunk[i+1:], at+int64(i)+1
	}
	l.read += int64(n)
	return n, err
}

// at returns the position of an offset, which must not lie before an earlier one.
func (l *lines) at(offset int64) (line, column int) {
	passed := 0
	for passed < len(l.ahead) && l.ahead[passed] < offset {
		l.line++
		l.start = l.ahead[passed] + 1
		passed++
	}
	l.ahead = l.ahead[:copy(l.ahead, l.ahead[passed:])]
	return l.line, max(int(offset-l.start)+1, 1)
}

// limits reads an operation's {"depth","aliases","root_fields","directives",
// "cost"}. What is wrong in it is said: a limit that is misspelt would silently
// not be raised.
func (m *manifest) limits(r *Raise) (wrong string, err error) {
	raw, err := m.decoder.ReadValue()
	if err != nil {
		return "", err
	}
	var v struct {
		Depth      int     `json:"depth"`
		Aliases    int     `json:"aliases"`
		RootFields int     `json:"root_fields"`
		Directives int     `json:"directives"`
		Cost       float64 `json:"cost"`
	}
	if json.Unmarshal(raw, &v, json.RejectUnknownMembers(true)) != nil {
		return "limits must be an object of depth, aliases, root_fields, directives (whole numbers) and cost (a number)", nil //nolint:nilerr // the first result says it
	}
	if min(v.Depth, v.Aliases, v.RootFields, v.Directives) < 0 || v.Cost < 0 {
		return "limits must not be negative", nil
	}
	*r = Raise{v.Depth, v.Aliases, v.RootFields, v.Directives, v.Cost}
	return "", nil
}
