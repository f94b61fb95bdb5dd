package identity

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphward/graphward/firewall/identity/identitytest"
)

// inProcess is a transport that asks a handler without a network, so that
// synctest's clock runs. A nil handler does not answer.
type inProcess struct {
	mu      sync.Mutex
	handler http.Handler
	asked   atomic.Int64
}

func (p *inProcess) serve(h http.Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handler = h
}

func (p *inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	p.asked.Add(1)
	p.mu.Lock()
	h := p.handler
	p.mu.Unlock()
	if h == nil {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	res := w.Result()
	res.Request = r
	return res, nil
}

func status(code int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
}

func body(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
}

func discoveryConfig(issuer string) Config {
	return Config{Anonymous: Allow, JWT: []JWTConfig{{Issuer: issuer, Discovery: true, Audiences: []string{audience}}}}
}

func accepts(t testing.TB, v *Verifier, text string) error {
	t.Helper()
	id, err := v.Authenticate(request("Authorization", "Bearer "+text))
	recalls(t, v, request("Authorization", "Bearer "+text), id, err)
	if err == nil && !id.Authenticated {
		t.Fatalf("a token became anonymous")
	}
	return err
}

func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := newTestIssuer(t, "ES256")
		net := &inProcess{handler: is}
		v := newVerifier(t, discoveryConfig(is.URL), WithTransport(net))
		claims := map[string]any{"sub": "u1", "aud": audience, "exp": time.Now().Add(24 * time.Hour).Unix()}
		first := is.Key()
		old := token(t, is, claims)
		if err := accepts(t, v, old); err != nil {
			t.Fatal(err)
		}
		// A token by a key that is newer than the fetched ones is good at once.
		if _, err := is.AddKey("ES256"); err != nil {
			t.Fatal(err)
		}
		if err := accepts(t, v, token(t, is, claims)); err != nil {
			t.Error(err)
		}
		if err := accepts(t, v, old); err != nil {
			t.Errorf("the old key while it is published: %v", err)
		}
		// A removed one is good, also from the cache, until the refresh at most.
		is.RemoveKey(first.ID)
		time.Sleep(defaultRefresh)
		synctest.Wait()
		if err := accepts(t, v, old); err == nil {
			t.Error("a removed key still verifies after the refresh bound")
		}
		if err := accepts(t, v, token(t, is, claims)); err != nil {
			t.Errorf("the key that stayed: %v", err)
		}
		_ = v.Close()
	})
}

// TestFetchUnderWay: a token whose key came after a fetch began does not fail
// with that fetch.
func TestFetchUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := newTestIssuer(t, "ES256")
		slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			is.ServeHTTP(w, r)
			time.Sleep(time.Second)
		})
		net := &inProcess{handler: is}
		v := newVerifier(t, discoveryConfig(is.URL), WithTransport(net))
		net.serve(slow)
		stranger, err := identitytest.NewIssuer(is.URL, "ES256")
		if err != nil {
			t.Fatal(err)
		}
		claims := map[string]any{"sub": "u1", "aud": audience}
		var all sync.WaitGroup
		all.Go(func() {
			if err := accepts(t, v, token(t, stranger, claims)); err == nil {
				t.Error("a stranger's key verifies")
			}
		})
		time.Sleep(1500 * time.Millisecond) // the keys are read, and on their way
		if _, err := is.AddKey("ES256"); err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			if err := accepts(t, v, token(t, is, claims)); err != nil {
				t.Error(err)
			}
		})
		all.Wait()
		_ = v.Close()
	})
}

// TestLoadedMeanwhile: who finds, when his turn comes, that a load has brought what
// he missed begins none, and takes none of the loads that others may need.
func TestLoadedMeanwhile(t *testing.T) {
	loads := 0
	s := &source[int]{
		name:  "test",
		every: time.Hour,
		load:  func(context.Context) ([]byte, error) { loads++; return []byte("1"), nil },
		parse: func([]byte, *int) (*int, error) { return new(int), nil },
		count: func(*int) (int, []string) { return 1, nil },
	}
	ctx, stop := context.WithCancel(t.Context())
	defer s.wait()
	defer stop()
	if err := s.start(ctx, ctx, false); err != nil {
		t.Fatal(err)
	}
	for range 2 * onDemandBurst {
		s.demand(ctx, func() bool { return true })
	}
	if loads != 1 {
		t.Errorf("%d loads, want that of the start", loads)
	}
	s.demand(ctx, func() bool { return false })
	if loads != 2 {
		t.Errorf("%d loads, want one more for what is missed", loads)
	}
}

func TestUnknownKeysDoNotFetchEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := newTestIssuer(t, "ES256")
		v := newVerifier(t, discoveryConfig(is.URL), WithTransport(&inProcess{handler: is}))
		stranger, err := identitytest.NewIssuer(is.URL, "ES256")
		if err != nil {
			t.Fatal(err)
		}
		before := is.Fetches()
		for range 1000 {
			if _, err := stranger.AddKey("EdDSA"); err != nil {
				t.Fatal(err)
			}
			if err := accepts(t, v, token(t, stranger, map[string]any{"sub": "u1", "aud": audience})); err == nil {
				t.Fatal("a stranger's key verifies")
			}
			time.Sleep(time.Millisecond * 60) // one minute in all
		}
		if got := is.Fetches() - before; got > onDemandBurst+6 {
			t.Errorf("1,000 unknown keys in a minute made %d fetches", got)
		}
		_ = v.Close()
	})
}

// TestIssuerFails has an issuer fail in every way that we know of: at start
// that is an error, later the last good keys stay.
func TestIssuerFails(t *testing.T) {
	is := newTestIssuer(t, "ES256")
	keys, err := is.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	// with answers the discovery as the issuer does, and the keys by h.
	with := func(h http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/", is)
		mux.Handle("/jwks", h)
		return mux
	}
	metadata := func(issuer, uri string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/jwks" {
				_, _ = w.Write(keys)
				return
			}
			_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, issuer, uri)
		})
	}
	redirect := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/jwks" {
			http.Redirect(w, r, "/there", http.StatusFound)
			return
		}
		_, _ = w.Write(keys)
	})
	for name, test := range map[string]struct {
		handler http.Handler
		reason  string
	}{
		"no answer":                       {nil, "exceeded"},
		"discovery status 500":            {status(500), "discovery: answered with status 500"},
		"discovery no JSON":               {body("<html>"), "discovery: answer is not a JSON object"},
		"discovery with a duplicate":      {body(`{"issuer":"https://issuer.example.com","issuer":"x"}`), "duplicate"},
		"discovery of another issuer":     {metadata("https://evil.example.com", is.URL+"/jwks"), `for the issuer "https://evil.example.com"`},
		"discovery of a longer issuer":    {metadata(is.URL+"/", is.URL+"/jwks"), "for the issuer"},
		"keys over http":                  {metadata(is.URL, "http://issuer.example.com/jwks"), "must be https"},
		"keys nowhere":                    {metadata(is.URL, ""), "absolute URL"},
		"keys in a file":                  {metadata(is.URL, "file:///etc/passwd"), "absolute URL"},
		"keys status 404":                 {with(status(404)), "status 404"},
		"keys redirected":                 {with(redirect), "status 302"},
		"keys endless":                    {with(endless{}), "more than"},
		"keys no JSON":                    {with(body("keys")), "is not a JWK set"},
		"keys cut":                        {with(body(string(keys[:len(keys)-3]))), "is not a JWK set"},
		"a key alone":                     {with(body(`{"kty":"oct","k":"AA"}`)), "is not a JWK set"},
		"more keys than any issuer needs": {with(body(`{"keys":[` + strings.Repeat(`{"kty":"oct","k":"AA"},`, 200) + `{"kty":"oct","k":"AA"}]}`)), "is not a JWK set"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := &inProcess{handler: test.handler}
				_, err := New(t.Context(), discoveryConfig(is.URL), WithTransport(net))
				failure, ok := errors.AsType[*SourceError](err)
				if !ok || failure.Source != is.URL || !strings.Contains(err.Error(), test.reason) {
					t.Fatalf("at start: %v", err)
				}
				net.serve(is)
				var reports []SourceStatus
				v := newVerifier(t, discoveryConfig(is.URL), WithTransport(net), WithReport(func(s SourceStatus) { reports = append(reports, s) }))
				net.serve(test.handler)
				time.Sleep(2 * defaultRefresh)
				synctest.Wait()
				if s := v.Status()[0]; s.Err == nil || !strings.Contains(s.Err.Error(), test.reason) || s.Entries != 1 {
					t.Errorf("status %+v", s)
				}
				if last := reports[len(reports)-1]; last.Err == nil {
					t.Errorf("the failure was not reported: %+v", reports)
				}
				if err := accepts(t, v, token(t, is, map[string]any{"sub": "u1", "aud": audience})); err != nil {
					t.Errorf("the last good keys are gone: %v", err)
				}
				net.serve(is)
				time.Sleep(defaultRefresh)
				synctest.Wait()
				if s := v.Status()[0]; s.Err != nil || reports[len(reports)-1].Err != nil {
					t.Errorf("after recovery: %+v", s)
				}
				_ = v.Close()
			})
		})
	}
}

type endless struct{}

func (endless) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte(`{"keys":[],"x":"`))
	_, _ = w.Write(bytes.Repeat([]byte("x"), maxDocument))
}

func TestStartWithoutIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := newTestIssuer(t, "ES256")
		net := &inProcess{handler: status(503)}
		c := discoveryConfig(is.URL)
		c.JWT[0].OnUnreachable = Continue
		v := newVerifier(t, c, WithTransport(net))
		text := token(t, is, map[string]any{"sub": "u1", "aud": audience})
		err := accepts(t, v, text)
		if refusal, ok := err.(*UnauthenticatedError); !ok || !refusal.Unavailable {
			t.Fatalf("without keys: %v", err)
		}
		net.serve(is)
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := accepts(t, v, text); err != nil {
			t.Errorf("once the issuer answers: %v", err)
		}
		if asked := net.asked.Load(); asked > 40 {
			t.Errorf("%d requests in a minute", asked)
		}
		_ = v.Close()
	})
}

// TestEmptySetRevokes: an issuer that publishes no key any more has none.
func TestEmptySetRevokes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := newTestIssuer(t, "ES256")
		keys, err := is.JWKS()
		if err != nil {
			t.Fatal(err)
		}
		net := &inProcess{handler: body(string(keys))}
		c := Config{JWT: []JWTConfig{{Issuer: is.URL, JWKSURL: is.URL + "/keys", Audiences: []string{audience}}}}
		v := newVerifier(t, c, WithTransport(net), WithRefresh(time.Minute))
		text := token(t, is, map[string]any{"sub": "u1", "aud": audience})
		if err := accepts(t, v, text); err != nil {
			t.Fatal(err)
		}
		net.serve(body(`{"keys":[]}`))
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := accepts(t, v, text); err == nil {
			t.Error("a key of the former set still verifies")
		}
		_ = v.Close()
	})
}

// TestExpiryInCache: a verdict from the cache ends when the token does.
func TestExpiryInCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := newTestIssuer(t, "ES256")
		v := newVerifier(t, discoveryConfig(is.URL), WithTransport(&inProcess{handler: is}))
		text := token(t, is, map[string]any{"sub": "u1", "aud": audience, "exp": time.Now().Add(time.Minute).Unix()})
		for _, wait := range []time.Duration{0, time.Minute, defaultLeeway - time.Second} {
			time.Sleep(wait)
			if err := accepts(t, v, text); err != nil {
				t.Fatalf("%s later: %v", wait, err)
			}
		}
		time.Sleep(time.Second)
		if err := accepts(t, v, text); err == nil {
			t.Error("good after its end and the leeway")
		}
		_ = v.Close()
	})
}

// TestKeyFileChanges replaces the file by another and by a broken one.
func TestKeyFileChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := newTestIssuer(t, "ES256")
		path := jwksFile(t, is)
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
		v := newVerifier(t, Config{JWT: []JWTConfig{{Issuer: is.URL, JWKSFile: path, Audiences: []string{audience}}}})
		former, claims := is.Key(), map[string]any{"sub": "u1", "aud": audience}
		text := token(t, is, claims)
		if err := accepts(t, v, text); err != nil {
			t.Fatal(err)
		}
		replace := func(content []byte) {
			if err := os.WriteFile(path+".new", content, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * filePoll)
			synctest.Wait()
		}
		replace([]byte("{"))
		if err := accepts(t, v, text); err != nil || v.Status()[0].Err == nil {
			t.Errorf("a broken file: %v, status %+v", err, v.Status()[0])
		}
		if _, err := is.AddKey("ES256"); err != nil {
			t.Fatal(err)
		}
		is.RemoveKey(former.ID)
		keys, err := is.JWKS()
		if err != nil {
			t.Fatal(err)
		}
		replace(keys)
		if err := accepts(t, v, text); err == nil {
			t.Error("the former key still verifies")
		}
		if err := accepts(t, v, token(t, is, claims)); err != nil || v.Status()[0].Err != nil {
			t.Errorf("the new file: %v, status %+v", err, v.Status()[0])
		}
		_ = v.Close()
	})
}

func TestWatchedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	w := &watchedFile{path: path}
	load := func() string {
		data, err := w.load(t.Context())
		if err != nil {
			return err.Error()
		}
		if data == nil {
			return "unchanged"
		}
		return string(data)
	}
	write := func(text string, age time.Duration) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what, want string) {
		t.Helper()
		if got := load(); got != want {
			t.Errorf("%s: %q, not %q", what, got, want)
		}
	}
	check("missing", "no such file or directory")
	write("one", time.Hour)
	check("first", "one")
	check("again", "unchanged")
	write("two", 2*time.Hour) // same size, older
	check("changed", "two")
	check("again", "unchanged")
	write("new", 0)
	check("just written", "new")
	check("just written, again", "new")
	write(strings.Repeat("x", maxDocument+1), time.Hour)
	check("large", fmt.Sprintf("is longer than %d bytes", maxDocument))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	check("gone", "no such file or directory")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	check("a folder", "is not a regular file")
}

// TestOverTLS runs against a real server: rotation while many requests are
// under way loses none.
func TestOverTLS(t *testing.T) {
	var is *identitytest.Issuer
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { is.ServeHTTP(w, r) }))
	defer server.Close()
	var err error
	if is, err = identitytest.NewIssuer(server.URL, "ES256"); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	v := newVerifier(t, discoveryConfig(is.URL), WithTransport(transport), WithRefresh(50*time.Millisecond))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var workers sync.WaitGroup
	var served atomic.Int64
	for range 4 {
		workers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				text, err := is.Token(map[string]any{"sub": fmt.Sprint("u", n), "aud": audience})
				if err == nil {
					err = accepts(t, v, text)
				}
				if err != nil {
					t.Errorf("during rotation: %v", err)
					return
				}
				served.Add(1)
			}
		})
	}
	// Issuers publish a key before it signs. Here both happen at once, so the
	// first tokens of it find the key unknown, some during a fetch that began
	// before the key was there.
	for range 3 {
		before := served.Load()
		if _, err := is.AddKey("ES256"); err != nil {
			t.Fatal(err)
		}
		for served.Load() < before+200 && !t.Failed() {
			time.Sleep(time.Millisecond)
		}
	}
	stop()
	workers.Wait()
	t.Logf("%d requests, %d fetches", served.Load(), is.Fetches())
}

func TestUntrustedTLS(t *testing.T) {
	server := httptest.NewTLSServer(status(200))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer server.Close()
	if _, err := New(t.Context(), discoveryConfig(server.URL)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
}

// TestRemovedKeysFetchNothing: after a rotation the bearers of old tokens keep
// asking. They must not use up the fetches that the next new key needs.
func TestRemovedKeysFetchNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := newTestIssuer(t, "ES256")
		v := newVerifier(t, discoveryConfig(is.URL), WithTransport(&inProcess{handler: is}))
		claims := map[string]any{"sub": "u1", "aud": audience}
		for range 5 {
			first, old := is.Key(), token(t, is, claims)
			if _, err := is.AddKey("ES256"); err != nil {
				t.Fatal(err)
			}
			is.RemoveKey(first.ID)
			if err := accepts(t, v, token(t, is, claims)); err != nil {
				t.Errorf("the new key: %v", err)
			}
			before := is.Fetches()
			for range 100 {
				if err := accepts(t, v, old); err == nil {
					t.Fatal("a removed key still verifies")
				}
			}
			if n := is.Fetches() - before; n != 0 {
				t.Errorf("a removed key's tokens made %d fetches", n)
			}
			time.Sleep(onDemandEvery)
		}
		_ = v.Close()
	})
}
