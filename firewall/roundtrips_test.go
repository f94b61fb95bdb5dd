package firewall_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/graphward/graphward/cost/budget"
	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/identity"
)

// turns is an address in front of a store, and counts the round trips to it: how often it is spoken to after it had answered. That is exact
// for one request after the other.
type turns struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu    sync.Mutex
	n     int
	asked bool
}

func newTurns(t *testing.T, target string) *turns {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &turns{listener: l}
	c.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				_ = in.Close()
				continue
			}
			c.wg.Go(func() { c.pass(out, in, true) })
			c.wg.Go(func() { c.pass(in, out, false) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		c.wg.Wait()
	})
	return c
}

// pass copies one direction.
func (c *turns) pass(to, from net.Conn, asks bool) {
	defer to.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			c.mu.Lock()
			if asks && !c.asked {
				c.n++
			}
			c.asked = asks
			c.mu.Unlock()
			_, _ = to.Write(buffer[:n])
		}
		if err != nil {
			return
		}
	}
}

func (c *turns) since(before int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n - before
}

// knownByName is knownByHeader with a subject and a client of the header's, and refuses one.
type knownByName struct{}

func (knownByName) Authenticate(r *http.Request) (*identity.Identity, error) {
	who := r.Header.Get("Authorization")
	if who == "forged" {
		return nil, &identity.UnauthenticatedError{Reason: "forged"}
	}
	id, err := knownByHeader{}.Authenticate(r)
	if err == nil && id.Authenticated {
		id.Subject, id.Client.Name = who, who
	}
	return id, err
}

// What the whole pipeline asks of a store, by what becomes of the request. docs/budgets.md states these numbers.
func TestStoreRoundTrips(t *testing.T) {
	counted := newTurns(t, miniredis.RunT(t).Addr())
	c, _ := laid(t, generationPolicy(0))
	per := func(amount float64) budget.Window { return budget.Window{Amount: amount, Per: 366 * 24 * time.Hour} }
	c.Budgets.Store = firewall.StoreURL("redis://" + counted.listener.Addr().String())
	c.Budgets.Timeout = firewall.Duration(patience)
	c.Limits.Batch = 3
	c.Cost.Weights = map[string]float64{"Query.secret": 5}
	c.Budgets.Tiers = map[string]firewall.TierConfig{
		"default": {Requests: per(30), Cost: per(55), InFlight: 50},
		"small":   {Requests: per(1)},
	}
	c.Budgets.Overrides.Clients = map[string]string{"small": "small"}
	c.Budgets.Overrides.RootFields = map[string]budget.Window{"Query.secret": per(1000)}
	f, err := firewall.New(t.Context(), c, upstreamOK(), firewall.WithAuthenticator(knownByName{}))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const (
		allowed = `{"query":"{ secret }"}`
		denied  = `{"query":"{ boom }"}`
		twelve  = `{"query":"{ a:secret b:secret c:secret d:secret e:secret f:secret g:secret h:secret i:secret j:secret k:secret l:secret }"}`
	)
	send := func(who, body string) int {
		t.Helper()
		r := httptest.NewRequest(http.MethodPost, "/graphql", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/graphql-response+json")
		if who != "" {
			r.Header.Set("Authorization", who)
		}
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		_, _ = io.Copy(io.Discard, w.Result().Body)
		return w.Code
	}
	for _, who := range []string{"", "alice", "alice"} { // connects, and loads the scripts
		if status := send(who, allowed); status != http.StatusOK {
			t.Fatalf("%q: %d", who, status)
		}
	}
	for _, test := range []struct {
		name, who, body string
		status, trips   int
	}{
		{"anonymous, forwarded", "", allowed, http.StatusOK, 3},
		{"identified, forwarded", "alice", allowed, http.StatusOK, 4},
		{"identified, not seen before", "bob", allowed, http.StatusOK, 4},
		{"not decoded", "alice", `{`, http.StatusBadRequest, 2},
		{"a forged credential", "forged", allowed, http.StatusUnauthorized, 2},
		{"anonymous, denied", "", denied, http.StatusForbidden, 2},
		{"identified, denied", "alice", denied, http.StatusForbidden, 3},
		{"anonymous, over budget", "", twelve, http.StatusTooManyRequests, 3},
		{"identified, over budget", "alice", twelve, http.StatusTooManyRequests, 4},
		{"identified, a batch of three", "alice", "[" + allowed + "," + denied + "," + allowed + "]", http.StatusOK, 2 + 2*2 + 1},
		{"identified, nothing to settle", "small", allowed, http.StatusOK, 3},
		{"identified, too many requests", "small", allowed, http.StatusTooManyRequests, 2},
	} {
		before := counted.since(0)
		if status := send(test.who, test.body); status != test.status {
			t.Errorf("%s: status %d, want %d", test.name, status, test.status)
		}
		if n := counted.since(before); n != test.trips {
			t.Errorf("%s: %d round trips, want %d", test.name, n, test.trips)
		}
	}
	trips, status := 0, http.StatusForbidden
	for range 30 {
		if status == http.StatusForbidden {
			before := counted.since(0)
			status = send("", denied)
			trips = counted.since(before)
		}
	}
	if status != http.StatusTooManyRequests || trips != 1 {
		t.Errorf("too many requests of an address: status %d, %d round trips, want 1", status, trips)
	}
}
