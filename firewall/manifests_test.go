package firewall_test

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/graphward/graphward/cost"
	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/schema/persisted"
)

// okUpstream is an upstream that says ok.
var okUpstream = firewall.WithHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"data":{"ok":true}}`)
}))

// registering is the base configuration in deny mode with one manifest.
func registering(t *testing.T, m firewall.ManifestConfig) *firewall.Config {
	t.Helper()
	c, _ := laid(t, "package graphward\n\nimport rego.v2\n\nallow[\"*\"][\"*\"] := true\n")
	c.Operations.Adhoc = "deny"
	c.Operations.Manifests = []firewall.ManifestConfig{m}
	return c
}

func opened(t *testing.T, c *firewall.Config) *firewall.Firewall {
	t.Helper()
	f, err := firewall.New(t.Context(), c, okUpstream)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// eventually waits for what another goroutine does.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func answers(t *testing.T, f *firewall.Firewall, id string) bool {
	t.Helper()
	return post(t, f, map[string]any{"documentId": id}).Code == http.StatusOK
}

// ready asks /readyz of the admin listener.
func ready(t *testing.T, f *firewall.Firewall) (bool, string) {
	t.Helper()
	h, err := f.AdminHandler()
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	return w.Code == http.StatusOK, w.Body.String()
}

// origin serves one manifest with an ETag.
type origin struct {
	mu       sync.Mutex
	content  string
	status   int
	full     int // answers with a body
	modified int // 304s
	token    string
}

func (o *origin) set(content string, status int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.content, o.status = content, status
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.token = r.Header.Get("Authorization")
	if o.status != 0 {
		w.WriteHeader(o.status)
		return
	}
	sum := sha256.Sum256([]byte(o.content))
	etag := fmt.Sprintf("%q", hex.EncodeToString(sum[:8]))
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		o.modified++
		w.WriteHeader(http.StatusNotModified)
		return
	}
	o.full++
	_, _ = io.WriteString(w, o.content)
}

// A new version at the URL serves without a restart; one that is bad, too
// large, or a server that fails leaves the last good one, which a reload for
// another reason keeps too.
func TestManifestByURL(t *testing.T) {
	defer firewall.SetMinPoll(time.Millisecond)()
	o := &origin{content: `{"one":"{ posts { id } }"}`}
	server := httptest.NewServer(o)
	defer server.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := registering(t, firewall.ManifestConfig{URL: server.URL, Poll: firewall.Duration(10 * time.Millisecond), MaxSize: 1 << 10, TokenFile: token})
	f := opened(t, c)
	if !answers(t, f, "one") || answers(t, f, "two") {
		t.Fatal("the first version does not serve")
	}
	asked := func(n int) func() bool {
		return func() bool { o.mu.Lock(); defer o.mu.Unlock(); return o.modified >= n }
	}
	eventually(t, "the URL is not asked again", asked(3))
	o.mu.Lock()
	if o.full != 1 || o.token != "Bearer s3cret" {
		t.Errorf("%d full answers, Authorization %q", o.full, o.token)
	}
	o.mu.Unlock()
	o.set(`{"two":"{ posts { title } }"}`, 0)
	eventually(t, "the second version does not serve", func() bool { return answers(t, f, "two") })
	if answers(t, f, "one") {
		t.Error("the first version still serves")
	}
	failures := func() bool { ok, body := ready(t, f); return ok && strings.Contains(body, "reload") }
	for name, content := range map[string]string{
		"bad":       `{"three":"{ posts { "}`,
		"not JSON":  `<html>`,
		"too large": `{"three":"{ posts { id } } #` + strings.Repeat("x", 1<<10) + `"}`,
	} {
		generation := f.Generation()
		o.set(content, 0)
		if name != "too large" {
			eventually(t, name+": it is not said", failures)
		} else {
			o.mu.Lock()
			before := o.full
			o.mu.Unlock()
			eventually(t, "it is not asked", func() bool { o.mu.Lock(); defer o.mu.Unlock(); return o.full > before })
		}
		if !answers(t, f, "two") || answers(t, f, "three") || f.Generation() != generation {
			t.Errorf("%s: the last good version does not serve", name)
		}
		next := *c
		if err := f.Reload(t.Context(), &next); err != nil {
			t.Errorf("%s: it keeps another reload from happening: %v", name, err)
		}
	}
	o.set("", http.StatusInternalServerError)
	next := *c
	if err := f.Reload(t.Context(), &next); err != nil || !answers(t, f, "two") {
		t.Errorf("a server that fails: %v", err)
	}
	o.set(`{"four":"{ boom }"}`, 0)
	eventually(t, "a good version after bad ones does not serve", func() bool { return answers(t, f, "four") })
}

// Without a first version there is no start.
func TestManifestURLMustAnswerOnce(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	_, err := firewall.New(t.Context(), registering(t, firewall.ManifestConfig{URL: server.URL}), okUpstream)
	if err == nil || !strings.Contains(err.Error(), "operations.manifests[0]: could not be fetched") || !strings.Contains(err.Error(), "404") {
		t.Errorf("%v", err)
	}
}

// What publish writes to Redis is served by firewalls that run, version by
// version, with its index; when Redis goes the last version stays.
func TestManifestByRedis(t *testing.T) {
	defer firewall.SetMinPoll(time.Millisecond)()
	server := miniredis.RunT(t)
	url := "redis://" + server.Addr()
	m := firewall.ManifestConfig{Redis: url, Name: "web", Poll: firewall.Duration(10 * time.Millisecond)}
	c := registering(t, m)
	dir := t.TempDir()
	publish := func(text string) {
		t.Helper()
		file := filepath.Join(dir, "m.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := firewall.PreparePublication(t.Context(), c, firewall.ManifestConfig{File: file})
		if err != nil {
			t.Fatal(err)
		}
		where, err := p.Publish(t.Context(), url, "web")
		if err != nil || !strings.HasPrefix(where, "web version ") {
			t.Fatal(where, err)
		}
	}
	if _, err := firewall.New(t.Context(), c, okUpstream); err == nil || !strings.Contains(err.Error(), `nothing is published under the name "web"`) {
		t.Fatalf("%v", err)
	}
	publish(`{"one":"{ posts { id } }"}`)
	f := opened(t, c)
	if !answers(t, f, "one") {
		t.Fatal("the first version does not serve")
	}
	publish(`{"two":"{ posts { title } }"}`)
	eventually(t, "the second version does not serve", func() bool { return answers(t, f, "two") })
	if answers(t, f, "one") {
		t.Error("the first version still serves")
	}
	if res := post(t, f, map[string]any{"query": "{ posts { title __typename } }"}); res.Code != http.StatusOK {
		t.Errorf("by text: %s", res.Body)
	}
	server.Close()
	next := *c
	if err := f.Reload(t.Context(), &next); err != nil || !answers(t, f, "two") {
		t.Errorf("without Redis: %v", err)
	}
}

// A large manifest without an index is loaded while the firewall says that it
// is not ready and serves nothing; with the index that publish writes it is
// there at once. A bad one leaves the firewall unready until it is mended.
func TestLargeManifest(t *testing.T) {
	defer firewall.SetBackgroundSize(1)()
	file := filepath.Join(t.TempDir(), "m.json")
	if err := os.WriteFile(file, []byte(`{"bad":"{ posts { "}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c := registering(t, firewall.ManifestConfig{File: file})
	f := opened(t, c)
	eventually(t, "the failure is not said", func() bool { _, body := ready(t, f); return strings.Contains(body, "reload") })
	if ok, body := ready(t, f); ok {
		t.Errorf("it is ready without its manifest: %s", body)
	}
	if res := post(t, f, map[string]any{"query": "{ posts { id } }"}); res.Code != http.StatusServiceUnavailable || codeOf(res.Body.Bytes()) != "OVERLOADED" {
		t.Errorf("status %d: %s", res.Code, res.Body)
	}
	if err := os.WriteFile(file, []byte(`{"one":"{ posts { id } }"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if ok, _ := ready(t, f); !ok || !answers(t, f, "one") {
		t.Error("it is not ready after the mended manifest")
	}

	later := opened(t, c)
	eventually(t, "the manifest is not loaded", func() bool { ok, _ := ready(t, later); return ok })
	if !answers(t, later, "one") {
		t.Error("it does not serve what was loaded later")
	}

	p, err := firewall.PreparePublication(t.Context(), c, firewall.ManifestConfig{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Publish(t.Context(), file, ""); err != nil {
		t.Fatal(err)
	}
	if indexed := opened(t, c); !answers(t, indexed, "one") || indexed.Generation() != 1 {
		t.Error("with its index it was loaded later")
	}
}

// Raised limits, bad entries and documents that the schema refuses, at start.
func TestStartWithManifest(t *testing.T) {
	entry := func(id, body, more string) string {
		return fmt.Sprintf(`{"format":"apollo-persisted-query-manifest","version":1,"operations":[{"id":%q,"body":%q%s}]}`, id, body, more)
	}
	deep := "{ posts { author { posts { id } } } }"
	for _, c := range []struct {
		name, manifest string
		change         func(*firewall.Config)
		want           string
	}{
		{"too deep", entry("a", deep, ""), nil, "the document is not acceptable"},
		{"too deep, reported only", entry("a", deep, ""), func(c *firewall.Config) { c.Modes = map[string]firewall.Mode{"DEPTH_LIMIT": firewall.Report} }, ""},
		{"raised by the entry", entry("a", deep, `,"limits":{"depth":4}`), nil, ""},
		{"raised too little", entry("a", "{ posts { author { posts { author { id } } } } }", `,"limits":{"depth":4}`), nil, "the document is not acceptable"},
		{"raised by the configuration", entry("a", deep, ""), func(c *firewall.Config) { c.Operations.Manifests[0].Limits.Depth = 4 }, ""},
		{"too dear", entry("a", "{ posts(first: 100) { id } }", ""), func(c *firewall.Config) { c.Cost.Max = 50 }, "the operation costs"},
		{"cost raised", entry("a", "{ posts(first: 100) { id } }", `,"limits":{"cost":1000}`), func(c *firewall.Config) { c.Cost.Max = 50 }, ""},
		{"refused by the schema, at first use", entry("a", "{ gone }", ""), nil, ""},
		{"refused by the schema, ahead", entry("a", "{ gone }", ""), func(c *firewall.Config) { c.Operations.Compile = firewall.CompileAhead }, "gone"},
		{"bad", entry("a", "query AllClient", ""), nil, "entry"},
		{"bad and skipped", entry("a", "query AllClient", ""), func(c *firewall.Config) { c.Operations.BadEntries = firewall.BadSkip }, ""},
		{"no version", `{"format":"apollo-persisted-query-manifest","version":2,"operations":[]}`, func(c *firewall.Config) { c.Operations.BadEntries = firewall.BadSkip }, "version 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "m.json")
			if err := os.WriteFile(file, []byte(c.manifest), 0o600); err != nil {
				t.Fatal(err)
			}
			config := registering(t, firewall.ManifestConfig{File: file})
			config.Limits.Depth = 3
			if c.change != nil {
				c.change(config)
			}
			f, err := firewall.New(t.Context(), config, okUpstream)
			if err == nil {
				defer f.Close()
			}
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// Calls are counted by document, over reloads too, by whichever id or text they
// come; what was never used is what `operations unused` lists.
func TestUsage(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "ops")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(name, text string) string {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name+".graphql"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:])
	}
	hash := put("Used", "query Used { posts { id } }")
	put("Idle", "query Idle { boom }")
	c := registering(t, firewall.ManifestConfig{File: folder})
	f := opened(t, c)
	h, err := f.AdminHandler()
	if err != nil {
		t.Fatal(err)
	}
	admin := httptest.NewServer(h)
	defer admin.Close()
	post(t, f, map[string]any{"documentId": "Used"})
	post(t, f, map[string]any{"documentId": hash})
	put("Later", "query Later { secret }")
	next := *c
	if err := f.Reload(t.Context(), &next); err != nil {
		t.Fatal(err)
	}
	post(t, f, map[string]any{"query": "query Used { posts { id __typename } }"})
	unused := func(since time.Time) string {
		t.Helper()
		u, err := firewall.UnusedOperations(t.Context(), []string{admin.URL, admin.URL}, "", since)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, o := range u.Operations {
			names = append(names, fmt.Sprintf("%s %d", o.Name, o.Calls))
		}
		return strings.Join(names, ", ")
	}
	if diff := cmp.Diff("Idle 0, Later 0", unused(time.Now().Add(-time.Hour))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("Idle 0, Later 0, Used 6", unused(time.Now().Add(time.Hour))); diff != "" {
		t.Error(diff)
	}
	res, err := http.Get(admin.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	metrics, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`graphward_registered_operation_calls_total{client="",id="Used",operation="Used"} 3`,
		`graphward_registered_operations{used="yes"} 1`, `graphward_registered_operations{used="no"} 2`,
	} {
		if !strings.Contains(string(metrics), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	for _, query := range []string{"limit=0", "limit=x", "unused_since=yesterday"} {
		res, err := http.Get(admin.URL + "/operations?" + query)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", query, res.Status)
		}
	}
}

// While the whole manifest is swapped, no request fails: each id that is in
// both versions always answers.
func TestSwapUnderLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "m.json")
	write := func(n int) {
		t.Helper()
		entries := map[string]string{"always": "{ posts { id } }"}
		for i := range 500 {
			entries[fmt.Sprintf("v%d-%d", n, i)] = fmt.Sprintf("query V%dI%d { posts { id } }", n, i)
		}
		text, err := json.Marshal(entries)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(0)
	c := registering(t, firewall.ManifestConfig{File: file})
	f := opened(t, c)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var served atomic.Int64
	for range 3 {
		wg.Go(func() {
			for going := true; going; going = ctx.Err() == nil {
				if res := post(t, f, map[string]any{"documentId": "always"}); res.Code != http.StatusOK {
					t.Errorf("status %d: %s", res.Code, res.Body)
					return
				}
				served.Add(1)
			}
		})
	}
	for n := 1; n <= 10; n++ {
		write(n)
		next := *c
		if err := f.Reload(t.Context(), &next); err != nil {
			t.Error(err)
		}
		if !answers(t, f, fmt.Sprintf("v%d-7", n)) || answers(t, f, fmt.Sprintf("v%d-7", n-1)) {
			t.Errorf("version %d does not serve alone", n)
		}
	}
	stop()
	wg.Wait()
	if served.Load() == 0 {
		t.Error("nothing was served meanwhile")
	}
}

// artsy as a Relay map and saleor as an Apollo manifest, in deny mode: each of
// the 1,327 operations answers by id and by text; with one field or one literal
// changed it does not.
func TestRegisteredCorpora(t *testing.T) {
	total := 0
	for _, corpus := range []string{"artsy", "saleor"} {
		ops := loadOperations(t, corpus)
		ids := make([]string, len(ops))
		texts := map[string]string{}
		var apollo []map[string]string
		for i, op := range ops {
			if corpus == "artsy" {
				sum := md5.Sum([]byte(op.Query))
				ids[i] = hex.EncodeToString(sum[:])
			} else {
				sum := sha256.Sum256([]byte(op.Query))
				ids[i] = hex.EncodeToString(sum[:])
			}
			texts[ids[i]] = op.Query
			apollo = append(apollo, map[string]string{"id": ids[i], "name": op.Name, "type": op.Kind, "body": op.Query})
		}
		manifest, err := json.Marshal(texts)
		if corpus == "saleor" {
			manifest, err = json.Marshal(map[string]any{"format": "apollo-persisted-query-manifest", "version": 1, "operations": apollo})
		}
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), corpus+".json")
		if err := os.WriteFile(file, manifest, 0o600); err != nil {
			t.Fatal(err)
		}
		c := corpusConfig(corpus)
		c.Operations.Adhoc = "deny"
		c.Operations.Compile = firewall.CompileAhead
		c.Operations.Manifests = []firewall.ManifestConfig{{File: file}}
		c.Cost.Max = 1e15
		c.Cost.PageSize = cost.PageSize{}
		f := opened(t, c)
		for i, op := range ops {
			total++
			for how, body := range map[string]map[string]any{
				"id":   {"documentId": ids[i], "operationName": op.Name, "variables": op.Variables},
				"text": {"query": op.Query, "operationName": op.Name, "variables": op.Variables},
			} {
				if res := post(t, f, body); res.Code != http.StatusOK || codeOf(res.Body.Bytes()) != "" {
					t.Errorf("%s %s by %s: status %d: %s", corpus, op.Name, how, res.Code, res.Body)
				}
			}
			for how, text := range changed(op.Query) {
				res := post(t, f, map[string]any{"query": text, "operationName": op.Name, "variables": op.Variables})
				if code := codeOf(res.Body.Bytes()); code != "OPERATION_NOT_ALLOWED" && code != "GRAPHQL_VALIDATION_FAILED" {
					t.Errorf("%s %s with %s: status %d: %s", corpus, op.Name, how, res.Code, res.Body)
				}
				res = post(t, f, map[string]any{"documentId": ids[i], "query": text, "variables": op.Variables})
				if code := codeOf(res.Body.Bytes()); code != "PERSISTED_ID_MISMATCH" {
					t.Errorf("%s %s by id with %s: status %d: %s", corpus, op.Name, how, res.Code, res.Body)
				}
			}
		}
	}
	if total != 1327 {
		t.Errorf("%d operations, want 1327", total)
	}
}

// changed returns a document with a field more and, where it has one, with
// another literal.
func changed(text string) map[string]string {
	out := map[string]string{}
	at := strings.Index(text, "{")
	out["a field more"] = text[:at+1] + " graphward: __typename " + text[at+1:]
	if i := strings.Index(text, "first: "); i >= 0 && text[i+7] >= '1' && text[i+7] <= '9' {
		out["another literal"] = text[:i+7] + "1" + text[i+7:]
	}
	return out
}

// A reload for another reason keeps the set as long as its files have not
// changed; a file that was replaced is read, and so is a folder.
func TestManifestIsReadOnce(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "m.json")
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "new"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "new"), name); err != nil {
			t.Fatal(err)
		}
	}
	put(file, `{"one":"{ posts { id } }"}`)
	long := time.Now().Add(-time.Hour) // ago
	if err := os.Chtimes(file, long, long); err != nil {
		t.Fatal(err)
	}
	c := registering(t, firewall.ManifestConfig{File: file})
	f := opened(t, c)
	reloaded := func(change func(*firewall.Config)) *persisted.Set {
		t.Helper()
		next := *c
		if change != nil {
			change(&next)
		}
		if err := f.Reload(t.Context(), &next); err != nil {
			t.Fatal(err)
		}
		return f.Manifests()
	}
	first := f.Manifests()
	if reloaded(nil) != first || reloaded(func(c *firewall.Config) { c.Responses.Errors = "pass" }) != first {
		t.Error("it was read again")
	}
	if reloaded(func(c *firewall.Config) { c.Limits.Depth = 5 }) == first {
		t.Error("its documents were not judged by other limits")
	}
	put(file, `{"two":"{ posts { id } }"}`) // as long as the first
	reloaded(nil)
	if !answers(t, f, "two") || answers(t, f, "one") {
		t.Error("the file that replaced it was not read")
	}
	// Written twice within the grain of the file system's clock.
	now := time.Now().Add(time.Hour) // so that a slow test is no older than the grain
	for _, id := range []string{"six", "ten"} {
		if err := os.WriteFile(file, []byte(`{"`+id+`":"{ posts { id } }"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, now, now); err != nil {
			t.Fatal(err)
		}
		reloaded(nil)
		if !answers(t, f, id) {
			t.Errorf("the file was written again and %s is not served", id)
		}
	}
}
