package policy

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/bundle"
)

const bundlePolicy = `package graphward

import rego.v2

allow.Query.me if data.open.me
`

// makeBundle writes a tarball; secret signs it unless it is empty.
func makeBundle(t *testing.T, policy, secret string) []byte {
	t.Helper()
	b := bundle.Bundle{
		Manifest: bundle.Manifest{Revision: "1"},
		Modules:  []bundle.ModuleFile{{URL: "/p.rego", Path: "/p.rego", Raw: []byte(policy)}},
		Data:     map[string]any{"open": map[string]any{"me": true}},
	}
	b.Manifest.Init()
	if secret != "" {
		if err := b.GenerateSignature(bundle.NewSigningConfig(secret, "HS256", ""), "k1", false); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := bundle.NewWriter(&out).DisableFormat(true).Write(b); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestBundle(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	signing := func(key string) *Signing { return &Signing{KeyID: "k1", Algorithm: "HS256", Key: key} }
	signed := makeBundle(t, bundlePolicy, secret)
	tests := map[string]struct {
		content []byte
		signing *Signing
		problem string
	}{
		"unsigned, unverified": {makeBundle(t, bundlePolicy, ""), nil, ""},
		"signed, unverified":   {signed, nil, ""},
		"signed":               {signed, signing(secret), ""},
		"another key":          {signed, signing(strings.Repeat("x", 32)), "verif"},
		"unsigned":             {makeBundle(t, bundlePolicy, ""), signing(secret), "signature"},
		"cut off":              {signed[:len(signed)/2], signing(secret), "b.tar.gz"},
		"no bundle":            {[]byte("hello"), nil, "b.tar.gz"},
		"a problem inside":     {makeBundle(t, "package graphward\n\nallow.Query.mee := true\n", ""), nil, `b.tar.gz!p.rego:3:1: allow.Query.mee: type Query has no field "mee"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e, err := Load(context.Background(), Options{
				Schema: loadSchema(t, "shop.graphql"), Timeout: time.Minute,
				Bundle: &Bundle{Name: "b.tar.gz", Content: tt.content, Signing: tt.signing},
			})
			if tt.problem != "" {
				if err == nil || !strings.Contains(err.Error(), tt.problem) {
					t.Fatalf("error %v, want %q", err, tt.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			c := decisionCase{Query: "{me{__typename}}"}
			c.run(t, e)
		})
	}
}

// TestBundleTampered changes one byte of the policy under a good signature.
func TestBundleTampered(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	good := bundle.Bundle{
		Modules: []bundle.ModuleFile{{URL: "/p.rego", Path: "/p.rego", Raw: []byte(bundlePolicy)}}, Data: map[string]any{},
	}
	good.Manifest.Init()
	if err := good.GenerateSignature(bundle.NewSigningConfig(secret, "HS256", ""), "k1", false); err != nil {
		t.Fatal(err)
	}
	good.Modules[0].Raw = []byte(strings.Replace(bundlePolicy, "if data.open.me", "if true", 1))
	var out bytes.Buffer
	if err := bundle.NewWriter(&out).DisableFormat(true).Write(good); err != nil {
		t.Fatal(err)
	}
	_, err := Load(context.Background(), Options{
		Schema: loadSchema(t, "shop.graphql"),
		Bundle: &Bundle{Name: "b.tar.gz", Content: out.Bytes(), Signing: &Signing{KeyID: "k1", Algorithm: "HS256", Key: secret}},
	})
	if err == nil || !strings.Contains(err.Error(), "digest") {
		t.Fatalf("error %v", err)
	}
}
