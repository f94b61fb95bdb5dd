package firewall

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/graphward/graphward/schema/persisted"
)

// usage counts how often each registered document was asked for, since the
// process began. It holds a pointer for each document of the set and a counter
// for each that was used, and is carried over from set to set. A nil usage
// counts nothing.
type usage struct {
	set      *persisted.Set
	since    time.Time
	counters []atomic.Pointer[counter] // by Document.Number
}

type counter struct {
	calls atomic.Uint64
	last  atomic.Int64 // Unix seconds
}

func newUsage(set *persisted.Set) *usage {
	return &usage{set, time.Now(), make([]atomic.Pointer[counter], set.Numbers())}
}

// next is the usage of the set that follows: a document with the same client,
// version and id goes on counting.
func (u *usage) next(set *persisted.Set) *usage {
	if u == nil {
		return newUsage(set)
	}
	if set == u.set {
		return u
	}
	out := newUsage(set)
	out.since = u.since
	for d, c := range u.all() {
		who := persisted.Client{Name: d.Client, Version: d.Version}
		if now, ok := set.Lookup(who, d.ID); ok && c != nil && now.Client == d.Client && now.Version == d.Version {
			out.counters[now.Number].Store(c)
		}
	}
	return out
}

// saw counts a call that named the document or sent its text.
func (u *usage) saw(d *persisted.Document) {
	if u == nil || d.Number >= len(u.counters) {
		return
	}
	c := u.counters[d.Number].Load()
	if c == nil {
		c = &counter{}
		if !u.counters[d.Number].CompareAndSwap(nil, c) {
			c = u.counters[d.Number].Load()
		}
	}
	c.calls.Add(1)
	if now := time.Now().Unix(); c.last.Load() != now {
		c.last.Store(now)
	}
}

// all yields every document with its counter, nil for one never used.
func (u *usage) all() func(func(*persisted.Document, *counter) bool) {
	return func(yield func(*persisted.Document, *counter) bool) {
		for d := range u.set.All() {
			if !yield(d, u.counters[d.Number].Load()) {
				return
			}
		}
	}
}

// OperationUsage is what GET /operations of the admin listener answers, and what
// `graphward operations unused` reads.
type OperationUsage struct {
	// Since is when counting began: the start of the process.
	Since      time.Time       `json:"since"`
	Registered int             `json:"registered"`
	Operations []UsedOperation `json:"operations"`
	// Truncated: there are more than were asked for.
	Truncated bool `json:"truncated,omitzero"`
}

// UsedOperation is one registered document and its use.
type UsedOperation struct {
	Client   string    `json:"client,omitzero"`
	Version  string    `json:"version,omitzero"`
	ID       string    `json:"id"`
	Name     string    `json:"name,omitzero"`
	Calls    uint64    `json:"calls"`
	LastSeen time.Time `json:"last_seen,omitzero"`
}

// maxUsageRows bounds an answer of /operations.
const maxUsageRows = 100_000

// operations answers GET /operations: every registered document, or with
// unused_since=TIME (RFC 3339) those that were not asked for since then; at most
// limit of them (default 10,000, at most 100,000).
func (f *Firewall) operations(w http.ResponseWriter, r *http.Request) {
	limit := 10_000
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxUsageRows {
			http.Error(w, "limit is a number from 1 to 100000", http.StatusBadRequest)
			return
		}
		limit = n
	}
	var unusedSince time.Time
	if text := r.URL.Query().Get("unused_since"); text != "" {
		var err error
		if unusedSince, err = time.Parse(time.RFC3339, text); err != nil {
			http.Error(w, "unused_since is a time such as 2026-11-01T00:00:00Z", http.StatusBadRequest)
			return
		}
	}
	u := f.current.Load().usage
	out := OperationUsage{Since: u.since.UTC(), Registered: u.set.Len(), Operations: []UsedOperation{}}
	for d, c := range u.all() {
		row := UsedOperation{Client: d.Client, Version: d.Version, ID: d.ID, Name: d.Name}
		if c != nil {
			row.Calls, row.LastSeen = c.calls.Load(), time.Unix(c.last.Load(), 0).UTC()
		}
		if !unusedSince.IsZero() && !row.LastSeen.Before(unusedSince) {
			continue
		}
		if out.Truncated = len(out.Operations) == limit; out.Truncated {
			break
		}
		out.Operations = append(out.Operations, row)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.MarshalWrite(w, out)
}

// maxUsageSeries bounds the series of one scrape: the first documents of the
// manifests, by the order of registration; the rest is one series.
const maxUsageSeries = 1000

var (
	usageCalls = prometheus.NewDesc("graphward_registered_operation_calls_total",
		"Calls of a registered operation, by those of the first 1,000 documents that were used; the rest is (other).",
		[]string{"client", "operation", "id"}, nil)
	usageLast = prometheus.NewDesc("graphward_registered_operation_last_seen_timestamp_seconds",
		"When a registered operation was last asked for.", []string{"client", "operation", "id"}, nil)
	usageTotal = prometheus.NewDesc("graphward_registered_operations",
		"Registered operations by whether they were asked for since the start.", []string{"used"}, nil)
)

// usageCollector shows the usage of the generation that serves.
type usageCollector struct{ f *Firewall }

func (m *metrics) operations(f *Firewall) { m.registry.MustRegister(usageCollector{f}) }

// Describe implements prometheus.Collector.
func (usageCollector) Describe(out chan<- *prometheus.Desc) {
	out <- usageCalls
	out <- usageLast
	out <- usageTotal
}

// Collect implements prometheus.Collector.
func (c usageCollector) Collect(out chan<- prometheus.Metric) {
	u := c.f.current.Load().usage
	used, other, otherLast := 0, uint64(0), int64(0)
	for d, n := range u.all() {
		if n == nil {
			continue
		}
		if used++; used > maxUsageSeries {
			other += n.calls.Load()
			otherLast = max(otherLast, n.last.Load())
			continue
		}
		client := d.Client
		if d.Version != "" {
			client += "@" + d.Version
		}
		out <- prometheus.MustNewConstMetric(usageCalls, prometheus.CounterValue, float64(n.calls.Load()), client, d.Name, d.ID)
		out <- prometheus.MustNewConstMetric(usageLast, prometheus.GaugeValue, float64(n.last.Load()), client, d.Name, d.ID)
	}
	if other > 0 {
		out <- prometheus.MustNewConstMetric(usageCalls, prometheus.CounterValue, float64(other), "", "(other)", "")
		out <- prometheus.MustNewConstMetric(usageLast, prometheus.GaugeValue, float64(otherLast), "", "(other)", "")
	}
	out <- prometheus.MustNewConstMetric(usageTotal, prometheus.GaugeValue, float64(used), "yes")
	out <- prometheus.MustNewConstMetric(usageTotal, prometheus.GaugeValue, float64(u.set.Len()-used), "no")
}
