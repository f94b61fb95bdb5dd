package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// authority signs client certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(48 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{key, cert}
}

func (a *authority) issue(t testing.TB, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "admin"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func uris(list ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		for _, text := range list {
			u, err := url.Parse(text)
			if err != nil {
				panic(err)
			}
			c.URIs = append(c.URIs, u)
		}
	}
}

// over is a request that came over TLS with the certificate.
func (a *authority) over(cert tls.Certificate, headers ...string) *http.Request {
	r := request(headers...)
	r.TLS = &tls.ConnectionState{
		PeerCertificates: []*x509.Certificate{cert.Leaf},
		VerifiedChains:   [][]*x509.Certificate{{cert.Leaf, a.cert}},
	}
	return r
}

func fingerprint(cert tls.Certificate) string {
	return fmt.Sprintf("%x", sha256.Sum256(cert.Leaf.Raw))
}

func TestCertificateNames(t *testing.T) {
	ca := newAuthority(t)
	v := newVerifier(t, Config{Anonymous: Deny})
	for name, test := range map[string]struct {
		change          func(*x509.Certificate)
		subject, issuer string
		reason          string
	}{
		"a SPIFFE ID":                {change: uris("spiffe://example.org/ns/a/sa/web"), subject: "spiffe://example.org/ns/a/sa/web", issuer: "spiffe://example.org"},
		"a SPIFFE ID before a name":  {change: func(c *x509.Certificate) { uris("spiffe://example.org/a")(c); c.DNSNames = []string{"b"} }, subject: "spiffe://example.org/a", issuer: "spiffe://example.org"},
		"two SPIFFE IDs":             {change: uris("spiffe://example.org/a", "spiffe://example.org/b"), reason: "SPIFFE"},
		"a SPIFFE ID and a URI":      {change: uris("https://example.org", "spiffe://example.org/b"), reason: "SPIFFE"},
		"a SPIFFE ID with a query":   {change: uris("spiffe://example.org/a?x=y"), reason: "SPIFFE"},
		"a SPIFFE ID with dots":      {change: uris("spiffe://example.org/a/../b"), reason: "SPIFFE"},
		"a SPIFFE ID without domain": {change: uris("spiffe:///a"), reason: "SPIFFE"},
		"a DNS name":                 {change: func(c *x509.Certificate) { c.DNSNames = []string{"a.example.com", "b.example.com"} }, subject: "a.example.com"},
		"an e-mail address":          {change: func(c *x509.Certificate) { c.EmailAddresses = []string{"a@example.com"} }, subject: "a@example.com"},
		"a URI":                      {change: uris("urn:uuid:1"), subject: "urn:uuid:1"},
		"an address":                 {change: func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1)} }, subject: "192.0.2.1"},
		"a common name alone":        {change: func(*x509.Certificate) {}},
		"an expired one":             {change: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, reason: "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			cert := ca.issue(t, test.change)
			got, err := v.Authenticate(ca.over(cert))
			if test.reason != "" {
				if err == nil || !strings.Contains(err.Error(), test.reason) {
					t.Errorf("got %+v, %v", got, err)
				}
				return
			}
			want := &Identity{Authenticated: true, Subject: test.subject, Issuer: test.issuer, Method: MethodCertificate,
				Key: fingerprint(cert), Certificate: fingerprint(cert), Expiry: cert.Leaf.NotAfter}
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%v %s", err, diff)
			}
		})
	}
}

// TestCertificateBesideToken: the token identifies, the certificate is
// noted; a bad one of either refuses both.
func TestCertificateBesideToken(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.issue(t, uris("spiffe://example.org/gateway"))
	other := ca.issue(t, uris("spiffe://example.org/other"))
	a := newArena(t)
	print := sha256.Sum256(cert.Leaf.Raw)
	jwt := (&forged{}).token(t, a)
	bound := (&forged{claims: object{"cnf": object{"x5t#S256": base64.RawURLEncoding.EncodeToString(print[:])}}}).token(t, a)
	get := func(r *http.Request) (*Identity, error) {
		id, err := a.verifier.Authenticate(r)
		recalls(t, a.verifier, r, id, err)
		return id, err
	}

	for range 2 { // cold and warm
		id, err := get(ca.over(cert, "Authorization", "Bearer "+jwt))
		if err != nil || id.Method != MethodJWT || id.Subject != "u1" || id.Key != "" || id.Certificate != fingerprint(cert) {
			t.Errorf("token and certificate: %+v, %v", id, err)
		}
		if id, err := get(request("Authorization", "Bearer "+jwt)); err != nil || id.Certificate != "" {
			t.Errorf("the certificate stuck to the token: %+v, %v", id, err)
		}
		if id, err := get(ca.over(cert, "Authorization", "Bearer "+bound)); err != nil || id.Subject != "u1" {
			t.Errorf("a bound token with its certificate: %v", err)
		}
		if _, err := get(ca.over(other, "Authorization", "Bearer "+bound)); err == nil {
			t.Error("a bound token with another certificate")
		}
		if _, err := get(request("Authorization", "Bearer "+bound)); err == nil {
			t.Error("a bound token without certificate")
		}
		if _, err := get(ca.over(cert, "Authorization", "Bearer x.y.z")); err == nil {
			t.Error("a bad token fell back to the certificate")
		}
		if _, err := get(ca.over(cert, "X-API-Key", "wrong")); err == nil {
			t.Error("a bad API key fell back to the certificate")
		}
	}
	unverified := ca.over(cert, "Authorization", "Bearer "+jwt)
	unverified.TLS.VerifiedChains = nil
	if _, err := get(unverified); err == nil || !strings.Contains(err.Error(), "not verified") {
		t.Errorf("an unverified certificate: %v", err)
	}
	if id, err := get(func() *http.Request { r := request(); r.TLS = &tls.ConnectionState{}; return r }()); err != nil || id.Authenticated {
		t.Errorf("TLS without certificate: %+v, %v", id, err)
	}
	trusting := newVerifier(t, Config{Anonymous: Deny}, WithVerifiedPeers())
	unverified.Header.Del("Authorization")
	if id, err := trusting.Authenticate(unverified); err != nil || id.Subject != "spiffe://example.org/gateway" {
		t.Errorf("with WithVerifiedPeers: %+v, %v", id, err)
	}
}

// TestCertificateExpiresOnOpenConnection: what was valid at the handshake
// is not for ever.
func TestCertificateExpiresOnOpenConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newAuthority(t)
		cert := ca.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"a"}; c.NotAfter = time.Now().Add(time.Hour) })
		v := newVerifier(t, Config{Anonymous: Allow})
		if _, err := v.Authenticate(ca.over(cert)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour + time.Second)
		if id, err := v.Authenticate(ca.over(cert)); err == nil {
			t.Errorf("got %+v", id)
		}
		_ = v.Close()
	})
}

// TestMutualTLS is a handshake over a socket, with and without resumption.
func TestMutualTLS(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	v := newVerifier(t, Config{Anonymous: Deny})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := v.Authenticate(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprintf(w, "%s resumed=%v", id.Subject, r.TLS.DidResume)
	}))
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	server.TLS = &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: roots, MinVersion: tls.VersionTLS12}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	get := func(config *tls.Config) string {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AddCert(server.Certificate())
		transport := &http.Transport{TLSClientConfig: config}
		defer transport.CloseIdleConnections()
		res, err := (&http.Client{Transport: transport}).Get(server.URL)
		if err != nil {
			return "no answer"
		}
		defer func() { _ = res.Body.Close() }()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(string(text))
	}
	good := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, uris("spiffe://example.org/a"))}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	got := []string{
		get(good), get(good),
		get(&tls.Config{}),
		get(&tls.Config{Certificates: []tls.Certificate{stranger.issue(t, uris("spiffe://example.org/a"))}}),
	}
	want := []string{
		"spiffe://example.org/a resumed=false", "spiffe://example.org/a resumed=true",
		"unauthenticated: no credential",
		"no answer",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkCertificate(b *testing.B) {
	ca := newAuthority(b)
	v := newVerifier(b, Config{Anonymous: Deny})
	r := ca.over(ca.issue(b, uris("spiffe://example.org/ns/a/sa/web")))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Authenticate(r); err != nil {
			b.Fatal(err)
		}
	}
}

// TestCertificateClient: a certificate's client is what the config says, as firm
// as a token's; a header cannot give it another.
func TestCertificateClient(t *testing.T) {
	ca := newAuthority(t)
	web, other := ca.issue(t, uris("spiffe://example.org/web")), ca.issue(t, uris("spiffe://example.org/other"))
	v := newVerifier(t, Config{Anonymous: Deny, PublicClients: []string{"kiosk"}, CertificateClients: map[string]string{"spiffe://example.org/web": "web"}})
	for _, test := range []struct {
		cert   tls.Certificate
		header string
		want   string
		refuse bool
	}{
		{web, "", "web", false}, {web, "web", "web", false}, {web, "kiosk", "", true},
		{other, "", "", false}, {other, "kiosk", "kiosk", false}, {other, "web", "", false},
	} {
		for range 2 { // cold and warm
			id, err := v.Authenticate(ca.over(test.cert, "Graphql-Client-Name", test.header))
			if (err != nil) != test.refuse {
				t.Fatalf("header %q: %v", test.header, err)
			}
			if err == nil && id.Client != (Client{ID: test.want, Name: test.want}) {
				t.Errorf("header %q: client %+v, want %q", test.header, id.Client, test.want)
			}
		}
	}
}
