package identity

import (
	"net/http"
	"strings"
	"testing"
)

// FuzzAuthorization: whatever the headers are, no panic, no anonymous
// identity for a presented credential, and no identity at all but by the
// credentials that the arena knows.
func FuzzAuthorization(f *testing.F) {
	a := newArena(f)
	good := (&forged{}).token(f, a)
	for _, attack := range tokenAttacks(f, a) {
		f.Add("Bearer "+attack.token(f, a), "")
	}
	f.Add("Bearer "+good, "")
	f.Add("", "the-api-key")
	f.Add("ApiKey the-api-key", "")
	f.Fuzz(func(t *testing.T, authorization, key string) {
		r := request()
		if authorization != "" {
			r.Header["Authorization"] = []string{authorization}
		}
		if key != "" {
			r.Header["X-Api-Key"] = []string{key}
		}
		check(t, a, r, good, authorization, key)
	})
}

func check(t *testing.T, a *arena, r *http.Request, good, authorization, key string) {
	id, err := a.verifier.Authenticate(r)
	if (id == nil) == (err == nil) {
		t.Fatalf("got %+v and %v", id, err)
	}
	if err != nil {
		if _, ok := err.(*UnauthenticatedError); !ok {
			t.Fatalf("got a %T", err)
		}
		return
	}
	_, presented, _ := strings.Cut(authorization, " ")
	presented = strings.TrimLeft(presented, " ")
	switch id.Method {
	case MethodAnonymous:
		if authorization != "" || key != "" {
			t.Fatal("a presented credential became anonymous")
		}
	case MethodJWT:
		if presented != good {
			t.Fatalf("another token than the good one: %q", presented)
		}
	case MethodAPIKey:
		if key != "the-api-key" && presented != "the-api-key" {
			t.Fatalf("another key: %q", key)
		}
	default:
		t.Fatalf("method %q", id.Method)
	}
}

// FuzzParseSigned: the part that reads what nobody vouches for.
func FuzzParseSigned(f *testing.F) {
	a := newArena(f)
	for _, attack := range tokenAttacks(f, a) {
		f.Add(attack.token(f, a))
	}
	f.Fuzz(func(t *testing.T, text string) {
		token, err := parseSigned(text)
		if err != nil {
			return
		}
		if token.algorithm == "" || token.claims == nil || len(token.signature) == 0 || len(text) > maxToken {
			t.Fatalf("got %+v", token)
		}
		if string(token.input) != text[:strings.LastIndexByte(text, '.')] {
			t.Fatal("what is verified is not what was sent")
		}
	})
}
