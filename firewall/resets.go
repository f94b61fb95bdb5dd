package firewall

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
)

// A client of HTTP/2 opens and resets streams for a few bytes each, and each is a
// request that the backend may have begun (CVE-2023-44487). net/http bounds how
// many are open, not how many come: a connection whose client has taken back
// this many requests, and more than half of all, is closed.
const maxResets = 100

type connectionKey struct{}

// connection counts the requests of one HTTP/2 connection.
type connection struct {
	net.Conn
	requests, resets atomic.Int64
	closed           atomic.Bool
}

// withConnection fits http.Server.ConnContext.
func withConnection(ctx context.Context, c net.Conn) context.Context {
	if l, ok := c.(*limitedConn); ok {
		return l.watch.begin(ctx) // without TLS there is no HTTP/2
	}
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn() // its Close waits for nobody
	}
	return context.WithValue(ctx, connectionKey{}, &connection{Conn: c})
}

// boundResets closes connections that do little but reset their streams.
func (f *Firewall) boundResets(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor < 2 {
		f.ServeHTTP(w, r)
		return
	}
	c, ok := r.Context().Value(connectionKey{}).(*connection)
	if !ok {
		f.ServeHTTP(w, r)
		return
	}
	c.requests.Add(1)
	defer func() {
		if r.Context().Err() == nil {
			return
		}
		if n := c.resets.Add(1); n > maxResets && 2*n > c.requests.Load() && c.closed.CompareAndSwap(false, true) {
			f.metrics.resets.Inc()
			_ = c.Close()
		}
	}()
	f.ServeHTTP(w, r)
}
