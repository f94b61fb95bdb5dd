package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// sizeHeader is the request header that names the size of the backend's
// answer in bytes; without it the answer has about 1.5 KB.
const sizeHeader = "Bench-Answer-Size"

// maxAnswer bounds what a request can ask of the backend.
const maxAnswer = 64 << 20

type backendCommand struct{}

// Run serves fixed answers until the context ends. It prints its address.
func (*backendCommand) Run(ctx context.Context, c *console) error {
	var mu sync.Mutex
	answers := map[string][]byte{"": answerOf(1500)}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		name := r.Header.Get(sizeHeader)
		mu.Lock()
		body, ok := answers[name]
		if !ok {
			if n, err := strconv.Atoi(name); err == nil && n <= maxAnswer && len(answers) < 16 {
				body = answerOf(n)
				answers[name] = body
			}
		}
		mu.Unlock()
		h := w.Header()
		h["Content-Type"] = []string{"application/json"}
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
		_, _ = w.Write(body)
	})
	return serveRole(ctx, c, handler)
}

// answerOf returns a GraphQL answer of about size bytes.
func answerOf(size int) []byte {
	b := bytes.NewBufferString(`{"data":{"products":{"edges":[`)
	for i := 0; i == 0 || b.Len() < size-20; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, `{"node":{"f0":"value %d","f1":"a text of ordinary length, as catalogues have them","f2":%d.5,"f3":true,"f4":null}}`, i, i)
	}
	b.WriteString(`]}}}`)
	return b.Bytes()
}

type bareCommand struct {
	Upstream string `required:"" help:"URL of the backend."`
}

// Run serves the yardstick: httputil.ReverseProxy with a transport that keeps
// its connections and a pool of copy buffers.
func (b *bareCommand) Run(ctx context.Context, c *console) error {
	target, err := url.Parse(b.Upstream)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host
			r.SetXForwarded()
		},
		Transport: &http.Transport{
			MaxIdleConns: 4096, MaxIdleConnsPerHost: 1024, IdleConnTimeout: 90 * time.Second,
			DisableCompression: true, WriteBufferSize: 16 << 10, ReadBufferSize: 16 << 10,
		},
		BufferPool: &bufferPool{sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}},
		ErrorLog:   stdlog.New(c.err, "bare: ", 0),
	}
	return serveRole(ctx, c, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Without it net/http closes the request's body at the first write of
		// the answer, and a transport that has not yet read the body's EOF
		// then cuts the upstream connection in the middle of a large answer.
		_ = http.NewResponseController(w).EnableFullDuplex()
		proxy.ServeHTTP(w, r)
	}))
}

type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get() []byte  { return *p.pool.Get().(*[]byte) }
func (p *bufferPool) Put(b []byte) { p.pool.Put(&b) }

// serveMallocs says what graphward's metrics say of allocations.
func serveMallocs(w http.ResponseWriter, _ *http.Request) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Fprintf(w, "%s %d\n", mallocsMetric, m.Mallocs)
}

// serveRole serves on a free loopback port, prints its address and that of its
// metrics as its first line, and ends with the context.
func serveRole(ctx context.Context, c *console, handler http.Handler) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		listener.Close()
		return err
	}
	metrics := &http.Server{Handler: http.HandlerFunc(serveMallocs), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = metrics.Serve(admin) }()
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 120 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	defer metrics.Close()
	fmt.Fprintln(c.out, listener.Addr(), admin.Addr())
	if err := server.Serve(listener); err != http.ErrServerClosed {
		return err
	}
	return nil
}
