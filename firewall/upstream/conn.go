package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/graphward/graphward/firewall/socket"
)

const (
	// bufferSize is what a connection reads at once. Most answers fit.
	bufferSize = 8 << 10
	// maxKeptBuffer is the largest buffer that an unused connection holds.
	maxKeptBuffer = 16 << 10
)

// conn is a connection to the peer, used by one request at a time.
type conn struct {
	conn  net.Conn
	raw   syscall.RawConn // nil: not a socket
	abort func()          // closes conn, from any goroutine
	kept  bool            // it served a request before
	used  time.Time       // when it was last put back

	// buf[begin:end] has been read and not been used.
	buf        []byte
	begin, end int

	// The request under way. Its context is asked only when the peer is slow:
	// see await.
	ctx    context.Context
	stop   func() bool // of the context's end; nil before it is asked
	wanted time.Time   // when its time is over

	applied time.Time // the read deadline that conn has

	step  func(fd uintptr) bool // of converse
	first bool                  // step has not run yet
	wire  []byte                // what is to be written
	sent  int
	dead  bool // something was there to be read before anything was sent
	err   error
}

func newConn(raw net.Conn) *conn {
	k := &conn{conn: raw, buf: make([]byte, bufferSize)}
	k.abort = func() { _ = raw.Close() }
	if s, ok := raw.(syscall.Conn); ok && socket.Direct {
		k.raw, _ = s.SyscallConn()
	}
	k.step = k.converse
	return k
}

// enter is the start of a request, leave its end: it reports whether the context
// still held.
func (k *conn) enter(ctx context.Context, deadline time.Time) {
	k.ctx, k.wanted = ctx, deadline
}

func (k *conn) leave() (running bool) {
	running = k.ctx.Err() == nil
	if k.stop != nil {
		running = k.stop()
		k.stop = nil
	}
	k.ctx = nil
	return running
}

// Most answers come at once. So a request's context is not asked to call
// anybody when it ends, and its deadline is not set, before the peer has let it
// wait for as long as patience: until then a deadline stands that several
// requests share.
const patience = 25 * time.Millisecond

// await runs a read until it ends, within the request's time and context.
func (k *conn) await(read func() error) error {
	for {
		if err := k.arm(); err != nil {
			return err
		}
		err := read()
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !time.Now().Before(k.wanted) {
			return err
		}
		if k.stop == nil {
			k.stop = context.AfterFunc(k.ctx, k.abort)
		}
	}
}

func (k *conn) arm() error {
	deadline := k.wanted
	if k.stop == nil {
		soon := time.Now().Add(patience)
		if k.applied.After(soon) && k.applied.Before(soon.Add(patience)) && k.applied.Before(deadline) {
			return nil
		}
		if soon = soon.Add(patience); soon.Before(deadline) {
			deadline = soon
		}
	}
	if k.applied.Equal(deadline) {
		return nil
	}
	k.applied = deadline
	return k.conn.SetReadDeadline(deadline)
}

// read reads once, past the buffer.
func (k *conn) read(p []byte) (n int, err error) {
	err = k.await(func() error {
		n, err = k.conn.Read(p)
		return err
	})
	return n, err
}

// send writes a request and reads the beginning of its answer, in one wait. n is
// what was written; stale says that nothing was, because the connection was
// dead or held bytes that nobody had asked for.
func (k *conn) send(wire []byte) (n int, stale bool, err error) {
	if k.raw == nil {
		if err = k.conn.SetWriteDeadline(k.wanted); err == nil {
			n, err = k.conn.Write(wire)
		}
		return n, false, err
	}
	k.first, k.wire, k.sent, k.dead, k.err = true, wire, 0, false, nil
	err = k.await(k.talk)
	k.wire = nil
	switch {
	case k.dead:
		return 0, true, nil
	case err != nil || k.sent == len(wire):
		return k.sent, false, err
	}
	// The peer takes the request in parts.
	if err = k.conn.SetWriteDeadline(k.wanted); err != nil {
		return k.sent, false, err
	}
	if k.stop == nil {
		k.stop = context.AfterFunc(k.ctx, k.abort)
	}
	n, err = k.conn.Write(wire[k.sent:])
	return k.sent + n, false, err
}

func (k *conn) talk() error {
	if err := k.raw.Read(k.step); err != nil {
		return err
	}
	return k.err
}

// converse is what send does with the socket; it returns false to wait until
// there is something to be read. The runtime forgets at the begin of a Read what
// it knew of the socket, so the answer to what is written here is always news:
// no read needs to be tried before.
func (k *conn) converse(fd uintptr) (done bool) {
	if k.first {
		k.first = false
		if k.kept {
			if k.dead, _ = socket.Peek(fd); k.dead {
				return true
			}
		}
		k.sent, k.err = socket.Write(fd, k.wire)
		return k.err != nil || k.sent < len(k.wire)
	}
	if k.sent < len(k.wire) {
		return true
	}
	n, again, err := socket.Read(fd, k.buf[k.end:])
	if again {
		return false
	}
	k.end += n
	if k.err = err; n == 0 && err == nil {
		k.err = io.ErrUnexpectedEOF
	}
	return true
}

func (k *conn) close() { _ = k.conn.Close() }

// fill reads once more behind what is buffered. The end of the connection is
// io.ErrUnexpectedEOF. A buffer that is full grows up to limit.
func (k *conn) fill(limit int) error {
	if k.begin == k.end {
		k.begin, k.end = 0, 0
	}
	if k.end == len(k.buf) {
		switch {
		case k.begin > 0:
			k.end = copy(k.buf, k.buf[k.begin:k.end])
			k.begin = 0
		case len(k.buf) >= limit:
			return malformed("its header section is too large")
		default:
			grown := make([]byte, min(2*len(k.buf), max(limit, bufferSize)))
			copy(grown, k.buf[:k.end])
			k.buf = grown
		}
	}
	n, err := k.read(k.buf[k.end:])
	k.end += n
	if n > 0 {
		return nil
	}
	if err == io.EOF || err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}
