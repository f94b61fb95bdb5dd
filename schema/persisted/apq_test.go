package persisted

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func register(t *testing.T, a *APQ, client, text string) string {
	t.Helper()
	hash := apolloID(text)
	if err := a.Register(client, hash, text); err != nil {
		t.Fatal(err)
	}
	return hash
}

func TestAPQ(t *testing.T) {
	a := NewAPQ(APQOptions{})
	hash := register(t, a, "web", "{a}")
	if text, ok := a.Lookup("web", hash); !ok || text != "{a}" {
		t.Errorf("%q %v", text, ok)
	}
	for _, c := range [][2]string{{"ios", hash}, {"", hash}, {"web", strings.ToUpper(hash)}, {"web", "sha256:" + hash}, {"web", ""}} {
		if _, ok := a.Lookup(c[0], c[1]); ok {
			t.Errorf("%q is known", c)
		}
	}
}

// TestAPQPoisoning: a text under another text's hash is refused and changes nothing.
func TestAPQPoisoning(t *testing.T) {
	a := NewAPQ(APQOptions{})
	hash := register(t, a, "web", "{a}")
	for _, h := range []string{hash, strings.ToUpper(apolloID("{evil}")), apolloID("{evil}")[:63], "", "sha256:" + apolloID("{evil}")} {
		err := a.Register("web", h, "{evil}")
		if e, ok := errors.AsType[*MismatchError](err); !ok || e.Hash != h {
			t.Errorf("%q: %v", h, err)
		}
	}
	if text, _ := a.Lookup("web", hash); text != "{a}" {
		t.Errorf("the text became %q", text)
	}
}

func TestAPQBounds(t *testing.T) {
	t.Run("documents", func(t *testing.T) {
		a := NewAPQ(APQOptions{Documents: 2})
		first, second := register(t, a, "web", "{a}"), register(t, a, "web", "{b}")
		a.Lookup("web", first)
		register(t, a, "web", "{c}")
		if _, ok := a.Lookup("web", second); ok {
			t.Error("the least recently used stays")
		}
		if _, ok := a.Lookup("web", first); !ok {
			t.Error("the most recently used went")
		}
	})
	t.Run("bytes of a client", func(t *testing.T) {
		a := NewAPQ(APQOptions{Bytes: 10})
		first := register(t, a, "web", "{aaaa}")
		register(t, a, "web", "{bbbb}")
		if _, ok := a.Lookup("web", first); ok {
			t.Error("12 bytes are kept of 10")
		}
		if _, ok := a.Lookup("web", register(t, a, "web", "{aaaaaaaaaaaaa}")); ok {
			t.Error("a text larger than the bound is kept")
		}
	})
	t.Run("one client cannot push out another's", func(t *testing.T) {
		a := NewAPQ(APQOptions{Documents: 2})
		mine := register(t, a, "me", "{mine}")
		for i := range 100 {
			register(t, a, "you", fmt.Sprintf("{a%d}", i))
		}
		if _, ok := a.Lookup("me", mine); !ok {
			t.Error("mine is gone")
		}
	})
	t.Run("clients", func(t *testing.T) {
		a := NewAPQ(APQOptions{Clients: 2})
		old := register(t, a, "old", "{a}")
		register(t, a, "b", "{a}")
		register(t, a, "c", "{a}")
		if _, ok := a.Lookup("old", old); ok || len(a.clients) != 2 || a.bytes != 6 {
			t.Errorf("%d clients, %d bytes", len(a.clients), a.bytes)
		}
	})
	t.Run("bytes of all", func(t *testing.T) {
		a := NewAPQ(APQOptions{Bytes: 8, Total: 16})
		for i := range 10 {
			register(t, a, fmt.Sprint(i), "{aaaaa}")
		}
		if len(a.clients) != 2 || a.bytes != 14 {
			t.Errorf("%d clients, %d bytes", len(a.clients), a.bytes)
		}
	})
}

// TestAPQIsNoStore: what clients registered must not be usable as an allowlist.
func TestAPQIsNoStore(t *testing.T) {
	if _, ok := any(NewAPQ(APQOptions{})).(Store); ok {
		t.Error("an APQ is a Store")
	}
}
