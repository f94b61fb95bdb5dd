// Package upstream is a small HTTP/1.1 client for one kind of peer: the server
// behind a reverse proxy, on plain http. It does its work in the caller's
// goroutine. net/http's Transport hands each request to two goroutines of its
// connection and back, which costs more than all that a request is checked for.
//
// What it takes from the peer is stricter than RFC 9112 asks for: lines end in
// CRLF, nothing is folded, and an answer of doubtful length is an error,
// because a proxy that guesses a length can be made to mix up answers.
package upstream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// Options bounds a [Client]. The zero value means the defaults.
type Options struct {
	// Connect bounds dialling; 0 is 10 s. A request's own timeout holds as well.
	Connect time.Duration
	// Timeout is what RoundTrip gives a request: the time until the answer's
	// header section is whole, and again for each 64 KiB of its body. 0 is 30 s.
	Timeout time.Duration
	// Idle is how long a connection is kept without use; 0 is 90 s.
	Idle time.Duration
	// MaxIdle is how many unused connections are kept for a host; 0 is 1,024.
	MaxIdle int
	// MaxHeader bounds an answer's header section, with the informational
	// answers before it, and what chunked coding adds to a body, in bytes; 0 is
	// 256 KiB.
	MaxHeader int
}

func (o *Options) fill() {
	if o.Connect <= 0 {
		o.Connect = 10 * time.Second
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Idle <= 0 {
		o.Idle = 90 * time.Second
	}
	if o.MaxIdle <= 0 {
		o.MaxIdle = 1024
	}
	if o.MaxHeader <= 0 {
		o.MaxHeader = 256 << 10
	}
}

// Error is a failed exchange. It is a net.Error.
type Error struct {
	// Sent is true when the peer may have seen any of the request.
	Sent bool
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Timeout reports whether time ran out.
func (e *Error) Timeout() bool {
	t, ok := errors.AsType[net.Error](e.Err)
	return ok && t.Timeout()
}

// Temporary implements net.Error.
func (e *Error) Temporary() bool { return false }

// ProtocolError is an answer that is not acceptable HTTP/1.1.
type ProtocolError struct{ Reason string }

func (e *ProtocolError) Error() string { return "the upstream's answer is malformed: " + e.Reason }

func malformed(reason string) error { return &ProtocolError{reason} }

// Client is an http.RoundTripper for http URLs. It follows no redirects, keeps
// no cookies, asks for no compression and never sends a request twice, except
// where a kept connection proves dead before anything was written to it. It is
// safe for concurrent use.
type Client struct {
	options Options
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	idle    pool
}

var _ http.RoundTripper = (*Client)(nil)

// New returns a client. Close it when it is no longer used.
func New(o Options) *Client {
	o.fill()
	c := &Client{options: o}
	c.dial = (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext
	c.idle.start(o.Idle, o.MaxIdle)
	return c
}

// Close closes the kept connections. Those in use are closed when their answer
// has ended.
func (c *Client) Close() { c.idle.close() }

// CloseIdleConnections closes the kept connections.
func (c *Client) CloseIdleConnections() { c.idle.evict(time.Time{}) }

// RoundTrip implements http.RoundTripper by Do.
func (c *Client) RoundTrip(r *http.Request) (*http.Response, error) {
	return c.Do(r.Context(), r, c.options.Timeout)
}

// Do sends a request under ctx, which stands in place of r's own, and returns
// the answer, whose body must be closed. timeout, which must be positive,
// bounds the time until the header section is whole, and again for each 64 KiB
// of the body. The end of ctx closes the connection.
//
// r.Body needs a known ContentLength; it is read before anything is sent. The
// error is an *[Error], or ctx's cause.
//
// The whole request is written before the answer is read, so that a peer that
// answers early and reads no more may be seen as an error.
func (c *Client) Do(ctx context.Context, r *http.Request, timeout time.Duration) (*http.Response, error) {
	wire := buffers.Get().(*[]byte)
	defer release(wire)
	var err error
	*wire, err = appendRequest((*wire)[:0], r)
	if err != nil {
		return nil, &Error{Err: err}
	}
	res, err := c.exchange(ctx, *wire, r.Method, r.URL.Host, timeout, &Answer{})
	if err != nil {
		return nil, err
	}
	res.Request = r
	return res, nil
}

// Post sends a POST to a target of host under ctx, as Do does. It keeps neither
// header nor body. The answer has no Request, and a is its memory.
func (c *Client) Post(ctx context.Context, m *Message, timeout time.Duration, a *Answer) (*http.Response, error) {
	wire := buffers.Get().(*[]byte)
	defer release(wire)
	var err error
	*wire, err = m.append((*wire)[:0])
	if err != nil {
		return nil, &Error{Err: err}
	}
	return c.exchange(ctx, *wire, http.MethodPost, m.Host, timeout, a)
}

func (c *Client) exchange(ctx context.Context, wire []byte, method, host string, timeout time.Duration, a *Answer) (*http.Response, error) {
	deadline := time.Now().Add(timeout)
	address := hostPort(host)
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		k, err := c.take(ctx, address, deadline)
		if err != nil {
			return nil, failed(ctx, err, false)
		}
		k.enter(ctx, deadline)
		n, stale, err := k.send(wire)
		if stale || err != nil {
			k.leave()
			k.close()
			if stale || k.kept && n == 0 && ctx.Err() == nil {
				continue // dead since it was last used; the peer has seen nothing
			}
			return nil, failed(ctx, err, n > 0)
		}
		if err := k.answer(a, method, c.options.MaxHeader); err != nil {
			k.leave()
			k.close()
			return nil, failed(ctx, err, true)
		}
		a.body.begin(c, ctx, address, timeout)
		return &a.response, nil
	}
}

// take returns a kept connection, or a new one.
func (c *Client) take(ctx context.Context, address string, deadline time.Time) (*conn, error) {
	if k := c.idle.get(address); k != nil {
		k.kept = true
		return k, nil
	}
	connect := time.Now().Add(c.options.Connect)
	if deadline.Before(connect) {
		connect = deadline
	}
	dialling, cancel := context.WithDeadline(ctx, connect)
	defer cancel()
	raw, err := c.dial(dialling, "tcp", address)
	if err != nil {
		return nil, err
	}
	return newConn(raw), nil
}

// failed names the reason: ctx's where it has ended.
func failed(ctx context.Context, err error, sent bool) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &Error{Sent: sent, Err: err}
}

// hostPort adds http's port where none is given.
func hostPort(host string) string {
	for i := len(host) - 1; i >= 0; i-- {
		switch host[i] {
		case ':':
			return host
		case ']':
			return host + ":80"
		}
	}
	return host + ":80"
}
