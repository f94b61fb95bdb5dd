package identity

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// authorizationServer answers introspection requests by a table of tokens.
type authorizationServer struct {
	mu      sync.Mutex
	answers map[string]string
	asked   atomic.Int64
	wrong   atomic.Pointer[string] // what was wrong with a request
}

func (s *authorizationServer) set(token, answer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[token] = answer
}

func (s *authorizationServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	id, secret, _ := r.BasicAuth()
	if r.Method != http.MethodPost || r.URL.Path != "/introspect" || id != "fire%3Awall" || secret != "s3cret%2B" ||
		r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.FormValue("token_type_hint") != "access_token" {
		what := fmt.Sprint(r.Method, r.URL, r.Header, r.Form)
		s.wrong.Store(&what)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	answer, known := s.answers[r.FormValue("token")]
	s.mu.Unlock()
	if !known {
		answer = `{"active":false}`
	}
	_, _ = w.Write([]byte(answer))
}

func introspectionConfig(t *testing.T) Config {
	return Config{Anonymous: Allow, Introspection: []IntrospectionConfig{{
		URL: "https://as.example.com/introspect", ClientID: "fire:wall", SecretFile: writeFile(t, "secret", "s3cret+\n"),
		Issuer: "https://as.example.com", Audiences: []string{audience},
	}}}
}

func TestIntrospection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		member := func(more string) string { return `{"active":true,"sub":"u1","aud":"` + audience + `"` + more + `}` }
		as := &authorizationServer{answers: map[string]string{
			"good":        member(`,"scope":"read write","client_id":"web","username":"jane","n":12345678901234567890`),
			"dated":       member(fmt.Sprintf(`,"exp":%d`, now.Add(time.Hour).Unix())),
			"string-true": strings.Replace(member(""), "true", `"true"`, 1),
			"one":         strings.Replace(member(""), "true", "1", 1),
			"duplicate":   member(`,"active":false`),
			"expired":     member(fmt.Sprintf(`,"exp":%d`, now.Add(-time.Hour).Unix())),
			"early":       member(fmt.Sprintf(`,"nbf":%d`, now.Add(time.Hour).Unix())),
			"other-iss":   member(`,"iss":"https://evil.example.com"`),
			"own-iss":     member(`,"iss":"https://as.example.com"`),
			"number-iss":  member(`,"iss":1`),
			"no-aud":      `{"active":true,"sub":"u1"}`,
			"other-aud":   `{"active":true,"sub":"u1","aud":["x"]}`,
			"no-sub":      `{"active":true,"aud":"` + audience + `"}`,
			"bound":       member(`,"cnf":{"jkt":"x"}`),
			"roles":       member(`,"roles":{}`),
			"list":        `[{"active":true}]`,
			"empty":       ``,
		}}
		v := newVerifier(t, introspectionConfig(t), WithTransport(&inProcess{handler: as}))
		for token, reason := range map[string]string{
			"good": "", "dated": "", "own-iss": "",
			"unknown": "not active", "string-true": "not active", "one": "not active", "duplicate": "duplicate",
			"expired": "expired", "early": "not valid yet", "other-iss": "another issuer", "number-iss": "another issuer",
			"no-aud": "aud is missing", "other-aud": "none of the configured", "no-sub": "sub is missing", "bound": "bound",
			"roles": "roles is neither", "list": "not a JSON object", "empty": "not a JSON object",
			"bad\"chars": "characters", "===": "characters", "a b": "characters",
		} {
			id, err := v.Authenticate(request("Authorization", "Bearer "+token))
			switch {
			case reason == "" && err != nil, reason != "" && (err == nil || !strings.Contains(err.Error(), reason)):
				t.Errorf("%s: %v", token, err)
			case err == nil && (!id.Authenticated || id.Subject != "u1" || id.Issuer != "https://as.example.com"):
				t.Errorf("%s: %+v", token, id)
			}
		}
		id, err := v.Authenticate(request("Authorization", "Bearer good"))
		if err != nil {
			t.Fatal(err)
		}
		want := &Identity{Authenticated: true, Subject: "u1", Issuer: "https://as.example.com", Scopes: []string{"read", "write"},
			Client: Client{ID: "web", Name: "web"}, Method: MethodIntrospection, Claims: map[string]any{
				"active": true, "sub": "u1", "aud": audience, "scope": "read write", "client_id": "web", "username": "jane",
				"n": json.Number("12345678901234567890"),
			}}
		if diff := cmp.Diff(want, id); diff != "" {
			t.Error(diff)
		}
		if what := as.wrong.Load(); what != nil {
			t.Errorf("a bad question: %s", *what)
		}
		_ = v.Close()
	})
}

// TestIntrospectionCache: an answer is used for a minute at most and not
// beyond the token's end; a refusal costs one question in ten seconds.
func TestIntrospectionCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		as := &authorizationServer{answers: map[string]string{}}
		as.set("t", `{"active":true,"sub":"u1","aud":"`+audience+`"}`)
		as.set("short", fmt.Sprintf(`{"active":true,"sub":"u1","aud":"%s","exp":%d}`, audience, time.Now().Add(20*time.Second).Unix()))
		net := &inProcess{handler: as}
		v := newVerifier(t, introspectionConfig(t), WithTransport(net))
		check := func(when, token string, good bool, asked int64) {
			t.Helper()
			before := as.asked.Load()
			for range 50 {
				if _, err := v.Authenticate(request("Authorization", "Bearer "+token)); (err == nil) != good {
					t.Errorf("%s: %v", when, err)
				}
			}
			if got := as.asked.Load() - before; got != asked {
				t.Errorf("%s: %d questions, not %d", when, got, asked)
			}
		}
		check("first", "t", true, 1)
		as.set("t", `{"active":false}`)
		time.Sleep(activeMemory - time.Second)
		check("revoked, within the bound", "t", true, 0)
		time.Sleep(time.Second)
		check("revoked, after the bound", "t", false, 1)
		time.Sleep(inactiveMemory)
		check("still revoked", "t", false, 1)
		as.set("short", fmt.Sprintf(`{"active":true,"sub":"u1","aud":"%s","exp":%d}`, audience, time.Now().Add(20*time.Second).Unix()))
		check("short", "short", true, 1)
		as.set("short", `{"active":false}`)
		time.Sleep(20 * time.Second)
		check("short, after its end", "short", false, 1)

		// A server that fails refuses, is not remembered, and is told apart.
		net.serve(status(500))
		before := net.asked.Load()
		for range 3 {
			_, err := v.Authenticate(request("Authorization", "Bearer u"))
			if refusal, ok := err.(*UnauthenticatedError); !ok || !refusal.Unavailable {
				t.Errorf("while the server fails: %v", err)
			}
		}
		if net.asked.Load()-before != 3 {
			t.Error("a failure was remembered")
		}
		net.serve(as)
		as.set("u", `{"active":true,"sub":"u1","aud":"`+audience+`"}`)
		check("after the failure", "u", true, 1)
		_ = v.Close()
	})
}

// TestIntrospectionIsBounded: however many unknown tokens come, only so many
// questions are open, and equal ones are one.
func TestIntrospectionIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &inProcess{} // does not answer
		v := newVerifier(t, introspectionConfig(t), WithTransport(net))
		var all sync.WaitGroup
		for n := range 500 {
			all.Go(func() {
				_, err := v.Authenticate(request("Authorization", fmt.Sprint("Bearer t", n/2)))
				if refusal, ok := err.(*UnauthenticatedError); !ok || !refusal.Unavailable {
					t.Errorf("got %v", err)
				}
			})
		}
		synctest.Wait()
		if got := net.asked.Load(); got != questionsAtOnce {
			t.Errorf("%d questions at once", got)
		}
		all.Wait()
		_ = v.Close()
	})
}

// TestIntrospectionBesideJWT: what looks like a JWT is not sent to a server
// that has no business with it, nor a second chance for a bad one.
func TestIntrospectionBesideJWT(t *testing.T) {
	is := newTestIssuer(t, "ES256")
	as := &authorizationServer{answers: map[string]string{}}
	c := introspectionConfig(t)
	c.JWT = []JWTConfig{{Issuer: is.URL, JWKSFile: jwksFile(t, is), Audiences: []string{audience}}}
	v := newVerifier(t, c, WithTransport(&inProcess{handler: as}))
	bad := token(t, is, map[string]any{"sub": "u1", "aud": "other"})
	as.set(bad, `{"active":true,"sub":"u1","aud":"`+audience+`"}`)
	as.set("opaque", `{"active":true,"sub":"u2","aud":"`+audience+`"}`)
	if _, err := v.Authenticate(request("Authorization", "Bearer "+bad)); err == nil || as.asked.Load() != 0 {
		t.Errorf("a bad JWT: %v, %d questions", err, as.asked.Load())
	}
	if id, err := v.Authenticate(request("Authorization", "Bearer opaque")); err != nil || id.Subject != "u2" {
		t.Errorf("an opaque token: %v", err)
	}
}

func TestSecretFile(t *testing.T) {
	for name, test := range map[string]struct{ text, reason string }{
		"good":  {"x", ""},
		"empty": {" \n", "is empty"},
		"long":  {strings.Repeat("x", maxSecret+1), "longer than"},
	} {
		c := introspectionConfig(t)
		c.Introspection[0].SecretFile = writeFile(t, "secret", test.text)
		v, err := New(t.Context(), c)
		if test.reason == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else {
				_ = v.Close()
			}
		} else if _, ok := err.(*SourceError); !ok || !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := introspectionConfig(t)
	c.Introspection[0].SecretFile = "/does/not/exist"
	if _, err := New(t.Context(), c); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("missing: %v", err)
	}
}
