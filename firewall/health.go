package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The ways of upstream.balance.
const (
	balanceLeastInFlight = "least_in_flight"
	balanceRoundRobin    = "round_robin"
)

func (c *UpstreamConfig) validateURLs(v *validation) {
	if len(c.URLs) > 0 && c.URL != "" {
		v.add("upstream.urls", "cannot stand beside upstream.url: one is the same server's only address, the other all of them")
	}
	if len(c.URLs) > maxAddresses {
		v.add("upstream.urls", "has %d addresses, more than %d", len(c.URLs), maxAddresses)
	}
	for i, address := range c.URLs {
		path := fmt.Sprintf("upstream.urls[%d]", i)
		v.endpoint(path, address)
		if slices.Contains(c.URLs[:i], address) {
			v.add(path, "%s is listed twice", redactURL(address))
		}
		if https := strings.HasPrefix(address, "https://"); i > 0 && https != strings.HasPrefix(c.URLs[0], "https://") {
			v.add(path, "must be http or https as the first one is")
		}
	}
	v.oneOf("upstream.balance", c.Balance, balanceLeastInFlight, balanceRoundRobin)
	h := &c.Health
	if h.Interval < 0 {
		v.add("upstream.health.interval", "must not be negative; 0 switches the checks off")
	}
	v.positive("upstream.health.timeout", int64(h.Timeout))
	v.positive("upstream.health.failures", int64(h.Failures))
	v.positive("upstream.health.eject", int64(h.Eject))
	if h.MaxEject < h.Eject {
		v.add("upstream.health.max_eject", "must be at least upstream.health.eject")
	}
}

// maxAddresses bounds upstream.urls: each request looks at all of them.
const maxAddresses = 64

// addresses are the upstream's endpoints; none where it is in this process.
func (c *UpstreamConfig) addresses() []string {
	if c.URL != "" {
		return []string{c.URL}
	}
	return c.URLs
}

// String names the addresses, for people.
func (c *UpstreamConfig) String() string { return strings.Join(c.addresses(), " ") }

// openRoute makes a generation's route. An upstream that stays as it was in old,
// which may be nil, keeps its group.
func (f *Firewall) openRoute(g, old *generation) (err error) {
	if g.route, err = newRoute(g.config, f.transport); err != nil {
		return err
	}
	var prior *group
	if old != nil {
		prior = old.route.group
		if reflect.DeepEqual(old.config.Upstream, g.config.Upstream) {
			g.route.group = prior
			return nil
		}
	}
	g.route.group, err = newGroup(&g.config.Upstream, prior, f.log)
	return err
}

// watchUpstreams begins the checks of a generation that serves, in place of
// those of old.
func (f *Firewall) watchUpstreams(g, old *generation) {
	if old != nil && old.route.group != g.route.group {
		old.route.group.close()
	}
	if own := g.route.group; own != nil && own.done == nil && !f.options.offline {
		own.watch(g.route)
	}
}

// watch begins the checks.
func (g *group) watch(rt *route) {
	ctx, stop := context.WithCancel(context.Background())
	g.stop, g.done = stop, make(chan struct{})
	go func() {
		defer close(g.done)
		g.checkAll(ctx, rt)
	}()
}

// close ends the checks and waits for them.
func (g *group) close() {
	if g != nil && g.stop != nil {
		g.stop()
		<-g.done
	}
}

// checkAll checks every address each interval, side by side; without an
// interval it only readmits those whose time is over.
func (g *group) checkAll(ctx context.Context, rt *route) {
	every := g.health.Interval.Std()
	if every == 0 {
		every = g.health.Eject.Std() / 2
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var checks sync.WaitGroup
	for {
		select {
		case <-ctx.Done():
			checks.Wait()
			return
		case <-tick.C:
		}
		for _, b := range g.backends {
			if g.health.Interval == 0 {
				g.readmit(b, time.Now())
				continue
			}
			checks.Go(func() { g.check(ctx, rt, b) })
		}
		checks.Wait()
	}
}

// check asks an address `{ __typename }` and takes the answer into account.
func (g *group) check(ctx context.Context, rt *route, b *backend) {
	err := g.ask(ctx, rt, b)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		g.failed(b, fmt.Errorf("health check: %w", err))
	case b.ejected.Load():
		g.readmit(b, time.Now())
	default:
		b.succeeded()
	}
}

var healthQuery = []byte(`{"query":"{ __typename }"}`)

// maxHealthAnswer is more than any answer to healthQuery has.
const maxHealthAnswer = 64 << 10

// ask is nil when the server answers: with a GraphQL response, or with a status
// of 4xx, which refuses this caller and serves others.
func (g *group) ask(ctx context.Context, rt *route, b *backend) error {
	ctx, cancel := context.WithTimeout(ctx, g.health.Timeout.Std())
	defer cancel()
	req := &http.Request{
		Method: http.MethodPost, URL: b.url, Host: b.url.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": jsonType, "Accept": jsonType, "User-Agent": noUserAgent}, ContentLength: int64(len(healthQuery)),
		Body: io.NopCloser(bytes.NewReader(healthQuery)),
	}
	for name, values := range rt.set {
		req.Header[name] = values
	}
	res, err := rt.transport.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxHealthAnswer))
	switch {
	case err != nil:
		return err
	case res.StatusCode >= 400 && res.StatusCode < 500:
		return nil
	case res.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d", res.StatusCode)
	case !beginsObject(text):
		return errors.New("the answer is not a GraphQL response")
	}
	return nil
}

// backendState is an address in /readyz.
type backendState struct {
	URL string `json:"url"`
	// Up is false while the address is out of service.
	Up       bool  `json:"up"`
	InFlight int64 `json:"in_flight"`
	// Failures came without a success between them; Cause is the last one's.
	Failures int    `json:"failures,omitzero"`
	Cause    string `json:"cause,omitzero"`
	// Until is when an ejection may end.
	Until time.Time `json:"until,omitzero"`
}

// states is what /readyz tells; nil for a single address. An address out of
// service does not make the firewall unready: it answers all the same, and
// another firewall would find the same server.
func (g *group) states() []backendState {
	if g == nil {
		return nil
	}
	out := make([]backendState, len(g.backends))
	for i, b := range g.backends {
		b.mu.Lock()
		out[i] = backendState{URL: b.name, Up: !b.ejected.Load(), InFlight: b.inFlight.Load(), Failures: b.row, Cause: b.cause}
		if !out[i].Up {
			out[i].Until = b.until
		}
		b.mu.Unlock()
	}
	return out
}

// backendMetrics shows the addresses of the generation that serves.
type backendMetrics struct {
	f                              *Firewall
	up, inFlight, requests, ejects *prometheus.Desc
}

var _ prometheus.Collector = (*backendMetrics)(nil)

func newBackendMetrics(f *Firewall) *backendMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("graphward_upstream_"+name, help, append([]string{"upstream"}, labels...), nil)
	}
	return &backendMetrics{f,
		desc("up", "Whether an address of upstream.urls is in service: 1 or 0."),
		desc("in_flight", "Requests that an address of upstream.urls is answering."),
		desc("requests_total", "Requests to an address of upstream.urls by result: answered, failed (no answer, or 502, 503 or 504).", "result"),
		desc("ejections_total", "How often an address of upstream.urls was taken out of service."),
	}
}

// Describe implements prometheus.Collector.
func (m *backendMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.up, m.inFlight, m.requests, m.ejects} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *backendMetrics) Collect(out chan<- prometheus.Metric) {
	g := m.f.current.Load()
	if g == nil || g.route == nil || g.route.group == nil {
		return
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, value uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	for _, b := range g.route.group.backends {
		up := 0.0
		if !b.ejected.Load() {
			up = 1
		}
		gauge(m.up, up, b.name)
		gauge(m.inFlight, float64(b.inFlight.Load()), b.name)
		counter(m.requests, b.answered.Load(), b.name, "answered")
		counter(m.requests, b.failed.Load(), b.name, "failed")
		counter(m.ejects, b.ejections.Load(), b.name)
	}
}
