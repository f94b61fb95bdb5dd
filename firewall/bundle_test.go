package firewall_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/graphward/graphward/firewall"
)

const bundleSecret = "0123456789abcdef0123456789abcdef"

// signedBundle is an OPA bundle of one policy, signed as OPA's documentation of bundles says: a JWS over the names and hashes of its files.
func signedBundle(t *testing.T, policy, secret string) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte(policy))
	encode := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	token := encode(map[string]string{"alg": "HS256", "keyid": "default"}) + "." + encode(map[string]any{
		"files": []map[string]string{{"name": "policy.rego", "hash": hex.EncodeToString(sum[:]), "algorithm": "SHA-256"}},
	})
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(token))
	token += "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	signatures, err := json.Marshal(map[string][]string{"signatures": {token}})
	if err != nil {
		t.Fatal(err)
	}
	return pack(t, map[string]string{"/policy.rego": policy, "/.signatures.json": string(signatures)})
}

// pack is a gzipped tarball, as a bundle is.
func pack(t *testing.T, content map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	packed := gzip.NewWriter(&out)
	files := tar.NewWriter(packed)
	for _, name := range slices.Sorted(maps.Keys(content)) {
		if err := files.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content[name]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(files, content[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(files.Close(), packed.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func unsignedBundle(t *testing.T, policy string) []byte {
	t.Helper()
	return pack(t, map[string]string{"/policy.rego": policy})
}

// bundleServer serves one bundle with an ETag, and counts its answers by status.
type bundleServer struct {
	*httptest.Server
	mu      sync.Mutex
	content []byte
	status  int // in place of the content; 0 = none
	answers map[int]int
}

func serveBundle(t *testing.T, content []byte) *bundleServer {
	t.Helper()
	s := &bundleServer{content: content, answers: map[int]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		sum := sha256.Sum256(s.content)
		tag := strconv.Quote(hex.EncodeToString(sum[:4]))
		status := s.status
		if status == 0 {
			status = http.StatusOK
			w.Header().Set("Etag", tag)
			if r.Header.Get("If-None-Match") == tag {
				status = http.StatusNotModified
			}
		}
		s.answers[status]++
		w.WriteHeader(status)
		if status == http.StatusOK {
			_, _ = w.Write(s.content)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *bundleServer) serve(content []byte, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.content, s.status = content, status
}

func (s *bundleServer) answered(status int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answers[status]
}

func bundleConfig(t *testing.T, url string) *firewall.Config {
	t.Helper()
	c, dir := laid(t, generationPolicy(0))
	key := filepath.Join(dir, "bundle.key")
	if err := os.WriteFile(key, []byte(bundleSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Policy.Paths = nil
	c.Policy.Bundle = firewall.BundleConfig{URL: url, Signing: key, Algorithm: "HS256"}
	return c
}

func upstreamOK() firewall.Option {
	return firewall.WithHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":{"ok":true}}`)
	}))
}

// A bundle by URL: one that has not changed costs a 304 and no reload; one that has is served; one that does not verify, is too large, does
// not load or does not come leaves the old in service, says why, and the next good one is taken.
func TestBundleByURL(t *testing.T) {
	server := serveBundle(t, signedBundle(t, generationPolicy(0), bundleSecret))
	f, err := firewall.New(t.Context(), bundleConfig(t, server.URL), upstreamOK())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	open := func(field string) bool {
		return post(t, f, map[string]any{"query": "{ " + field + " }"}).Code == http.StatusOK
	}
	for n, step := range []struct {
		name       string
		content    []byte
		status     int
		problem    string // "" = the refresh succeeds
		generation int64
		open       string
	}{
		{"not changed", signedBundle(t, generationPolicy(0), bundleSecret), 0, "", 1, "secret"},
		{"changed", signedBundle(t, generationPolicy(1), bundleSecret), 0, "", 2, "boom"},
		{"another key", signedBundle(t, generationPolicy(2), strings.Repeat("x", 32)), 0, "verif", 2, "boom"},
		{"not signed", unsignedBundle(t, generationPolicy(2)), 0, "sign", 2, "boom"},
		{"a policy that does not load", signedBundle(t, "package graphward\n\nallow.Query.nothing := true\n", bundleSecret), 0, `no field "nothing"`, 2, "boom"},
		{"too large", make([]byte, 64<<20+1), 0, "more than 64 MiB", 2, "boom"},
		{"an error", nil, http.StatusBadGateway, "502", 2, "boom"},
		{"elsewhere", nil, http.StatusFound, "302", 2, "boom"},
		{"as before", signedBundle(t, generationPolicy(1), bundleSecret), 0, "", 2, "boom"},
		{"changed again", signedBundle(t, generationPolicy(2), bundleSecret), 0, "", 3, "secret"},
	} {
		server.serve(step.content, step.status)
		err := f.Refresh(t.Context())
		if step.problem == "" && err != nil || step.problem != "" && (err == nil || !strings.Contains(err.Error(), step.problem)) {
			t.Errorf("%d, %s: %v, want %q", n, step.name, err, step.problem)
		}
		if g := f.Generation(); int64(g) != step.generation || !open(step.open) {
			t.Errorf("%d, %s: generation %d, %s open: %v", n, step.name, g, step.open, open(step.open))
		}
	}
	before := server.answered(http.StatusOK)
	for range 3 {
		if err := f.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if server.answered(http.StatusOK) != before || server.answered(http.StatusNotModified) < 3 {
		t.Errorf("a poll that changes nothing fetches: %d more, %d answers of 304", server.answered(http.StatusOK)-before, server.answered(http.StatusNotModified))
	}
	server.Close()
	if err := f.Refresh(t.Context()); err == nil || strings.Contains(err.Error(), server.URL) {
		t.Errorf("the server is gone: %v", err)
	}
	if !open("secret") {
		t.Error("the policy is gone with the server")
	}
}

// Without its policy a firewall does not start.
func TestBundleByURLAtStart(t *testing.T) {
	for name, tt := range map[string]struct {
		content []byte
		status  int
		problem string
	}{
		"an error":      {nil, http.StatusInternalServerError, "500"},
		"not asked for": {nil, http.StatusNotModified, "304"},
		"another key":   {signedBundle(t, generationPolicy(0), strings.Repeat("x", 32)), 0, "verif"},
		"not signed":    {unsignedBundle(t, generationPolicy(0)), 0, "sign"},
		"cut off":       {signedBundle(t, generationPolicy(0), bundleSecret)[:200], 0, "EOF"},
	} {
		server := serveBundle(t, tt.content)
		server.serve(tt.content, tt.status)
		f, err := firewall.New(t.Context(), bundleConfig(t, server.URL), upstreamOK())
		if err == nil {
			f.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.problem) {
			t.Errorf("%s: %v, want %q", name, err, tt.problem)
		}
	}
	gone := serveBundle(t, nil)
	gone.Close()
	if f, err := firewall.New(t.Context(), bundleConfig(t, gone.URL), upstreamOK()); err == nil {
		f.Close()
		t.Error("started without its policy")
	}
}
