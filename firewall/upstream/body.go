package upstream

import (
	"bytes"
	"context"
	"io"
	"time"
)

// form is how the end of a body is known.
type form uint8

const (
	formLength  form = iota // after left bytes
	formChunked             // at the chunk of length zero
	formClose               // at the end of the connection
)

// body is an answer's body. Its connection goes back with the last byte, or is
// closed by Close before that. It is for one goroutine, as bodies are.
type body struct {
	conn  *conn // nil once it has ended
	form  form
	reuse bool
	left  int64 // bytes of the body, or of its chunk
	extra int   // bytes that chunked coding may still add
	inner bool  // the chunk's closing CRLF is due
	err   error // how it ended
	armed bool  // there is a deadline for the body
	drawn int   // bytes from the connection since it was set

	client  *Client
	ctx     context.Context
	address string
	timeout time.Duration
}

// begin arms what ends the body. A body of no bytes ends here.
func (b *body) begin(c *Client, ctx context.Context, address string, timeout time.Duration) {
	b.client, b.ctx, b.address, b.timeout = c, ctx, address, timeout
	b.extra = c.options.MaxHeader
	if b.form == formLength && b.left == 0 {
		_ = b.finish(io.EOF)
	}
}

// Read implements io.Reader. io.EOF comes with the last bytes where they are
// known to be the last; any other error is an *[Error] or the context's cause.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.form == formChunked && b.left == 0 {
		if err := b.nextChunk(); err != nil {
			return 0, b.finish(err)
		}
	}
	if b.form != formClose && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.take(p)
	if b.form != formClose {
		b.left -= int64(n)
	}
	switch {
	case err == io.EOF && b.form != formClose:
		err = io.ErrUnexpectedEOF
	case err == nil && b.form == formLength && b.left == 0:
		err = io.EOF
	case err == nil && b.form == formChunked && b.left == 0 && b.lastBuffered():
		err = b.nextChunk() // io.EOF with the last bytes: a caller who fills a buffer need not ask again
	}
	if err != nil {
		err = b.finish(err)
	}
	return n, err
}

// take gives what is buffered, or reads past the buffer.
func (b *body) take(p []byte) (int, error) {
	k := b.conn
	if k.begin < k.end {
		n := copy(p, k.buf[k.begin:k.end])
		k.begin += n
		return n, nil
	}
	b.arm()
	n, err := k.read(p)
	b.drawn += n
	return n, err
}

// progressBytes is how much of a body the peer must send within the timeout,
// so that an answer in drips ends too.
const progressBytes = 64 << 10

// arm gives the peer its time for the next progressBytes.
func (b *body) arm() {
	if b.armed && b.drawn < progressBytes {
		return
	}
	b.armed, b.drawn = true, 0
	b.conn.wanted = time.Now().Add(b.timeout)
}

// lastBuffered reports whether the body's end has been read already, without
// trailer fields.
func (b *body) lastBuffered() bool {
	return bytes.Equal(b.conn.buf[b.conn.begin:b.conn.end], []byte("\r\n0\r\n\r\n"))
}

// nextChunk reads up to the data of the next chunk (RFC 9112 section 7.1);
// io.EOF is the regular end. Extensions and trailer fields are dropped.
func (b *body) nextChunk() error {
	if b.inner {
		line, err := b.line()
		if err != nil {
			return err
		}
		if len(line) != 0 {
			return malformed("a chunk does not end where it says")
		}
	}
	b.inner = true
	line, err := b.line()
	if err != nil {
		return err
	}
	size, extension, _ := bytes.Cut(line, []byte(";"))
	if !clean(extension, true) {
		return malformed("a chunk extension has a control character")
	}
	n, ok := hexadecimal(bytes.TrimRight(size, " \t"))
	if !ok {
		return malformed("a chunk's length is no number")
	}
	if b.left = n; n > 0 {
		return nil
	}
	for {
		trailer, err := b.line()
		switch {
		case err != nil:
			return err
		case len(trailer) == 0:
			return io.EOF
		}
		if name, value, ok := bytes.Cut(trailer, []byte(":")); !ok || !token(name) || !clean(value, true) {
			return malformed("a trailer field cannot be read")
		}
	}
}

// line reads one line of the chunked coding without its CRLF.
func (b *body) line() ([]byte, error) {
	k := b.conn
	for {
		if i := bytes.IndexByte(k.buf[k.begin:k.end], '\n'); i >= 0 {
			line := k.buf[k.begin : k.begin+i]
			if b.extra -= i + 1; b.extra < 0 {
				return nil, malformed("its chunked coding has too much overhead")
			}
			k.begin += i + 1
			if i == 0 || line[i-1] != '\r' {
				return nil, malformed("a line of its chunked coding does not end in CRLF")
			}
			return line[:i-1], nil
		}
		if k.end-k.begin > min(b.extra, bufferSize/2) {
			return nil, malformed("a line of its chunked coding is too long")
		}
		b.arm()
		buffered := k.end - k.begin
		if err := k.fill(bufferSize); err != nil {
			return nil, err
		}
		b.drawn += k.end - k.begin - buffered
	}
}

func hexadecimal(s []byte) (n int64, ok bool) {
	if len(s) == 0 || len(s) > 15 {
		return 0, false
	}
	for _, c := range s {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		n = n<<4 | int64(c)
	}
	return n, true
}

// finish ends the body and returns what Read says of it. The connection is kept
// where the answer ended as it said, nothing follows it and ctx still holds.
func (b *body) finish(err error) error {
	k := b.conn
	b.conn = nil
	running := k.leave()
	if err == io.EOF {
		b.err = err
	} else {
		b.err = failed(b.ctx, err, true)
	}
	if err != io.EOF || !running || !b.reuse || k.begin != k.end {
		k.close()
		return b.err
	}
	k.begin, k.end, k.used = 0, 0, time.Now()
	if len(k.buf) > maxKeptBuffer {
		k.buf = make([]byte, bufferSize)
	}
	b.client.idle.put(b.address, k)
	return b.err
}

// Close implements io.Closer. A body that has not ended takes its connection
// with it.
func (b *body) Close() error {
	if b.conn != nil {
		b.reuse = false
		_ = b.finish(io.ErrClosedPipe)
	}
	return nil
}
