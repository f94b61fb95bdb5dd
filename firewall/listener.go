package firewall

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphward/graphward/cost/budget"
)

// limitListener holds at most limit connections. Where they are all taken, those
// that have been idle for longest make room for further ones; while all are
// busy, these wait in the kernel's queue, where they cost nothing here. A client must take each part
// of what is written to it within the timeout.
func limitListener(l net.Listener, limit int, write time.Duration) *limitedListener {
	return &limitedListener{Listener: l, write: write, slots: make(chan struct{}, limit), done: make(chan struct{})}
}

type limitedListener struct {
	net.Listener
	write time.Duration
	slots chan struct{}
	// perAddress is limits.connections_per_address; 0: any number. exempt are
	// addresses to which it does not apply, refused is told of each connection
	// that was one too many; neither is nil where perAddress is not 0.
	perAddress int
	exempt     func(netip.Addr) bool
	refused    func()
	crowd      crowd
	once       sync.Once
	done       chan struct{}
}

func (l *limitedListener) Accept() (net.Conn, error) {
	c, from, err := l.next()
	if err != nil {
		return nil, err
	}
	if !l.enter() {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	limited := &limitedConn{Conn: c, timeout: l.write, from: from}
	limited.direct.open(c)
	limited.release = sync.OnceFunc(func() {
		l.crowd.remove(limited)
		<-l.slots
	})
	limited.watch.conn = limited
	l.crowd.add(limited)
	return limited, nil
}

// next accepts the next connection that is not one too many of its address:
// those end at once, and wait for nobody, so that they keep nobody waiting.
func (l *limitedListener) next() (net.Conn, netip.Prefix, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || l.perAddress == 0 {
			return c, netip.Prefix{}, err
		}
		addr := peerOf(c)
		if !addr.IsValid() || l.exempt(addr) {
			return c, netip.Prefix{}, nil
		}
		from := budget.NetworkOf(addr)
		if l.crowd.roomFrom(from, l.perAddress) {
			return c, from, nil
		}
		_ = c.Close()
		l.refused()
	}
}

// peerOf is the zero Addr for what has no address, such as a Unix socket.
func peerOf(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// limitedConn is one accepted connection. What net/http asks of it for each
// request, six deadlines and a read that waits for the client to leave, costs
// system calls, timers and a goroutine's wake-ups; here most of it is
// remembered and done when it matters.
type limitedConn struct {
	net.Conn
	timeout time.Duration
	armed   atomic.Int64 // when the write deadline was set, Unix nanoseconds
	foreign atomic.Bool  // somebody else's write deadline stands
	idle    atomic.Int64 // since when no request runs, Unix nanoseconds; 0: one does, or none has come yet
	from    netip.Prefix // where connections of one address are counted; else zero
	release func()

	mu      sync.Mutex
	wanted  time.Time // the read deadline that was asked for
	applied time.Time // the one that the connection has
	readers int       // reads under way

	direct direct
	watch  watch
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
		k, err := c.direct.write(p[n:min(len(p), n+writePart)])
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
// time. net/http takes back, after each request, what it has not set: then there
// is nothing to do, and ours may stand.
func (c *limitedConn) SetWriteDeadline(t time.Time) error {
	if t.IsZero() && !c.foreign.Load() {
		return nil
	}
	c.foreign.Store(!t.IsZero())
	c.armed.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline sets both deadlines.
func (c *limitedConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline remembers t for the next read. A read under way obeys it at
// once.
func (c *limitedConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.wanted = t
	var err error
	if c.readers > 0 {
		err = c.apply()
	}
	c.mu.Unlock()
	return err
}

// apply gives the connection a deadline that is not later than the wanted one.
// An earlier one may stand: whom it wakes too soon asks again.
func (c *limitedConn) apply() error {
	if c.wanted.IsZero() || !c.applied.IsZero() && !c.wanted.Before(c.applied) {
		return nil
	}
	c.applied = c.wanted
	return c.Conn.SetReadDeadline(c.wanted)
}

// waiting runs a read until it has ended otherwise than by a deadline that is
// no longer wanted.
func (c *limitedConn) waiting(read func() error) error {
	for {
		c.mu.Lock()
		c.readers++
		err := c.apply()
		c.mu.Unlock()
		if err == nil {
			err = read()
		}
		c.mu.Lock()
		c.readers--
		again := err != nil && errors.Is(err, os.ErrDeadlineExceeded) && (c.wanted.IsZero() || time.Now().Before(c.wanted))
		if again {
			c.applied = c.wanted
			if e := c.Conn.SetReadDeadline(c.wanted); e != nil {
				err, again = e, false
			}
		}
		c.mu.Unlock()
		if !again {
			return err
		}
	}
}

// Read implements io.Reader. It returns nothing at all, and no error, where
// net/http only wants to know when the client leaves: see watch.
func (c *limitedConn) Read(p []byte) (n int, err error) {
	if c.watch.takes(p) {
		return 0, nil
	}
	err = c.waiting(func() error {
		n, err = c.direct.read(p)
		return err
	})
	return n, err
}

func (c *limitedConn) Close() error {
	defer c.release()
	c.watch.end()
	return c.Conn.Close()
}
