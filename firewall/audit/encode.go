package audit

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/graphward/graphward/ascii"
)

const (
	// MaxText is how many bytes of a text are written, and MaxMessage of a
	// message. What is cut ends in "…".
	MaxText    = 256
	MaxMessage = 1024

	// MaxRules is how many rules of one record are written.
	MaxRules = 100
)

const timeFormat = "2006-01-02T15:04:05.000000Z"

// appendTime is t.AppendFormat(dst, timeFormat) of a time in UTC.
func appendTime(dst object, t time.Time) object {
	year, month, day := t.Date()
	if year < 1000 || year > 9999 {
		return t.AppendFormat(dst, timeFormat)
	}
	hour, minute, second := t.Clock()
	dst = append(digits(digits(dst, year/100), year%100), '-')
	dst = append(digits(append(digits(dst, int(month)), '-'), day), 'T')
	dst = append(digits(append(digits(append(digits(dst, hour), ':'), minute), ':'), second), '.')
	micros := t.Nanosecond() / 1000
	return append(digits(digits(digits(dst, micros/10000), micros/100%100), micros%100), 'Z')
}

// digits adds two decimal digits of a number below 100.
func digits(dst object, n int) object { return append(dst, byte('0'+n/10), byte('0'+n%10)) }

// object is a JSON object on its way: each method adds a member. A key is one
// of this package's, has nothing to escape, and is written with its quotes and
// colon. The methods do not reflect, do not fail and allocate for odd texts
// alone.
type object []byte

func (o object) key(key string) object { return append(o.comma(), key...) }

func (o object) comma() object {
	if o[len(o)-1] != '{' {
		o = append(o, ',')
	}
	return o
}

// text adds value, cut to MaxText, unless it is empty.
func (o object) text(key, value string) object {
	if value == "" {
		return o
	}
	return appendText(o.key(key), value, MaxText)
}

// texts adds a list of texts.
func (o object) texts(key string, values []string) object {
	o = append(o.key(key), '[')
	for i, value := range values {
		if i > 0 {
			o = append(o, ',')
		}
		o = appendText(o, value, MaxText)
	}
	return append(o, ']')
}

func (o object) integer(key string, value int64) object {
	return strconv.AppendInt(o.key(key), value, 10)
}

// number adds value unless it is 0.
func (o object) number(key string, value int64) object {
	if value == 0 {
		return o
	}
	return o.integer(key, value)
}

// float adds value as ECMAScript writes it, and what JSON has no number for as
// a string.
func (o object) float(key string, value float64) object {
	o = o.key(key)
	if n := int64(value); n != 0 && n > -1<<53 && n < 1<<53 && float64(n) == value {
		return strconv.AppendInt(o, n, 10)
	}
	switch {
	case math.IsNaN(value):
		return append(o, `"NaN"`...)
	case math.IsInf(value, 1):
		return append(o, `"+Inf"`...)
	case math.IsInf(value, -1):
		return append(o, `"-Inf"`...)
	}
	format := byte('f')
	if abs := math.Abs(value); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(o, value, format, -1, 64)
}

func (o object) boolean(key string, value bool) object {
	return strconv.AppendBool(o.key(key), value)
}

// flag adds value unless it is false.
func (o object) flag(key string, value bool) object {
	if !value {
		return o
	}
	return o.boolean(key, true)
}

// begin opens an object that is a member, and end closes it.
func (o object) begin(key string) object { return append(o.key(key), '{') }

func (o object) end() object { return append(o, '}') }

// append adds r to dst as one JSON object.
func (e *encoder) append(dst []byte, r *Record) []byte {
	at := r.Time
	if at.IsZero() {
		at = time.Now()
	}
	o := append(object(dst), '{').key(`"time":`)
	o = append(appendTime(append(o, '"'), at.UTC()), '"')
	o = appendText(o.key(`"decision_id":`), r.ID, MaxText)
	o = o.text(`"request_id":`, r.RequestID).text(`"traceparent":`, r.TraceParent).text(`"protocol":`, r.Protocol)
	if r.ClientIP.IsValid() {
		o = append(r.ClientIP.WithZone("").AppendTo(append(o.key(`"client_ip":`), '"')), '"')
	}
	o = o.text(`"subject":`, r.Subject).text(`"issuer":`, r.Issuer).text(`"method":`, r.Method).text(`"key":`, r.Key)
	o = o.text(`"client":`, r.Client).text(`"client_version":`, r.ClientVersion).text(`"tier":`, r.Tier)
	o = r.appendCost(e.appendOperation(o, r))
	o = appendText(o.key(`"verdict":`), r.Verdict, MaxText)
	o = o.number(`"status":`, int64(r.Status)).text(`"code":`, r.Code).text(`"stage":`, r.Stage)
	if r.Message != "" {
		o = appendText(o.key(`"message":`), r.Message, MaxMessage)
	}
	o = r.appendRules(o)
	if len(r.Reported) > 0 {
		o = o.texts(`"reported":`, r.Reported)
	}
	o = o.number(`"cut":`, int64(r.Cut)).number(`"masked":`, int64(r.Masked)).number(`"dropped":`, int64(r.Dropped))
	if u := &r.Upstream; u.Status != 0 || u.Duration != 0 {
		o = o.begin(`"upstream":`).number(`"status":`, int64(u.Status)).integer(`"bytes":`, u.Bytes).integer(`"duration_us":`, u.Duration.Microseconds()).end()
	}
	o = o.integer(`"duration_us":`, r.Duration.Microseconds())
	if len(r.Stages) > 0 {
		o = o.begin(`"stages":`)
		for _, s := range r.Stages {
			o = append(appendText(o.comma(), s.Stage, MaxText), ':')
			o = strconv.AppendInt(o, s.Duration.Microseconds(), 10)
		}
		o = o.end()
	}
	o = e.appendGeneration(o, r)
	return o.flag(`"aborted":`, r.Aborted).flag(`"panic":`, r.Panic).end()
}

// encoder remembers what records of one log have in common. The zero encoder is
// ready; it is safe for concurrent use.
type encoder struct {
	generation atomic.Pointer[generationMembers]
	operations [256]operationPlace
}

// generationMembers are the last generation's, as encoded: all records have them
// until the next reload.
type generationMembers struct {
	policy, schema string
	number         uint64
	text           []byte
}

// operationPlace goes to an operation that asks for it twice in a row, so that
// a flood of documents that never come again takes nobody's place.
type operationPlace struct {
	asked atomic.Uint32
	known atomic.Pointer[operationMembers]
}

// operationMembers are an operation's, as encoded.
type operationMembers struct {
	operation Operation
	shape     Shape
	text      []byte
}

// maxKeptOperation bounds each text that is kept of an operation, in bytes.
const maxKeptOperation = 1 << 10

func (e *encoder) appendGeneration(o object, r *Record) object {
	if m := e.generation.Load(); m != nil && m.number == r.Generation && m.policy == r.PolicyRevision && m.schema == r.SchemaDigest {
		return append(o, m.text...)
	}
	before := len(o)
	o = o.text(`"policy_revision":`, r.PolicyRevision).text(`"schema_digest":`, r.SchemaDigest)
	if r.Generation != 0 {
		o = strconv.AppendUint(o.key(`"generation":`), r.Generation, 10)
	}
	e.generation.Store(&generationMembers{r.PolicyRevision, r.SchemaDigest, r.Generation, bytes.Clone(o[before:])})
	return o
}

func (e *encoder) appendOperation(o object, r *Record) object {
	op := &r.Operation
	if len(op.Hash) < 8 {
		return r.appendOperation(o)
	}
	print := uint32(0)
	for i := range 8 { // of a digest, whose bytes are as good as random
		print = print*31 + uint32(op.Hash[i])
	}
	place := &e.operations[print%uint32(len(e.operations))]
	if m := place.known.Load(); m != nil && m.operation == *op && m.shape == r.Shape {
		return append(o, m.text...)
	}
	before := len(o)
	o = r.appendOperation(o)
	if place.asked.Swap(print) == print && len(op.Name)+len(op.DocumentID)+len(op.Hash) <= maxKeptOperation {
		place.known.Store(&operationMembers{op.clone(), r.Shape, bytes.Clone(o[before:])})
	}
	return o
}

// clone shares no memory: a name may be a piece of a large document.
func (op *Operation) clone() Operation {
	return Operation{strings.Clone(op.Kind), strings.Clone(op.Name), strings.Clone(op.Hash), strings.Clone(op.DocumentID), op.Registered}
}

func (r *Record) appendOperation(o object) object {
	if op := &r.Operation; op.Kind != "" || op.Name != "" || op.Hash != "" || op.DocumentID != "" {
		o = o.begin(`"operation":`).text(`"kind":`, op.Kind).text(`"name":`, op.Name).text(`"hash":`, op.Hash).text(`"document_id":`, op.DocumentID)
		o = o.boolean(`"registered":`, op.Registered).end()
	}
	if s := &r.Shape; *s != (Shape{}) {
		o = o.begin(`"shape":`).integer(`"depth":`, int64(s.Depth)).integer(`"aliases":`, int64(s.Aliases)).integer(`"root_fields":`, int64(s.RootFields))
		o = o.integer(`"directives":`, int64(s.Directives)).integer(`"tokens":`, int64(s.Tokens)).integer(`"fragments":`, int64(s.Fragments)).end()
	}
	return o
}

func (r *Record) appendCost(o object) object {
	if c := &r.Cost; c.Estimated || c.Settled {
		o = o.begin(`"cost":`)
		if c.Estimated {
			o = o.float(`"estimate":`, c.Estimate)
		}
		if c.Max != 0 {
			o = o.float(`"max":`, c.Max)
		}
		if c.Settled {
			o = o.float(`"actual":`, c.Actual)
		}
		o = o.end()
	}
	return o
}

func (r *Record) appendRules(o object) object {
	if len(r.Rules) == 0 {
		return o
	}
	o = append(o.key(`"rules":`), '[')
	for i := range r.Rules[:min(len(r.Rules), MaxRules)] {
		if i > 0 {
			o = append(o, ',')
		}
		rule := &r.Rules[i]
		o = append(o, '{').text(`"coordinate":`, rule.Coordinate).text(`"rule":`, rule.Head).text(`"at":`, rule.At).text(`"decision":`, rule.Decision)
		if len(rule.Reads) > 0 {
			o = o.texts(`"reads":`, rule.Reads)
		}
		o = o.end()
	}
	return append(o, ']').number(`"rules_omitted":`, int64(max(0, len(r.Rules)-MaxRules)))
}

// appendText adds a JSON string of s, cleaned.
func appendText(dst object, s string, limit int) object {
	dst = append(dst, '"')
	if len(s) <= limit && ascii.Plain(s) == len(s) {
		return append(append(dst, s...), '"')
	}
	plain, quotes := plain(s, limit)
	if !plain {
		s = clean(s, limit)
		quotes = strings.ContainsAny(s, `"\\`)
	}
	if !quotes {
		return append(append(dst, s...), '"')
	}
	for i := range len(s) { // clean left no control character
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// clean cuts s to limit bytes and replaces what could deceive who reads the
// log: control characters, line and paragraph separators, and format
// characters, which include those that turn the direction of writing.
func clean(s string, limit int) string {
	if plain, _ := plain(s, limit); plain {
		return s
	}
	const ellipsis = "…"
	var b strings.Builder
	for i, r := range s {
		if b.Len() > limit-len(ellipsis)-utf8.UTFMax && len(s)-i > utf8.UTFMax {
			b.WriteString(ellipsis)
			break
		}
		if r != ' ' && !unicode.IsGraphic(r) {
			r = utf8.RuneError
		}
		b.WriteRune(r)
	}
	return b.String()
}

// plain reports whether s can be written as it is, but for quotes and
// backslashes, and whether there are any of these.
func plain(s string, limit int) (plain, quotes bool) {
	if len(s) > limit {
		return false, false
	}
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c >= 0x7f {
			return false, false
		}
		quotes = quotes || c == '"' || c == '\\'
	}
	return true, quotes
}
