package firewall

import (
	"net"
	"net/http"
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
		if n := c.closeIdle(2); n != 2 || !slices.Equal(closed, []int{3, 1}) {
			t.Errorf("%d ended: %v", n, closed)
		}
		if n := c.closeIdle(2); n != 1 || !slices.Equal(closed, []int{3, 1, 0}) {
			t.Errorf("%d ended: %v", n, closed)
		}
		if n := c.closeIdle(2); n != 0 {
			t.Errorf("%d more ended", n)
		}
		_, _ = conns[2].Close(), conns[4].Close()
	})
}
