package gqlhttp

import (
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

// Accept is the media type of an answer. The zero value is application/json,
// which is also what a request without an Accept header gets.
type Accept uint8

// The media types that a GraphQL response can have.
const (
	AcceptJSON    Accept = iota // application/json: the legacy rules for statuses
	AcceptGraphQL               // application/graphql-response+json
)

// Media types without and with their charset, as sent.
const (
	MediaJSON    = "application/json"
	MediaGraphQL = "application/graphql-response+json"
)

// ContentType returns the Content-Type that the firewall's own answers carry.
func (a Accept) ContentType() string {
	if a == AcceptGraphQL {
		return MediaGraphQL + "; charset=utf-8"
	}
	return MediaJSON + "; charset=utf-8"
}

// MediaType returns the type without parameters: what upstream is asked for.
func (a Accept) MediaType() string {
	if a == AcceptGraphQL {
		return MediaGraphQL
	}
	return MediaJSON
}

// Negotiate chooses the answer's media type by RFC 9110 section 12.5.1.
// application/graphql-response+json wins where it is named with a weight no
// lower than that of application/json. A wildcard and an absent or empty Accept
// mean application/json, for a client that does not name the newer type may
// not know its statuses. ok is false when the client accepts neither; accept is
// then application/json.
func Negotiate(h http.Header) (accept Accept, ok bool) {
	values := h["Accept"]
	if len(values) == 1 {
		switch values[0] {
		case "", "*/*", MediaJSON:
			return AcceptJSON, true
		case MediaGraphQL:
			return AcceptGraphQL, true
		}
		return negotiated.of(values)
	}
	return negotiate(values)
}

// negotiated remembers what single values of Accept came to, each at a place by
// its length: clients send few.
var negotiated memo

type memo [128]atomic.Pointer[settled]

type settled struct {
	value  string
	accept Accept
	ok     bool
}

func (m *memo) of(values []string) (Accept, bool) {
	value := values[0]
	if len(value) >= len(m) {
		return negotiate(values)
	}
	place := &m[len(value)]
	if s := place.Load(); s != nil && s.value == value {
		return s.accept, s.ok
	}
	s := &settled{value: strings.Clone(value)}
	s.accept, s.ok = negotiate(values)
	place.Store(s)
	return s.accept, s.ok
}

func negotiate(values []string) (accept Accept, ok bool) {
	var json, graphql preference
	empty := true
	for _, v := range values {
		for len(v) > 0 {
			var element string
			element, v = cutQuoted(v, ',')
			if element = strings.Trim(element, " \t"); element != "" {
				empty = false
				weigh(element, &json, &graphql)
			}
		}
	}
	switch {
	case empty:
		return AcceptJSON, true
	case graphql.specificity == named && graphql.q > 0 && graphql.q >= json.q:
		return AcceptGraphQL, true
	case json.q > 0:
		return AcceptJSON, true
	}
	if graphql.q > 0 {
		return AcceptGraphQL, true
	}
	return AcceptJSON, false
}

// preference is the weight that the most specific matching range gives a type.
type preference struct {
	specificity int
	q           float64
}

const (
	anything = iota + 1 // */*
	family              // application/*
	named
)

func (p *preference) offer(specificity int, q float64) {
	if specificity > p.specificity || specificity == p.specificity && q > p.q {
		p.specificity, p.q = specificity, q
	}
}

// weigh applies one media range. A range that does not parse, one of another
// charset and one of another type say nothing.
func weigh(element string, json, graphql *preference) {
	name, params := cutQuoted(element, ';')
	name = strings.TrimRight(name, " \t")
	q := 1.0
	for params != "" {
		var p string
		p, params = cutQuoted(params, ';')
		key, value, _ := strings.Cut(strings.Trim(p, " \t"), "=")
		value = strings.Trim(value, `"`)
		switch {
		case strings.EqualFold(key, "q"):
			w, err := strconv.ParseFloat(value, 64)
			if err != nil || w != w || w < 0 || w > 1 {
				return
			}
			q = w
		case strings.EqualFold(key, "charset") && !strings.EqualFold(value, "utf-8"):
			return
		}
	}
	switch {
	case strings.EqualFold(name, MediaGraphQL):
		graphql.offer(named, q)
	case strings.EqualFold(name, MediaJSON):
		json.offer(named, q)
	case strings.EqualFold(name, "application/*"):
		json.offer(family, q)
		graphql.offer(family, q)
	case name == "*/*":
		json.offer(anything, q)
		graphql.offer(anything, q)
	}
}

// cutQuoted cuts at the first separator outside a quoted string.
func cutQuoted(s string, separator byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case !quoted && c == separator:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
