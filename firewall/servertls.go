package firewall

import (
	"context"
	"crypto/tls"
	"crypto/x509"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
)

// suites are those of TLS 1.2 with forward secrecy and authenticated
// encryption, without CBC (RFC 9325 section 4.2); all of TLS 1.3's are.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

func baseTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: suites, NextProtos: []string{"h2", "http/1.1"}}
}

// serverTLS makes the data listener's tls.Config, nil for none. Certificates,
// keys and client CAs may be replaced on disk, or by the SPIFFE Workload API.
// release ends what it holds.
func (f *Firewall) serverTLS(ctx context.Context, c *TLSConfig) (config *tls.Config, release func() error, err error) {
	release = func() error { return nil }
	if c.Mode != "on" {
		return nil, release, nil
	}
	if c.SPIFFE != nil {
		return f.spiffeServerTLS(ctx, c)
	}
	m := &material{read: c.read, every: f.options.certificateCheck(), report: f.reporter("tls"), files: []string{c.CertFile, c.KeyFile}}
	if c.ClientAuth != "off" {
		m.files = append(m.files, c.ClientCAFile)
	}
	if err := m.open(); err != nil {
		return nil, release, err
	}
	out := m.current.Load().Clone()
	out.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return m.get(), nil }
	return out, release, nil
}

// read builds the whole of what the files say, so that certificate and CA of
// one handshake belong together.
func (c *TLSConfig) read() (*tls.Config, error) {
	out := baseTLS()
	var err error
	if out.Certificates, err = readPair("tls.cert_file", c.CertFile, c.KeyFile); err != nil || c.ClientAuth == "off" {
		return out, err
	}
	if out.ClientCAs, err = readPool("tls.client_ca_file", c.ClientCAFile); err != nil {
		return nil, err
	}
	out.ClientAuth = tls.VerifyClientCertIfGiven
	if c.ClientAuth == "required" {
		out.ClientAuth = tls.RequireAndVerifyClientCert
	}
	// A resumed session is not verified again: not against a new CA, and not
	// by VerifyPeerCertificate.
	out.SessionTicketsDisabled = true
	return out, nil
}

// spiffeServerTLS takes certificate and trust bundles from the Workload API.
func (f *Firewall) spiffeServerTLS(ctx context.Context, c *TLSConfig) (*tls.Config, func() error, error) {
	source, err := c.SPIFFE.open(ctx, "tls.spiffe", f.log)
	if err != nil {
		return nil, func() error { return nil }, err
	}
	out := baseTLS()
	out.GetCertificate = tlsconfig.GetCertificate(source)
	if c.ClientAuth == "off" {
		return out, source.Close, nil
	}
	verify := tlsconfig.VerifyPeerCertificate(source, c.SPIFFE.authorizer())
	out.SessionTicketsDisabled = true
	out.ClientAuth = tls.RequireAnyClientCert
	if c.ClientAuth == "optional" {
		out.ClientAuth = tls.RequestClientCert
	}
	out.VerifyPeerCertificate = func(raw [][]byte, chains [][]*x509.Certificate) error {
		if len(raw) == 0 && c.ClientAuth == "optional" {
			return nil
		}
		return verify(raw, chains)
	}
	return out, source.Close, nil
}

// checkTLS reads the files of the listener's TLS as Listen would.
func (c *Config) checkTLS() error {
	if c.TLS.Mode != "on" || c.TLS.SPIFFE != nil {
		return nil
	}
	_, err := c.TLS.read()
	return err
}
