package upstream

import (
	"io"
	"net"
	"syscall"
	"time"
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

	peek  func(fd uintptr) bool // sets quiet
	quiet bool                  // nothing is there to be read
}

func newConn(raw net.Conn) *conn {
	k := &conn{conn: raw, buf: make([]byte, bufferSize)}
	k.abort = func() { _ = raw.Close() }
	if s, ok := raw.(syscall.Conn); ok {
		k.raw, _ = s.SyscallConn()
	}
	k.peek = func(fd uintptr) bool {
		k.quiet = quiet(fd)
		return true
	}
	return k
}

func (k *conn) close() { _ = k.conn.Close() }

// alive reports whether nothing came since the last answer: neither the end of
// the connection nor an answer that nobody asked for.
func (k *conn) alive() bool {
	if k.raw == nil {
		return true
	}
	return k.raw.Read(k.peek) == nil && k.quiet
}

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
	n, err := k.conn.Read(k.buf[k.end:])
	k.end += n
	if n > 0 {
		return nil
	}
	if err == io.EOF || err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}
