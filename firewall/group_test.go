package firewall_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/graphward/graphward/firewall"
)

// mortal is an upstream server that can be killed, paused and started again on
// its address. It remembers each document that it was sent.
type mortal struct {
	address string
	paused  chan struct{} // closed: it answers
	asked   atomic.Int64

	mu     sync.Mutex
	server *http.Server
	seen   map[string]int
}

func newMortal(t *testing.T) *mortal {
	t.Helper()
	m := &mortal{address: "127.0.0.1:0", seen: map[string]int{}}
	m.resume()
	m.start(t)
	t.Cleanup(m.kill)
	return m
}

func (m *mortal) start(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", m.address)
	// While it is down another test's server may get its port.
	for end := time.Now().Add(patience); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		l, err = net.Listen("tcp", m.address)
	}
	if err != nil {
		t.Fatal(err)
	}
	m.address = l.Addr().String()
	server := &http.Server{Handler: m}
	m.mu.Lock()
	m.server = server
	m.mu.Unlock()
	go func() { _ = server.Serve(l) }()
}

// kill closes the listener and every connection, whatever is going on.
func (m *mortal) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.server != nil {
		_ = m.server.Close()
		m.server = nil
	}
}

func (m *mortal) pause() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused = make(chan struct{})
}

func (m *mortal) resume() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused = make(chan struct{})
	close(m.paused)
}

func (m *mortal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	m.asked.Add(1)
	m.mu.Lock()
	m.seen[string(body)]++
	paused := m.paused
	m.mu.Unlock()
	select {
	case <-paused:
		answerFine(w, r)
	case <-r.Context().Done():
	}
}

// besiege sends requests until enough says so: half of them queries, half
// mutations, none twice under one name. It returns how many had each status.
func besiege(t *testing.T, address, name string, enough func(sent int64) bool) map[string]int64 {
	t.Helper()
	var sent atomic.Int64
	var mu sync.Mutex
	statuses := map[string]int64{}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			c := &http.Client{Transport: &http.Transport{}, Timeout: patience}
			defer c.CloseIdleConnections()
			for {
				n := sent.Add(1)
				if enough(n) {
					return
				}
				kind := [2]string{"query", "mutation"}[n%2]
				res, err := c.Post("http://"+address+"/graphql", "application/json", strings.NewReader(fmt.Sprintf(`{"query":"%s { %s%d: __typename }"}`, kind, name, n)))
				status := "none"
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
					status = fmt.Sprint(res.StatusCode)
				}
				if err != nil {
					t.Errorf("request %d has no whole answer: %v", n, err)
				}
				mu.Lock()
				statuses[kind+" "+status]++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return statuses
}

// TestKilledAddress: of three servers under load one is killed, and another
// paused. Queries notice the first at most where they were on their way to it;
// nothing is carried out twice; and both serve again when they are back.
func TestKilledAddress(t *testing.T) {
	all := []*mortal{newMortal(t), newMortal(t), newMortal(t)}
	g := guard(t, func(c *firewall.Config) {
		for _, m := range all {
			c.Upstream.URLs = append(c.Upstream.URLs, "http://"+m.address+"/graphql")
		}
		c.Upstream.Health = firewall.HealthConfig{Interval: firewall.Duration(20 * time.Millisecond), Timeout: firewall.Duration(patience),
			Failures: 3, Eject: firewall.Duration(time.Millisecond), MaxEject: firewall.Duration(10 * time.Millisecond)}
	})
	killed := false
	got := besiege(t, g.address, "killed", func(n int64) bool {
		if n == 300 {
			all[0].kill()
			killed = true
		}
		return n > 900
	})
	if !killed || got["query 200"]+got["query 502"]+got["mutation 200"]+got["mutation 502"] != 900 {
		t.Errorf("killed: %v", got)
	}
	if got["query 502"] > 8 {
		t.Errorf("%d queries failed: more than could be on their way", got["query 502"])
	}
	if got["mutation 200"] < 400 {
		t.Errorf("%d mutations went through", got["mutation 200"])
	}
	all[0].start(t)
	serves(t, g, all[0], "restarted")

	all[1].pause()
	others := func() int64 { return all[0].asked.Load() + all[2].asked.Load() }
	before := others()
	got = besiege(t, g.address, "paused", func(n int64) bool {
		if n == 200 {
			all[1].kill() // what it was asked before has no answer
			all[1].resume()
			all[1].start(t)
		}
		return n > 400
	})
	// Which of the two is for the scheduler to say. Of the first 200 at most one
	// for each sender hangs.
	if n := others() - before; n < 150 {
		t.Errorf("beside a paused one the others were asked too little, %d times: %v", n, got)
	}
	serves(t, g, all[1], "resumed")
	once(t, all)
}

// once: no document came twice, to whichever server.
func once(t *testing.T, all []*mortal) {
	t.Helper()
	times := map[string]int{}
	for _, m := range all {
		m.mu.Lock()
		for document, n := range m.seen {
			if times[document] += n; times[document] > 1 && !strings.Contains(document, `{"query":"{ __typename }"}`) {
				t.Errorf("%s came %d times", document, times[document])
			}
		}
		m.mu.Unlock()
	}
}

// serves waits until a server is asked again by callers.
func serves(t *testing.T, g *guarded, m *mortal, name string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		for range 12 {
			document := fmt.Sprintf("{ %s%d: __typename }", name, time.Now().UnixNano())
			res, err := http.Post("http://"+g.address+"/graphql", "application/json", strings.NewReader(`{"query":"`+document+`"}`))
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
		}
		m.mu.Lock()
		for document := range m.seen {
			if strings.Contains(document, name) {
				m.mu.Unlock()
				http.DefaultClient.CloseIdleConnections()
				return
			}
		}
		m.mu.Unlock()
	}
	t.Error("it is not asked again")
}

func page(t *testing.T, h http.Handler, path string) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Body.String()
}

// TestAddressesAreShown: /readyz and /metrics say how each is, and an address
// out of service does not make the firewall unready.
func TestAddressesAreShown(t *testing.T) {
	good := newMortal(t)
	bad := faulty(t, nil)
	g := guard(t, func(c *firewall.Config) {
		c.Upstream.URLs = []string{"http://" + good.address + "/graphql", "http://" + bad + "/graphql"}
		c.Upstream.Health.Interval = firewall.Duration(10 * time.Millisecond)
	})
	handler, err := g.f.AdminHandler()
	if err != nil {
		t.Fatal(err)
	}
	var state struct {
		Ready     bool
		Upstreams []struct {
			URL   string
			Up    bool
			Cause string
			Until time.Time
		}
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); len(state.Upstreams) < 2 || state.Upstreams[1].Up; <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("still in service: %+v", state)
		}
		if err := json.Unmarshal([]byte(page(t, handler, "/readyz")), &state); err != nil {
			t.Fatal(err)
		}
	}
	if !state.Ready || !state.Upstreams[0].Up || state.Upstreams[1].Cause == "" || state.Upstreams[1].Until.IsZero() {
		t.Errorf("readyz: %+v", state)
	}
	metrics := page(t, handler, "/metrics")
	for _, want := range []string{
		`graphward_upstream_up{upstream="http://` + good.address + `/graphql"} 1`, `graphward_upstream_up{upstream="http://` + bad + `/graphql"} 0`,
		`graphward_upstream_ejections_total{upstream="http://` + bad + `/graphql"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in\n%s", want, metrics)
		}
	}
}
