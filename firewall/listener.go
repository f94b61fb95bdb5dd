package firewall

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// limitListener holds at most limit connections; further ones wait in the
// kernel's queue, where they cost nothing here. A client must take each part
// of what is written to it within the timeout.
func limitListener(l net.Listener, limit int, write time.Duration) net.Listener {
	return &limitedListener{Listener: l, write: write, slots: make(chan struct{}, limit), done: make(chan struct{})}
}

type limitedListener struct {
	net.Listener
	write time.Duration
	slots chan struct{}
	once  sync.Once
	done  chan struct{}
}

func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, timeout: l.write, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// limitedConn is one accepted connection.
type limitedConn struct {
	net.Conn
	timeout time.Duration
	armed   atomic.Int64 // when the write deadline was set, Unix nanoseconds
	foreign atomic.Bool  // somebody else's write deadline stands
	release func()
}

// writePart is what a client must take within timeouts.write. Longer writes
// are several parts, so that the slowest allowed rate does not depend on how
// an answer is cut.
const writePart = 64 << 10

// Write bounds each part by timeouts.write: a client that reads nothing would
// hold its request's slot for ever. The deadline stands on the connection, not
// on the answer, so that it holds for all that net/http says by itself too
// (100 Continue, its own 400s) and, below TLS, for alerts and HTTP/2. It is set
// anew once an eighth of it has passed, not each time.
func (c *limitedConn) Write(p []byte) (n int, err error) {
	for {
		if err := c.arm(); err != nil {
			return n, err
		}
		k, err := c.Conn.Write(p[n:min(len(p), n+writePart)])
		n += k
		if err != nil || n >= len(p) {
			return n, err
		}
	}
}

func (c *limitedConn) arm() error {
	if c.foreign.Load() {
		return nil
	}
	now := time.Now()
	if now.UnixNano()-c.armed.Load() < int64(c.timeout/8) {
		return nil
	}
	c.armed.Store(now.UnixNano())
	return c.Conn.SetWriteDeadline(now.Add(c.timeout))
}

// SetWriteDeadline is for net/http and crypto/tls, which bound handshakes and
// their last alert by it. Theirs holds until they take it back with the zero
// time.
func (c *limitedConn) SetWriteDeadline(t time.Time) error {
	c.foreign.Store(!t.IsZero())
	c.armed.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
