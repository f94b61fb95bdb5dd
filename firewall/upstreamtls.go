package firewall

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
)

// handshakeTimeout bounds a TLS handshake with the upstream.
const handshakeTimeout = 10 * time.Second

// tlsTransport forwards over TLS. After a change of certificates requests take
// connections of their own, since one that HTTP/2 keeps busy never becomes
// idle; those in flight end on the old ones.
type tlsTransport struct {
	fresh   func() *http.Transport
	current atomic.Pointer[http.Transport]

	mu      sync.Mutex
	retired []*http.Transport
}

var _ http.RoundTripper = (*tlsTransport)(nil)

// maxRetired bounds how many old transports are told to close; an older one's
// connections end by themselves when they have been idle.
const maxRetired = 8

// RoundTrip implements http.RoundTripper.
func (t *tlsTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.current.Load().RoundTrip(r)
}

func (t *tlsTransport) renew() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := t.current.Swap(t.fresh()); old != nil {
		if len(t.retired) == maxRetired {
			t.retired = slices.Delete(t.retired, 0, 1)
		}
		t.retired = append(t.retired, old)
	}
	for _, old := range t.retired {
		old.CloseIdleConnections()
	}
}

func (t *tlsTransport) closeIdle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, old := range append(t.retired, t.current.Load()) {
		old.CloseIdleConnections()
	}
}

// openTLSTransport makes the transport for an https upstream.
func (f *Firewall) openTLSTransport(ctx context.Context, c *UpstreamConfig) error {
	t := &tlsTransport{}
	t.mu.Lock() // a change may come before there is anything to renew
	defer t.mu.Unlock()
	_, dialer := newTransport(c)
	secured, err := f.openUpstreamTLS(ctx, &c.TLS, dialer, t.renew)
	if err != nil {
		return err
	}
	t.fresh = func() *http.Transport {
		out, _ := newTransport(c)
		out.DialTLSContext = secured.dial
		return out
	}
	t.current.Store(t.fresh())
	f.transport = t
	f.closers = append(f.closers, func() error { t.closeIdle(); return nil })
	return nil
}

// upstreamTLS says how connections to the upstream are secured.
type upstreamTLS struct {
	dialer *net.Dialer
	config func() *tls.Config // what serves now; not to be changed
}

// openUpstreamTLS makes the upstream's TLS of a config. CA and client
// certificate may be replaced on disk, or by the SPIFFE Workload API; changed
// is then called. What it holds is freed by the firewall's closers.
func (f *Firewall) openUpstreamTLS(ctx context.Context, c *UpstreamTLSConfig, dialer *net.Dialer, changed func()) (*upstreamTLS, error) {
	if c.SPIFFE != nil && f.options.offline {
		return &upstreamTLS{dialer, baseTLS}, nil
	}
	stop, done := make(chan struct{}), make(chan struct{})
	closer := func(last func() error) {
		f.closers = append(f.closers, func() error {
			close(stop)
			<-done
			return last()
		})
	}
	if c.SPIFFE != nil {
		source, err := c.SPIFFE.open(ctx, "upstream.tls.spiffe", f.log)
		if err != nil {
			return nil, err
		}
		config := tlsconfig.MTLSClientConfig(source, source, c.SPIFFE.authorizer())
		config.CipherSuites, config.NextProtos, config.ServerName = suites, baseTLS().NextProtos, c.ServerName
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				case <-source.Updated():
					changed()
				}
			}
		}()
		closer(source.Close)
		return &upstreamTLS{dialer, func() *tls.Config { return config }}, nil
	}
	m := &material{read: c.read, every: f.options.certificateCheck(), report: f.reporter("upstream.tls"), files: c.files()}
	if err := m.open(); err != nil {
		return nil, err
	}
	if len(m.files) > 0 {
		go func() {
			defer close(done)
			m.watch(stop, changed)
		}()
		closer(func() error { return nil })
	}
	// Only the watcher looks at the files: a change that a dial saw first would
	// leave the connections that are open on the old certificate.
	return &upstreamTLS{dialer, m.current.Load}, nil
}

func (c *UpstreamTLSConfig) files() (names []string) {
	for _, name := range []string{c.CAFile, c.CertFile, c.KeyFile} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

func (c *UpstreamTLSConfig) read() (*tls.Config, error) {
	out := baseTLS()
	out.ServerName = c.ServerName
	var err error
	if c.CAFile != "" {
		if out.RootCAs, err = readPool("upstream.tls.ca_file", c.CAFile); err != nil {
			return nil, err
		}
	}
	if c.CertFile != "" {
		if out.Certificates, err = readPair("upstream.tls.cert_file", c.CertFile, c.KeyFile); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// dial implements http.Transport's DialTLSContext. The certificate is verified
// for upstream.tls.server_name, else for the host that is dialled.
func (u *upstreamTLS) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, u.dialer.Timeout+handshakeTimeout)
	defer cancel()
	raw, err := u.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := u.config()
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			_ = raw.Close()
			return nil, err
		}
		config = config.Clone()
		config.ServerName = host
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, &handshakeError{err}
	}
	return conn, nil
}

// handshakeError is a failed TLS handshake with the upstream: no request was
// sent.
type handshakeError struct{ cause error }

func (e *handshakeError) Error() string { return "TLS handshake with the upstream: " + e.cause.Error() }

func (e *handshakeError) Unwrap() error { return e.cause }
