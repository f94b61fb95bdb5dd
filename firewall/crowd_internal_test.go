package firewall

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestCloseIdle: those go first that have been idle for longest, and only those
// that are.
func TestCloseIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c crowd
		var closed []int
		conns := make([]*limitedConn, 5)
		for i := range conns {
			own, peer := net.Pipe()
			t.Cleanup(func() { _ = peer.Close() })
			conns[i] = &limitedConn{Conn: own}
			conns[i].release = func() {
				closed = append(closed, i)
				c.remove(conns[i])
			}
			conns[i].watch.conn = conns[i]
			c.add(conns[i])
		}
		for _, i := range []int{3, 1, 4, 0} {
			track(conns[i], http.StateActive)
			track(conns[i], http.StateIdle)
			time.Sleep(time.Second)
		}
		track(conns[4], http.StateActive)
		if n := c.closeIdle(2, netip.Prefix{}); n != 2 || !slices.Equal(closed, []int{3, 1}) {
			t.Errorf("%d ended: %v", n, closed)
		}
		if n := c.closeIdle(2, netip.Prefix{}); n != 1 || !slices.Equal(closed, []int{3, 1, 0}) {
			t.Errorf("%d ended: %v", n, closed)
		}
		if n := c.closeIdle(2, netip.Prefix{}); n != 0 {
			t.Errorf("%d more ended", n)
		}
		_, _ = conns[2].Close(), conns[4].Close()
	})
}

// calling is a listener whose connections come from the addresses in it.
type calling struct {
	from   chan string
	closed chan string
}

func (l *calling) Accept() (net.Conn, error) {
	from, ok := <-l.from
	if !ok {
		return nil, net.ErrClosed
	}
	own, _ := net.Pipe()
	return &calledConn{own, from, l.closed}, nil
}
func (l *calling) Close() error   { return nil }
func (l *calling) Addr() net.Addr { return &net.TCPAddr{} }

type calledConn struct {
	net.Conn
	from   string
	closed chan<- string
}

func (c *calledConn) RemoteAddr() net.Addr {
	if c.from == "unix" {
		return &net.UnixAddr{}
	}
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.from))
}

func (c *calledConn) Close() error {
	c.closed <- c.from
	return c.Conn.Close()
}

// TestConnectionsPerAddress: one address has its places and no more, its own
// idle connections make room for it, and nobody else's; proxies bring many.
func TestConnectionsPerAddress(t *testing.T) {
	l := &calling{make(chan string, 20), make(chan string, 20)}
	limited := limitListener(l, 100, time.Minute)
	refused := 0
	limited.perAddress, limited.refused = 2, func() { refused++ }
	limited.exempt = func(a netip.Addr) bool { return a == netip.MustParseAddr("10.0.0.1") }
	// accept lets one connect, and says which connections ended by that.
	accept := func(from string) (c net.Conn, ended []string) {
		t.Helper()
		l.from <- from
		l.from <- "192.0.2.9:1" // somebody else, so that there is one to accept
		for {
			next, err := limited.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if next.RemoteAddr().String() == "192.0.2.9:1" {
				_ = next.Close()
				for who := range l.closed {
					if who == "192.0.2.9:1" {
						return c, ended
					}
					ended = append(ended, who)
				}
			}
			c = next
		}
	}
	var first net.Conn
	for i, c := range []struct {
		from  string
		in    bool
		ended []string
	}{
		{"192.0.2.1:1000", true, nil},
		{"[::ffff:192.0.2.1]:1001", true, nil},
		{"192.0.2.1:1002", false, []string{"192.0.2.1:1002"}},
		{"192.0.2.2:1000", true, nil},
		{"[2001:db8::1]:1", true, nil},
		{"[2001:db8::2]:1", true, nil},
		{"[2001:db8::3%eth0]:1", false, []string{"[2001:db8::3%eth0]:1"}},
		{"[2001:db8:0:1::]:1", true, nil},
		{"10.0.0.1:1", true, nil}, {"10.0.0.1:2", true, nil}, {"10.0.0.1:3", true, nil},
		{"unix", true, nil}, {"unix", true, nil}, {"unix", true, nil},
	} {
		conn, ended := accept(c.from)
		if (conn != nil) != c.in || !slices.Equal(ended, c.ended) {
			t.Errorf("%s: %v, ended %v", c.from, conn, ended)
		}
		if i == 0 {
			first = conn
		}
	}
	track(first, http.StateIdle)
	if conn, ended := accept("192.0.2.1:1003"); conn == nil || !slices.Equal(ended, []string{"192.0.2.1:1000"}) {
		t.Errorf("an idle connection makes no room: %v, %v", conn, ended)
	} else if _ = conn.Close(); <-l.closed != "192.0.2.1:1003" {
		t.Error("another connection ended")
	}
	if conn, _ := accept("192.0.2.1:1004"); conn == nil {
		t.Error("a connection that ended left no room")
	}
	if refused != 2 {
		t.Errorf("%d are counted", refused)
	}
}
