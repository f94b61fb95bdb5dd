package firewall

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// crowd knows a listener's connections, so that those which nobody uses make
// room where all places are taken: else a client that opens limits.connections
// of them, for a request each, would keep everybody else out for timeouts.idle.
type crowd struct {
	mu    sync.Mutex
	conns conns
	from  map[netip.Prefix]conns // those whose limitedConn.from is valid
}

type conns map[*limitedConn]struct{}

func (c *crowd) add(k *limitedConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns == nil {
		c.conns, c.from = conns{}, map[netip.Prefix]conns{}
	}
	c.conns[k] = struct{}{}
	if k.from.IsValid() {
		if c.from[k.from] == nil {
			c.from[k.from] = conns{}
		}
		c.from[k.from][k] = struct{}{}
	}
}

func (c *crowd) remove(k *limitedConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, k)
	if same := c.from[k.from]; same != nil {
		if delete(same, k); len(same) == 0 {
			delete(c.from, k.from)
		}
	}
}

// roomFrom reports whether an address that may have so many connections may
// have one more, for which one of its idle ones ends where it has to.
func (c *crowd) roomFrom(from netip.Prefix, limit int) bool {
	c.mu.Lock()
	full := len(c.from[from]) >= limit
	c.mu.Unlock()
	return !full || c.closeIdle(1, from) > 0
}

// closeIdle closes those n connections that have been idle for longest, or all
// that are if they are fewer, and returns how many; with a valid from only such
// as come from there. As with timeouts.idle, a request that is on its way to one
// of them is lost and was not served.
func (c *crowd) closeIdle(n int, from netip.Prefix) int {
	type idler struct {
		conn  *limitedConn
		since int64
	}
	var idle []idler
	c.mu.Lock()
	among := c.conns
	if from.IsValid() {
		among = c.from[from]
	}
	for k := range among {
		if since := k.idle.Load(); since != 0 {
			idle = append(idle, idler{k, since})
		}
	}
	c.mu.Unlock()
	slices.SortFunc(idle, func(a, b idler) int { return int(min(max(a.since-b.since, -1), 1)) })
	idle = idle[:min(n, len(idle))]
	for _, i := range idle {
		_ = i.conn.Close()
	}
	return len(idle)
}

// track fits http.Server.ConnState.
func track(c net.Conn, state http.ConnState) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if k, ok := c.(*limitedConn); ok {
		if state == http.StateIdle {
			k.idle.Store(time.Now().UnixNano())
		} else {
			k.idle.Store(0)
		}
	}
}

// retryRoom is how long a connection that found no place waits before it looks
// for one that has become idle.
const retryRoom = 50 * time.Millisecond

// enter takes a place for an accepted connection; false once the listener is
// closed. Where all are taken some idle connections end, a few at once so that
// a crowd is not looked through for each who comes. While all are busy the
// newcomer waits, and behind it the kernel's queue.
func (l *limitedListener) enter() bool {
	for {
		select {
		case l.slots <- struct{}{}:
			return true
		default:
		}
		wait := retryRoom
		if l.crowd.closeIdle(1+cap(l.slots)/64, netip.Prefix{}) > 0 {
			wait = 0
		}
		timer := time.NewTimer(wait)
		select {
		case l.slots <- struct{}{}:
			timer.Stop()
			return true
		case <-l.done:
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
}
