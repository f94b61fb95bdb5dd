package firewall

import (
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/graphward/graphward/firewall/socket"
)

// direct reads and writes an accepted connection by system calls of package
// socket, where it is a socket, and by the connection's own methods elsewhere.
// As with those, there may be one reader and one writer at a time.
type direct struct {
	conn net.Conn
	raw  syscall.RawConn // nil: conn's own methods

	in, out transfer
}

// transfer is one read or write under way, in memory that the connection has
// anyway.
type transfer struct {
	p    []byte
	n    int
	err  error
	step func(fd uintptr) (done bool)
}

func (d *direct) open(c net.Conn) {
	d.conn = c
	s, ok := c.(syscall.Conn)
	if !ok || !socket.Direct {
		return
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return
	}
	d.raw = raw
	d.in.step, d.out.step = d.in.receive, d.out.send
}

func (t *transfer) receive(fd uintptr) (done bool) {
	var again bool
	t.n, again, t.err = socket.Read(fd, t.p)
	return !again
}

func (t *transfer) send(fd uintptr) (done bool) {
	n, err := socket.Write(fd, t.p[t.n:])
	t.n += n
	t.err = err
	return err != nil || t.n == len(t.p)
}

func (d *direct) read(p []byte) (int, error) {
	if d.raw == nil || len(p) == 0 {
		return d.conn.Read(p)
	}
	t := &d.in
	t.p, t.n, t.err = p, 0, nil
	err := d.raw.Read(t.step)
	t.p = nil
	switch {
	case err != nil:
		return 0, named("read", err)
	case t.err != nil:
		return 0, d.failed("read", t.err)
	case t.n == 0:
		return 0, io.EOF
	}
	return t.n, nil
}

func (d *direct) write(p []byte) (int, error) {
	if d.raw == nil || len(p) == 0 {
		return d.conn.Write(p)
	}
	t := &d.out
	t.p, t.n, t.err = p, 0, nil
	err := d.raw.Write(t.step)
	t.p = nil
	if err == nil && t.err != nil {
		err = d.failed("write", t.err)
	}
	return t.n, named("write", err)
}

// named gives an error of the raw connection the name of what was done.
func named(op string, err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		e.Op = op
	}
	return err
}

// failed is the error as the connection's own methods would have it: net/http
// tells by it whether a client has left.
func (d *direct) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: d.conn.LocalAddr().Network(), Source: d.conn.LocalAddr(), Addr: d.conn.RemoteAddr(), Err: err}
}
