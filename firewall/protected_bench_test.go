package firewall

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/identity"
)

const parentRule = `package graphward

import rego.v2

allow["*"]["*"] := true

allow.Post.title if `

// protectedRules decide each title by its author: a comparison; forms that partial
// evaluation leaves a query of; one that only OPA decides.
var protectedRules = []struct{ name, body string }{
	{"rule", `endswith(input.parent.author.id, "7")`},
	{"regex", "regex.match(`7$`, input.parent.author.id)"},
	{"negated", `{
	author := input.parent.author.id
	not author in ["1", "2"]
}`},
	{"else", `kind == "odd"

kind := "odd" if input.parent.author.id in ["1", "3"]

else := "odd" if endswith(input.parent.author.id, "7")

else := "even"`},
	{"sprintf", `sprintf("author:%s", [input.parent.author.id]) in {"author:7", "author:70"}`},
	{"graded", `grade in {"gold", "silver"}

default grade := "none"

grade := "gold" if endswith(input.parent.author.id, "7")

grade := "silver" if input.parent.author.id == "2"`},
	{"clock", `time.parse_rfc3339_ns(concat("", ["2024-01-01T00:00:0", substring(input.parent.author.id, 0, 1), "Z"])) < time.now_ns()`},
	{"walk", `walk([input.parent.author.id], [_, "7"])`},
	{"object", `{
	author := input.parent.author
	names[author.id] == "seven"
}

names[id] := "seven" if some id in {"7", input.parent.author.id}`},
	{"opa", `rand.intn(input.parent.author.id, 1) == 0`},
	{"none", ""},
}

// postsFirewall stands before an upstream that answers with n posts of about 500
// bytes, each of another author; a rule about the author decides each title, or
// none does.
func postsFirewall(b *testing.B, n int, rule string) (f *Firewall, size int) {
	b.Helper()
	path := filepath.Join(b.TempDir(), "policy.rego")
	text := parentRule + rule + "\n"
	if rule == "" {
		text = "package graphward\n\nimport rego.v2\n\nallow[\"*\"][\"*\"] := true\n"
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	c := DefaultConfig()
	c.Schema.Files, c.Policy.Paths = []string{"testdata/base/schema.graphql"}, []string{path}
	c.Policy.OnDeny, c.Policy.Timeout = "filter", Duration(10*time.Second)
	c.Cost.Max = 1e6
	c.Cost.PageSize.Max = nil
	c.Operations.Adhoc, c.Identity.Anonymous, c.Audit.Output = "allow", identity.Allow, audit.Off
	body := []byte(`{"data":{"posts":[`)
	for i := range n {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, '{')
		if rule != "" {
			body = fmt.Appendf(body, `"graphward_1":{"graphward_2":"%d"},`, i)
		}
		body = fmt.Appendf(body, `"id":"%d","title":%q}`, i, strings.Repeat("t", 430))
	}
	body = append(body, "]}}"...)
	f, err := New(b.Context(), c, WithHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	return f, len(body)
}

type discard struct {
	header http.Header
	status int
	bytes  int
	first  []byte
}

func (d *discard) Header() http.Header { return d.header }

func (d *discard) WriteHeader(status int) { d.status = status }

func (d *discard) Write(p []byte) (int, error) {
	if d.bytes += len(p); d.first == nil {
		d.first = bytes.Clone(p[:min(len(p), 300)])
	}
	return len(p), nil
}

// BenchmarkProtected is the answer of 5 MB with 10,000 items, with one
// rule about each item's parent, all of them different, and without any. All but
// opa must reach 100 MB a second and core.
func BenchmarkProtected(b *testing.B) {
	for _, rule := range protectedRules {
		b.Run(rule.name, func(b *testing.B) {
			f, size := postsFirewall(b, 10_000, rule.body)
			ask := func() {
				r := httptest.NewRequest(http.MethodPost, "/graphql", strings.NewReader(`{"query":"{ posts { id title } }"}`))
				r.Header["Content-Type"] = []string{"application/json"}
				w := &discard{header: http.Header{}}
				f.ServeHTTP(w, r)
				if w.status != http.StatusOK || w.bytes < 1000 {
					b.Fatalf("status %d, %d bytes: %s", w.status, w.bytes, w.first)
				}
			}
			ask()
			runtime.GC()
			peak := peakHeap()
			ask()
			above := peak()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			before := processTime(b)
			for b.Loop() {
				ask()
			}
			// What a busy machine leaves of a second is not in it.
			b.ReportMetric(float64(size)*float64(b.N)/1e6/(processTime(b)-before).Seconds(), "MB/cpu-s")
			b.ReportMetric(float64(above)/(1<<20), "MiB-above-idle")
		})
	}
}

// peakHeap watches the heap until it is called again, and says by how much it
// was above what it is now.
func peakHeap() (above func() uint64) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	idle := m.HeapAlloc
	var most atomic.Uint64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most.Store(max(most.Load(), m.HeapAlloc))
			}
		}
	}()
	return func() uint64 {
		close(stop)
		<-stopped
		if most.Load() < idle {
			return 0
		}
		return most.Load() - idle
	}
}

func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
