package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graphward/graphward/examples/quickstart"
)

// output is a writer that can be read while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// The demo answers its own curl lines as it prints them.
func TestDemo(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	var out, errOut output
	done := make(chan error, 1)
	go func() {
		d := demoCommand{Listen: "127.0.0.1:0"}
		done <- d.Run(ctx, &console{&out, &errOut})
	}()
	printed := regexp.MustCompile(`(?m)^(curl|for) .*$`)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if len(printed.FindAllString(out.String(), -1)) == len(quickstart.Scenes) {
			break
		}
		select {
		case err := <-done:
			t.Fatalf("the demo ended: %v\n%s%s", err, out.String(), errOut.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("the demo did not print its requests:\n%s%s", out.String(), errOut.String())
		}
	}
	lines := printed.FindAllString(out.String(), -1)
	for i, scene := range quickstart.Scenes {
		t.Run(scene.Title, func(t *testing.T) {
			status, body := play(t, lines[i], scene)
			if status != scene.Status {
				t.Errorf("status %d, want %d: %s", status, scene.Status, body)
			}
			for _, want := range []string{scene.Code, scene.Rule, scene.Holds} {
				if !strings.Contains(body, want) {
					t.Errorf("%q is not in %s", want, body)
				}
			}
		})
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("the demo ended with %v", err)
	}
}

var quoted = regexp.MustCompile(`'([^']*)'|-H|-d`)

// play sends a printed line: by a shell and curl where there are any, else the
// same request by hand, read from the line.
func play(t *testing.T, line string, scene quickstart.Scene) (status int, body string) {
	t.Helper()
	if _, err := exec.LookPath("curl"); err == nil {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", line).Output()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		text := strings.TrimSpace(string(out))
		at := strings.LastIndex(text, "  HTTP ")
		if at < 0 {
			t.Fatalf("no status in %q", text)
		}
		for _, digit := range text[at+len("  HTTP "):] {
			status = 10*status + int(digit-'0')
		}
		body = text[:at]
		if nl := strings.LastIndexByte(body, '\n'); nl >= 0 {
			body = body[nl+1:]
		}
		return status, body
	}
	for range max(scene.Times, 1) {
		status, body = sendLine(t, line)
	}
	return status, body
}

func sendLine(t *testing.T, line string) (int, string) {
	t.Helper()
	var url, data, flag string
	header := http.Header{}
	for _, m := range quoted.FindAllStringSubmatch(line, -1) {
		switch {
		case m[0] == "-H" || m[0] == "-d":
			flag = m[0]
		case flag == "-H":
			name, value, _ := strings.Cut(m[1], ": ")
			header.Set(name, value)
			flag = ""
		case flag == "-d":
			data, flag = m[1], ""
		case strings.HasPrefix(m[1], "http://"):
			url = m[1]
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}
