package firewall_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"go.yaml.in/yaml/v4"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/configfile"
)

// planted marks every secret of TestSecretsAreNeverPrinted's configuration.
const planted = "PlantedSecret"

// secretConfig names every kind of secret that a configuration can hold.
func secretConfig(dir string) string {
	return fmt.Sprintf(`
listen: 127.0.0.1:0
admin: {listen: "localhost:0", token_file: admin.token}
tls: {mode: on, cert_file: tls.crt, key_file: tls.key}
upstream:
  url: http://127.0.0.1:1/graphql
  headers: {set: {authorization: "Bearer %[1]s-1", x-key: "${SECRET}"}}
  identity: {headers: true, jwt: {key_file: sign.pem, issuer: graphward, audience: shop}}
schema: {files: [schema.graphql]}
policy: {paths: [policy.rego]}
operations: {adhoc: allow}
budgets: {store: "redis://user:%[1]s-2@127.0.0.1:1/0", on_store_failure: allow}
identity:
  introspection: [{url: "http://127.0.0.1:1/introspect", client_id: graphward, secret_file: client.secret}]
  api_keys: {file: keys.yaml}
audit: {output: %[2]s}
`, planted, filepath.Join(dir, "audit.log"))
}

// A configuration full of secrets shows none of them: not when it is checked,
// served, printed or encoded, not in logs, metrics, readiness or records, and
// not when a reload fails for any of the keys that hold one.
func TestSecretsAreNeverPrinted(t *testing.T) {
	t.Setenv("SECRET", planted+"-0")
	s := newSecured(t)
	file := func(name string) string { return filepath.Join(s.dir, name) }
	writeKey(t, file("sign.pem"), newKey(t, "ES256"))
	replace(t, file("admin.token"), []byte(planted+"-admin-token"))
	replace(t, file("client.secret"), []byte(planted+"-client"))
	replace(t, file("keys.yaml"), []byte("[]"))
	config := file("graphward.yaml")
	replace(t, config, []byte(secretConfig(s.dir)))

	var out bytes.Buffer
	log := zerolog.New(&out).Level(zerolog.TraceLevel)
	loaded, err := configfile.Load(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+"\n", loaded.Config)
		fmt.Fprintf(&out, verb+"\n", loaded.Config.Budgets)
	}
	for _, encode := range []func(any) ([]byte, error){json.Marshal, func(v any) ([]byte, error) { return yaml.Marshal(v) }} {
		text, err := encode(loaded.Config)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	report, err := firewall.Check(t.Context(), loaded.Config)
	fmt.Fprintf(&out, "%+v %v\n", report, err)

	loaded, err = configfile.Load(config)
	if err != nil {
		t.Fatal(err)
	}
	f, server := served(t, loaded.Config, firewall.WithLogger(log))
	fmt.Fprintln(&out, server.Addr(), f.Warnings())
	for _, header := range []http.Header{{}, {"Authorization": {"Bearer " + planted + "-token"}}, {"X-Api-Key": {planted + "-api-key"}}, {"Cookie": {"session=" + planted}}} {
		w := askAs(f, header)
		fmt.Fprintln(&out, w.Code, w.Body, w.Header())
	}
	admin, err := f.AdminHandler()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/readyz", "/metrics", "/healthz", "/budgets"} {
		for _, token := range []string{planted + "-admin-token", planted + "-wrong-token", ""} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			admin.ServeHTTP(w, r)
			fmt.Fprintln(&out, w.Code, w.Body, w.Header())
		}
	}
	// Each change is a mistake beside a secret.
	for _, change := range [][2]string{
		{"redis://user:", "http://user:"}, {"@127.0.0.1:1/0", "@127.0.0.1:port:/0"}, {"redis://", "redis//"},
		{`set: {authorization: "Bearer ` + planted + `-1"`, `set: {authorization: ["Bearer ` + planted + `-1"]`},
		{`{set: {authorization: "Bearer ` + planted + `-1", x-key: "${SECRET}"}}`, `{set: "` + planted + `-1"}`},
		{`{set: {authorization: "Bearer ` + planted + `-1", x-key: "${SECRET}"}}`, planted},
		{`x-key: "${SECRET}"`, `"x key": "${SECRET}"`},
		{"url: http://127.0.0.1:1/graphql", "url: ftp://user:" + planted + "@h/graphql"},
		{"url: http://127.0.0.1:1/graphql", "url: http://user:" + planted + "@h/graphql"},
		{`url: "http://127.0.0.1:1/introspect"`, `url: "http://user:` + planted + `@h/introspect"`},
		{`url: "http://127.0.0.1:1/introspect"`, `url: "http://user:` + planted + `@h:port/introspect"`},
		{"policy: {paths: [policy.rego]}", `policy: {bundle: {url: "https://u:` + planted + `@127.0.0.1:1/b?sig=` + planted + `"}}`},
		{"policy: {paths: [policy.rego]}", `policy: {bundle: {url: "ftp://u:` + planted + `@127.0.0.1:1/b?sig=` + planted + `"}}`},
		{"listen: 127.0.0.1:0", "listen: 127.0.0.1:0\nupstraem: " + planted},
		{planted + "-2", planted + "-changed"},
		{"sign.pem", "admin.token"}, {"sign.pem", "client.secret"}, {"keys.yaml", "admin.token"},
	} {
		text := strings.Replace(secretConfig(s.dir), change[0], change[1], 1)
		replace(t, config, []byte(text))
		next, err := configfile.Load(config)
		if err == nil {
			err = f.Reload(t.Context(), next.Config)
		} else {
			f.RefuseReload(err)
		}
		if err == nil {
			t.Errorf("a reload with %q passed", change[1])
		}
		fmt.Fprintln(&out, err)
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/readyz", nil)
		r.Header.Set("Authorization", "Bearer "+planted+"-admin-token")
		admin.ServeHTTP(w, r)
		fmt.Fprintln(&out, w.Body)
	}
	records, err := os.ReadFile(file("audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	out.Write(records)
	for line := range strings.Lines(out.String()) {
		if i := strings.Index(line, planted); i >= 0 {
			t.Errorf("a secret is printed: …%s", line[max(0, i-200):min(len(line), i+100)])
		}
	}
	if !strings.Contains(out.String(), "[redacted]") {
		t.Error("nothing was redacted")
	}
}
