package examples_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// programs is where binary builds, until TestMain removes it.
var programs string

// binary is the program, built once.
var binary = sync.OnceValues(func() (string, error) {
	var err error
	if programs, err = os.MkdirTemp("", "graphward"); err != nil {
		return "", err
	}
	path := filepath.Join(programs, "graphward")
	if out, err := exec.Command("go", "build", "-o", path, "../cmd/graphward").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

const adminToken = "a token of the operator"

// written is what a program wrote; it can be read while it is written.
type written struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// guard is the binary as an operator and its clients see it.
type guard struct {
	t                  *testing.T
	path, config       string
	url, admin         string
	log                written
	client, clientName string // credentials and name of the caller; "" = none
}

// newGuard starts the binary with a configuration of its own beside what is always the same, in front of upstream.
func newGuard(t *testing.T, upstream http.HandlerFunc, config string, files map[string]string) *guard {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	up := httptest.NewServer(upstream)
	t.Cleanup(up.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	dir := t.TempDir()
	listen, admin := "127.0.0.1:"+port(t), "127.0.0.1:"+port(t)
	g := &guard{t: t, path: path, config: filepath.Join(dir, "graphward.yaml"), url: "http://" + listen + "/graphql", admin: "http://" + admin}
	key := func(id, key, more string) string {
		return fmt.Sprintf("- {id: %s, sha256: %x%s}\n", id, sha256.Sum256([]byte(key)), more)
	}
	all := map[string]string{
		"token":          adminToken,
		"schema.graphql": "type Query { a(n: Int): String b: String }\ntype Mutation { login(name: String): String }\n",
		"keys.yaml":      key("alice", "key-of-alice", ", subject: alice") + key("robot", "key-of-robot", ", client: mobile"),
		"graphward.yaml": fmt.Sprintf(`listen: %s
admin: {listen: %s, token_file: %s}
upstream: {url: %q}
schema: {files: [schema.graphql]}
identity: {anonymous: allow, api_keys: {file: keys.yaml}, public_clients: [web]}
audit: {output: "off"}
`, listen, admin, filepath.Join(dir, "token"), up.URL) + config,
	}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(path, "serve", "--config", g.config)
	cmd.Stdout, cmd.Stderr = &g.log, &g.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Log(g.log.String())
		}
	})
	g.soon("it serves", func() bool { return strings.Contains(g.log.String(), `"message":"serving"`) })
	return g
}

// soon waits for what must become true.
func (g *guard) soon(what string, is func() bool) {
	g.t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			g.t.Fatalf("not yet: %s\n%s", what, g.log.String())
		}
	}
}

// as is the same firewall seen by another caller.
func (g *guard) as(key, clientName string) *guard {
	return &guard{t: g.t, path: g.path, config: g.config, url: g.url, admin: g.admin, client: key, clientName: clientName}
}

// ask sends an operation and returns its refusal's code and status, "" when it was forwarded.
func (g *guard) ask(query string) (string, int) {
	g.t.Helper()
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		g.t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, g.url, bytes.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/graphql-response+json")
	if g.client != "" {
		req.Header.Set("X-API-Key", g.client)
	}
	if g.clientName != "" {
		req.Header.Set("graphql-client-name", g.clientName)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Errors []struct{ Extensions struct{ Code string } }
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		g.t.Fatal(err)
	}
	if len(answer.Errors) == 0 {
		return "", res.StatusCode
	}
	return answer.Errors[0].Extensions.Code, res.StatusCode
}

// want asks and compares.
func (g *guard) want(query, code string, status int) {
	g.t.Helper()
	if gotCode, gotStatus := g.ask(query); gotCode != code || gotStatus != status {
		g.t.Errorf("%s: %q %d, want %q %d", query, gotCode, gotStatus, code, status)
	}
}

// page is one of the admin listener's.
func (g *guard) page(path, token string) (string, int) {
	g.t.Helper()
	req, err := http.NewRequest(http.MethodGet, g.admin+path, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return string(body), res.StatusCode
}

// shown is a bucket as `graphward budgets` prints it.
type shown struct {
	Budget, Tier, Window string
	Limit, Remaining     float64
}

// budgets runs `graphward budgets` and returns what it prints, by name and tier.
func (g *guard) budgets(args ...string) map[string]shown {
	g.t.Helper()
	cmd := exec.Command(g.path, append([]string{"budgets"}, append(args, "--config", g.config)...)...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		g.t.Fatalf("budgets %v: %v\n%s", args, err, errOut.String())
	}
	var list []shown
	if err := json.Unmarshal(out.Bytes(), &list); err != nil {
		g.t.Fatalf("budgets %v: %v\n%s", args, err, out.String())
	}
	all := map[string]shown{}
	for _, s := range list {
		all[strings.TrimSuffix(s.Budget+" "+s.Tier, " ")] = s
	}
	return all
}

func answerA(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"data":{"a":"1"}}`)
}
