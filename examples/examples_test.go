// Package examples_test boots every example as its README says and holds it to what it shows.
package examples_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/graphward/graphward/examples/backend"
	"github.com/graphward/graphward/examples/backend/shop"
	"github.com/graphward/graphward/examples/quickstart"
	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/configfile"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(programs)
		os.Exit(code)
	}))
}

// lastRule remembers the rule that the newest audit record names.
type lastRule struct {
	mu   sync.Mutex
	head string
}

func (l *lastRule) Write(r *audit.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.head = ""
	if len(r.Rules) > 0 {
		l.head = r.Rules[0].Head
	}
	return nil
}

func (l *lastRule) Close() error { return nil }

func (l *lastRule) get() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// quick boots the quickstart in front of the backend, both on loopback.
type quick struct {
	url    string
	client *http.Client
	tokens map[string]string
	rule   *lastRule
}

func boot(t *testing.T) *quick {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shop")
	issuer, err := quickstart.Lay(dir)
	if err != nil {
		t.Fatal(err)
	}
	q := &quick{tokens: map[string]string{}, rule: new(lastRule)}
	for _, person := range quickstart.People {
		if q.tokens[person.Name], err = issuer.Token(person, time.Now(), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(backend.New())
	t.Cleanup(server.Close)
	file, err := configfile.Load(filepath.Join(dir, "graphward.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file.Config.Upstream.URL = server.URL + "/graphql"
	file.Config.Policy.Timeout = firewall.Duration(time.Minute)
	guard, err := firewall.New(context.Background(), file.Config, firewall.WithAuditSink(q.rule))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := guard.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, warning := range guard.Warnings() {
		t.Errorf("the quickstart warns: %s", warning)
	}
	front := httptest.NewServer(guard)
	t.Cleanup(front.Close)
	q.url, q.client = front.URL+file.Config.Path, front.Client()
	return q
}

// send plays the scene once.
func (q *quick) send(t *testing.T, scene quickstart.Scene) (*http.Response, string) {
	t.Helper()
	r, err := scene.Request(t.Context(), q.url, q.tokens[scene.As])
	if err != nil {
		t.Fatal(err)
	}
	w, err := q.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Body.Close() }()
	body, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w, string(body)
}

func code(t *testing.T, body string) string {
	t.Helper()
	var answer struct {
		Data   any
		Errors []struct {
			Extensions struct{ Code string }
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if answer.Data != nil || len(answer.Errors) == 0 {
		return ""
	}
	return answer.Errors[0].Extensions.Code
}

func TestScenes(t *testing.T) {
	q := boot(t)
	for round := range 2 {
		for _, scene := range quickstart.Scenes {
			t.Run(scene.Title, func(t *testing.T) {
				var statuses []int
				var w *http.Response
				var body string
				for range max(scene.Times, 1) {
					w, body = q.send(t, scene)
					statuses = append(statuses, w.StatusCode)
				}
				if w.StatusCode != scene.Status {
					t.Errorf("status %d, want %d: %s", w.StatusCode, scene.Status, body)
				}
				if scene.Code != "" && code(t, body) != scene.Code {
					t.Errorf("code %q, want %q: %s", code(t, body), scene.Code, body)
				}
				if !strings.Contains(body, scene.Holds) {
					t.Errorf("%s is not in %s", scene.Holds, body)
				}
				if scene.Rule != "" && q.rule.get() != scene.Rule {
					t.Errorf("refused by %q, want %q", q.rule.get(), scene.Rule)
				}
				if strings.Contains(body, shop.Planted) {
					t.Errorf("a leak: %s", body)
				}
				if round == 0 && scene.Times > 1 && statuses[0] != http.StatusOK {
					t.Errorf("the first of %d is answered %d", scene.Times, statuses[0])
				}
				if w.StatusCode == http.StatusTooManyRequests && w.Header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			})
		}
	}
}

// Whatever way leads to a planted secret, the policy lets no customer read one.
func TestSecretsStay(t *testing.T) {
	q := boot(t)
	for name, query := range map[string]string{
		"own":                 `{ me { passwordHash } }`,
		"alias":               `{ me { a: name b: ssn } }`,
		"named fragment":      `query { me { ...f } } fragment f on User { passwordHash }`,
		"inline fragment":     `{ me { ... { passwordHash } } }`,
		"on the interface":    `{ search(text: \"a\") { ... on Node { ... on User { ssn } } } }`,
		"union":               `{ search(text: \"ada\") { ... on User { passwordHash } } }`,
		"node":                `{ node(id: \"note-1\") { ... on InternalNote { text } } }`,
		"nodes":               `{ nodes(ids: [\"order-1\"]) { ... on Order { paymentToken } } }`,
		"relation":            `{ posts(first: 1) { edges { node { author { notes { text } } } } } }`,
		"mutation's result":   `mutation { placeOrder(input: {lines: [{productId: \"product-1\"}]}) { paymentToken } }`,
		"error of a field":    `{ product(id: \"product-1\") { supplierStatus } }`,
		"error of login":      `mutation { login(email: \"user-1@shop.example\", password: \"x\") { token } }`,
		"error of the server": `{ diagnostics }`,
		"sorting by a secret": `{ products(first: 3, orderBy: COST_PRICE) { edges { node { name } } } }`,
		"filter by a secret":  `{ products(first: 3, filter: {or: [{costPrice: {max: 8}}]}) { edges { node { name } } } }`,
		"several operations":  `query A { me { name } } query B { me { ssn } }`,
	} {
		t.Run(name, func(t *testing.T) {
			_, body := q.send(t, quickstart.Scene{As: "customer", Body: `{"query":"` + query + `"}`})
			if strings.Contains(body, shop.Planted) || strings.Contains(body, `"data":{`) {
				t.Errorf("answered: %s", body)
			}
		})
	}
}
