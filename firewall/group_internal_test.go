package firewall

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/graphward/graphward/firewall/upstream"
)

// bench is upstream servers whose fate is set by name; "" answers.
type bench struct {
	mu    sync.Mutex
	fates map[string]string
	asked map[string]int
}

func (b *bench) set(host, fate string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fates[host] = fate
}

func (b *bench) taken(host string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked[host]
}

func (b *bench) RoundTrip(r *http.Request) (*http.Response, error) {
	b.mu.Lock()
	b.asked[r.URL.Host]++
	fate := b.fates[r.URL.Host]
	b.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil || !strings.HasPrefix(string(body), `{"query":`) {
		return nil, errors.New("the request has no body")
	}
	status, text := 200, `{"data":{"__typename":"Query"}}`
	switch fate {
	case "refused":
		return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	case "reset":
		return nil, &upstream.Error{Sent: true, Err: io.ErrUnexpectedEOF}
	case "silent":
		<-r.Context().Done()
		return nil, context.Cause(r.Context())
	case "502":
		status = 502
	case "500":
		status = 500
	case "html":
		text = "<html>"
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

func newBench(t *testing.T, health HealthConfig, hosts ...string) (*bench, *group, *route) {
	t.Helper()
	b := &bench{fates: map[string]string{}, asked: map[string]int{}}
	c := &UpstreamConfig{Balance: balanceLeastInFlight, Health: health}
	for _, h := range hosts {
		c.URLs = append(c.URLs, "http://"+h+"/graphql")
	}
	g, err := newGroup(c, nil, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	rt := &route{transport: b, timeout: time.Second, group: g}
	g.watch(rt)
	t.Cleanup(g.close)
	return b, g, rt
}

// ask sends one request and returns the host that answered.
func ask(t *testing.T, rt *route, again bool) (host string, err error) {
	t.Helper()
	body := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(`{"query":"{a}"}`)), nil }
	in, _ := body()
	r := &http.Request{Method: http.MethodPost, Header: http.Header{}, Body: in, GetBody: body}
	res, _, d, err := rt.send(t.Context(), r, again)
	if err != nil {
		return "", err
	}
	defer d.stop()
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.Request.URL.Host, nil
}

var quickHealth = HealthConfig{Interval: Duration(time.Second), Timeout: Duration(500 * time.Millisecond), Failures: 3, Eject: Duration(5 * time.Second), MaxEject: Duration(20 * time.Second)}

func (g *group) up() (names string) {
	for _, s := range g.states() {
		if s.Up {
			names += strings.TrimSuffix(strings.TrimPrefix(s.URL, "http://"), "/graphql")
		}
	}
	return names
}

// TestEjection follows one address out of service and back, again and again.
func TestEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, g, rt := newBench(t, quickHealth, "a", "b", "c")
		for range 30 {
			if _, err := ask(t, rt, false); err != nil {
				t.Fatal(err)
			}
		}
		if b.taken("a") != 10 || b.taken("b") != 10 || b.taken("c") != 10 {
			t.Errorf("30 requests were shared out as %v", b.asked)
		}
		b.set("a", "reset")
		failed := 0
		for range 30 {
			if _, err := ask(t, rt, true); err != nil {
				failed++
			}
		}
		if failed != 3 || g.up() != "bc" {
			t.Fatalf("%d requests failed, %s are in service", failed, g.up())
		}
		// Its time passes; it still fails its checks.
		time.Sleep(7 * time.Second)
		if g.up() != "bc" {
			t.Fatalf("%s are in service", g.up())
		}
		b.set("a", "")
		time.Sleep(2 * time.Second)
		if g.up() != "abc" {
			t.Fatalf("%s are in service", g.up())
		}
		// When it fails again soon, it stays out for twice as long.
		for i, out := range []time.Duration{10 * time.Second, 20 * time.Second, 20 * time.Second} {
			b.set("a", "502")
			for range 9 {
				_, _ = ask(t, rt, false)
			}
			b.set("a", "")
			if g.up() != "bc" {
				t.Fatalf("time %d: %s are in service", i, g.up())
			}
			time.Sleep(out - 100*time.Millisecond)
			if g.up() != "bc" {
				t.Fatalf("time %d: back before %v", i, out)
			}
			time.Sleep(2 * time.Second)
			if g.up() != "abc" {
				t.Fatalf("time %d: not back after %v", i, out)
			}
		}
		// After a long good time it is judged as at first.
		time.Sleep(time.Minute)
		for range 6 {
			b.set("a", "reset")
			_, _ = ask(t, rt, false)
		}
		if g.up() != "abc" {
			t.Fatalf("two failures: %s are in service", g.up())
		}
	})
}

// TestAllBad: the last address is never ejected, and what it says is what
// callers hear.
func TestAllBad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, g, rt := newBench(t, quickHealth, "a", "b")
		for _, h := range []string{"a", "b"} {
			b.set(h, "refused")
		}
		time.Sleep(time.Minute)
		if len(g.up()) != 1 {
			t.Fatalf("%q are in service", g.up())
		}
		for range 20 {
			if _, err := ask(t, rt, true); err == nil || !strings.Contains(err.Error(), "refused") {
				t.Fatal(err)
			}
		}
		b.set("a", "")
		b.set("b", "")
		time.Sleep(time.Minute)
		if g.up() != "ab" {
			t.Errorf("%q are in service", g.up())
		}
	})
}

// TestSentOnce: only what no connection took goes to another address, and only
// where it may; nothing goes to a third.
func TestSentOnce(t *testing.T) {
	for fate, hops := range map[string]int{"refused": 2, "reset": 1, "502": 1, "500": 1, "html": 1, "silent": 1} {
		for _, again := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				none := quickHealth
				none.Interval = 0
				b, _, rt := newBench(t, none, "a", "b", "c")
				for _, h := range []string{"a", "b", "c"} {
					b.set(h, fate)
				}
				_, _ = ask(t, rt, again)
				want := hops
				if !again {
					want = 1
				}
				if n := b.taken("a") + b.taken("b") + b.taken("c"); n != want {
					t.Errorf("%s, again %v: sent to %d addresses", fate, again, n)
				}
			})
		}
	}
}

// TestOwnFaults: what a caller can bring about ejects nobody.
func TestOwnFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		none := quickHealth
		none.Interval = 0
		b, g, rt := newBench(t, none, "a", "b")
		b.set("a", "500")
		b.set("b", "html")
		for range 20 {
			_, _ = ask(t, rt, true)
		}
		if g.up() != "ab" {
			t.Errorf("a status of 500: %q are in service", g.up())
		}
		b.set("a", "silent")
		b.set("b", "silent")
		for range 20 {
			ctx, leave := context.WithTimeout(t.Context(), 10*time.Millisecond)
			r := &http.Request{Method: http.MethodPost, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"query":"{a}"}`))}
			if _, _, _, err := rt.send(ctx, r, false); err == nil {
				t.Error("a silent server answered")
			}
			leave()
		}
		if g.up() != "ab" {
			t.Errorf("callers left: %q are in service", g.up())
		}
	})
}

// TestChecks: silence and nonsense fail a check, 4xx does not; without checks
// the time alone readmits.
func TestChecks(t *testing.T) {
	for fate, up := range map[string]string{"": "ab", "silent": "b", "html": "b", "500": "b", "refused": "b"} {
		synctest.Test(t, func(t *testing.T) {
			b, g, _ := newBench(t, quickHealth, "a", "b")
			b.set("a", fate)
			time.Sleep(10 * time.Second)
			if g.up() != up {
				t.Errorf("%q: %s are in service", fate, g.up())
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		none := quickHealth
		none.Interval = 0
		b, g, rt := newBench(t, none, "a", "b")
		b.set("a", "reset")
		for range 10 {
			_, _ = ask(t, rt, false)
		}
		if g.up() != "b" {
			t.Fatalf("%s are in service", g.up())
		}
		time.Sleep(8 * time.Second)
		if g.up() != "ab" {
			t.Errorf("%s are in service", g.up())
		}
	})
}

// TestBusyAddress: one that answers slowly gets less.
func TestBusyAddress(t *testing.T) {
	c := &UpstreamConfig{URLs: []string{"http://a/", "http://b/"}, Balance: balanceLeastInFlight, Health: quickHealth}
	g, err := newGroup(c, nil, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	g.backends[0].inFlight.Store(3)
	for range 3 {
		if b := g.pick(nil); b != g.backends[1] {
			t.Errorf("picked %s", b.name)
		} else {
			b.inFlight.Add(1)
		}
	}
	next, err := newGroup(&UpstreamConfig{URLs: []string{"http://b/", "http://c/"}, Balance: balanceRoundRobin, Health: quickHealth}, g, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if next.backends[0] != g.backends[1] || next.backends[1].inFlight.Load() != 0 {
		t.Error("a reload forgot what an address does")
	}
	if one, two := next.pick(nil), next.pick(nil); one == two || next.pick(one) != two {
		t.Error("round robin does not go round")
	}
}
