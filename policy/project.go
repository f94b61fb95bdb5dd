package policy

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/graphward/graphward/schema"
)

// shape is a pathSet made ready for requests: what of the input a class gets.
// Kids are sorted by name.
type shape struct {
	name string
	all  bool
	kids []shape
}

// inputShape is the shape of a whole input for a class that reads p.
func inputShape(p *pathSet) shape {
	s := newShape("", p)
	s.resolveAll(&wholeInput)
	return s
}

func newShape(name string, p *pathSet) shape {
	s := shape{name: name, all: p.all}
	for _, key := range slices.Sorted(maps.Keys(p.kids)) {
		s.kids = append(s.kids, newShape(key, p.kids[key]))
	}
	return s
}

// facts is everything that input can be projected from.
type facts struct {
	subject   *Subject
	request   *Request
	operation *schema.Operation
	op        OperationFacts
	use       *schema.FieldUse // nil: input.args is empty
	vars      *schema.Variables
	value     schema.Value // Absent: no input.value
}

// A projected input is encoded as bytes, which serve as the cache key and are
// decoded to the only input that OPA gets. So an answer is a function of its
// key by construction. The encoding is injective for a given shape: every
// value has a tag, every string and collection a length.
const (
	tagAbsent byte = iota
	tagNull
	tagFalse
	tagTrue
	tagNumber // length, JSON number
	tagString // length, bytes
	tagArray  // count, values
	tagObject // count, key and value each
	tagShape  // one value for each kid of the shape
)

func appendText(dst []byte, tag byte, s string) []byte {
	dst = append(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// appendOptional appends a scalar that is absent when empty.
func appendOptional(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, tagAbsent)
	}
	return appendText(dst, tagString, s)
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, tagTrue)
	}
	return append(dst, tagFalse)
}

func appendStrings(dst []byte, list []string) []byte {
	dst = append(dst, tagArray)
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, s := range list {
		dst = appendText(dst, tagString, s)
	}
	return dst
}

// appendInput appends the projection of f to the shape s of the whole input.
func appendInput(dst []byte, s *shape, f *facts) []byte {
	dst = append(dst, tagShape)
	for i := range s.kids {
		kid := &s.kids[i]
		switch kid.name {
		case "subject":
			dst = appendSubject(dst, kid, f.subject)
		case "request":
			dst = appendRequest(dst, kid, f.request)
		case "operation":
			dst = appendOperation(dst, kid, f)
		case "args":
			dst = appendArgs(dst, kid, f)
		case "value":
			dst = appendValue(dst, kid, f.value)
		default:
			dst = append(dst, tagAbsent)
		}
	}
	return dst
}

func leaves(name string, kids ...string) shape {
	s := shape{name: name}
	slices.Sort(kids)
	for _, k := range kids {
		s.kids = append(s.kids, shape{name: k, all: true})
	}
	return s
}

// What a rule gets that reads one of these without saying which part.
var (
	wholeClient    = leaves("client", "id", "name", "version")
	wholeSubject   = withKid(leaves("subject", "authenticated", "id", "issuer", "roles", "scopes", "claims", "method", "client"), wholeClient)
	wholeRequest   = leaves("request", "method", "path", "ip", "headers", "protocol")
	wholeOperation = leaves("operation", "kind", "name", "hash", "registered", "cost", "depth")
	wholeInput     = withKid(withKid(withKid(leaves("", "subject", "request", "operation", "args", "value"), wholeSubject), wholeRequest), wholeOperation)
)

func withKid(s, kid shape) shape {
	for i := range s.kids {
		if s.kids[i].name == kid.name {
			s.kids[i] = kid
		}
	}
	return s
}

// resolveAll replaces "everything below here" by the fixed members wherever
// they are known, so that encoding and decoding walk the same shape.
func (s *shape) resolveAll(whole *shape) {
	if s.all && len(whole.kids) > 0 {
		s.all, s.kids = false, whole.kids
	}
	for i := range s.kids {
		if j := slices.IndexFunc(whole.kids, func(w shape) bool { return w.name == s.kids[i].name }); j >= 0 {
			s.kids[i].resolveAll(&whole.kids[j])
		}
	}
}

func appendSubject(dst []byte, s *shape, sub *Subject) []byte {
	dst = append(dst, tagShape)
	for i := range s.kids {
		kid := &s.kids[i]
		switch kid.name {
		case "authenticated":
			dst = appendBool(dst, sub.Authenticated)
		case "id":
			dst = appendOptional(dst, sub.ID)
		case "issuer":
			dst = appendOptional(dst, sub.Issuer)
		case "method":
			dst = appendOptional(dst, sub.Method)
		case "roles":
			dst = appendStrings(dst, sub.Roles)
		case "scopes":
			dst = appendStrings(dst, sub.Scopes)
		case "claims":
			dst = appendMap(dst, kid, sub.Claims)
		case "client":
			dst = append(dst, tagShape)
			for j := range kid.kids {
				switch kid.kids[j].name {
				case "id":
					dst = appendOptional(dst, sub.Client.ID)
				case "name":
					dst = appendOptional(dst, sub.Client.Name)
				case "version":
					dst = appendOptional(dst, sub.Client.Version)
				default:
					dst = append(dst, tagAbsent)
				}
			}
		default:
			dst = append(dst, tagAbsent)
		}
	}
	return dst
}

func appendRequest(dst []byte, s *shape, req *Request) []byte {
	dst = append(dst, tagShape)
	for i := range s.kids {
		kid := &s.kids[i]
		switch kid.name {
		case "method":
			dst = appendOptional(dst, req.Method)
		case "path":
			dst = appendOptional(dst, req.Path)
		case "ip":
			dst = appendOptional(dst, req.IP)
		case "protocol":
			dst = appendOptional(dst, req.Protocol)
		case "headers":
			dst = appendHeaders(dst, kid, req.Headers)
		default:
			dst = append(dst, tagAbsent)
		}
	}
	return dst
}

// appendHeaders keeps empty header values: the client sent them.
func appendHeaders(dst []byte, s *shape, headers map[string]string) []byte {
	if s.all {
		dst = append(dst, tagObject)
		dst = binary.AppendUvarint(dst, uint64(len(headers)))
		for _, key := range slices.Sorted(maps.Keys(headers)) {
			dst = appendText(dst, tagString, key)
			dst = appendText(dst, tagString, headers[key])
		}
		return dst
	}
	dst = append(dst, tagShape)
	for i := range s.kids {
		if v, ok := headers[s.kids[i].name]; ok && s.kids[i].all {
			dst = appendText(dst, tagString, v)
		} else {
			dst = append(dst, tagAbsent)
		}
	}
	return dst
}

func appendOperation(dst []byte, s *shape, f *facts) []byte {
	dst = append(dst, tagShape)
	for i := range s.kids {
		switch s.kids[i].name {
		case "kind":
			dst = appendText(dst, tagString, string(f.operation.Kind))
		case "name":
			dst = appendOptional(dst, f.operation.Name)
		case "hash":
			var hash [64]byte
			dst = append(dst, tagString, 64)
			const digits = "0123456789abcdef"
			for j, b := range f.operation.Hash {
				hash[2*j], hash[2*j+1] = digits[b>>4], digits[b&15]
			}
			dst = append(dst, hash[:]...)
		case "registered":
			dst = appendBool(dst, f.op.Registered)
		case "cost":
			dst = appendFloat(dst, f.op.Cost)
		case "depth":
			dst = appendFloat(dst, float64(f.operation.Shape.Depth))
		default:
			dst = append(dst, tagAbsent)
		}
	}
	return dst
}

// appendFloat appends a number; what is not a JSON number (NaN, infinity) is
// the largest number, so that "less than" limits refuse it.
func appendFloat(dst []byte, v float64) []byte {
	if math.IsNaN(v) || v > math.MaxFloat64 {
		v = math.MaxFloat64
	}
	var buf [32]byte
	text := strconv.AppendFloat(buf[:0], v, 'g', -1, 64)
	dst = append(dst, tagNumber)
	dst = binary.AppendUvarint(dst, uint64(len(text)))
	return append(dst, text...)
}

func appendArgs(dst []byte, s *shape, f *facts) []byte {
	if s.all {
		n := 0
		if f.use != nil {
			for i := range f.use.Args {
				if f.use.Args[i].Resolve(f.vars).Kind != schema.Absent {
					n++
				}
			}
		}
		dst = append(dst, tagObject)
		dst = binary.AppendUvarint(dst, uint64(n))
		for i := 0; n > 0 && i < len(f.use.Args); i++ {
			if v := f.use.Args[i].Resolve(f.vars); v.Kind != schema.Absent {
				dst = appendText(dst, tagString, f.use.Args[i].Definition.Name)
				dst = appendWhole(dst, &v)
			}
		}
		return dst
	}
	dst = append(dst, tagShape)
	for i := range s.kids {
		dst = appendValue(dst, &s.kids[i], argument(f, s.kids[i].name))
	}
	return dst
}

func argument(f *facts, name string) schema.Value {
	if f.use != nil {
		for i := range f.use.Args {
			if f.use.Args[i].Definition.Name == name {
				return f.use.Args[i].Resolve(f.vars)
			}
		}
	}
	return schema.Value{}
}

// appendValue appends the parts of a GraphQL value that the shape names.
func appendValue(dst []byte, s *shape, v schema.Value) []byte {
	if s.all {
		return appendWhole(dst, &v)
	}
	if v.Kind != schema.Object {
		return append(dst, tagAbsent) // a path that goes on is undefined here
	}
	dst = append(dst, tagShape)
	for i := range s.kids {
		var found schema.Value
		for j := range v.Members {
			if v.Members[j].Name == s.kids[i].name {
				found = v.Members[j].Value
				break
			}
		}
		dst = appendValue(dst, &s.kids[i], found)
	}
	return dst
}

func appendWhole(dst []byte, v *schema.Value) []byte {
	switch v.Kind {
	case schema.Null:
		return append(dst, tagNull)
	case schema.Bool:
		return appendBool(dst, v.Text == "true")
	case schema.Int, schema.Float:
		return appendText(dst, tagNumber, v.Text)
	case schema.String, schema.Enum:
		return appendText(dst, tagString, v.Text)
	case schema.List:
		dst = append(dst, tagArray)
		dst = binary.AppendUvarint(dst, uint64(len(v.Items)))
		for i := range v.Items {
			if v.Items[i].Kind == schema.Absent {
				dst = append(dst, tagNull) // a list has no holes
				continue
			}
			dst = appendWhole(dst, &v.Items[i])
		}
		return dst
	case schema.Object:
		n := 0
		for i := range v.Members {
			if v.Members[i].Value.Kind != schema.Absent {
				n++
			}
		}
		dst = append(dst, tagObject)
		dst = binary.AppendUvarint(dst, uint64(n))
		for i := range v.Members {
			if v.Members[i].Value.Kind != schema.Absent {
				dst = appendText(dst, tagString, v.Members[i].Name)
				dst = appendWhole(dst, &v.Members[i].Value)
			}
		}
		return dst
	}
	return append(dst, tagAbsent)
}

// appendMap appends the parts of a JSON object that the shape names.
func appendMap(dst []byte, s *shape, m map[string]any) []byte {
	if s.all {
		return appendJSONObject(dst, m)
	}
	dst = append(dst, tagShape)
	for i := range s.kids {
		kid := &s.kids[i]
		v := m[kid.name]
		if kid.all {
			dst = appendJSON(dst, v)
		} else if inner, ok := v.(map[string]any); ok {
			dst = appendMap(dst, kid, inner)
		} else {
			dst = append(dst, tagAbsent)
		}
	}
	return dst
}

func appendJSONObject(dst []byte, m map[string]any) []byte {
	n := 0
	for _, v := range m {
		if v != nil {
			n++
		}
	}
	dst = append(dst, tagObject)
	dst = binary.AppendUvarint(dst, uint64(n))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if v := m[key]; v != nil {
			dst = appendText(dst, tagString, key)
			dst = appendJSON(dst, v)
		}
	}
	return dst
}

// appendJSON appends a value as JSON decoders make them; null is absent, also
// inside objects and lists.
func appendJSON(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, tagAbsent)
	case bool:
		return appendBool(dst, v)
	case string:
		return appendText(dst, tagString, v)
	case json.Number:
		return appendText(dst, tagNumber, string(v))
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return append(dst, tagAbsent)
		}
		return appendFloat(dst, v)
	case int:
		return appendText(dst, tagNumber, strconv.Itoa(v))
	case int64:
		return appendText(dst, tagNumber, strconv.FormatInt(v, 10))
	case []string:
		return appendStrings(dst, v)
	case map[string]any:
		return appendJSONObject(dst, v)
	case []any:
		n := 0
		for _, item := range v {
			if item != nil {
				n++
			}
		}
		dst = append(dst, tagArray)
		dst = binary.AppendUvarint(dst, uint64(n))
		for _, item := range v {
			if item != nil {
				dst = appendJSON(dst, item)
			}
		}
		return dst
	}
	return appendOther(dst, v)
}

// appendOther brings any other Go value to the types above; what is not JSON
// is absent.
func appendOther(dst []byte, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		return append(dst, tagAbsent)
	}
	var plain any
	if err := util.UnmarshalJSON(text, &plain); err != nil {
		return append(dst, tagAbsent)
	}
	return appendJSON(dst, plain)
}

// decodeInput turns a projected input back into what OPA evaluates. A nil
// term means absent.
func decodeInput(s *shape, key []byte) *ast.Term {
	d := decoder{key}
	return d.value(s)
}

type decoder struct{ rest []byte }

func (d *decoder) byte() byte {
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *decoder) count() int {
	n, w := binary.Uvarint(d.rest)
	d.rest = d.rest[w:]
	return int(n)
}

func (d *decoder) text() string {
	n := d.count()
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) value(s *shape) *ast.Term {
	switch d.byte() {
	case tagNull:
		return ast.InternedNullTerm
	case tagFalse:
		return ast.InternedTerm(false)
	case tagTrue:
		return ast.InternedTerm(true)
	case tagNumber:
		// OPA's arithmetic is slow on huge exponents; such a number is absent.
		n, err := ast.NumberChecked(d.text())
		if err != nil {
			return nil
		}
		return ast.NewTerm(n)
	case tagString:
		return ast.StringTerm(d.text())
	case tagArray:
		n := d.count()
		terms := make([]*ast.Term, 0, n)
		for range n {
			if v := d.value(nil); v != nil {
				terms = append(terms, v)
			}
		}
		return ast.ArrayTerm(terms...)
	case tagObject:
		n := d.count()
		pairs := make([][2]*ast.Term, 0, n)
		for range n {
			d.byte()
			key := d.text()
			if v := d.value(nil); v != nil {
				pairs = append(pairs, [2]*ast.Term{ast.StringTerm(key), v})
			}
		}
		return ast.ObjectTerm(pairs...)
	case tagShape:
		var pairs [][2]*ast.Term
		for i := range s.kids {
			if v := d.value(&s.kids[i]); v != nil {
				pairs = append(pairs, [2]*ast.Term{ast.StringTerm(s.kids[i].name), v})
			}
		}
		return ast.ObjectTerm(pairs...)
	}
	return nil
}
