package policy

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
)

// Bundle is an OPA bundle: a gzipped tarball of policies and data, signed or not.
type Bundle struct {
	// Name is shown in problems: the file's path or the URL.
	Name string
	// Content is the tarball. Fetching it is the caller's; nil reads the file Name.
	Content []byte
	// Signing verifies the bundle's signature; with it an unsigned bundle does
	// not load. nil accepts any bundle unverified.
	Signing *Signing
}

// Signing says which signature a bundle must have.
type Signing struct {
	// KeyID names the key; the signature's own keyid is ignored when it is set.
	KeyID string
	// Algorithm is a JWS algorithm, such as RS256 (the default), ES256 or HS256.
	Algorithm string
	// Key is the PEM public key, or the secret of an HS algorithm.
	Key string
	// Scope is the scope that the signature must state; empty for none.
	Scope string
}

// maxBundleFile bounds one file of a bundle, in bytes.
const maxBundleFile = maxSourceFile

// readBundle adds a bundle's policies and data. Tests are left out.
func (s *sources) readBundle(b *Bundle, r *report) {
	content := b.Content
	if content == nil {
		var err error
		if content, err = readBounded(b.Name); err != nil {
			r.addFile(b.Name, "%s", cause(err))
			return
		}
	}
	read, err := b.open(content)
	if err != nil {
		r.addFile(b.Name, "%s", err)
		return
	}
	for _, m := range read.Modules {
		name := b.Name + "!" + strings.TrimPrefix(m.Path, "/")
		if !isPolicy(m.Path) || m.Parsed == nil {
			continue
		}
		relocate(m.Parsed, name)
		s.texts[name] = sha256.Sum256(m.Raw)
		s.modules[name] = m.Parsed
		s.policies++
	}
	s.merge(s.data, read.Data, "", b.Name, r)
}

func (b *Bundle) open(content []byte) (*bundle.Bundle, error) {
	reader := bundle.NewCustomReader(bundle.NewTarballLoader(bytes.NewReader(content))).
		WithBundleName(b.Name).WithSizeLimitBytes(maxBundleFile).WithRegoVersion(ast.RegoV1)
	if b.Signing == nil {
		reader = reader.WithSkipBundleVerification(true)
	} else {
		algorithm := b.Signing.Algorithm
		if algorithm == "" {
			algorithm = "RS256"
		}
		if b.Signing.Key == "" {
			return nil, fmt.Errorf("the key that must have signed it is empty")
		}
		key := &bundle.KeyConfig{Key: b.Signing.Key, Algorithm: algorithm, Scope: b.Signing.Scope}
		id := b.Signing.KeyID
		if id == "" {
			id = "default"
		}
		reader = reader.WithBundleVerificationConfig(bundle.NewVerificationConfig(
			map[string]*bundle.KeyConfig{id: key}, id, b.Signing.Scope, nil))
	}
	read, err := reader.Read()
	switch {
	case err != nil:
		return nil, err
	case read.Type() == bundle.DeltaBundleType:
		return nil, fmt.Errorf("is a delta bundle, which changes data that is already there; give the whole one")
	case b.Signing != nil && len(read.Signatures.Signatures) == 0:
		return nil, fmt.Errorf("is not signed")
	}
	return &read, nil
}

// relocate gives the places in a bundle's module the name that problems show.
func relocate(m *ast.Module, name string) {
	seen := map[*ast.Location]bool{}
	set := func(loc *ast.Location) {
		if loc != nil && !seen[loc] {
			seen[loc] = true
			loc.File = name
		}
	}
	set(m.Package.Location)
	visitor := ast.NewGenericVisitor(func(x any) bool {
		if n, ok := x.(interface{ Loc() *ast.Location }); ok {
			set(n.Loc())
		} else if t, ok := x.(*ast.Term); ok {
			set(t.Location)
		}
		return false
	})
	visitor.Walk(m)
}
