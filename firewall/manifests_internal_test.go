package firewall

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/schema/persisted"
)

// A version that a poll has fetched is on trial in the build that the poll makes
// of it, and in no other: a reload meanwhile is built from the last good one.
func TestReloadBesideTrial(t *testing.T) {
	var content atomic.Value
	content.Store(`{"one":"{ posts { id } }"}`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, content.Load().(string))
	}))
	defer server.Close()
	c := DefaultConfig()
	c.Schema.Files = []string{"testdata/base/schema.graphql"}
	c.AllowAll = true
	c.Identity.Anonymous, c.Audit.Output = identity.Allow, audit.Off
	c.Operations.Manifests = []ManifestConfig{{URL: server.URL, Poll: Duration(time.Hour)}}
	f, err := New(t.Context(), c, WithHandler(http.NotFoundHandler()))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	reload := func(when string) {
		t.Helper()
		next := *c
		if err := f.Reload(t.Context(), &next); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	content.Store(`{"two":"{ posts { "}`)
	place := c.Operations.Manifests[0].place()
	bad := f.manifests.ask(t.Context(), &c.Operations.Manifests[0])
	if bad == nil {
		t.Fatal("the new version was not fetched")
	}
	reload("before the trial")
	generation := f.Generation()
	f.manifests.try(t.Context(), f, map[string]*fetched{place: bad})
	if f.Generation() != generation || f.lastFail.Load() == nil {
		t.Error("the bad version was not refused")
	}
	reload("after the trial")
	if f.manifests.ask(t.Context(), &c.Operations.Manifests[0]) != nil {
		t.Error("what was refused is tried again")
	}
	content.Store(`{"three":"{ posts { id } }"}`)
	good := f.manifests.ask(t.Context(), &c.Operations.Manifests[0])
	f.manifests.try(t.Context(), f, map[string]*fetched{place: good})
	if _, ok := f.current.Load().store.Lookup(persisted.Client{}, "three"); !ok {
		t.Error("the good version does not serve")
	}
}
