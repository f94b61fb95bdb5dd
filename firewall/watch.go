package firewall

import (
	"context"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/graphward/graphward/firewall/socket"
)

// watchAfter is how long a request may run before anybody looks whether its
// client is still there.
const watchAfter = 25 * time.Millisecond

// watch finds out that the client of a running request has left. Once a
// request's body is read net/http reads one byte more in a goroutine of its
// own, so that the end of the connection ends the request's context; when the
// answer is out it wakes that goroutine by a deadline in the past. Most
// requests have ended long before that tells anybody anything. So that read
// returns at once with nothing, which io.Reader permits and net/http takes for
// no news, and a timer looks at the connection should the request last.
//
// Only a read of one byte into room for one byte is taken, and never the second
// of two in a row: whoever means it asks again.
type watch struct {
	conn  *limitedConn
	leave context.CancelFunc // ends the connection's context; nil: nothing is watched
	raw   syscall.RawConn
	timer *time.Timer
	// pending: the last read was taken, so a request runs.
	pending atomic.Bool
}

// begin makes the context of a connection end when its client leaves. TLS
// connections and platforms without a way to peek keep net/http's way.
func (w *watch) begin(ctx context.Context) context.Context {
	w.raw = w.conn.direct.raw
	if w.raw == nil {
		return ctx
	}
	ctx, w.leave = context.WithCancel(ctx)
	return ctx
}

func (w *watch) takes(p []byte) bool {
	if w.leave == nil {
		return false
	}
	if len(p) != 1 || cap(p) != 1 || w.pending.Load() {
		w.pending.Store(false)
		return false
	}
	w.pending.Store(true)
	if w.timer == nil {
		w.timer = time.AfterFunc(watchAfter, w.look)
	} else {
		w.timer.Reset(watchAfter)
	}
	return true
}

// look waits until the client sends something, which is its next request, or
// leaves. It takes nothing from the connection. While it waits the next read
// waits behind it, under the same deadline.
func (w *watch) look() {
	if !w.pending.Load() {
		return
	}
	gone := false
	_ = w.conn.waiting(func() error {
		return w.raw.Read(func(fd uintptr) (done bool) {
			done, gone = socket.Peek(fd)
			return done
		})
	})
	if gone {
		w.leave()
	}
}

func (w *watch) end() {
	if w.leave != nil {
		w.leave()
	}
}
