package identitytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"time"
)

// CA signs certificates for tests and examples. Its key is in memory alone.
type CA struct {
	Certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewCA makes a certificate authority that is good for ten years. A uri, such
// as spiffe://example.org, makes it a SPIFFE trust domain's; empty: none.
func NewCA(name, uri string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := newTemplate(Leaf{URI: uri, NotAfter: time.Now().AddDate(10, 0, 0)})
	if err != nil {
		return nil, err
	}
	template.Subject = pkix.Name{CommonName: name}
	template.IsCA, template.BasicConstraintsValid, template.ExtKeyUsage = true, true, nil
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &CA{cert, key}, err
}

// Leaf says what a certificate is for.
type Leaf struct {
	// DNS and IP are names of a server; URI is one name, such as a SPIFFE ID. Empty: none.
	DNS []string
	IP  []net.IP
	URI string
	// NotAfter: zero is in one hour. The certificate is good from an hour before the earlier of that and now.
	NotAfter time.Time
	// ServerOnly leaves out the usage as a client.
	ServerOnly bool
}

func newTemplate(l Leaf) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if l.NotAfter.IsZero() {
		l.NotAfter = now.Add(time.Hour)
	}
	begin := now
	if l.NotAfter.Before(begin) {
		begin = l.NotAfter
	}
	out := &x509.Certificate{
		SerialNumber: serial, NotBefore: begin.Add(-time.Hour), NotAfter: l.NotAfter,
		DNSNames: l.DNS, IPAddresses: l.IP, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if l.ServerOnly {
		out.ExtKeyUsage = out.ExtKeyUsage[:1]
	}
	if l.URI != "" {
		u, err := url.Parse(l.URI)
		if err != nil {
			return nil, err
		}
		out.URIs = []*url.URL{u}
	}
	return out, nil
}

// Issue signs a certificate with a new key.
func (c *CA) Issue(l Leaf) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template, err := newTemplate(l)
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.Certificate, &key.PublicKey, c.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// Pool trusts this authority alone.
func (c *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.Certificate)
	return pool
}

// PEM is the authority's certificate.
func (c *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate.Raw})
}

// WriteCertificate writes a certificate that Issue returned and its key in PEM,
// each by renaming, the certificate first.
func WriteCertificate(cert tls.Certificate, certFile, keyFile string) error {
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return err
	}
	if err := Replace(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o644); err != nil {
		return err
	}
	return Replace(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// Replace writes a file beside name and renames it, so that a reader sees the
// old content or the new.
func Replace(name string, content []byte, mode os.FileMode) error {
	if err := os.WriteFile(name+".new", content, mode); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
