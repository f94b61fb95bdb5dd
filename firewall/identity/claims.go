package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// maxJSONDepth bounds the nesting of a token's header and claims.
const maxJSONDepth = 16

// decodeObject reads one JSON object (RFC 8259) and nothing after it.
// Duplicate names at any depth, invalid UTF-8, lone surrogates and a byte
// order mark are errors: two readers of a token must see the same claims.
// Numbers become json.Number.
func decodeObject(data []byte) (map[string]any, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(data))
	if dec.PeekKind() != '{' {
		return nil, errors.New("is not a JSON object")
	}
	value, err := decodeValue(dec)
	if err != nil {
		return nil, fmt.Errorf("is not strict JSON: %w", withoutText(err))
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil, errors.New("has text after the JSON object")
	}
	return value.(map[string]any), nil
}

// withoutText drops the position and pointer of a syntax error, which quote
// the token's names.
func withoutText(err error) error {
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok && syntactic.Err != nil {
		return syntactic.Err
	}
	return err
}

func decodeValue(dec *jsontext.Decoder) (any, error) {
	if dec.StackDepth() > maxJSONDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxJSONDepth)
	}
	switch dec.PeekKind() {
	case '{':
		return decodeMembers(dec)
	case '[':
		return decodeElements(dec)
	case '0':
		number, err := dec.ReadValue()
		return json.Number(number), err
	}
	token, err := dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case '"':
		return token.String(), nil
	case 't', 'f':
		return token.Bool(), nil
	}
	return nil, nil
}

func decodeMembers(dec *jsontext.Decoder) (map[string]any, error) {
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	members := make(map[string]any)
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		key := name.String()
		if members[key], err = decodeValue(dec); err != nil {
			return nil, err
		}
	}
	_, err := dec.ReadToken()
	return members, err
}

func decodeElements(dec *jsontext.Decoder) ([]any, error) {
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	elements := []any{}
	for dec.PeekKind() != ']' {
		element, err := decodeValue(dec)
		if err != nil {
			return nil, err
		}
		elements = append(elements, element)
	}
	_, err := dec.ReadToken()
	return elements, err
}

// maxDate is the last second of the year 9999, beyond which no NumericDate
// is meant.
const maxDate = 253402300799

// date returns the NumericDate claim (RFC 7519 section 2), which may have a
// fraction. It reports false when the claim is absent.
func date(claims map[string]any, name string) (time.Time, bool, error) {
	value, present := claims[name]
	if !present {
		return time.Time{}, false, nil
	}
	number, ok := value.(json.Number)
	if !ok {
		return time.Time{}, false, fmt.Errorf("claim %s is not a number", name)
	}
	seconds, err := strconv.ParseFloat(string(number), 64)
	if err != nil || seconds < 0 || seconds > maxDate {
		return time.Time{}, false, fmt.Errorf("claim %s is not a date", name)
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)), true, nil
}

// checkTimes compares exp, nbf and iat with now and returns exp, which is
// required when needExpiry is set.
func checkTimes(claims map[string]any, now time.Time, leeway time.Duration, needExpiry bool) (time.Time, error) {
	expiry, present, err := date(claims, "exp")
	if err != nil {
		return time.Time{}, err
	}
	if !present && needExpiry {
		return time.Time{}, errors.New("claim exp is missing")
	}
	if present && !now.Before(expiry.Add(leeway)) {
		return time.Time{}, fmt.Errorf("expired at %s", expiry.UTC().Format(time.RFC3339))
	}
	for _, name := range []string{"nbf", "iat"} {
		begin, present, err := date(claims, name)
		if err != nil {
			return time.Time{}, err
		}
		if present && now.Add(leeway).Before(begin) {
			return time.Time{}, fmt.Errorf("not valid yet: %s is %s", name, begin.UTC().Format(time.RFC3339))
		}
	}
	return expiry, nil
}

// checkAudience accepts a string or an array of strings (RFC 7519 section
// 4.1.3) of which one is wanted.
func checkAudience(claims map[string]any, wanted map[string]bool) error {
	value, present := claims["aud"]
	if !present {
		return errors.New("claim aud is missing")
	}
	if one, ok := value.(string); ok {
		value = []any{one}
	}
	list, ok := value.([]any)
	if !ok {
		return errors.New("claim aud is neither a string nor an array")
	}
	found := false
	for _, element := range list {
		text, ok := element.(string)
		if !ok {
			return errors.New("claim aud has an element that is not a string")
		}
		found = found || wanted[text]
	}
	if !found {
		return errors.New("claim aud names none of the configured audiences")
	}
	return nil
}

// claimPath is a compiled [ClaimsConfig] entry.
type claimPath struct {
	whole string
	parts []string
}

func newClaimPath(text, absent string) claimPath {
	if text == "" {
		text = absent
	}
	return claimPath{whole: text, parts: strings.Split(text, ".")}
}

// lookup reports false when the claim, or an object on the way, is absent.
// A null counts as absent.
func (p claimPath) lookup(claims map[string]any) (any, bool) {
	if value, present := claims[p.whole]; present {
		return value, value != nil
	}
	var value any = claims
	for _, part := range p.parts {
		object, ok := value.(map[string]any)
		if !ok {
			return nil, false
		}
		if value, ok = object[part]; !ok || value == nil {
			return nil, false
		}
	}
	return value, true
}

// names returns an array of strings, or the words of a string (RFC 6749
// section 3.3 writes scopes so).
func (p claimPath) names(claims map[string]any) ([]string, error) {
	value, present := p.lookup(claims)
	if !present {
		return nil, nil
	}
	switch value := value.(type) {
	case string:
		return strings.Fields(value), nil
	case []any:
		names := make([]string, 0, len(value))
		for _, element := range value {
			name, ok := element.(string)
			if !ok {
				return nil, fmt.Errorf("claim %s has an element that is not a string", p.whole)
			}
			names = append(names, name)
		}
		return names, nil
	}
	return nil, fmt.Errorf("claim %s is neither a string nor an array", p.whole)
}

func (p claimPath) text(claims map[string]any) (string, error) {
	value, present := p.lookup(claims)
	if !present {
		return "", nil
	}
	text, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("claim %s is not a string", p.whole)
	}
	return text, nil
}

type claimMap struct{ roles, scopes, client claimPath }

func newClaimMap(c ClaimsConfig) claimMap {
	return claimMap{
		roles:  newClaimPath(c.Roles, "roles"),
		scopes: newClaimPath(c.Scopes, "scope"),
		client: newClaimPath(c.Client, "client_id"),
	}
}

// apply fills the mapped parts of id from its claims.
func (m claimMap) apply(id *Identity) error {
	var err error
	if id.Roles, err = m.roles.names(id.Claims); err != nil {
		return err
	}
	if id.Scopes, err = m.scopes.names(id.Claims); err != nil {
		return err
	}
	client, err := m.client.text(id.Claims)
	id.Client = Client{ID: client, Name: client}
	return err
}

// subject returns the "sub" claim, which must be a string with at least one
// character: an empty one would equal every other empty one.
func subject(claims map[string]any) (string, error) {
	text, ok := claims["sub"].(string)
	if !ok || text == "" {
		return "", errors.New("claim sub is missing or not a text")
	}
	return text, nil
}
