// Package oidc is the folder beside it, embedded: Graphward with an OpenID Connect issuer over TLS, and that issuer, whose keys are
// made when it starts. None is in the repository.
package oidc

import (
	"crypto/tls"
	"crypto/x509"
	"embed"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/graphward/graphward/examples/backend"
	"github.com/graphward/graphward/firewall/identity/identitytest"
)

// FS holds graphward.yaml and its policies.
//
//go:embed graphward.yaml policies
var FS embed.FS

// People are the claims of those whom the issuer knows. Each token adds issuer, audience and times.
var People = map[string]map[string]any{
	"customer": {"sub": "user-3", "azp": "web", "realm_access": map[string]any{"roles": []string{"customer"}}},
	"support":  {"sub": "user-2", "azp": "desk", "realm_access": map[string]any{"roles": []string{"support"}}},
}

// Lay writes the folder to dir, with the key of the firewall's own tokens and the certificate of an issuer, whose TLS it returns.
// What is there from an earlier call is kept, but for the issuer's certificate.
func Lay(dir string) (*tls.Config, error) {
	if _, err := os.Stat(filepath.Join(dir, "graphward.yaml")); errors.Is(err, fs.ErrNotExist) {
		if err := os.CopyFS(dir, FS); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "schema.graphql"), []byte(backend.SDL), 0o644); err != nil {
		return nil, err
	}
	own := filepath.Join(dir, "firewall.key")
	if _, err := os.Stat(own); errors.Is(err, fs.ErrNotExist) {
		key, err := identitytest.NewKey("firewall", "ES256")
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key.Private)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(own, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
			return nil, err
		}
	}
	ca, err := identitytest.NewCA("issuer", "")
	if err != nil {
		return nil, err
	}
	cert, err := ca.Issue(identitytest.Leaf{DNS: []string{"localhost"}, IP: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().AddDate(0, 1, 0)})
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}, os.WriteFile(filepath.Join(dir, "ca.pem"), ca.PEM(), 0o644)
}

// Handler serves the issuer's discovery and keys, and to whoever asks:
//
//	POST /token?as=NAME[&aud=AUDIENCE]  a token of one of People, for the audience shop
//	POST /rotate                        a new key signs from now on; the old ones stay published
//	POST /retire                        the old keys are taken back
func Handler(issuer *identitytest.Issuer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", issuer)
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		claims, known := People[r.FormValue("as")]
		if !known {
			http.Error(w, "as: customer or support", http.StatusBadRequest)
			return
		}
		token, err := Token(issuer, claims, r.FormValue("aud"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, token)
	})
	mux.HandleFunc("POST /rotate", func(w http.ResponseWriter, _ *http.Request) {
		key, err := issuer.AddKey("ES256")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprintln(w, key.ID, "signs")
	})
	mux.HandleFunc("POST /retire", func(w http.ResponseWriter, _ *http.Request) {
		issuer.Retire()
		_, _ = fmt.Fprintln(w, issuer.Key().ID, "is left")
	})
	return mux
}

// Token returns a token with the claims; an empty audience is shop.
func Token(issuer *identitytest.Issuer, claims map[string]any, audience string) (string, error) {
	if audience == "" {
		audience = "shop"
	}
	all := maps.Clone(claims)
	all["aud"] = audience
	return issuer.Token(all)
}
