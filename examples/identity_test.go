package examples_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graphward/graphward/examples/backend"
	"github.com/graphward/graphward/examples/mtls"
	"github.com/graphward/graphward/examples/oidc"
	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/configfile"
	"github.com/graphward/graphward/firewall/identity/identitytest"
)

// witness is the example's backend, and remembers the headers of the last request.
type witness struct {
	http.Handler
	mu   sync.Mutex
	last http.Header
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.last = r.Header.Clone()
	w.mu.Unlock()
	w.Handler.ServeHTTP(rw, r)
}

// take returns the last headers and forgets them; nil when the backend was not asked.
func (w *witness) take() http.Header {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.last
	w.last = nil
	return h
}

// listen serves a configuration on a free port of loopback, and ends with the test.
func listen(t *testing.T, c *firewall.Config) string {
	t.Helper()
	c.Policy.Timeout = firewall.Duration(time.Minute)
	c.Listen, c.Admin.Listen, c.Audit.Output = "127.0.0.1:0", "", audit.Off
	guard, err := firewall.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	server, err := guard.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := guard.Close(); err != nil {
			t.Error(err)
		}
	})
	return server.Addr().String()
}

// answer is what became of a request.
type answer struct {
	err    error
	status int
	body   string
}

func send(t *testing.T, client *http.Client, url, query string, header http.Header) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(fmt.Sprintf(`{"query":%q}`, query)))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/graphql-response+json")
	res, err := client.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return answer{err, res.StatusCode, string(body)}
}

func TestMutualTLS(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mtls")
	if err := mtls.Lay(dir); err != nil {
		t.Fatal(err)
	}
	if err := mtls.Lay(dir); err == nil {
		t.Error("laid over a folder that is not empty")
	}
	certs := filepath.Join(dir, "certs")
	config, err := mtls.BackendTLS(dir)
	if err != nil {
		t.Fatal(err)
	}
	behind := &witness{Handler: backend.New()}
	upstream := httptest.NewUnstartedServer(behind)
	upstream.TLS, upstream.Config.ErrorLog = config, log.New(io.Discard, "", 0)
	upstream.StartTLS()
	t.Cleanup(upstream.Close)
	file, err := configfile.Load(filepath.Join(dir, "graphward.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file.Config.Upstream.URL = "https://" + upstream.Listener.Addr().String() + "/graphql"
	address := listen(t, file.Config)

	pool, err := mtls.Pool(filepath.Join(certs, "servers.pem"))
	if err != nil {
		t.Fatal(err)
	}
	// as returns a client with the certificate of that name; "" shows none.
	as := func(name, server string) *http.Client {
		c := &tls.Config{RootCAs: pool, ServerName: server}
		if name != "" {
			pair, err := tls.LoadX509KeyPair(filepath.Join(certs, name+".pem"), filepath.Join(certs, name+".key"))
			if err != nil {
				t.Fatal(err)
			}
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		transport := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	const price, cost = `{ product(id: "product-1") { name price } }`, `{ product(id: "product-1") { name costPrice } }`
	for _, tt := range []struct {
		as, query string
		header    http.Header
		status    int // 0: no handshake
		holds     string
	}{
		{"catalogue", price, nil, 200, `"name":"Amber Lamp"`},
		{"catalogue", cost, nil, 403, `"FORBIDDEN"`},
		{"billing", cost, nil, 200, `"costPrice":7.96`},
		{"billing", cost, http.Header{"X-Graphward-Subject": {"spiffe://shop.example/root"}}, 200, `"costPrice":7.96`},
		{"catalogue", price, http.Header{"Graphql-Client-Name": {"billing"}}, 401, `"UNAUTHENTICATED"`},
		{"", price, nil, 0, ""},
		{"stranger", cost, nil, 0, ""},
		{"expired", cost, nil, 0, ""},
		{"backend", price, nil, 0, ""}, // a server's certificate is not a service's
	} {
		t.Run(tt.as+tt.query, func(t *testing.T) {
			got := send(t, as(tt.as, ""), "https://"+address+"/graphql", tt.query, tt.header)
			if (got.err == nil) != (tt.status != 0) || got.status != tt.status || !strings.Contains(got.body, tt.holds) {
				t.Errorf("%+v, want %d %s", got, tt.status, tt.holds)
			}
			seen := behind.take()
			if (seen != nil) != (tt.status == 200) {
				t.Errorf("the backend was asked: %v", seen != nil)
			}
			if got := seen.Values("X-Graphward-Subject"); seen != nil && !slices.Equal(got, []string{mtls.Services[tt.as]}) {
				t.Errorf("the backend was told %q", got)
			}
		})
	}
	// The backend takes connections from the firewall alone.
	for _, name := range []string{"", "billing", "stranger", "backend"} {
		if got := send(t, as(name, "backend.shop.internal"), "https://"+upstream.Listener.Addr().String()+"/graphql", cost, nil); got.err == nil {
			t.Errorf("past the firewall as %q: %+v", name, got)
		}
	}
}

func TestOpenIDConnect(t *testing.T) {
	dir := t.TempDir()
	config, err := oidc.Lay(dir)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	issuer, err := identitytest.NewIssuer("https://"+server.Listener.Addr().String(), "ES256")
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler, server.TLS = oidc.Handler(issuer), config
	server.StartTLS()
	t.Cleanup(server.Close)
	behind := &witness{Handler: backend.New()}
	upstream := httptest.NewServer(behind)
	t.Cleanup(upstream.Close)
	file, err := configfile.Load(filepath.Join(dir, "graphward.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	id := &file.Config.Identity
	if id.JWT[0].Issuer != "https://127.0.0.1:8444" {
		t.Errorf("the issuer is %s", id.JWT[0].Issuer)
	}
	id.JWT[0].Issuer, id.Refresh = issuer.URL, time.Second
	file.Config.Upstream.URL = upstream.URL + "/graphql"
	url := "http://" + listen(t, file.Config) + "/graphql"
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)

	pool, err := mtls.Pool(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	// post asks the issuer.
	post := func(path string) string {
		t.Helper()
		res, err := (&http.Client{Transport: transport}).Post(issuer.URL+path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s %v", path, res.StatusCode, body, err)
		}
		return string(body)
	}
	bearer := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
	customer, support := post("/token?as=customer"), post("/token?as=support")
	stranger, err := identitytest.NewIssuer(issuer.URL, "ES256")
	if err != nil {
		t.Fatal(err)
	}
	forged, err := oidc.Token(stranger, oidc.People["support"], "")
	if err != nil {
		t.Fatal(err)
	}
	named := func(h http.Header, client string) http.Header {
		h.Set("Graphql-Client-Name", client)
		return h
	}
	const me, mail = `{ me { name } }`, `{ me { email } }`
	for _, tt := range []struct {
		name, query string
		header      http.Header
		status      int
		subject     string // that the backend is told
	}{
		{"anybody", `{ categories { name } }`, nil, 200, ""},
		{"without a token", me, nil, 403, ""},
		{"a customer", me, bearer(customer), 200, "user-3"},
		{"a customer by cookie", me, http.Header{"Cookie": {"session=" + customer}}, 200, "user-3"},
		{"a customer for support's field", mail, bearer(customer), 403, ""},
		{"support", mail, bearer(support), 200, "user-2"},
		{"the client that the token names", me, named(bearer(customer), "web"), 200, "user-3"},
		{"another client", me, named(bearer(customer), "kiosk"), 401, ""},
		{"for another audience", me, bearer(post("/token?as=customer&aud=another-app")), 401, ""},
		{"by another's key", me, bearer(forged), 401, ""},
		{"broken, for what anybody may", `{ categories { name } }`, bearer("x.y.z"), 401, ""},
		{"twice", me, http.Header{"Authorization": {"Bearer " + customer, "Bearer " + customer}}, 401, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := send(t, client, url, tt.query, tt.header)
			if got.err != nil || got.status != tt.status {
				t.Errorf("%+v, want %d", got, tt.status)
			}
			seen := behind.take()
			if (seen != nil) != (tt.status == 200) {
				t.Fatalf("the backend was asked: %v", seen != nil)
			}
			if tt.subject == "" {
				return
			}
			payload := claimsOf(t, seen.Get("Authorization"))
			if !bytes.Contains(payload, []byte(`"iss":"graphward"`)) || !bytes.Contains(payload, []byte(`"sub":"`+tt.subject+`"`)) {
				t.Errorf("the backend was told %s", payload)
			}
		})
	}

	post("/rotate")
	if got := send(t, client, url, me, bearer(post("/token?as=customer"))); got.status != 200 {
		t.Errorf("the new key: %+v", got)
	}
	if got := send(t, client, url, me, bearer(customer)); got.status != 200 {
		t.Errorf("the old key while it is published: %+v", got)
	}
	post("/retire")
	for deadline := time.Now().Add(time.Minute); send(t, client, url, me, bearer(customer)).status != 401; {
		if time.Now().After(deadline) {
			t.Fatal("a key that was taken back still verifies")
		}
		time.Sleep(200 * time.Millisecond) // within the budget of requests
	}
	if got := send(t, client, url, me, bearer(post("/token?as=customer"))); got.status != 200 {
		t.Errorf("the key that is left: %+v", got)
	}
}

// claimsOf returns the payload of a bearer token.
func claimsOf(t *testing.T, authorization string) []byte {
	t.Helper()
	parts := strings.Split(authorization, ".")
	if len(parts) != 3 {
		t.Fatalf("the backend's Authorization is %q", authorization)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	return payload
}
