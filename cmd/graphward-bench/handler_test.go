package main

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/configfile"
)

// canned is an upstream without a socket: it answers every request alike.
type canned struct{ body []byte }

// RoundTrip implements http.RoundTripper.
func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, r.Body)
	return &http.Response{
		StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}, "Content-Length": {strconv.Itoa(len(c.body))}},
		Body:   io.NopCloser(bytes.NewReader(c.body)), ContentLength: int64(len(c.body)),
	}, nil
}

// discarded is a ResponseWriter that keeps nothing but the status.
type discarded struct {
	header http.Header
	status int
}

func (d *discarded) Header() http.Header         { return d.header }
func (d *discarded) WriteHeader(status int)      { d.status = status }
func (d *discarded) Write(p []byte) (int, error) { return len(p), nil }

// SetReadDeadline is as a connection's; nothing is read late here.
func (d *discarded) SetReadDeadline(time.Time) error { return nil }

// cpuTime is what this process has used, in nanoseconds: unlike wall time it
// does not count what else the machine does.
func cpuTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func benchFirewall(b *testing.B) (*scene, *firewall.Firewall) {
	b.Helper()
	s, err := newScene(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	path, err := s.config(everything, "http://127.0.0.1:9/graphql")
	if err != nil {
		b.Fatal(err)
	}
	file, err := configfile.Load(path)
	if err != nil {
		b.Fatal(err)
	}
	f, err := firewall.New(b.Context(), file.Config, firewall.WithTransport(canned{answerOf(1500)}))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	return s, f
}

// prepared is a request that can be served again and again.
type prepared struct {
	request *http.Request
	body    *bytes.Reader
	hostile bool
}

func (w *workload) prepare(b *testing.B, n uint64) *prepared {
	sent := w.next(nil, n)
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(sent.raw)))
	if err != nil {
		b.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.Fatal(err)
	}
	p := &prepared{request: r, body: bytes.NewReader(body), hostile: sent.hostile}
	r.RemoteAddr, r.Body = "127.0.0.1:40000", io.NopCloser(p.body)
	return p
}

func (p *prepared) serve(b *testing.B, f *firewall.Firewall, out *discarded) {
	_, _ = p.body.Seek(0, io.SeekStart)
	clear(out.header)
	f.ServeHTTP(out, p.request)
	if (out.status >= 400) != p.hostile {
		b.Errorf("status %d", out.status)
	}
}

// The handler alone under the comparison's own requests, without sockets and
// without net/http: what graphward itself costs, but for its upstream client.
func BenchmarkHandler(b *testing.B) {
	s, f := benchFirewall(b)
	for _, w := range workloads(s) {
		if w.name != "warm" && w.name != "never" && w.name != "denied" && w.name != "costly" {
			continue
		}
		b.Run(w.name, func(b *testing.B) {
			b.ReportAllocs()
			var ready [subjects]*prepared
			for i := range ready {
				ready[i] = w.prepare(b, uint64(i))
			}
			out := &discarded{header: http.Header{}}
			before := cpuTime(b)
			n := 0
			for ; b.Loop(); n++ {
				i := n % subjects
				if w.name == "never" {
					ready[i] = w.prepare(b, uint64(subjects+n))
				}
				ready[i].serve(b, f, out)
			}
			b.ReportMetric(float64(cpuTime(b)-before)/float64(n), "cpu-ns/op")
		})
	}
}

// How the handler scales: run it with -cpu 1,2. Each goroutine sends as a
// caller of its own, as clients do.
func BenchmarkHandlerParallel(b *testing.B) {
	s, f := benchFirewall(b)
	warm := &workloads(s)[0]
	var callers atomic.Uint64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		p := warm.prepare(b, callers.Add(1))
		out := &discarded{header: http.Header{}}
		for pb.Next() {
			p.serve(b, f, out)
		}
	})
}
