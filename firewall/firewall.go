// Package firewall is the HTTP data plane of Graphward and its embedding API.
// A [Firewall] is an http.Handler that takes GraphQL requests, decides each
// operation (pipeline.go) and forwards what it lets through.
package firewall

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/graphward/graphward/cost/budget"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/schema/persisted"
)

// Firewall guards one GraphQL upstream. It is safe for concurrent use. Close
// it when it is no longer served.
type Firewall struct {
	current atomic.Pointer[generation]
	options options

	plans     *plans
	apq       *persisted.APQ
	ledger    budget.Ledger
	store     budget.Inspector // behind the breaker; nil for a store in memory
	breaker   *budget.Breaker  // nil for a store in memory
	closers   []func() error
	sink      audit.Sink
	metrics   *metrics
	log       zerolog.Logger
	transport http.RoundTripper
	holders   *holders
	gate      gate
	draining  atomic.Bool

	manifests *manifests
	reload    sync.Mutex // one generation is built at a time
	lastFail  atomic.Pointer[reloadFailure]
	retired   []func()
}

type reloadFailure struct {
	at  time.Time
	err error
}

type options struct {
	handler       http.Handler
	transport     http.RoundTripper
	sink          audit.Sink
	log           zerolog.Logger
	authenticator identity.Authenticator
	release       func() // of authenticator; nil for the caller's own
	ledger        budget.Ledger
	offline       bool
	introspect    func(context.Context, *Config) ([]byte, error)
	bundles       *bundleSource
	manifests     *manifests
	background    bool          // large manifests are left for later
	lenient       bool          // bad documents are kept, to be judged one by one
	checkEvery    time.Duration // of certificate files; 0: certificateCheck
}

func (o *options) certificateCheck() time.Duration {
	if o.checkEvery > 0 {
		return o.checkEvery
	}
	return certificateCheck
}

// Option changes how a Firewall is embedded.
type Option func(*options)

// WithHandler guards an in-process handler in place of upstream.url.
func WithHandler(h http.Handler) Option { return func(o *options) { o.handler = h } }

// WithTransport forwards through rt in place of the firewall's own transport.
// It must not follow redirects and must honour the request's context.
func WithTransport(rt http.RoundTripper) Option { return func(o *options) { o.transport = rt } }

// WithAuditSink writes audit records to s in place of the configured output.
// The caller closes s after the firewall.
func WithAuditSink(s audit.Sink) Option { return func(o *options) { o.sink = s } }

// WithLogger sets the operator's log; without it there is none.
func WithLogger(l zerolog.Logger) Option { return func(o *options) { o.log = l } }

// WithAuthenticator identifies callers in place of the identity block.
func WithAuthenticator(a identity.Authenticator) Option {
	return func(o *options) { o.authenticator = a }
}

// Offline builds a firewall that decides but neither forwards nor audits, for
// commands: it needs no upstream and opens no output.
func Offline() Option { return func(o *options) { o.offline = true } }

// WithLedger spends budgets from l in place of budgets.store.
func WithLedger(l budget.Ledger) Option { return func(o *options) { o.ledger = l } }

// New builds a firewall from a configuration (start from [DefaultConfig], or
// load one with configfile). The error lists everything that is wrong:
// *ConfigError, *schema.LoadError, *policy.LoadError, *persisted.LoadError or a
// join of them. The config must not be changed afterwards.
func New(ctx context.Context, c *Config, opts ...Option) (*Firewall, error) {
	o := options{log: zerolog.Nop()}
	for _, opt := range opts {
		opt(&o)
	}
	f := &Firewall{options: o, log: o.log, metrics: newMetrics(), holders: newHolders()}
	f.options.introspect, f.options.bundles = f.introspect, &bundleSource{}
	f.manifests = newManifests(f.log)
	f.options.manifests, f.options.background = f.manifests, !o.offline
	if err := f.openTransport(ctx, c); err != nil {
		return nil, errors.Join(err, f.closeParts())
	}
	g, err := newGeneration(ctx, 1, c, &f.options)
	if err == nil {
		if err = f.openRoute(g, nil); err == nil {
			err = f.open(c)
		}
		if err != nil {
			g.release()
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.closeParts())
	}
	g.usage = newUsage(g.store)
	f.current.Store(g)
	f.watchUpstreams(g, nil)
	f.options.background = false
	f.metrics.generation(g)
	f.metrics.operations(f)
	f.metrics.queue(&f.gate)
	f.metrics.planCache(f.plans)
	f.metrics.registry.MustRegister(newBackendMetrics(f))
	if !o.offline {
		f.manifests.start(f)
	}
	return f, nil
}

// open makes the parts that outlive a generation.
func (f *Firewall) open(c *Config) (err error) {
	if f.plans, err = newPlans(int64(c.Limits.PlanCache)); err != nil {
		return err
	}
	f.closers = append(f.closers, func() error { f.plans.close(); return nil })
	f.apq = persisted.NewAPQ(persisted.APQOptions{})
	if f.ledger = f.options.ledger; f.ledger == nil {
		if err := f.openLedger(&c.Budgets); err != nil {
			return err
		}
	}
	if f.sink = f.options.sink; f.sink == nil {
		if f.options.offline {
			c.Audit.Output = audit.Off
		}
		l, err := audit.New(c.Audit)
		if err != nil {
			return &ConfigError{[]Problem{{"audit.output", err.Error()}}}
		}
		f.sink = l
		f.metrics.auditLog(l)
		f.closers = append(f.closers, l.Close)
	}
	return nil
}

func (f *Firewall) openTransport(ctx context.Context, c *Config) error {
	switch o := &f.options; {
	case o.transport != nil:
		f.transport = o.transport
	case o.handler != nil:
		f.transport = &handlerTransport{o.handler}
	case strings.HasPrefix(c.Upstream.String(), "https://"):
		return f.openTLSTransport(ctx, &c.Upstream)
	default:
		t := newPlainTransport(&c.Upstream)
		f.transport = t
		f.closers = append(f.closers, func() error { t.close(); return nil })
	}
	return nil
}

// Reload builds a new generation from c and swaps it in. On error the old one
// keeps serving; the failure stands in the log, in /metrics and in /readyz.
// What is bound at start (listeners, TLS, the budget store, the audit output)
// cannot change by a reload; a config that changes it is refused.
func (f *Firewall) Reload(ctx context.Context, c *Config) error {
	f.reload.Lock()
	defer f.reload.Unlock()
	return f.swap(ctx, c)
}

// swap is Reload with the lock held.
func (f *Firewall) swap(ctx context.Context, c *Config) error {
	old := f.current.Load()
	g, err := f.next(ctx, old, c)
	if err != nil {
		f.RefuseReload(err)
		return err
	}
	g.usage = old.usage.next(g.store)
	f.current.Store(g)
	f.watchUpstreams(g, old)
	f.lastFail.Store(nil)
	f.metrics.reloads.WithLabelValues("success").Inc()
	f.metrics.generation(g)
	if g.identity != old.identity {
		// Requests that began with the old generation still ask its key sources.
		f.retire(old.release, c.Upstream.Timeout.Std()+c.Timeouts.Body.Std())
	}
	f.manifests.wake()
	f.log.Info().Uint64("generation", g.number).Str("policy", g.policyRevision()).Msg("a new generation serves")
	return nil
}

// RefuseReload records a configuration that could not even be read: the log,
// /metrics and /readyz say so, and the old one keeps serving.
func (f *Firewall) RefuseReload(err error) {
	f.lastFail.Store(&reloadFailure{time.Now(), err})
	f.metrics.reloads.WithLabelValues("failure").Inc()
	f.log.Error().Err(err).Uint64("generation", f.Generation()).Msg("the new configuration is refused; the old one keeps serving")
}

// ReopenAudit opens the audit file anew, after a rotation.
func (f *Firewall) ReopenAudit() error {
	if l, ok := f.sink.(*audit.Log); ok {
		return l.Reopen()
	}
	return nil
}

func (f *Firewall) next(ctx context.Context, old *generation, c *Config) (*generation, error) {
	var problems []Problem
	fixed := func(path string, a, b any) {
		if !reflect.DeepEqual(a, b) {
			problems = append(problems, Problem{path, "cannot change while serving: restart"})
		}
	}
	was := old.config
	fixed("listen", was.Listen, c.Listen)
	fixed("admin", was.Admin, c.Admin)
	fixed("tls", was.TLS, c.TLS)
	fixed("timeouts", was.Timeouts, c.Timeouts)
	fixed("limits.headers", was.Limits.Headers, c.Limits.Headers)
	fixed("limits.plan_cache", was.Limits.PlanCache, c.Limits.PlanCache)
	fixed("limits.connections", was.Limits.Connections, c.Limits.Connections)
	fixed("limits.connections_per_address", was.Limits.ConnectionsPerAddress, c.Limits.ConnectionsPerAddress)
	fixed("upstream.tls", was.Upstream.TLS, c.Upstream.TLS)
	fixed("budgets.store", was.Budgets.Store, c.Budgets.Store)
	fixed("budgets.on_store_failure", was.Budgets.OnStoreFailure, c.Budgets.OnStoreFailure)
	fixed("audit", was.Audit, c.Audit)
	if problems != nil {
		return nil, &ConfigError{problems}
	}
	o := f.options
	if reflect.DeepEqual(was.Identity, c.Identity) {
		// The same sources: their keys and verified tokens stay, and an issuer
		// out of reach does not hold up a change of policy.
		o.authenticator, o.release = old.identity, old.release
	}
	g, err := newGeneration(ctx, old.number+1, c, &o)
	if err != nil {
		return nil, err
	}
	if err = f.openRoute(g, old); err != nil {
		if g.identity != old.identity {
			g.release()
		}
		return nil, err
	}
	return g, nil
}

// retire frees an old generation's sources after a while, or at Close.
func (f *Firewall) retire(release func(), after time.Duration) {
	release = sync.OnceFunc(release)
	f.retired = append(f.retired, release) // under f.reload
	time.AfterFunc(after, release)
}

// Warnings returns what the current generation's sources warn of, such as
// policy rules that can never decide.
func (f *Firewall) Warnings() []string { return f.current.Load().warnings() }

// Generation is the number of the generation that serves; it grows by one with
// each successful Reload.
func (f *Firewall) Generation() uint64 { return f.current.Load().number }

// Close frees everything; requests must have ended.
func (f *Firewall) Close() error {
	f.reload.Lock()
	defer f.reload.Unlock()
	for _, release := range f.retired {
		release()
	}
	f.current.Load().route.group.close()
	f.current.Load().release()
	return f.closeParts()
}

func (f *Firewall) closeParts() error {
	f.manifests.close()
	var errs []error
	for i := len(f.closers) - 1; i >= 0; i-- {
		errs = append(errs, f.closers[i]())
	}
	f.closers = nil
	return errors.Join(errs...)
}

// errOverloaded refuses what limits.in_flight and limits.queue have no room for.
var errOverloaded = errors.New("limits.in_flight requests are being served, and limits.queue wait")

// enter bounds what is in flight over all clients: beyond limits.in_flight
// requests nothing is decoded. A nil error is followed by leave.
func (f *Firewall) enter(ctx context.Context, g *generation) error {
	l := &g.config.Limits
	return f.gate.enter(ctx, l.InFlight, l.Queue, g.config.Timeouts.Queue.Std())
}

func (f *Firewall) leave() { f.gate.leave() }

// roomFor keeps the last eighth of limits.in_flight for callers who are
// identified, where anybody can be: a flood without credentials cannot take it.
func (f *Firewall) roomFor(g *generation, id *identity.Identity) error {
	if !id.Authenticated && f.gate.running.Load() > g.openSlots {
		return errOverloaded
	}
	return nil
}

// remember keeps an automatic persisted query that was let through.
func (f *Firewall) remember(v *verdict, who *caller) {
	if v.document.register != "" {
		_ = f.apq.Register(who.identity.Client.ID, v.document.register, v.document.text)
	}
}

// errAudit refuses while records cannot be written (audit.on_failure: refuse).
var errAudit = errors.New("audit records cannot be written, and audit.on_failure is refuse")

// auditable is asked before anything is forwarded: what cannot be recorded must
// not happen. Under on_failure: drop the sink never says no.
func (f *Firewall) auditable() error {
	if s, ok := f.sink.(interface{ Err() error }); ok {
		if err := s.Err(); err != nil {
			return fmt.Errorf("%w: %w", errAudit, err)
		}
	}
	return nil
}

func (g *generation) policyRevision() string {
	if g.policy == nil {
		return "allow_all"
	}
	return g.policy.Revision()
}

func (g *generation) clientIP(r *http.Request) netip.Addr { return identity.ClientIP(r, g.trusted) }

func (g *generation) legacyOK() bool { return g.config.Responses.LegacyStatus == "ok" }

func (g *generation) warnings() []string {
	var out []string
	if g.policy != nil {
		for _, w := range g.policy.Warnings() {
			out = append(out, w.String())
		}
	} else {
		out = append(out, "allow_all: every field of the schema is allowed to everyone")
	}
	if len(g.config.Budgets.Tiers) == 0 {
		out = append(out, "budgets.tiers: none is set, so clients spend without bound")
	}
	return out
}

// introspect asks the upstream for its schema, bounded like any other answer.
func (f *Firewall) introspect(ctx context.Context, c *Config) ([]byte, error) {
	return fetchSchema(ctx, f.transport, c)
}

func hexDigest(d [32]byte) string { return hex.EncodeToString(d[:]) }

func lowerASCII(s string) string { return strings.ToLower(s) }
