package firewall

import (
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/graphward/graphward/cost/budget"
	"github.com/graphward/graphward/firewall/audit"
)

// metrics are the firewall's own; labels are bounded by the code table and by
// registered operation names.
type metrics struct {
	registry     *prometheus.Registry
	requests     *prometheus.CounterVec
	refusals     *prometheus.CounterVec
	reported     *prometheus.CounterVec
	altered      *prometheus.CounterVec
	duration     *prometheus.HistogramVec
	estimated    *prometheus.HistogramVec
	actual       *prometheus.HistogramVec
	ratio        *prometheus.HistogramVec
	reloads      *prometheus.CounterVec
	certificates *prometheus.CounterVec
	inFlight     prometheus.Gauge

	// What every allowed operation needs, found once.
	allowed         prometheus.Counter
	allowedDuration prometheus.Observer
	estimatedBy     sync.Map // name of an operation -> prometheus.Observer

	// What every refused one needs.
	refusedCount    prometheus.Counter
	refusedDuration prometheus.Observer
	refusedBy       sync.Map // code -> prometheus.Counter
	reportedBy      sync.Map // code -> prometheus.Counter

	current      prometheus.Gauge
	panics       prometheus.Counter
	auditFailed  prometheus.Counter
	settleFailed prometheus.Counter
	// connections that limits.connections_per_address closed
	connectionsRefused prometheus.Counter
	resets             prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "graphward", Name: name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "graphward", Name: name, Help: help, Buckets: buckets}, labels)
		m.registry.MustRegister(h)
		return h
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "graphward", Name: name, Help: help})
		m.registry.MustRegister(g)
		return g
	}
	m.requests = counter("operations_total", "Operations by verdict: allowed, refused, failed.", "verdict")
	m.refusals = counter("refusals_total", "Refused operations by code; a policy's own code counts as FORBIDDEN.", "code")
	m.reported = counter("reported_total", "Operations that a code in report mode would have refused.", "code")
	m.altered = counter("answer_positions_total", "Positions of answers that the policy changed, by what became of them: cut, masked, dropped.", "change")
	m.duration = histogram("operation_duration_seconds", "From the request's first byte to the answer's last.",
		prometheus.ExponentialBuckets(0.0005, 2, 16), "verdict")
	costs := prometheus.ExponentialBuckets(1, 4, 12)
	m.estimated = histogram("operation_cost_estimated", "Estimated cost, by name of registered operations.", costs, "operation")
	m.actual = histogram("operation_cost_actual", "Actual cost, by name of registered operations.", costs, "operation")
	m.ratio = histogram("operation_cost_ratio", "Estimated over actual cost, by name of registered operations.",
		prometheus.ExponentialBuckets(0.25, 2, 12), "operation")
	m.reloads = counter("reloads_total", "Reloads by result: success, failure.", "result")
	m.allowed, m.allowedDuration = m.requests.WithLabelValues(audit.Allowed), m.duration.WithLabelValues(audit.Allowed)
	m.refusedCount, m.refusedDuration = m.requests.WithLabelValues(audit.Refused), m.duration.WithLabelValues(audit.Refused)
	m.reloads.WithLabelValues("success")
	m.reloads.WithLabelValues("failure")
	m.certificates = counter("certificate_reloads_total", "Changed certificate files by config key (tls, upstream.tls) and result: success, failure.", "key", "result")
	m.inFlight = gauge("requests_in_flight", "Requests being served.")
	m.current = gauge("generation", "Number of the generation that serves.")
	single := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "graphward", Name: name, Help: help})
		m.registry.MustRegister(c)
		return c
	}
	m.panics = single("panics_total", "Requests that ended in a panic.")
	m.auditFailed = single("audit_failures_total", "Audit records that could not be written.")
	m.resets = single("connections_reset_total", "HTTP/2 connections closed because their clients did little but reset streams.")
	m.connectionsRefused = single("connections_refused_total", "Connections closed at once because their address had limits.connections_per_address.")
	m.settleFailed = single("settle_failures_total", "Reservations that could not be settled.")
	return m
}

// queue shows who waits at the gate.
func (m *metrics) queue(g *gate) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "graphward", Name: "requests_waiting",
		Help: "Requests that wait for a place among limits.in_flight."}, func() float64 { return float64(g.waiting.Load()) }))
}

// planCache shows how often a plan was at hand.
func (m *metrics) planCache(p *plans) {
	for result, n := range map[string]*atomic.Uint64{"hit": &p.hits, "miss": &p.misses} {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "graphward", Name: "plan_cache_total",
			Help: "Lookups of plans by result: hit, miss.", ConstLabels: prometheus.Labels{"result": result}}, func() float64 { return float64(n.Load()) }))
	}
}

// budgetStore shows the state of a shared store.
func (m *metrics) budgetStore(b *budget.Breaker) {
	gauge := func(name, help string, labels prometheus.Labels, value func(budget.BreakerState) float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "graphward", Name: name, Help: help, ConstLabels: labels},
			func() float64 { return value(b.State()) }))
	}
	counter := func(name, help string, value func(budget.BreakerState) uint64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "graphward", Name: name, Help: help},
			func() float64 { return float64(value(b.State())) }))
	}
	is := func(yes bool) float64 {
		if yes {
			return 1
		}
		return 0
	}
	gauge("budget_store_failing", "1 while the budget store does not answer and on_store_failure is followed.", nil,
		func(s budget.BreakerState) float64 { return is(s.Phase != budget.Closed) })
	for _, phase := range []budget.Phase{budget.Closed, budget.Open, budget.Recovering} {
		gauge("budget_store_state", "1 for the state of the budget store: closed (it is asked), open (it failed and is not), recovering.",
			prometheus.Labels{"state": string(phase)}, func(s budget.BreakerState) float64 { return is(s.Phase == phase) })
	}
	gauge("budget_settlements_pending", "Settlements that the budget store is still to be told.", nil,
		func(s budget.BreakerState) float64 { return float64(s.Pending) })
	counter("budget_settlements_lost_total", "Settlements that the budget store was never told: it keeps what was reserved.",
		func(s budget.BreakerState) uint64 { return s.Lost })
	counter("budget_store_failures_total", "Calls that the budget store did not answer, or not in time.",
		func(s budget.BreakerState) uint64 { return s.Failures })
}

// auditLog shows what the log wrote and dropped.
func (m *metrics) auditLog(l *audit.Log) {
	counter := func(name, help string, value func() uint64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "graphward", Name: name, Help: help},
			func() float64 { return float64(value()) }))
	}
	counter("audit_records_total", "Audit records written.", l.Written)
	counter("audit_dropped_total", "Audit records lost because the output failed or was too slow.", l.Dropped)
}

func (m *metrics) generation(g *generation) { m.current.Set(float64(g.number)) }

func (m *metrics) refused(code string) {
	counterOf(&m.refusedBy, m.refusals, code).Inc()
}

// counterOf finds a code's counter without the hashing and the comparing of
// labels that the vector does. There are as many as the table has codes: a
// policy's own is FORBIDDEN's, and found as that.
func counterOf(found *sync.Map, v *prometheus.CounterVec, code string) prometheus.Counter {
	if c, ok := found.Load(code); ok {
		return c.(prometheus.Counter)
	}
	code = tableCode(code)
	c := v.WithLabelValues(code)
	found.Store(code, c)
	return c
}

// otherOperations is the label of operations that no manifest lists: clients
// choose their names.
const otherOperations = "(unregistered)"

func (m *metrics) observe(rec *audit.Record) {
	switch verdict := rec.Verdict; verdict {
	case audit.Allowed:
		m.allowed.Inc()
		m.allowedDuration.Observe(rec.Duration.Seconds())
	case audit.Refused:
		m.refusedCount.Inc()
		m.refusedDuration.Observe(rec.Duration.Seconds())
	default:
		m.requests.WithLabelValues(verdict).Inc()
		m.duration.WithLabelValues(verdict).Observe(rec.Duration.Seconds())
	}
	for _, code := range rec.Reported {
		counterOf(&m.reportedBy, m.reported, code).Inc()
	}
	for _, change := range [...]struct {
		label string
		n     int
	}{{"cut", rec.Cut}, {"masked", rec.Masked}, {"dropped", rec.Dropped}} {
		if change.n > 0 {
			m.altered.WithLabelValues(change.label).Add(float64(change.n))
		}
	}
	if !rec.Cost.Estimated {
		return
	}
	name := otherOperations
	if rec.Operation.Registered {
		name = rec.Operation.Name
	}
	m.estimatedOf(name).Observe(rec.Cost.Estimate)
	if rec.Cost.Settled {
		m.actual.WithLabelValues(name).Observe(rec.Cost.Actual)
		if rec.Cost.Actual > 0 {
			m.ratio.WithLabelValues(name).Observe(rec.Cost.Estimate / rec.Cost.Actual)
		}
	}
}

// estimatedOf finds a name's histogram without the hashing and the comparing of
// labels that the vector does. There are as many as registered names.
func (m *metrics) estimatedOf(name string) prometheus.Observer {
	if o, ok := m.estimatedBy.Load(name); ok {
		return o.(prometheus.Observer)
	}
	o := m.estimated.WithLabelValues(name)
	m.estimatedBy.Store(name, o)
	return o
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
