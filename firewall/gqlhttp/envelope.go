package gqlhttp

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"
)

// decodeBody decodes m.body: one call or an array of them.
func (m *Message) decodeBody(o *Options) *Error {
	if m.Bytes == 0 {
		return refuse(CodeBadRequest, "the body is empty")
	}
	if bytes.HasPrefix(m.body, []byte("\xef\xbb\xbf")) {
		return refuse(CodeBadRequest, "the body begins with a byte order mark")
	}
	if m.usual(o) {
		return nil
	}
	return m.decodeAny(o)
}

// decodeAny decodes a body of whatever form.
func (m *Message) decodeAny(o *Options) *Error {
	if nested(m.body, o.MaxNesting) {
		return refuse(CodeBadRequest, "the body is nested too deeply")
	}
	m.open(m.body)
	switch m.decoder.PeekKind() {
	case '{':
		m.Calls = m.one[:1]
		if e := m.call(&m.Calls[0], o); e != nil {
			return e
		}
	case '[':
		m.Batch = true
		if e := m.batch(o); e != nil {
			return e
		}
	default:
		if _, err := m.decoder.ReadToken(); err != nil {
			return syntax(err)
		}
		return refuse(CodeBadRequest, "the body must be a JSON object or an array of them")
	}
	if _, err := m.decoder.ReadToken(); err != io.EOF {
		return refuse(CodeBadRequest, "the body goes on after its JSON value")
	}
	return nil
}

// open points the decoder at JSON text. The decoder's defaults are RFC 7493:
// duplicate names, invalid UTF-8 and lone surrogates are errors.
func (m *Message) open(text []byte) {
	m.source = *bytes.NewBuffer(text)
	m.decoder.Reset(&m.source)
}

// nested reports whether brackets outside strings nest deeper than max. On text
// that is not JSON the answer does not matter: the decoder refuses it.
func nested(text []byte, max int) bool {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{', '[':
			if depth++; depth > max {
				return true
			}
		case '}', ']':
			depth--
		case '"':
			i = closing(text, i)
		}
	}
	return false
}

// closing returns where the string ends that begins at text[open]: at its
// quote, or at the end of text. A quote behind an odd number of backslashes is
// the string's own.
func closing(text []byte, open int) int {
	for i := open + 1; ; i++ {
		next := bytes.IndexByte(text[i:], '"')
		if next < 0 {
			return len(text)
		}
		i += next
		escape := i
		for text[escape-1] == '\\' { // stops at the opening quote
			escape--
		}
		if (i-escape)%2 == 0 {
			return i
		}
	}
}

func (m *Message) batch(o *Options) *Error {
	if _, err := m.decoder.ReadToken(); err != nil {
		return syntax(err)
	}
	m.Calls = m.one[:0]
	for {
		switch m.decoder.PeekKind() {
		case ']':
			if _, err := m.decoder.ReadToken(); err != nil {
				return syntax(err)
			}
			if len(m.Calls) == 0 {
				return refuse(CodeBadRequest, "the batch is empty")
			}
			return nil
		case '{':
		case jsontext.KindInvalid:
			_, err := m.decoder.ReadToken()
			return syntax(err)
		default:
			return refuse(CodeBadRequest, "each element of a batch must be a JSON object")
		}
		if len(m.Calls) == o.MaxBatch {
			if o.MaxBatch == 1 {
				return refuse(CodeBatchLimit, "batches are not supported: send one call a request")
			}
			return refuse(CodeBatchLimit, "the batch has too many calls")
		}
		m.Calls = append(m.Calls, Call{})
		if e := m.call(&m.Calls[len(m.Calls)-1], o); e != nil {
			return e
		}
	}
}

// call decodes one object of the body.
func (m *Message) call(c *Call, o *Options) *Error {
	if _, err := m.decoder.ReadToken(); err != nil {
		return syntax(err)
	}
	var ids [len(envelopeNames)]string
	for m.decoder.PeekKind() != '}' {
		name, e := m.name()
		if e != nil {
			return e
		}
		switch name {
		case "query":
			c.Query, e = m.text("query")
		case "operationName":
			c.OperationName, e = m.text("operationName")
		case "documentId":
			ids[IDDocumentID], e = m.text(name)
		case "id", "doc_id":
			ids[formOf(name)], e = m.looseID()
		case "variables":
			c.Variables, e = m.object("variables")
		case "extensions":
			e = m.extensions(c, &ids[IDHash], o)
		default:
			if misspelt(name) {
				return refuse(CodeBadRequest, "a member differs from a known one in case only")
			}
			if err := m.decoder.SkipValue(); err != nil {
				return syntax(err)
			}
		}
		if e != nil {
			return e
		}
	}
	if _, err := m.decoder.ReadToken(); err != nil {
		return syntax(err)
	}
	return c.identify(ids[IDDocumentID : IDHash+1])
}

func formOf(name string) IDForm {
	if name == "id" {
		return IDRelay
	}
	return IDDoc
}

// notText stands for an id or doc_id that is no string; [validID] knows none like it.
const notText = "\x00"

// looseID reads id or doc_id, which no specification names: any value will do
// beside a query, where [Call.identify] drops it.
func (m *Message) looseID() (string, *Error) {
	switch kind := m.decoder.PeekKind(); kind {
	case 'n', '"', jsontext.KindInvalid:
		return m.text("id")
	}
	if err := m.decoder.SkipValue(); err != nil {
		return "", syntax(err)
	}
	return notText, nil
}

// identify sets the document id from ids, which is in the order of IDForm, and
// refuses a call that names no document or more than one. Beside a query, id
// and doc_id are unknown members as any other: dropped.
func (c *Call) identify(ids []string) *Error {
	if c.Query != "" {
		ids[IDRelay-IDDocumentID], ids[IDDoc-IDDocumentID] = "", ""
	}
	for i, id := range ids {
		if id == "" {
			continue
		}
		if c.IDForm != IDNone {
			return refuse(CodeBadRequest, "the document is named by "+c.IDForm.String()+" and by "+(IDDocumentID+IDForm(i)).String())
		}
		c.DocumentID, c.IDForm = id, IDDocumentID+IDForm(i)
		if !validID(id) {
			return refuse(CodeBadRequest, c.IDForm.String()+" is not a document id")
		}
	}
	if c.Query == "" && c.IDForm == IDNone {
		return refuse(CodeBadRequest, "there is neither a query nor a document id")
	}
	return nil
}

// name reads a member name. The string is valid until the next read.
func (m *Message) name() (string, *Error) {
	raw, err := m.decoder.ReadValue()
	if err != nil {
		return "", syntax(err)
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		raw = raw[1 : len(raw)-1]
		return unsafe.String(unsafe.SliceData(raw), len(raw)), nil
	}
	return unquote(raw)
}

// unquote returns a copy of a checked JSON string's value.
func unquote(raw []byte) (string, *Error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), nil
	}
	text, err := jsontext.AppendUnquote(make([]byte, 0, len(raw)), raw)
	if err != nil {
		return "", syntax(err)
	}
	return unsafe.String(unsafe.SliceData(text), len(text)), nil
}

// text reads a string; null is "".
func (m *Message) text(name string) (string, *Error) {
	if kind := m.decoder.PeekKind(); kind != 'n' && kind != '"' && kind != jsontext.KindInvalid {
		return "", refuse(CodeBadRequest, name+" must be a string")
	}
	raw, err := m.decoder.ReadValue()
	if err != nil {
		return "", syntax(err)
	}
	if raw.Kind() == 'n' {
		return "", nil
	}
	return unquote(raw)
}

// object reads a JSON object; null is nil.
func (m *Message) object(name string) ([]byte, *Error) {
	if kind := m.decoder.PeekKind(); kind != 'n' && kind != '{' && kind != jsontext.KindInvalid {
		return nil, refuse(CodeBadRequest, name+" must be an object")
	}
	raw, err := m.decoder.ReadValue()
	if err != nil {
		return nil, syntax(err)
	}
	if raw.Kind() == 'n' {
		return nil, nil
	}
	return raw, nil
}

// begin reads the opening brace of an object; a null is read whole and not present.
func (m *Message) begin(name string) (present bool, _ *Error) {
	kind := m.decoder.PeekKind()
	if kind != 'n' && kind != '{' && kind != jsontext.KindInvalid {
		return false, refuse(CodeBadRequest, name+" must be an object")
	}
	if _, err := m.decoder.ReadToken(); err != nil {
		return false, syntax(err)
	}
	return kind == '{', nil
}

// extensions reads the extensions member: the allow-listed ones are kept, the
// persisted query's hash goes to hash.
func (m *Message) extensions(c *Call, hash *string, o *Options) *Error {
	if present, e := m.begin("extensions"); !present {
		return e
	}
	start := len(m.scratch)
	for m.decoder.PeekKind() != '}' {
		name, e := m.name()
		if e != nil {
			return e
		}
		switch {
		case name == "persistedQuery":
			if *hash, e = m.persistedQuery(); e != nil {
				return e
			}
			continue
		case strings.EqualFold(name, "persistedQuery"):
			return refuse(CodeBadRequest, "an extension differs from persistedQuery in case only")
		}
		keep := slices.Index(o.Extensions, name)
		value, err := m.decoder.ReadValue()
		if err != nil {
			return syntax(err)
		}
		if keep < 0 {
			continue
		}
		m.scratch = append(m.scratch, ',')
		m.scratch, _ = jsontext.AppendQuote(m.scratch, o.Extensions[keep])
		m.scratch = append(append(m.scratch, ':'), value...)
	}
	if _, err := m.decoder.ReadToken(); err != nil {
		return syntax(err)
	}
	if len(m.scratch) > start {
		m.scratch[start] = '{'
		m.scratch = append(m.scratch, '}')
		c.Extensions = m.scratch[start:len(m.scratch):len(m.scratch)]
	}
	return nil
}

// persistedQuery reads {"version":1,"sha256Hash":"…"}; null is "".
func (m *Message) persistedQuery() (hash string, _ *Error) {
	if present, e := m.begin("extensions.persistedQuery"); !present {
		return "", e
	}
	version := false
	for m.decoder.PeekKind() != '}' {
		name, e := m.name()
		if e != nil {
			return "", e
		}
		switch name {
		case "version":
			v, err := m.decoder.ReadValue()
			if err != nil {
				return "", syntax(err)
			}
			version = string(v) == "1"
		case "sha256Hash":
			if hash, e = m.text("extensions.persistedQuery.sha256Hash"); e != nil {
				return "", e
			}
		default:
			if err := m.decoder.SkipValue(); err != nil {
				return "", syntax(err)
			}
		}
	}
	if _, err := m.decoder.ReadToken(); err != nil {
		return "", syntax(err)
	}
	if !version {
		return "", refuse(CodeBadRequest, "extensions.persistedQuery.version must be 1")
	}
	if !validSHA256(hash) {
		return "", refuse(CodeBadRequest, "extensions.persistedQuery.sha256Hash must be 64 lower-case hexadecimal digits")
	}
	return hash, nil
}

// fromParameters decodes a GET; values is in the order of envelopeNames.
func (m *Message) fromParameters(c *Call, values *[len(envelopeNames)]string, o *Options) *Error {
	var ids [len(envelopeNames)]string
	c.Query, c.OperationName = values[0], values[2]
	ids[IDDocumentID], ids[IDRelay], ids[IDDoc] = values[4], values[6], values[7]
	m.body = append(append(m.body[:0], values[1]...), values[3]...)
	if nested(m.body, o.MaxNesting) {
		return refuse(CodeBadRequest, "variables or extensions are nested too deeply")
	}
	if variables := m.body[:len(values[1])]; len(variables) > 0 {
		m.open(variables)
		var e *Error
		if c.Variables, e = m.object("variables"); e != nil {
			return e
		}
		if _, err := m.decoder.ReadToken(); err != io.EOF {
			return refuse(CodeBadRequest, "variables go on after their JSON value")
		}
	}
	if extensions := m.body[len(values[1]):]; len(extensions) > 0 {
		m.open(extensions)
		if e := m.extensions(c, &ids[IDHash], o); e != nil {
			return e
		}
		if _, err := m.decoder.ReadToken(); err != io.EOF {
			return refuse(CodeBadRequest, "extensions go on after their JSON value")
		}
	}
	return c.identify(ids[IDDocumentID : IDHash+1])
}

// syntax turns a decoder's error into a refusal that says what and where but
// quotes no input.
func syntax(err error) *Error {
	e := refuse(CodeBadRequest, "the body is not valid JSON")
	e.Cause = err
	syntactic, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		e.Message = "the JSON has an object with a duplicate name"
	case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
		e.Message = "the JSON ends early"
	case ok:
		e.Message = "the body is not valid JSON at byte " + strconv.FormatInt(syntactic.ByteOffset, 10)
	}
	return e
}
