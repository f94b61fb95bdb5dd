package firewall

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// group spreads requests over the addresses of upstream.urls and takes those
// that fail out of service for a while. One address needs no group.
//
// An address is ejected after health.failures failures in a row, of requests
// and of checks together, and comes back after health.eject, twice as long each
// time up to health.max_eject, once a check succeeds. The last one in service is
// never ejected: when all are bad, requests go on to the one that failed last,
// and callers get UPSTREAM_ERROR or UPSTREAM_TIMEOUT from its own failures, as
// they would with a single address, until one is good again.
type group struct {
	backends   []*backend
	roundRobin bool
	health     HealthConfig
	log        zerolog.Logger

	turn   atomic.Uint32
	change sync.Mutex // held to eject, so that one always stays

	stop context.CancelFunc // of the checks
	done chan struct{}
}

// backend is one address, with what is known of it. It outlives a reload that
// keeps its address.
type backend struct {
	url  *url.URL
	name string

	inFlight                    atomic.Int64
	answered, failed, ejections atomic.Uint64
	ejected                     atomic.Bool

	mu    sync.Mutex
	row   int       // failures without a success between them
	times int       // ejections that followed each other
	until time.Time // when the ejection may end
	back  time.Time // when it last ended
	cause string    // of the last failure; empty after a success
}

// newGroup makes the group of a configuration; nil for a single address. What
// prior, which may be nil, knows of an address is kept.
func newGroup(c *UpstreamConfig, prior *group, log zerolog.Logger) (*group, error) {
	if len(c.URLs) == 0 {
		return nil, nil
	}
	g := &group{roundRobin: c.Balance == balanceRoundRobin, health: c.Health, log: log}
	for _, text := range c.URLs {
		u, err := url.Parse(text)
		if err != nil {
			return nil, err
		}
		g.backends = append(g.backends, prior.backend(u))
	}
	return g, nil
}

func (g *group) backend(u *url.URL) *backend {
	name := u.String()
	if g != nil {
		for _, b := range g.backends {
			if b.name == name {
				return b
			}
		}
	}
	return &backend{url: u, name: name}
}

// pick returns the address in service with the fewest requests in flight, or the
// next in turn; among equals the next in turn. avoid, which may be nil, is not
// chosen. Where no other is in service the result is avoid's only alternative:
// nil with one, else any address.
func (g *group) pick(avoid *backend) *backend {
	n := uint32(len(g.backends))
	first := g.turn.Add(1) % n
	var best *backend
	least := int64(0)
	for i := range n {
		b := g.backends[(first+i)%n]
		if b == avoid || b.ejected.Load() {
			continue
		}
		if g.roundRobin {
			return b
		}
		if load := b.inFlight.Load(); best == nil || load < least {
			best, least = b, load
		}
	}
	if best == nil && avoid == nil {
		return g.backends[first] // all were ejected between two reloads
	}
	return best
}

// send sends r to one of the addresses. Where nothing of it can have been sent,
// because no connection came about, and again is true, another address is tried,
// once. A request of which a byte may have been sent is never sent again, to
// anyone: its sender cannot know whether it was carried out, and one that ends
// a server would end the next as well.
func (g *group) send(ctx context.Context, rt *route, r *http.Request, again bool) (*http.Response, context.Context, *deadline, error) {
	b := g.pick(nil)
	for {
		r.URL, r.Host = b.url, b.url.Host
		b.inFlight.Add(1)
		res, sent, d, err := rt.sendTo(ctx, r)
		if err == nil {
			g.observe(b, ctx, statusError(res.StatusCode))
			res.Body = &trackedBody{ReadCloser: res.Body, group: g, backend: b, ctx: ctx}
			return res, sent, d, nil
		}
		b.inFlight.Add(-1)
		g.observe(b, ctx, err)
		next := (*backend)(nil)
		if again && ctx.Err() == nil && !asUpstreamError(sent, err).sent {
			next = g.pick(b)
		}
		if next == nil {
			return nil, sent, nil, err
		}
		body, bodyErr := r.GetBody()
		if bodyErr != nil {
			return nil, sent, nil, err
		}
		r.Body, b, again = body, next, false
	}
}

// gatewayError is an answer by which a server, or a proxy before it, says that
// it does not serve.
type gatewayError struct{ status int }

func (e *gatewayError) Error() string { return "status " + http.StatusText(e.status) }

// statusError is nil unless the status speaks of the server rather than of the
// request. 500 is not among them: a caller can provoke it.
func statusError(status int) error {
	switch status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return &gatewayError{status}
	}
	return nil
}

// observe counts what came of a request. What ends because its caller left says
// nothing about the server.
func (g *group) observe(b *backend, ctx context.Context, err error) {
	switch {
	case err == nil:
		b.answered.Add(1)
		b.succeeded()
	case ctx.Err() == nil:
		b.failed.Add(1)
		g.failed(b, err)
	}
}

// succeeded is cheap while nothing fails.
func (b *backend) succeeded() {
	if b.ejected.Load() {
		return // a late answer; checks decide
	}
	b.mu.Lock()
	b.row, b.cause = 0, ""
	b.mu.Unlock()
}

// failed counts a failure and ejects where it is one too many.
func (g *group) failed(b *backend, err error) {
	g.change.Lock()
	defer g.change.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.row, b.cause = b.row+1, err.Error()
	if b.row < g.health.Failures || b.ejected.Load() || g.inService() < 2 {
		return
	}
	if time.Since(b.back) > g.health.MaxEject.Std() {
		b.times = 0
	}
	out := g.health.MaxEject.Std()
	if b.times < 30 {
		out = min(out, g.health.Eject.Std()<<b.times)
	}
	b.times++
	b.until = time.Now().Add(out)
	b.ejected.Store(true)
	b.ejections.Add(1)
	g.log.Warn().Str("upstream", b.name).Str("cause", b.cause).Int("failures", b.row).Dur("for", out).Msg("an upstream address is taken out of service")
}

// inService counts the addresses that are.
func (g *group) inService() (n int) {
	for _, b := range g.backends {
		if !b.ejected.Load() {
			n++
		}
	}
	return n
}

// readmit ends an ejection whose time is over. A failure before the next success
// ejects again; any ejection that follows soon is twice as long.
func (g *group) readmit(b *backend, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ejected.Load() || now.Before(b.until) {
		return
	}
	b.row, b.cause, b.back = g.health.Failures-1, "", now
	b.ejected.Store(false)
	g.log.Info().Str("upstream", b.name).Msg("an upstream address is in service again")
}

// trackedBody frees its backend's place when it is closed. A body that breaks
// off is a failure.
type trackedBody struct {
	io.ReadCloser
	group   *group
	backend *backend
	ctx     context.Context
	closed  atomic.Bool
}

// Read implements io.Reader.
func (t *trackedBody) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !t.closed.Load() {
		t.group.observe(t.backend, t.ctx, err)
	}
	return n, err
}

// Close implements io.Closer.
func (t *trackedBody) Close() error {
	if t.closed.CompareAndSwap(false, true) {
		t.backend.inFlight.Add(-1)
	}
	return t.ReadCloser.Close()
}
