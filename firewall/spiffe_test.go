package firewall_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/firewall/identity/identitytest"
)

// agent is a SPIFFE Workload API on a Unix socket that serves one certificate,
// which may be changed.
type agent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	address string

	mu      sync.Mutex
	answer  *workload.X509SVIDResponse
	changed chan struct{} // closed with each change
}

func newAgent(t *testing.T) *agent {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{address: "unix://" + socket, changed: make(chan struct{})}
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, a)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return a
}

// serve gives out a certificate for id, and the bundles of its own trust domain
// and of federated ones.
func (a *agent) serve(t *testing.T, id string, ca *identitytest.CA, federated map[string]*identitytest.CA) tls.Certificate {
	t.Helper()
	cert := issue(t, ca, identitytest.Leaf{URI: id})
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	answer := &workload.X509SVIDResponse{
		Svids:            []*workload.X509SVID{{SpiffeId: id, X509Svid: cert.Certificate[0], X509SvidKey: key, Bundle: ca.Certificate.Raw}},
		FederatedBundles: map[string][]byte{},
	}
	for domain, other := range federated {
		answer.FederatedBundles[domain] = other.Certificate.Raw
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
	close(a.changed)
	a.changed = make(chan struct{})
	return cert
}

func (a *agent) FetchX509SVID(_ *workload.X509SVIDRequest, stream workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	if v := md.Get("workload.spiffe.io"); len(v) != 1 || v[0] != "true" {
		return status.Error(codes.InvalidArgument, "the security header is missing")
	}
	for {
		a.mu.Lock()
		answer, changed := a.answer, a.changed
		a.mu.Unlock()
		if answer != nil {
			if err := stream.Send(answer); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

const (
	shopDomain = "spiffe://shop.example"
	firewallID = shopDomain + "/graphward"
)

// Certificate, client CAs and accepted IDs come from the Workload API: who is
// accepted is its ID's subject, whoever else has no connection, and a renewed
// certificate serves without a restart.
func TestSPIFFEListener(t *testing.T) {
	shop, partner, fake := newCA(t, "shop", shopDomain), newCA(t, "partner", "spiffe://partner.example"), newCA(t, "fake", shopDomain)
	api := newAgent(t)
	first := api.serve(t, firewallID, shop, map[string]*identitytest.CA{"spiffe://partner.example": partner})
	show := func(ca *identitytest.CA, l identitytest.Leaf) *tls.Certificate {
		cert := issue(t, ca, l)
		return &cert
	}
	web := shopDomain + "/web"
	type want struct{ domain, ids string } // subject, or none
	tests := map[string]struct {
		cert *tls.Certificate
		want want
	}{
		"the ID that is listed":            {show(shop, identitytest.Leaf{URI: web}), want{web, web}},
		"another of the trust domain":      {show(shop, identitytest.Leaf{URI: shopDomain + "/batch"}), want{shopDomain + "/batch", "none"}},
		"a longer ID":                      {show(shop, identitytest.Leaf{URI: web + "/x"}), want{web + "/x", "none"}},
		"of a federated trust domain":      {show(partner, identitytest.Leaf{URI: "spiffe://partner.example/web"}), want{"none", "none"}},
		"a federated CA in the own domain": {show(partner, identitytest.Leaf{URI: web}), want{"none", "none"}},
		"of an unknown CA":                 {show(fake, identitytest.Leaf{URI: web}), want{"none", "none"}},
		"expired":                          {show(shop, identitytest.Leaf{URI: web, NotAfter: time.Now().Add(-time.Minute)}), want{"none", "none"}},
		"without SPIFFE ID":                {show(shop, identitytest.Leaf{DNS: []string{"web"}}), want{"none", "none"}},
		"no certificate":                   {&tls.Certificate{}, want{"none", "none"}},
	}
	for _, by := range []string{"domain", "ids"} {
		c, _ := laid(t, allowEverything)
		c.Identity.Anonymous = identity.Deny
		c.TLS.Mode, c.TLS.ClientAuth = "on", "required"
		c.TLS.SPIFFE = &firewall.SPIFFEConfig{Socket: api.address, TrustDomain: "shop.example"}
		if by == "ids" {
			c.TLS.SPIFFE = &firewall.SPIFFEConfig{Socket: api.address, IDs: []string{web}}
		}
		backend, records := &answering{}, &seen{}
		_, server := served(t, c, firewall.WithHandler(backend), firewall.WithAuditSink(records))
		ask := func(cert *tls.Certificate) (serial string, res *http.Response, err error) {
			res, err = askTLS(t.Context(), server.Addr().String(), &tls.Config{InsecureSkipVerify: true, //nolint:gosec // SPIFFE has no host names
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }})
			if err == nil {
				serial = res.TLS.PeerCertificates[0].SerialNumber.String()
			}
			return serial, res, err
		}
		for name, tt := range tests {
			t.Run(by+"/"+name, func(t *testing.T) {
				before, got := backend.calls.Load(), "none"
				_, res, err := ask(tt.cert)
				if err == nil && res.StatusCode == http.StatusOK {
					got = records.last(t).Subject
				} else if backend.calls.Load() != before || err == nil {
					t.Errorf("%v; upstream was touched: %v", err, backend.calls.Load() != before)
				}
				if wanted := map[string]string{"domain": tt.want.domain, "ids": tt.want.ids}[by]; got != wanted {
					t.Errorf("got %q, want %q (%v)", got, wanted, err)
				}
			})
		}
		if by == "ids" {
			continue
		}
		if serial, _, err := ask(tests["the ID that is listed"].cert); err != nil || serial != first.Leaf.SerialNumber.String() {
			t.Errorf("serving %s: %v", serial, err)
		}
		next := api.serve(t, firewallID, shop, nil)
		for deadline := time.Now().Add(patience); ; {
			serial, _, err := ask(tests["the ID that is listed"].cert)
			if err != nil {
				t.Fatal(err)
			}
			if serial == next.Leaf.SerialNumber.String() {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the renewed certificate is not served")
			}
		}
	}
}

// To the upstream the firewall shows its own SVID, and accepts the configured
// ID alone; a renewed SVID is shown soon after.
func TestSPIFFEUpstream(t *testing.T) {
	shop, fake := newCA(t, "shop", shopDomain), newCA(t, "fake", shopDomain)
	for name, tt := range map[string]struct {
		ca *identitytest.CA
		id string
		ok bool
	}{
		"the backend":      {shop, shopDomain + "/backend", true},
		"another workload": {shop, shopDomain + "/other", false},
		"of an unknown CA": {fake, shopDomain + "/backend", false},
	} {
		t.Run(name, func(t *testing.T) {
			api := newAgent(t)
			first := api.serve(t, firewallID, shop, nil)
			backend := newBackendTLS(t, issue(t, tt.ca, identitytest.Leaf{URI: tt.id}), shop.Pool())
			c, _ := laid(t, allowEverything)
			c.Upstream.URL = backend.URL + "/graphql"
			c.Upstream.TLS.SPIFFE = &firewall.SPIFFEConfig{Socket: api.address, IDs: []string{shopDomain + "/backend"}}
			f, err := firewall.New(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			res := post(t, f, map[string]any{"query": "{ secret }"})
			if !tt.ok {
				if codeOf(res.Body.Bytes()) != "UPSTREAM_ERROR" || backend.last() != "nobody" {
					t.Errorf("status %d %s; the backend saw %q", res.Code, res.Body, backend.last())
				}
				return
			}
			if want := "HTTP/2.0 " + first.Leaf.SerialNumber.String(); backend.last() != want {
				t.Errorf("the backend saw %q, want %q: %s", backend.last(), want, res.Body)
			}
			next := api.serve(t, firewallID, shop, nil)
			for want, deadline := "HTTP/2.0 "+next.Leaf.SerialNumber.String(), time.Now().Add(patience); backend.last() != want; {
				if time.Now().After(deadline) {
					t.Fatalf("the backend saw %q, want %q", backend.last(), want)
				}
				if res := post(t, f, map[string]any{"query": "{ secret }"}); res.Code != http.StatusOK {
					t.Fatalf("status %d %s", res.Code, res.Body)
				}
			}
		})
	}
}

// Where the Workload API gives nothing, nothing is served.
func TestSPIFFEUnavailable(t *testing.T) {
	c, dir := laid(t, allowEverything)
	c.TLS.Mode, c.TLS.SPIFFE = "on", &firewall.SPIFFEConfig{Socket: "unix://" + filepath.Join(dir, "nobody.sock")}
	c.Listen = "127.0.0.1:0"
	f, err := firewall.New(t.Context(), c, firewall.WithHandler(&answering{}))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.ListenContext(ctx); err == nil {
		t.Error("a listener without certificate serves")
	}
}
