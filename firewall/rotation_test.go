package firewall_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/firewall/identity/identitytest"
)

// refreshBound is how long a removed key may verify in this test: the refresh
// of an issuer, or how often a key file is looked at.
const refreshBound = 2 * time.Second

// keySource serves an issuer's keys as a configuration names them.
type keySource struct {
	name string
	// open returns the issuer, its configuration, and what publishes its keys after a change.
	open func(t *testing.T, c *identity.Config, dir string) (is *identitytest.Issuer, publish func())
}

var keySources = []keySource{
	{"discovery over TLS", func(t *testing.T, c *identity.Config, dir string) (*identitytest.Issuer, func()) {
		server := httptest.NewUnstartedServer(nil)
		is := newIssuer(t, "https://"+server.Listener.Addr().String())
		server.Config.Handler = is
		server.StartTLS()
		t.Cleanup(server.Close)
		c.CAFile, c.Refresh = filepath.Join(dir, "ca.pem"), refreshBound
		replace(t, c.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
		c.JWT = []identity.JWTConfig{{Issuer: is.URL, Discovery: true, Audiences: []string{tokenAudience}}}
		return is, func() {}
	}},
	{"a file", func(t *testing.T, c *identity.Config, dir string) (*identitytest.Issuer, func()) {
		is := newIssuer(t, tokenIssuer)
		file := filepath.Join(dir, "jwks.json")
		publish := func() {
			keys, err := is.JWKS()
			if err != nil {
				t.Error(err)
				return
			}
			replace(t, file, keys)
		}
		publish()
		c.JWT = []identity.JWTConfig{{Issuer: is.URL, JWKSFile: file, Audiences: []string{tokenAudience}}}
		return is, publish
	}},
}

func newIssuer(t *testing.T, url string) *identitytest.Issuer {
	t.Helper()
	is, err := identitytest.NewIssuer(url, "ES256")
	if err != nil {
		t.Fatal(err)
	}
	return is
}

func tokenOf(t testing.TB, is *identitytest.Issuer, subject string) http.Header {
	t.Helper()
	text, err := is.Token(map[string]any{"sub": subject, "aud": tokenAudience})
	if err != nil {
		t.Fatal(err)
	}
	return http.Header{"Authorization": {"Bearer " + text}}
}

// An issuer's keys come and go under load. No request with a key that is
// published is refused, whether its token is new or known; one that was
// verified, and stands in the cache, is refused everywhere once its key is gone
// for the refresh bound.
func TestRemovedKeyUnderLoad(t *testing.T) {
	for _, source := range keySources {
		t.Run(source.name, func(t *testing.T) {
			c, dir := laid(t, allowEverything)
			c.Identity = identity.Config{}
			is, publish := source.open(t, &c.Identity, dir)
			backend := &answering{}
			f, err := firewall.New(t.Context(), c, firewall.WithHandler(backend))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()

			// keys is held while a key is there that nothing has published yet.
			var keys sync.RWMutex
			fresh := func(subject string) (status int, body string) {
				keys.RLock()
				defer keys.RUnlock()
				res := askAs(f, tokenOf(t, is, subject))
				return res.Code, res.Body.String()
			}
			// current is a known token of a key that stays published while it is here. using is held while it is sent.
			var using sync.RWMutex
			current := tokenOf(t, is, "steady")
			known := func() (status int, body string) {
				using.RLock()
				defer using.RUnlock()
				res := askAs(f, current)
				return res.Code, res.Body.String()
			}
			ctx, stop := context.WithCancel(t.Context())
			var requests atomic.Int64
			var workers sync.WaitGroup
			defer func() { stop(); workers.Wait() }()
			for w := range 3 {
				workers.Go(func() {
					for n := 0; ctx.Err() == nil; n++ {
						if status, body := known(); status != http.StatusOK {
							t.Errorf("a known token of a published key: status %d %s", status, body)
							return
						}
						if status, body := fresh(fmt.Sprintf("u%d-%d", w, n)); status != http.StatusOK {
							t.Errorf("a new token of a published key: status %d %s", status, body)
							return
						}
						requests.Add(2)
					}
				})
			}
			// Loads for unknown keys come three at once and then one in ten seconds, and a change that meets a load under way takes two.
			// So only the first new key is sure to be loaded on demand; the second may have to wait for the refresh.
			for i := range 2 {
				first, old := is.Key(), current
				var next http.Header
				func() {
					keys.Lock()
					defer keys.Unlock()
					_, err := is.AddKey("ES256")
					publish()
					if err != nil {
						t.Fatal(err)
					}
					next = tokenOf(t, is, "steady")
					for published := time.Now(); ; {
						res := askAs(f, next)
						if res.Code == http.StatusOK {
							return
						}
						if i == 0 || time.Since(published) > refreshBound+patience {
							t.Fatalf("the new key: status %d %s", res.Code, res.Body)
						}
					}
				}()
				if res := askAs(f, old); res.Code != http.StatusOK {
					t.Fatalf("the old key while it is published: status %d %s", res.Code, res.Body)
				}
				for n := requests.Load(); requests.Load() < n+20 && !t.Failed(); {
					askAs(f, next)
				}
				using.Lock()
				before := current
				current = next
				using.Unlock()
				is.RemoveKey(first.ID)
				publish()
				removed := time.Now()
				for askAs(f, before).Code == http.StatusOK {
					// The rest is for a busy machine: the bound itself is identity.TestRotation's, on a clock of its own.
					if time.Since(removed) > refreshBound+patience {
						t.Fatal("a removed key still verifies")
					}
				}
				t.Logf("refused %v after the removal", time.Since(removed).Round(time.Millisecond))
				for range 20 {
					if res := askAs(f, before); res.Code != http.StatusUnauthorized {
						t.Fatalf("a removed key verifies again: status %d", res.Code)
					}
				}
			}
			stop()
			workers.Wait()
			t.Logf("%d requests, %d fetches", requests.Load(), is.Fetches())
		})
	}
}
