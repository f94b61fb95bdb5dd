package firewall_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/firewall/identity/identitytest"
)

const allowEverything = "package graphward\n\nimport rego.v2\n\nallow[\"*\"][\"*\"] := true\n"

// checkEvery is how often these tests have certificate files looked at.
const checkEvery = time.Millisecond

func newCA(t testing.TB, name, uri string) *identitytest.CA {
	t.Helper()
	ca, err := identitytest.NewCA(name, uri)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t testing.TB, ca *identitytest.CA, l identitytest.Leaf) tls.Certificate {
	t.Helper()
	cert, err := ca.Issue(l)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// local is a server's certificate for loopback.
var local = identitytest.Leaf{DNS: []string{"localhost"}, IP: []net.IP{net.IPv4(127, 0, 0, 1)}}

func replace(t testing.TB, name string, content []byte) {
	t.Helper()
	if err := identitytest.Replace(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func writeCertificate(t testing.TB, cert tls.Certificate, certFile, keyFile string) {
	t.Helper()
	if err := identitytest.WriteCertificate(cert, certFile, keyFile); err != nil {
		t.Fatal(err)
	}
}

// answering is a backend that says yes to all and counts.
type answering struct{ calls atomic.Int64 }

func (a *answering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.calls.Add(1)
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"data":{"secret":"s"}}`)
}

// seen is an audit sink that keeps records.
type seen struct {
	mu      sync.Mutex
	records []audit.Record
}

func (s *seen) Write(r *audit.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, *r)
	return nil
}

func (s *seen) Close() error { return nil }

func (s *seen) last(t testing.TB) audit.Record {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.records) == 0 {
		t.Fatal("there is no audit record")
	}
	return s.records[len(s.records)-1]
}

// served boots the firewall on its own listeners and ends it with the test.
func served(t testing.TB, c *firewall.Config, opts ...firewall.Option) (*firewall.Firewall, *firewall.Server) {
	t.Helper()
	c.Listen = "127.0.0.1:0"
	f, err := firewall.New(t.Context(), c, append([]firewall.Option{firewall.WithCertificateCheck(checkEvery)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	server, err := f.Listen()
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
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f, server
}

// secured is a configuration with TLS from files.
type secured struct {
	*firewall.Config
	dir       string
	server    *identitytest.CA
	cert, key string
}

func newSecured(t *testing.T) *secured {
	t.Helper()
	c, dir := laid(t, allowEverything)
	s := &secured{c, dir, newCA(t, "server CA", ""), filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
	writeCertificate(t, issue(t, s.server, local), s.cert, s.key)
	c.TLS.Mode, c.TLS.CertFile, c.TLS.KeyFile = "on", s.cert, s.key
	return s
}

// askTLS sends one operation on a connection of its own.
func askTLS(ctx context.Context, address string, config *tls.Config) (*http.Response, error) {
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+"/graphql", strings.NewReader(`{"query":"{ secret }"}`))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res, err
}

func TestTLSVersionsAndSuites(t *testing.T) {
	s := newSecured(t)
	_, server := served(t, s.Config, firewall.WithHandler(&answering{}))
	for _, tt := range []struct {
		name   string
		client *tls.Config
		ok     bool
	}{
		{"TLS 1.3", &tls.Config{MinVersion: tls.VersionTLS13}, true},
		{"TLS 1.2 with GCM", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}, true},
		{"TLS 1.2 with ChaCha20", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}}, true},
		{"TLS 1.2 with CBC", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, false},
		{"TLS 1.2 without forward secrecy", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, false},
		{"TLS 1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		{"TLS 1.0", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.client.RootCAs = s.server.Pool()
			tt.client.NextProtos = []string{"h2", "http/1.1"}
			res, err := askTLS(t.Context(), server.Addr().String(), tt.client)
			if (err == nil) != tt.ok {
				t.Fatalf("the handshake's error is %v", err)
			}
			if tt.ok && (res.StatusCode != http.StatusOK || res.ProtoMajor != 2) {
				t.Errorf("status %d over %s", res.StatusCode, res.Proto)
			}
		})
	}
}

// What each setting of client_auth makes of each certificate: no handshake, a
// refusal, or an identity.
func TestClientCertificates(t *testing.T) {
	clients, strangers := newCA(t, "client CA", ""), newCA(t, "another CA", "")
	show := func(ca *identitytest.CA, l identitytest.Leaf) []tls.Certificate {
		return []tls.Certificate{issue(t, ca, l)}
	}
	spiffe := identitytest.Leaf{URI: "spiffe://example.org/shop/web"}
	// none: no connection. Else the subject of a request that is answered; ?: refused as UNAUTHENTICATED.
	type want struct{ off, optional, required string }
	tests := []struct {
		name  string
		certs []tls.Certificate
		want  want
	}{
		{"no certificate", nil, want{"?", "?", "none"}},
		{"a DNS name", show(clients, identitytest.Leaf{DNS: []string{"billing.example.org", "b"}}), want{"?", "billing.example.org", "billing.example.org"}},
		{"a SPIFFE ID", show(clients, spiffe), want{"?", spiffe.URI, spiffe.URI}},
		{"a SPIFFE ID before a DNS name", show(clients, identitytest.Leaf{URI: spiffe.URI, DNS: []string{"admin"}}), want{"?", spiffe.URI, spiffe.URI}},
		{"a SPIFFE ID that is none", show(clients, identitytest.Leaf{URI: "spiffe://example.org/a/../admin", DNS: []string{"admin"}}), want{"?", "?", "?"}},
		{"expired", show(clients, identitytest.Leaf{DNS: []string{"old"}, NotAfter: time.Now().Add(-time.Minute)}), want{"?", "none", "none"}},
		{"another CA's", show(strangers, spiffe), want{"?", "none", "none"}},
		{"of a server", show(clients, identitytest.Leaf{DNS: []string{"server"}, ServerOnly: true}), want{"?", "none", "none"}},
	}
	for _, mode := range []string{"off", "optional", "required"} {
		s := newSecured(t)
		s.TLS.ClientAuth, s.Identity.Anonymous = mode, identity.Deny
		s.TLS.ClientCAFile = filepath.Join(s.dir, "clients.crt")
		replace(t, s.TLS.ClientCAFile, clients.PEM())
		backend, records := &answering{}, &seen{}
		_, server := served(t, s.Config, firewall.WithHandler(backend), firewall.WithAuditSink(records))
		for _, tt := range tests {
			t.Run(mode+"/"+tt.name, func(t *testing.T) {
				before := backend.calls.Load()
				res, err := askTLS(t.Context(), server.Addr().String(), &tls.Config{RootCAs: s.server.Pool(), GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					if tt.certs == nil {
						return &tls.Certificate{}, nil
					}
					return &tt.certs[0], nil // whatever CAs the server names
				}})
				got := "none"
				if err == nil {
					switch got = records.last(t).Subject; res.StatusCode {
					case http.StatusOK:
					case http.StatusUnauthorized:
						got = "?"
					default:
						t.Errorf("status %d", res.StatusCode)
					}
				}
				wanted := map[string]string{"off": tt.want.off, "optional": tt.want.optional, "required": tt.want.required}[mode]
				if got != wanted {
					t.Errorf("got %q, want %q (%v)", got, wanted, err)
				}
				if touched := backend.calls.Load() > before; touched != (res != nil && res.StatusCode == http.StatusOK) {
					t.Errorf("upstream was touched: %v", touched)
				}
			})
		}
	}
}

// Certificates and client CAs change on disk while clients connect: no
// handshake fails, also while certificate and key do not fit each other, and
// what is broken is reported and not served.
func TestCertificateReloadUnderLoad(t *testing.T) {
	s := newSecured(t)
	s.Admin.Listen = "localhost:0"
	f, server := served(t, s.Config, firewall.WithHandler(&answering{}))
	serving := func() (serial string) {
		conn, err := tls.Dial("tcp", server.Addr().String(), &tls.Config{RootCAs: s.server.Pool()})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	ctx, stop := context.WithCancel(t.Context())
	var requests atomic.Int64
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for going := true; going; going = ctx.Err() == nil {
				res, err := askTLS(context.Background(), server.Addr().String(), &tls.Config{RootCAs: s.server.Pool()})
				if err != nil || res.StatusCode != http.StatusOK {
					t.Errorf("during a change: %v %v", res, err)
					return
				}
				requests.Add(1)
			}
		})
	}
	for range 20 {
		next := issue(t, s.server, local)
		writeCertificate(t, next, s.cert, s.key)
		for want, deadline := next.Leaf.SerialNumber.String(), time.Now().Add(patience); serving() != want; {
			if time.Now().After(deadline) {
				t.Fatal("the new certificate is not served")
			}
		}
	}
	last := serving()
	admin, err := f.AdminHandler()
	if err != nil {
		t.Fatal(err)
	}
	counted := func(result string) int {
		w := httptest.NewRecorder()
		admin.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		_, after, _ := strings.Cut(w.Body.String(), `graphward_certificate_reloads_total{key="tls",result="`+result+`"} `)
		count, _, _ := strings.Cut(after, "\n")
		n, _ := strconv.Atoi(count)
		return n
	}
	torn := counted("failure") // a new key beside the old certificate
	replace(t, s.key, []byte("no key"))
	for deadline := time.Now().Add(patience); counted("failure") == torn; {
		if time.Now().After(deadline) {
			t.Fatal("a broken key is not reported")
		}
		if got := serving(); got != last {
			t.Errorf("a broken key changed the certificate to %s", got)
		}
	}
	stop()
	wg.Wait()
	// A change between the look at the files and their reading is loaded by both this look and the next.
	if n := counted("success"); requests.Load() == 0 || serving() != last || n < 20 || n > 40 {
		t.Errorf("%d requests, %d reloads of 20 changes; serving %s, want %s", requests.Load(), n, serving(), last)
	}
	t.Logf("%d handshakes and requests during 20 changes", requests.Load())
}

// After a change of the client CA the old one's certificates open no new
// connection, neither by a resumed session.
func TestClientCAReload(t *testing.T) {
	s := newSecured(t)
	before, after := newCA(t, "before", ""), newCA(t, "after", "")
	s.TLS.ClientAuth, s.TLS.ClientCAFile = "required", filepath.Join(s.dir, "clients.crt")
	replace(t, s.TLS.ClientCAFile, before.PEM())
	_, server := served(t, s.Config, firewall.WithHandler(&answering{}))
	cache := tls.NewLRUClientSessionCache(8)
	try := func(cert tls.Certificate) error {
		_, err := askTLS(t.Context(), server.Addr().String(), &tls.Config{RootCAs: s.server.Pool(), ClientSessionCache: cache,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }})
		return err
	}
	old, fresh := issue(t, before, identitytest.Leaf{DNS: []string{"a"}}), issue(t, after, identitytest.Leaf{DNS: []string{"a"}})
	if err := try(old); err != nil {
		t.Fatal(err)
	}
	if try(fresh) == nil {
		t.Error("another CA's certificate was accepted")
	}
	replace(t, s.TLS.ClientCAFile, after.PEM())
	for deadline := time.Now().Add(patience); try(fresh) != nil; {
		if time.Now().After(deadline) {
			t.Fatal("the new CA is not trusted")
		}
	}
	if try(old) == nil {
		t.Error("the old CA is still trusted")
	}
}

// A public address needs TLS, or `tls: off` said aloud.
func TestPublicAddress(t *testing.T) {
	for _, tt := range []struct{ listen, mode, problem string }{
		{"127.0.0.1:8080", "", ""},
		{"[::1]:8080", "", ""},
		{"localhost:8080", "", ""},
		{":8080", "", "listen"},
		{"0.0.0.0:8080", "", "listen"},
		{"[::]:8080", "", "listen"},
		{"192.0.2.1:8080", "", "listen"},
		{"graphward:8080", "", "listen"},
		{"0.0.0.0:8080", "off", ""},
		{"0.0.0.0:8080", "of", "tls.mode"},
		{"0.0.0.0:8080", "on", "tls.cert_file"},
	} {
		c, _ := laid(t, allowEverything)
		c.Upstream.URL, c.Listen, c.TLS.Mode = "http://127.0.0.1:1/graphql", tt.listen, tt.mode
		problem := ""
		if p := c.Validate(); len(p) > 0 {
			problem = p[0].Path
		}
		if problem != tt.problem {
			t.Errorf("listen %s, tls %q: the problem is at %q, want %q", tt.listen, tt.mode, problem, tt.problem)
		}
	}
}

// The files of TLS are problems of the configuration where they do not load,
// for check too.
func TestBadTLSFiles(t *testing.T) {
	s := newSecured(t)
	s.Upstream.URL = "https://127.0.0.1:1/graphql"
	other := filepath.Join(s.dir, "other")
	writeCertificate(t, issue(t, s.server, local), other+".crt", other+".key")
	empty := filepath.Join(s.dir, "empty")
	replace(t, empty, nil)
	tests := map[string]func(c *firewall.Config){
		"tls.cert_file":          func(c *firewall.Config) { c.TLS.KeyFile = other + ".key" },
		"tls.client_ca_file":     func(c *firewall.Config) { c.TLS.ClientAuth, c.TLS.ClientCAFile = "required", empty },
		"upstream.tls.ca_file":   func(c *firewall.Config) { c.Upstream.TLS.CAFile = empty },
		"upstream.tls.cert_file": func(c *firewall.Config) { c.Upstream.TLS.CertFile, c.Upstream.TLS.KeyFile = s.cert, other+".key" },
	}
	for path, spoil := range tests {
		c := *s.Config
		spoil(&c)
		if _, err := firewall.Check(t.Context(), &c); err == nil || !strings.HasPrefix(err.Error(), path+": ") {
			t.Errorf("check says %v, want %s", err, path)
		}
	}
	if _, err := os.Stat(s.cert); err != nil {
		t.Fatal(err)
	}
}

// backendTLS is an upstream that serves TLS and remembers who called.
type backendTLS struct {
	*httptest.Server
	mu      sync.Mutex
	callers []string // serial of the client certificate, or ""
}

func newBackendTLS(t *testing.T, cert tls.Certificate, clients *x509.CertPool) *backendTLS {
	t.Helper()
	b := &backendTLS{}
	yes := &answering{}
	b.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller := ""
		if len(r.TLS.PeerCertificates) > 0 {
			caller = r.TLS.PeerCertificates[0].SerialNumber.String()
		}
		b.mu.Lock()
		b.callers = append(b.callers, fmt.Sprintf("%s %s", r.Proto, caller))
		b.mu.Unlock()
		yes.ServeHTTP(w, r)
	}))
	b.EnableHTTP2 = true
	b.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	if clients != nil {
		b.TLS.ClientAuth, b.TLS.ClientCAs = tls.RequireAndVerifyClientCert, clients
	}
	b.StartTLS()
	t.Cleanup(b.Close)
	return b
}

func (b *backendTLS) last() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.callers) == 0 {
		return "nobody"
	}
	return b.callers[len(b.callers)-1]
}

func TestUpstreamTLS(t *testing.T) {
	ca, other := newCA(t, "backend CA", ""), newCA(t, "another CA", "")
	trusted := filepath.Join(t.TempDir(), "ca.crt")
	replace(t, trusted, ca.PEM())
	untrusted := filepath.Join(t.TempDir(), "ca.crt")
	replace(t, untrusted, other.PEM())
	named := issue(t, ca, identitytest.Leaf{DNS: []string{"shop.internal"}})
	for _, tt := range []struct {
		name string
		cert tls.Certificate
		tls  firewall.UpstreamTLSConfig
		ok   bool
	}{
		{"own CA", issue(t, ca, local), firewall.UpstreamTLSConfig{CAFile: trusted}, true},
		{"own CA, own name", named, firewall.UpstreamTLSConfig{CAFile: trusted, ServerName: "shop.internal"}, true},
		{"the URL's host is not in the certificate", named, firewall.UpstreamTLSConfig{CAFile: trusted}, false},
		{"another name", issue(t, ca, local), firewall.UpstreamTLSConfig{CAFile: trusted, ServerName: "shop.internal"}, false},
		{"another CA", issue(t, ca, local), firewall.UpstreamTLSConfig{CAFile: untrusted}, false},
		{"the system's CAs", issue(t, ca, local), firewall.UpstreamTLSConfig{}, false},
		{"expired", issue(t, ca, identitytest.Leaf{IP: local.IP, NotAfter: time.Now().Add(-time.Minute)}), firewall.UpstreamTLSConfig{CAFile: trusted}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			backend := newBackendTLS(t, tt.cert, nil)
			c, _ := laid(t, allowEverything)
			c.Upstream.URL, c.Upstream.TLS = backend.URL+"/graphql", tt.tls
			f, err := firewall.New(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			res := post(t, f, map[string]any{"query": "{ secret }"})
			if tt.ok && (res.Code != http.StatusOK || backend.last() != "HTTP/2.0 ") {
				t.Errorf("status %d %s; the backend saw %q", res.Code, res.Body, backend.last())
			}
			if !tt.ok && (codeOf(res.Body.Bytes()) != "UPSTREAM_ERROR" || backend.last() != "nobody") {
				t.Errorf("status %d %s; the backend saw %q", res.Code, res.Body, backend.last())
			}
		})
	}
}

// The client certificate and the CA change on disk under load: no request
// fails, and the backend soon sees the new certificate alone.
func TestUpstreamCertificateReload(t *testing.T) {
	server, clients := newCA(t, "backend CA", ""), newCA(t, "client CA", "")
	backend := newBackendTLS(t, issue(t, server, local), clients.Pool())
	c, dir := laid(t, allowEverything)
	certFile, keyFile, caFile := filepath.Join(dir, "c.crt"), filepath.Join(dir, "c.key"), filepath.Join(dir, "ca.crt")
	first := issue(t, clients, identitytest.Leaf{DNS: []string{"graphward"}})
	writeCertificate(t, first, certFile, keyFile)
	replace(t, caFile, server.PEM())
	c.Upstream.URL = backend.URL + "/graphql"
	c.Upstream.TLS = firewall.UpstreamTLSConfig{CAFile: caFile, CertFile: certFile, KeyFile: keyFile}
	f, err := firewall.New(t.Context(), c, firewall.WithCertificateCheck(checkEvery))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if res := post(t, f, map[string]any{"query": "{ secret }"}); res.Code != http.StatusOK {
					t.Errorf("during a change: status %d %s", res.Code, res.Body)
					return
				}
			}
		})
	}
	for range 5 {
		next := issue(t, clients, identitytest.Leaf{DNS: []string{"graphward"}})
		writeCertificate(t, next, certFile, keyFile)
		for want, deadline := "HTTP/2.0 "+next.Leaf.SerialNumber.String(), time.Now().Add(patience); backend.last() != want; {
			if time.Now().After(deadline) {
				t.Fatalf("the backend saw %q, want %q", backend.last(), want)
			}
			post(t, f, map[string]any{"query": "{ secret }"})
		}
	}
	stop()
	wg.Wait()
	// Another CA is trusted from now on, so that this backend is not.
	replace(t, caFile, newCA(t, "another CA", "").PEM())
	for deadline := time.Now().Add(patience); ; {
		res := post(t, f, map[string]any{"query": "{ secret }"})
		if diff := cmp.Diff("UPSTREAM_ERROR", codeOf(res.Body.Bytes())); diff == "" {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(diff)
		}
	}
}
