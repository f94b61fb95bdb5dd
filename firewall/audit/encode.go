package audit

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rs/zerolog"
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

// encode writes r as one JSON object. It uses zerolog's typed methods alone,
// which neither reflect nor fail. What it formats itself goes into scratch.
func (r *Record) encode(e *zerolog.Event, scratch []byte) {
	at := r.Time
	if at.IsZero() {
		at = time.Now()
	}
	e.RawJSON("time", append(at.UTC().AppendFormat(append(scratch[:0], '"'), timeFormat), '"'))
	e.Str("decision_id", clean(r.ID, MaxText))
	text(e, "request_id", r.RequestID)
	text(e, "traceparent", r.TraceParent)
	text(e, "protocol", r.Protocol)
	if r.ClientIP.IsValid() {
		e.Bytes("client_ip", r.ClientIP.WithZone("").AppendTo(scratch[:0]))
	}
	text(e, "subject", r.Subject)
	text(e, "issuer", r.Issuer)
	text(e, "method", r.Method)
	text(e, "key", r.Key)
	text(e, "client", r.Client)
	text(e, "client_version", r.ClientVersion)
	text(e, "tier", r.Tier)
	if op := &r.Operation; op.Kind != "" || op.Name != "" || op.Hash != "" || op.DocumentID != "" {
		e.Dict("operation", op.encode())
	}
	if r.Shape != (Shape{}) {
		e.Dict("shape", r.Shape.encode())
	}
	if r.Cost.Estimated || r.Cost.Settled {
		e.Dict("cost", r.Cost.encode())
	}
	e.Str("verdict", clean(r.Verdict, MaxText))
	number(e, "status", int64(r.Status))
	text(e, "code", r.Code)
	text(e, "stage", r.Stage)
	if r.Message != "" {
		e.Str("message", clean(r.Message, MaxMessage))
	}
	r.encodeRules(e)
	if len(r.Reported) > 0 {
		list := zerolog.Arr()
		for _, code := range r.Reported {
			list.Str(clean(code, MaxText))
		}
		e.Array("reported", list)
	}
	number(e, "cut", int64(r.Cut))
	number(e, "masked", int64(r.Masked))
	number(e, "dropped", int64(r.Dropped))
	if u := &r.Upstream; u.Status != 0 || u.Duration != 0 {
		d := zerolog.Dict()
		number(d, "status", int64(u.Status))
		e.Dict("upstream", d.Int64("bytes", u.Bytes).Int64("duration_us", u.Duration.Microseconds()))
	}
	e.Int64("duration_us", r.Duration.Microseconds())
	if len(r.Stages) > 0 {
		d := zerolog.Dict()
		for _, s := range r.Stages {
			d.Int64(clean(s.Stage, MaxText), s.Duration.Microseconds())
		}
		e.Dict("stages", d)
	}
	text(e, "policy_revision", r.PolicyRevision)
	text(e, "schema_digest", r.SchemaDigest)
	if r.Generation != 0 {
		e.Uint64("generation", r.Generation)
	}
	flag(e, "aborted", r.Aborted)
	flag(e, "panic", r.Panic)
}

func (r *Record) encodeRules(e *zerolog.Event) {
	if len(r.Rules) == 0 {
		return
	}
	rules := r.Rules[:min(len(r.Rules), MaxRules)]
	list := zerolog.Arr()
	for i := range rules {
		d := zerolog.Dict()
		text(d, "coordinate", rules[i].Coordinate)
		text(d, "rule", rules[i].Head)
		text(d, "at", rules[i].At)
		text(d, "decision", rules[i].Decision)
		if len(rules[i].Reads) > 0 {
			reads := zerolog.Arr()
			for _, path := range rules[i].Reads {
				reads.Str(clean(path, MaxText))
			}
			d.Array("reads", reads)
		}
		list.Dict(d)
	}
	e.Array("rules", list)
	number(e, "rules_omitted", int64(len(r.Rules)-len(rules)))
}

func (o *Operation) encode() *zerolog.Event {
	d := zerolog.Dict()
	text(d, "kind", o.Kind)
	text(d, "name", o.Name)
	text(d, "hash", o.Hash)
	text(d, "document_id", o.DocumentID)
	return d.Bool("registered", o.Registered)
}

func (s *Shape) encode() *zerolog.Event {
	return zerolog.Dict().
		Int("depth", s.Depth).
		Int("aliases", s.Aliases).
		Int("root_fields", s.RootFields).
		Int("directives", s.Directives).
		Int("tokens", s.Tokens).
		Int("fragments", s.Fragments)
}

func (c *Cost) encode() *zerolog.Event {
	d := zerolog.Dict()
	if c.Estimated {
		d.Float64("estimate", c.Estimate)
	}
	if c.Max != 0 {
		d.Float64("max", c.Max)
	}
	if c.Settled {
		d.Float64("actual", c.Actual)
	}
	return d
}

func text(e *zerolog.Event, key, value string) {
	if value != "" {
		e.Str(key, clean(value, MaxText))
	}
}

func number(e *zerolog.Event, key string, value int64) {
	if value != 0 {
		e.Int64(key, value)
	}
}

func flag(e *zerolog.Event, key string, value bool) {
	if value {
		e.Bool(key, true)
	}
}

// clean cuts s to limit bytes and replaces what could deceive who reads the
// log: control characters, line and paragraph separators, and format
// characters, which include those that turn the direction of writing.
func clean(s string, limit int) string {
	if plain(s, limit) {
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

func plain(s string, limit int) bool {
	if len(s) > limit {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
