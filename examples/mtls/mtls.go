// Package mtls is the folder beside it, embedded: Graphward between services that know each other by certificates, with the
// certificates made when it is laid out. None is in the repository.
package mtls

import (
	"crypto/tls"
	"embed"
	"errors"
	"io/fs"
	"net"
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

// Services are those that have a certificate of the services' CA, by file name. The name in the certificate is a SPIFFE ID.
var Services = map[string]string{
	"catalogue": "spiffe://shop.example/catalogue",
	"billing":   "spiffe://shop.example/billing",
}

// life is how long the certificates of services and servers are good.
const life = 30 * 24 * time.Hour

// Lay writes the folder to dir, which must be new or empty, with two CAs: one for servers, one for services, and besides a
// certificate "stranger" with billing's name by a CA that nobody trusts. The CAs' keys are not kept.
func Lay(dir string) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return &fs.PathError{Op: "lay", Path: dir, Err: fs.ErrExist}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.CopyFS(dir, FS); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "schema.graphql"), []byte(backend.SDL), 0o644); err != nil {
		return err
	}
	certs := filepath.Join(dir, "certs")
	if err := os.Mkdir(certs, 0o700); err != nil {
		return err
	}
	authority := func(name string) (*identitytest.CA, error) {
		ca, err := identitytest.NewCA(name, "")
		if err != nil {
			return nil, err
		}
		return ca, os.WriteFile(filepath.Join(certs, name+".pem"), ca.PEM(), 0o644)
	}
	servers, err := authority("servers")
	if err != nil {
		return err
	}
	services, err := authority("services")
	if err != nil {
		return err
	}
	strangers, err := identitytest.NewCA("strangers", "")
	if err != nil {
		return err
	}
	local := []net.IP{net.IPv4(127, 0, 0, 1)}
	until := time.Now().Add(life)
	leaves := []struct {
		name string
		ca   *identitytest.CA
		leaf identitytest.Leaf
	}{
		{"firewall", servers, identitytest.Leaf{DNS: []string{"firewall.shop.internal", "localhost"}, IP: local, NotAfter: until}},
		{"backend", servers, identitytest.Leaf{DNS: []string{"backend.shop.internal"}, NotAfter: until}},
		{"stranger", strangers, identitytest.Leaf{URI: Services["billing"], NotAfter: until}},
		{"expired", services, identitytest.Leaf{URI: Services["billing"], NotAfter: time.Now().Add(-time.Minute)}},
	}
	for name, id := range Services {
		leaves = append(leaves, struct {
			name string
			ca   *identitytest.CA
			leaf identitytest.Leaf
		}{name, services, identitytest.Leaf{URI: id, NotAfter: until}})
	}
	for _, l := range leaves {
		cert, err := l.ca.Issue(l.leaf)
		if err != nil {
			return err
		}
		if err := identitytest.WriteCertificate(cert, filepath.Join(certs, l.name+".pem"), filepath.Join(certs, l.name+".key")); err != nil {
			return err
		}
	}
	return nil
}

// BackendTLS is the backend's side of a folder that Lay made: it takes connections from the firewall alone.
func BackendTLS(dir string) (*tls.Config, error) {
	certs := filepath.Join(dir, "certs")
	cert, err := tls.LoadX509KeyPair(filepath.Join(certs, "backend.pem"), filepath.Join(certs, "backend.key"))
	if err != nil {
		return nil, err
	}
	pool, err := Pool(filepath.Join(certs, "servers.pem"))
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
		VerifyConnection: func(s tls.ConnectionState) error {
			return s.PeerCertificates[0].VerifyHostname("firewall.shop.internal")
		},
	}, nil
}
