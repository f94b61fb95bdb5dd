// Package quickstart is the folder beside it, embedded: a whole configuration of Graphward in front of examples/backend, the tokens
// that it takes and the requests that show what it does. `graphward demo` runs on it.
package quickstart

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// FS holds graphward.yaml and all that it names, at their places in this folder.
//
//go:embed graphward.yaml data.yaml jwks.json schema.graphql policies operations
var FS embed.FS

// keyFile is where Lay keeps the private key, in PEM, beside the public jwks.json.
const keyFile = "signing-key.pem"

// Lay writes the folder to dir, which is made where it is not there, with a signing key of its own: the jwks.json in the repository
// belongs to a key that nobody has. Where dir has been laid before, its files stay as they are and its key is used again. It
// refuses a dir that holds anything else.
func Lay(dir string) (*Issuer, error) {
	pem, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err == nil {
		return ParseIssuer(pem)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	switch {
	case err == nil && len(entries) > 0:
		return nil, fmt.Errorf("%s is not empty and has no %s: name a new folder", dir, keyFile)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	issuer, err := NewIssuer()
	if err != nil {
		return nil, err
	}
	if pem, err = issuer.PEM(); err != nil {
		return nil, err
	}
	if err := os.CopyFS(dir, FS); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "jwks.json"), issuer.JWKS(), 0o644); err != nil {
		return nil, err
	}
	return issuer, os.WriteFile(filepath.Join(dir, keyFile), pem, 0o600)
}
