package identity_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/firewall/identity/identitytest"
)

func ExampleNew() {
	issuer, err := identitytest.NewIssuer("https://issuer.example.com", "ES256")
	if err != nil {
		panic(err)
	}
	keys, err := issuer.JWKS()
	if err != nil {
		panic(err)
	}
	dir, err := os.MkdirTemp("", "identity")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "jwks.json")
	if err := os.WriteFile(file, keys, 0o600); err != nil {
		panic(err)
	}

	authenticator, err := identity.New(context.Background(), identity.Config{
		JWT: []identity.JWTConfig{{Issuer: issuer.URL, JWKSFile: file, Audiences: []string{"shop"}}},
	})
	if err != nil {
		panic(err)
	}
	defer func() { _ = authenticator.Close() }()

	token, err := issuer.Token(map[string]any{"sub": "jane", "aud": "shop", "roles": []string{"admin"}})
	if err != nil {
		panic(err)
	}
	r := httptest.NewRequest("POST", "/graphql", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	who, err := authenticator.Authenticate(r)
	fmt.Println(who.Subject, who.Roles, err)

	r.Header.Set("Authorization", "Bearer "+token[:len(token)-6])
	_, err = authenticator.Authenticate(r)
	fmt.Println(err)

	r.Header.Del("Authorization")
	_, err = authenticator.Authenticate(r)
	fmt.Println(err)
	// Output:
	// jane [admin] <nil>
	// unauthenticated: the signature does not hold
	// unauthenticated: no credential
}
