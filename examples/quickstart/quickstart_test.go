package quickstart_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/examples/backend"
	"github.com/graphward/graphward/examples/quickstart"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := fs.ReadFile(quickstart.FS, name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// documents returns the text of every registered document by its id.
func documents(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	var apollo struct {
		Format     string
		Version    int
		Operations []struct{ ID, Name, Type, Body string }
	}
	if err := json.Unmarshal(read(t, "operations/web.json"), &apollo); err != nil {
		t.Fatal(err)
	}
	if apollo.Format != "apollo-persisted-query-manifest" || apollo.Version != 1 {
		t.Errorf("web.json is %s v%d", apollo.Format, apollo.Version)
	}
	for _, op := range apollo.Operations {
		sum := sha256.Sum256([]byte(op.Body))
		if id := hex.EncodeToString(sum[:]); id != op.ID {
			t.Errorf("web.json: %s has the id %s, its body's SHA-256 is %s", op.Name, op.ID, id)
		}
		all[op.ID] = op.Body
	}
	var relay map[string]string
	if err := json.Unmarshal(read(t, "operations/mobile.json"), &relay); err != nil {
		t.Fatal(err)
	}
	for id, text := range relay {
		all[id] = text
	}
	shared, err := fs.Glob(quickstart.FS, "operations/shared/*.graphql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range shared {
		all[strings.TrimSuffix(path.Base(name), ".graphql")] = string(read(t, name))
	}
	return all
}

func TestSchemaIsTheBackends(t *testing.T) {
	if diff := cmp.Diff(backend.SDL, string(read(t, "schema.graphql"))); diff != "" {
		t.Errorf("run `go generate ./examples/...`: %s", diff)
	}
}

func TestDocumentsAreValid(t *testing.T) {
	schema := gqlparser.MustLoadSchema(&ast.Source{Name: "schema.graphql", Input: backend.SDL})
	all := documents(t)
	if len(all) != 8 {
		t.Errorf("%d registered documents, want 8", len(all))
	}
	for id, text := range all {
		if _, err := gqlparser.LoadQueryWithRules(schema, text, nil); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	for _, scene := range quickstart.Scenes {
		var body struct {
			Query      string
			DocumentID string
			Variables  map[string]any
		}
		if err := json.Unmarshal([]byte(scene.Body), &body); err != nil {
			t.Errorf("%s: %v", scene.Title, err)
		}
		text := body.Query
		if id, ok := strings.CutPrefix(body.DocumentID, "sha256:"); ok {
			if text, ok = all[id]; ok == (scene.Code == "PERSISTED_QUERY_NOT_FOUND") {
				t.Errorf("%s: the id %s is known: %t", scene.Title, id, ok)
			}
		}
		if text == "" {
			continue
		}
		if _, err := gqlparser.LoadQueryWithRules(schema, text, nil); err != nil {
			t.Errorf("%s: %v", scene.Title, err)
		}
	}
}

// The shell gives curl the same request that Request makes.
func TestCurlIsTheRequest(t *testing.T) {
	const url, token = "http://127.0.0.1:8080/graphql", "a.b-c.d_e"
	for _, scene := range quickstart.Scenes {
		t.Run(scene.Title, func(t *testing.T) {
			script := `curl() { printf '%s\n' "$@"; exit; }; ` + scene.Curl(url, token)
			out, err := exec.CommandContext(t.Context(), "sh", "-c", script).Output()
			if err != nil {
				t.Fatal(err)
			}
			r, err := scene.Request(t.Context(), url, token)
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"-s", "-w", `  HTTP %{http_code}\n`, r.URL.String()}
			for _, name := range []string{"Content-Type", "Accept", "Authorization", "Graphql-Client-Name"} {
				if value := r.Header.Get(name); value != "" {
					want = append(want, "-H", strings.ToLower(name)+": "+value)
				}
			}
			want = append(want, "-d", scene.Body)
			if diff := cmp.Diff(want, strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")); diff != "" {
				t.Error(diff)
			}
			if len(r.Header) != (len(want)-6)/2 {
				t.Errorf("the request has headers that the line has not: %v", r.Header)
			}
		})
	}
}

func TestScenesNameTheirPeople(t *testing.T) {
	known := map[string]bool{"": true}
	for _, person := range quickstart.People {
		known[person.Name] = true
	}
	for _, scene := range quickstart.Scenes {
		if !known[scene.As] {
			t.Errorf("%s: nobody is called %q", scene.Title, scene.As)
		}
		if (scene.Status == 200) != (scene.Code == "") {
			t.Errorf("%s: status %d with code %q", scene.Title, scene.Status, scene.Code)
		}
	}
}

// verify checks a token against a set of keys with arithmetic of its own, not the issuer's.
func verify(t *testing.T, jwks []byte, token string) (claims map[string]any, ok bool) {
	t.Helper()
	var set struct {
		Keys []struct{ Kty, Crv, Alg, Kid, X, Y, D string }
	}
	if err := json.Unmarshal(jwks, &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 1 || set.Keys[0].Alg != "ES256" || set.Keys[0].D != "" {
		t.Fatalf("want one public ES256 key: %s", jwks)
	}
	decode := func(text string) []byte {
		data, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, decode(set.Keys[0].X)...), decode(set.Keys[0].Y)...))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	var header struct{ Alg, Kid string }
	if err := json.Unmarshal(decode(parts[0]), &header); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(decode(parts[1]), &claims); err != nil {
		t.Fatal(err)
	}
	signature := decode(parts[2])
	if len(signature) != 64 {
		t.Fatalf("a signature of %d bytes", len(signature))
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	return claims, header.Alg == "ES256" && header.Kid == set.Keys[0].Kid && ecdsa.Verify(key, digest[:], r, s)
}

func TestLay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop")
	issuer, err := quickstart.Lay(dir)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	jwks, err := os.ReadFile(filepath.Join(dir, "jwks.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, person := range quickstart.People {
		token, err := issuer.Token(person, now, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		claims, ok := verify(t, jwks, token)
		if !ok {
			t.Errorf("%s: the token does not verify", person.Name)
		}
		if claims["sub"] != person.Subject || claims["iss"] != quickstart.IssuerName || claims["exp"] != 1_800_003_600.0 {
			t.Errorf("%s: %v", person.Name, claims)
		}
		if _, ok := verify(t, read(t, "jwks.json"), token); ok {
			t.Error("the repository's key verifies it: somebody has committed its other half")
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "signing-key.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the private key's file: %v, %v", info, err)
	}

	if err := os.WriteFile(filepath.Join(dir, "data.yaml"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := quickstart.Lay(dir)
	if err != nil {
		t.Fatal(err)
	}
	token, err := again.Token(quickstart.People[0], now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := verify(t, jwks, token); !ok {
		t.Error("a second Lay has another key")
	}
	if data, err := os.ReadFile(filepath.Join(dir, "data.yaml")); err != nil || string(data) != "mine" {
		t.Errorf("a second Lay changed data.yaml to %q (%v)", data, err)
	}
}

func TestLayKeepsOffOthersFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "graphward.yaml"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := quickstart.Lay(dir); err == nil {
		t.Error("laid over somebody's file")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left %v", entries)
	}
}

func TestParseIssuerRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "",
		"text":    "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
	} {
		if issuer, err := quickstart.ParseIssuer([]byte(text)); err == nil {
			t.Errorf("%s: %v", name, issuer)
		}
	}
}
