package redisstore

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func opened(t *testing.T) (*Store, *miniredis.Miniredis) {
	t.Helper()
	server := miniredis.RunT(t)
	s, err := Open("redis://" + server.Addr() + "/0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, server
}

// Versions rise, contents of several pieces come back whole, and what is known
// is not sent again.
func TestPublishAndFetch(t *testing.T) {
	s, server := opened(t)
	if _, err := s.Fetch(t.Context(), "web", 0, 1<<30); !errors.As(err, new(*NotPublishedError)) {
		t.Fatal(err)
	}
	first := bytes.Repeat([]byte("0123456789abcdef"), (2*pieceSize+5)/16+1)
	for want, content := range map[int64][]byte{1: first} {
		if v, err := s.Publish(t.Context(), "web", content, []byte("index")); v != want || err != nil {
			t.Fatal(v, err)
		}
	}
	m, err := s.Fetch(t.Context(), "web", 0, 1<<30)
	if err != nil || m.Version != 1 || !bytes.Equal(m.Content, first) || string(m.Index) != "index" {
		t.Fatalf("%v %v", m.Version, err)
	}
	if m, err := s.Fetch(t.Context(), "web", 1, 1<<30); m != nil || err != nil {
		t.Errorf("%v %v", m, err)
	}
	if v, err := s.Publish(t.Context(), "web", []byte("{}"), nil); v != 2 || err != nil {
		t.Fatal(v, err)
	}
	if m, err := s.Fetch(t.Context(), "web", 1, 1<<30); err != nil || m.Version != 2 || string(m.Content) != "{}" || m.Index != nil {
		t.Errorf("%+v %v", m, err)
	}
	if _, err := s.Fetch(t.Context(), "ios", 0, 1<<30); !errors.As(err, new(*NotPublishedError)) {
		t.Errorf("another name: %v", err)
	}
	// The version before stays for those who are reading it, and goes.
	server.FastForward(keptFor - 1)
	if len(server.Keys()) < 6 {
		t.Errorf("the first version is gone: %q", server.Keys())
	}
	server.FastForward(2)
	for _, k := range server.Keys() {
		if strings.Contains(k, "}:1:") {
			t.Errorf("%s is still there", k)
		}
	}
	if m, err := s.Fetch(t.Context(), "web", 0, 1<<30); err != nil || string(m.Content) != "{}" {
		t.Errorf("the current version went too: %v", err)
	}
}

// What is not what was published is never given out.
func TestDamage(t *testing.T) {
	for name, harm := range map[string]func(*miniredis.Miniredis){
		"another piece":  func(m *miniredis.Miniredis) { _ = m.Set(key("web", "1", "content", "0"), "{ }") },
		"a longer piece": func(m *miniredis.Miniredis) { _ = m.Set(key("web", "1", "content", "0"), strings.Repeat(" ", 100)) },
		"no piece":       func(m *miniredis.Miniredis) { m.Del(key("web", "1", "content", "0")) },
		"another index":  func(m *miniredis.Miniredis) { _ = m.Set(key("web", "1", "index", "0"), "edni") },
		"another size":   func(m *miniredis.Miniredis) { m.HSet(key("web", "current"), "size", "-1") },
		"too large":      func(m *miniredis.Miniredis) { m.HSet(key("web", "current"), "size", "4096") },
	} {
		t.Run(name, func(t *testing.T) {
			s, server := opened(t)
			if _, err := s.Publish(t.Context(), "web", []byte("{}"), []byte("index")); err != nil {
				t.Fatal(err)
			}
			harm(server)
			if m, err := s.Fetch(t.Context(), "web", 0, 1<<10); m != nil || !errors.As(err, new(*DamagedError)) {
				t.Errorf("%+v %v", m, err)
			}
		})
	}
}

// Of two who publish at once, the later version stays current.
func TestLaterVersionStays(t *testing.T) {
	s, server := opened(t)
	if _, err := s.Publish(t.Context(), "web", []byte("{}"), nil); err != nil {
		t.Fatal(err)
	}
	server.HSet(key("web", "current"), "version", "9")
	if _, err := s.Publish(t.Context(), "web", []byte("{ }"), nil); err == nil || !strings.Contains(err.Error(), "version 9 was published meanwhile") {
		t.Errorf("%v", err)
	}
}

func TestNames(t *testing.T) {
	for name, good := range map[string]bool{"web": true, "web-2.0/ios": true, "": false, "a}b": false, "a b": false, "a:b": false, strings.Repeat("x", 201): false} {
		if err := CheckName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := Open("http://localhost"); err == nil {
		t.Error("http:// was taken")
	}
}
