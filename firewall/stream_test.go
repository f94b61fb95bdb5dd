package firewall_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/graphward/graphward/firewall"
)

const streamQuery = `{"query":"{ viewer { __typename } }"}`

// streamed starts a firewall over a real socket in front of a real backend.
func streamed(t *testing.T, change func(*firewall.Config), backend http.HandlerFunc) *httptest.Server {
	t.Helper()
	up := httptest.NewServer(backend)
	t.Cleanup(up.Close)
	c := corpusConfig("artsy")
	c.Upstream.URL = up.URL
	change(c)
	f, err := firewall.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(f)
	t.Cleanup(func() {
		server.Close()
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func unguarded(c *firewall.Config) {
	c.Responses.Errors, c.Responses.Suggestions = "pass", "pass"
}

func ask(t *testing.T, server *httptest.Server) *http.Response {
	t.Helper()
	res, err := http.Post(server.URL+"/graphql", "application/json", strings.NewReader(streamQuery))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

// What is not rewritten reaches the client byte for byte: integers above 2^53,
// order, white space, HTML characters, and long bodies in any split.
func TestAnswerByteForByte(t *testing.T) {
	long := strings.Repeat(`{"id":9007199254740993,"t":"a\"b\\","n":[1,2.50,1e400]},`, 40_000)
	for name, body := range map[string]string{
		"numbers":   " {\n\t\"data\" : {\"b\":9007199254740993, \"a\":1.10, \"<html>&\":\"\\u003c\"} }\n",
		"long":      `{"data":{"list":[` + strings.TrimSuffix(long, ",") + `]}}`,
		"errorish":  `{"data":{"errors":[{"message":"not one"}],"x":"\"errors\":"}}`,
		"long text": `{"data":"` + strings.Repeat(`\\\"errors\":`, 30_000) + `"}`,
	} {
		for guard, change := range map[string]func(*firewall.Config){"unguarded": unguarded, "guarded": func(*firewall.Config) {}} {
			t.Run(name+"/"+guard, func(t *testing.T) {
				server := streamed(t, change, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					for rest := body; rest != ""; {
						n := min(len(rest), 1+rand.IntN(100_000))
						_, _ = io.WriteString(w, rest[:n])
						rest = rest[n:]
					}
				})
				got, err := io.ReadAll(ask(t, server).Body)
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != body {
					t.Errorf("%d bytes differ from the %d sent", len(got), len(body))
				}
			})
		}
	}
}

// Errors are masked wherever they stand in a long answer.
func TestErrorsMaskedInLongAnswer(t *testing.T) {
	data := `"data":{"list":["` + strings.Repeat("x", 200_000) + `"]}`
	const secret = `"errors":[{"message":"at db.go:17 secret"}]`
	for _, body := range []string{"{" + data + "," + secret + "}", "{" + secret + "," + data + "}"} {
		server := streamed(t, func(*firewall.Config) {}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, body)
		})
		got, err := io.ReadAll(ask(t, server).Body)
		if err != nil {
			t.Fatal(err)
		}
		if text := string(got); strings.Contains(text, "secret") || !strings.Contains(text, "Internal error") || !strings.Contains(text, data) {
			t.Errorf("got %.80s … %s", got, text[max(0, len(text)-120):])
		}
	}
}

// A flush of upstream's reaches the client before the answer ends.
func TestFlushesPass(t *testing.T) {
	more := make(chan struct{})
	server := streamed(t, unguarded, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintln(w, `{"data":`)
		w.(http.Flusher).Flush()
		<-more
		_, _ = fmt.Fprintln(w, `null}`)
	})
	r := bufio.NewReader(ask(t, server).Body)
	line, err := r.ReadString('\n')
	close(more)
	if err != nil || line != "{\"data\":\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if rest, err := io.ReadAll(r); err != nil || string(rest) != "null}\n" {
		t.Fatalf("%q, %v", rest, err)
	}
}

// An answer that breaks off, or is too long, is never passed on as whole.
func TestBrokenAnswer(t *testing.T) {
	for name, backend := range map[string]http.HandlerFunc{
		"too long": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"data":"`+strings.Repeat("x", 300_000)+`"}`)
		},
		"breaks off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "400000")
			_, _ = io.WriteString(w, `{"data":"`+strings.Repeat("x", 150_000))
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := streamed(t, func(c *firewall.Config) { c.Upstream.MaxResponse = 200_000 }, backend)
			res := ask(t, server)
			body, err := io.ReadAll(res.Body)
			if res.StatusCode == http.StatusOK && err == nil {
				t.Errorf("%d bytes arrived as if they were all", len(body))
			}
		})
	}
}

func TestUpstreamTimeout(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	server := streamed(t, func(c *firewall.Config) { c.Upstream.Timeout = soon },
		func(http.ResponseWriter, *http.Request) { <-stop })
	res := ask(t, server)
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusGatewayTimeout || codeOf(body) != "UPSTREAM_TIMEOUT" {
		t.Errorf("status %d, %s, %v", res.StatusCode, body, err)
	}
}
