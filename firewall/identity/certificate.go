package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// certificate returns the identity of the verified client certificate of
// r's connection, nil when there is no certificate.
func (v *Verifier) certificate(r *http.Request) (*Identity, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, nil
	}
	if len(r.TLS.VerifiedChains) == 0 && !v.peers {
		return nil, errors.New("the client certificate was not verified by the listener")
	}
	leaf := r.TLS.PeerCertificates[0]
	now := time.Now()
	if now.After(leaf.NotAfter) {
		// It was valid when the connection began.
		return nil, errors.New("the client certificate has expired")
	}
	of := v.digests.sumBytes(leaf.Raw)
	known := v.certificates.get(of, now)
	if known == nil {
		id, err := certificateIdentity(leaf)
		if err != nil {
			return nil, err
		}
		name := v.certified[id.Subject]
		id.Client = Client{ID: name, Name: name}
		known = &verdict{identity: id, until: leaf.NotAfter}
		v.certificates.put(of, known)
	}
	return known.identity, nil
}

// certificateIdentity is what a certificate says, which others have verified.
func certificateIdentity(leaf *x509.Certificate) (*Identity, error) {
	subject, trust, err := certificateName(leaf)
	if err != nil {
		return nil, err
	}
	print := sha256.Sum256(leaf.Raw)
	name := hex.EncodeToString(print[:])
	return &Identity{
		Authenticated: true,
		Subject:       subject,
		Issuer:        trust,
		Method:        MethodCertificate,
		Key:           name,
		Certificate:   name,
		Expiry:        leaf.NotAfter,
	}, nil
}

// certificateName returns the SPIFFE ID and trust domain of a certificate
// (X.509-SVID section 2: exactly one URI), else its first DNS, e-mail, URI
// or IP name. The common name is not a name (RFC 9525 section 2).
func certificateName(leaf *x509.Certificate) (subject, trust string, err error) {
	for _, uri := range leaf.URIs {
		if uri.Scheme != "spiffe" {
			continue
		}
		id, err := spiffeid.FromURI(uri)
		if err != nil || len(leaf.URIs) != 1 {
			return "", "", errors.New("the client certificate's SPIFFE ID is not valid or not its only URI")
		}
		return id.String(), id.TrustDomain().IDString(), nil
	}
	switch {
	case len(leaf.DNSNames) > 0:
		return leaf.DNSNames[0], "", nil
	case len(leaf.EmailAddresses) > 0:
		return leaf.EmailAddresses[0], "", nil
	case len(leaf.URIs) > 0:
		return leaf.URIs[0].String(), "", nil
	case len(leaf.IPAddresses) > 0:
		return leaf.IPAddresses[0].String(), "", nil
	}
	return "", "", nil
}
