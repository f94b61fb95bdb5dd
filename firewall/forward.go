package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/firewall/gqlhttp"
	"github.com/graphward/graphward/firewall/upstream"
)

// route is where and how a generation forwards: built once, read by requests.
type route struct {
	url       *url.URL
	host      string
	target    string // path and query
	transport http.RoundTripper
	plain     *upstream.Client // in place of transport where it serves; else nil
	group     *group           // of upstream.urls; nil: url is the only address
	timeout   time.Duration
	request   *gqlhttp.RequestFilter
	response  *gqlhttp.ResponseFilter
	set       http.Header
	guard     guard
	identity  *identityHeaders // nil: upstream is told nothing
}

// newTransport dials the upstream with bounded time and keeps connections. It
// does not follow redirects and does not ask for compression by itself.
func newTransport(c *UpstreamConfig) (*http.Transport, *net.Dialer) {
	dialer := &net.Dialer{Timeout: min(c.Timeout.Std(), 10*time.Second), KeepAlive: 30 * time.Second}
	return &http.Transport{
		DialContext: dialer.DialContext, MaxIdleConns: 4096, MaxIdleConnsPerHost: 1024, IdleConnTimeout: 90 * time.Second,
		DisableCompression: true, ForceAttemptHTTP2: true,
		MaxResponseHeaderBytes: 256 << 10, WriteBufferSize: 16 << 10, ReadBufferSize: 16 << 10,
	}, dialer
}

func newRoute(c *Config, transport http.RoundTripper) (*route, error) {
	rt := &route{transport: transport, timeout: c.Upstream.Timeout.Std(), set: http.Header{}, guard: newGuard(c)}
	targets := c.Upstream.addresses()
	if len(targets) == 0 {
		targets = []string{"http://in-process" + c.Path}
	}
	plainly, plain := transport.(*plainTransport)
	for _, target := range slices.Backward(targets) {
		u, err := url.Parse(target)
		if err != nil {
			return nil, err
		}
		rt.url, rt.host, rt.target = u, u.Host, u.RequestURI()
		plain = plain && plainly.speaks(u)
	}
	if plain {
		rt.plain = plainly.client
	}
	var err error
	if rt.identity, err = newIdentityHeaders(&c.Upstream.Identity); err != nil {
		return nil, err
	}
	drop := slices.Concat([]string{"accept"}, claimedByProxies, c.Upstream.Headers.Remove, rt.identity.drops())
	for name, value := range c.Upstream.Headers.Set {
		rt.set.Set(name, value.Reveal())
		drop = append(drop, name)
	}
	if c.Identity.APIKeys != nil {
		drop = append(drop, "x-api-key")
	}
	rt.request = gqlhttp.NewRequestFilter(drop...)
	rt.response = gqlhttp.NewResponseFilter(c.Responses.Headers.Remove...)
	return rt, nil
}

// plainTransport forwards over plain http by a client that works in the
// request's own goroutine. What that client does not speak, https after a
// reload or a host name in Unicode, goes through net/http's.
type plainTransport struct {
	client   *upstream.Client
	fallback *http.Transport
}

var _ http.RoundTripper = (*plainTransport)(nil)

func newPlainTransport(c *UpstreamConfig) *plainTransport {
	t := &plainTransport{client: upstream.New(upstream.Options{Timeout: c.Timeout.Std()})}
	t.fallback, _ = newTransport(c)
	return t
}

// speaks reports whether the client can reach u.
func (t *plainTransport) speaks(u *url.URL) bool {
	return u.Scheme == "http" && strings.IndexFunc(u.Host, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// RoundTrip implements http.RoundTripper.
func (t *plainTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.speaks(r.URL) {
		return t.client.RoundTrip(r)
	}
	return t.fallback.RoundTrip(r)
}

func (t *plainTransport) close() {
	t.client.Close()
	t.fallback.CloseIdleConnections()
}

// upstreamAnswer is an answer whose body is still to be read. close must be
// called once.
type upstreamAnswer struct {
	*http.Response
	ctx      context.Context // of the exchange with upstream
	deadline *deadline       // nil where the connection has its own
	waited   time.Duration   // until the header section
}

func (a *upstreamAnswer) close() {
	a.deadline.stop()
	_ = a.Body.Close()
}

// deadline ends an upstream call that makes no progress: it is armed for the
// header section, for the first wholeBytes of the body and again for each
// wholeBytes after them, so that an answer in drips ends too.
type deadline struct {
	timer   *time.Timer
	timeout time.Duration
	cancel  context.CancelCauseFunc
	unpaid  int // bytes of the body since it was armed
}

var errUpstreamTimeout = errors.New("the upstream made no progress within upstream.timeout")

func newDeadline(ctx context.Context, timeout time.Duration) (context.Context, *deadline) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &deadline{timer: time.AfterFunc(timeout, func() { cancel(errUpstreamTimeout) }), timeout: timeout, cancel: cancel}
}

func (d *deadline) progress() {
	if d != nil {
		d.unpaid = 0
		d.timer.Reset(d.timeout)
	}
}

// read counts n bytes of the body.
func (d *deadline) read(n int) {
	if d == nil {
		return
	}
	if d.unpaid += n; d.unpaid >= wholeBytes {
		d.progress()
	}
}

func (d *deadline) stop() {
	if d != nil {
		d.timer.Stop()
		d.cancel(nil)
	}
}

// send sends a request, with rt.timeout for its header section; the deadline
// stands for the body. again: see group.send.
func (rt *route) send(ctx context.Context, r *http.Request, again bool) (*http.Response, context.Context, *deadline, error) {
	if rt.group != nil {
		return rt.group.send(ctx, rt, r, again)
	}
	return rt.sendTo(ctx, r)
}

// sendTo sends a request to the address that it names.
func (rt *route) sendTo(ctx context.Context, r *http.Request) (*http.Response, context.Context, *deadline, error) {
	if rt.plain != nil {
		res, err := rt.plain.Do(ctx, r, rt.timeout)
		return res, ctx, nil, err
	}
	ctx, d := newDeadline(ctx, rt.timeout)
	res, err := rt.transport.RoundTrip(r.WithContext(ctx))
	if err != nil {
		d.stop()
		return nil, ctx, nil, err
	}
	d.progress()
	return res, ctx, d, nil
}

// forward sends the call re-encoded from what was judged; of the client's bytes
// only header values remain, and those by the rules of DESIGN.md section 6. A
// POST is never sent twice. The error is an *upstreamError.
func (f *Firewall) forward(ctx context.Context, x *exchange, v *verdict, extensions []byte) (*upstreamAnswer, error) {
	rt := x.g.route
	began := time.Now()
	var res *http.Response
	var d *deadline
	var err error
	if rt.plain != nil && rt.group == nil {
		res, err = rt.post(ctx, x, v, extensions) //nolint:bodyclose // upstreamAnswer.close closes it
	} else {
		res, ctx, d, err = rt.roundTrip(ctx, x, v, extensions) //nolint:bodyclose // upstreamAnswer.close closes it
	}
	if err != nil {
		if headerErr := (*headerError)(nil); errors.As(err, &headerErr) {
			return nil, headerErr.err
		}
		return nil, asUpstreamError(ctx, err)
	}
	out := x.memory.answerOf(upstreamAnswer{res, ctx, d, time.Since(began)})
	if err := rt.guard.acceptable(res, v.protection != nil); err != nil {
		out.close()
		return nil, &upstreamError{cause: err, sent: true}
	}
	return out, nil
}

// headerError says that the header section could not be made.
type headerError struct{ err error }

func (e *headerError) Error() string { return e.err.Error() }

// outgoing is the memory of one request to upstream.
type outgoing struct {
	message upstream.Message
	own     provenance
}

var outgoings = sync.Pool{New: func() any { return new(outgoing) }}

// Larger ones are not kept.
const (
	maxKeptBody   = 64 << 10
	maxKeptFields = 64
)

func (o *outgoing) release() {
	if cap(o.message.Body) <= maxKeptBody && cap(o.message.Fields) <= maxKeptFields {
		clear(o.message.Fields)
		o.message.Fields, o.own = o.message.Fields[:0], provenance{}
		outgoings.Put(o)
	}
}

// post sends the call by the client that keeps nothing of a request.
func (rt *route) post(ctx context.Context, x *exchange, v *verdict, extensions []byte) (*http.Response, error) {
	o := outgoings.Get().(*outgoing)
	defer o.release()
	o.message.Host, o.message.Target = rt.host, rt.target
	o.message.Body = v.appendBody(o.message.Body[:0], extensions)
	if err := rt.headers(&o.message.Fields, x, v, &o.own); err != nil {
		return nil, &headerError{err}
	}
	return rt.plain.Post(ctx, &o.message, rt.timeout, &x.memory.answer)
}

// roundTrip sends the call by a transport, which may keep the request.
func (rt *route) roundTrip(ctx context.Context, x *exchange, v *verdict, extensions []byte) (*http.Response, context.Context, *deadline, error) {
	body := v.appendBody(make([]byte, 0, len(v.plan.prefix)+512), extensions)
	req := &http.Request{
		Method: http.MethodPost, URL: rt.url, Host: rt.host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, len(x.r.Header)+8), ContentLength: int64(len(body)),
		Body:    io.NopCloser(bytes.NewReader(body)),
		GetBody: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
	}
	if err := rt.headers(gqlhttp.HeaderMap(req.Header), x, v, new(provenance)); err != nil {
		return nil, ctx, nil, &headerError{err}
	}
	return rt.send(ctx, req, v.plan.op.Kind == ast.Query)
}

// appendBody appends the upstream body: the plan's bytes, or those of what is
// forwarded in its place, with the coerced variables put in.
func (v *verdict) appendBody(b, extensions []byte) []byte {
	op, prefix, vars := v.plan.op, v.plan.prefix, v.variables
	if p := v.protection; p != nil {
		op, prefix, vars = p.op, p.prefix, p.variables
	}
	b = append(b, prefix...)
	if slices.Contains(vars.Given, true) {
		b = op.AppendVariables(append(b, `,"variables":`...), vars)
	}
	return gqlhttp.AppendTail(b, nil, extensions)
}

// headers writes the header section of the upstream request. own must last as
// long as h.
func (rt *route) headers(h gqlhttp.Fields, x *exchange, v *verdict, own *provenance) error {
	if rt.identity.reveals(x.who.identity) || x.unnamed() {
		v.readsSubject = true
	}
	h.Set("User-Agent", noUserAgent) // keeps net/http from inventing one, and is not sent
	rt.request.Apply(h, x.r.Header, gqlhttp.Guarded{Whole: rt.guard.active || v.readsSubject, Plain: rt.guard.active || v.protection != nil})
	if mutated("request headers") {
		for name, values := range x.r.Header {
			h.Set(name, values)
		}
	}
	h.Set("Content-Type", jsonType)
	if x.accept == gqlhttp.AcceptGraphQL {
		h.Set("Accept", graphqlType)
	} else {
		h.Set("Accept", jsonType)
	}
	own.write(h, x, x.g.trusted)
	for name, values := range rt.set {
		h.Set(name, values)
	}
	return rt.identity.write(h, x.who.identity, x.open.ID)
}

var (
	jsonType    = []string{"application/json"}
	graphqlType = []string{"application/graphql-response+json, application/json;q=0.9"}
	protoHTTP   = []string{"http"}
	protoHTTPS  = []string{"https"}
	noUserAgent = []string{""}
)

func asUpstreamError(ctx context.Context, err error) *upstreamError {
	cause := context.Cause(ctx)
	var netErr net.Error
	e := &upstreamError{cause: err, sent: true}
	if errors.Is(cause, errUpstreamTimeout) {
		e.timeout, e.cause = true, cause
	} else if errors.As(err, &netErr) && netErr.Timeout() {
		e.timeout = true
	}
	var plain *upstream.Error
	if errors.As(err, &plain) {
		e.sent = plain.Sent
		return e
	}
	var op *net.OpError
	var handshake *handshakeError
	if (errors.As(err, &op) && op.Op == "dial") || errors.As(err, &handshake) {
		e.sent = false
	}
	return e
}

// passPreflight forwards a CORS preflight (cors: upstream): method, origin and
// the preflight's own fields, nothing else.
func (x *exchange) passPreflight() {
	rt := x.g.route
	req := &http.Request{Method: http.MethodOptions, URL: rt.url, Host: rt.host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: http.NoBody}
	for _, name := range []string{"Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"} {
		if values := x.r.Header.Values(name); len(values) > 0 {
			req.Header[name] = values[:1]
		}
	}
	res, ctx, d, err := rt.send(x.r.Context(), req, false)
	defer d.stop()
	if err != nil {
		x.refuseAll(refuse(StageForward, asUpstreamError(ctx, err)))
		return
	}
	defer res.Body.Close()
	rt.response.Apply(x.w.Header(), res.Header, true)
	x.w.Header().Set("Content-Length", "0")
	x.w.WriteHeader(res.StatusCode)
}

// handlerTransport serves upstream requests from an in-process handler
// ([WithHandler]). The answer is streamed; a panic of the handler is a failed
// upstream, not the firewall's.
type handlerTransport struct{ handler http.Handler }

type handlerWriter struct {
	header  http.Header
	pipe    *io.PipeWriter
	started chan<- *http.Response
	body    *io.PipeReader
	request *http.Request
	wrote   bool
}

func (w *handlerWriter) Header() http.Header { return w.header }

func (w *handlerWriter) WriteHeader(status int) {
	if w.wrote || status < 200 {
		return
	}
	w.wrote = true
	length := int64(-1)
	w.started <- &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: w.header.Clone(),
		Body: w.body, ContentLength: length, Request: w.request,
	}
}

func (w *handlerWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pipe.Write(p)
}

// Flush implements http.Flusher: every write is already on its way.
func (w *handlerWriter) Flush() { w.WriteHeader(http.StatusOK) }

// RoundTrip implements http.RoundTripper.
func (t *handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	pr, pw := io.Pipe()
	started := make(chan *http.Response, 1)
	failed := make(chan error, 1)
	in := r.Clone(r.Context())
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), "127.0.0.1:0"
	w := &handlerWriter{header: http.Header{}, pipe: pw, started: started, body: pr, request: r}
	go func() {
		defer func() {
			if p := recover(); p != nil {
				err := fmt.Errorf("the handler panicked: %v", p)
				failed <- err
				_ = pw.CloseWithError(err)
				return
			}
			w.WriteHeader(http.StatusOK)
			_ = pw.Close()
		}()
		t.handler.ServeHTTP(w, in)
	}()
	select {
	case res := <-started:
		return res, nil
	case err := <-failed:
		return nil, err
	case <-r.Context().Done():
		_ = pr.CloseWithError(context.Cause(r.Context()))
		return nil, context.Cause(r.Context())
	}
}
