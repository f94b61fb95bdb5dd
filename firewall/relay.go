package firewall

import (
	"bytes"
	"errors"
	"io"

	"github.com/graphward/graphward/firewall/gqlhttp"
)

// relay passes an answer on as it comes, within upstream.max_response, and
// rewrites its errors on the way where there is a rewriter.
type relay struct {
	w        io.Writer
	guard    *guard
	rewriter *gqlhttp.ErrorWriter // nil: every byte passes as it came
	priced   *bytes.Buffer        // nil: the answer is not priced
	total    int64
}

// headed writes the header section before the first byte of a body: an answer
// that turns out bad before that byte is refused, not cut.
type headed struct {
	w     io.Writer
	begin func() // nil when the header section is out
}

// Write implements io.Writer.
func (h *headed) Write(p []byte) (int, error) {
	if h.begin != nil {
		h.begin()
		h.begin = nil
	}
	return h.w.Write(p)
}

// clientError is a failed write to the client.
type clientError struct{ cause error }

func (e *clientError) Error() string { return "writing to the client: " + e.cause.Error() }

func (e *clientError) Unwrap() error { return e.cause }

func (r *relay) write(chunk []byte) error {
	if r.total += int64(len(chunk)); r.total > r.guard.max {
		return errTooLarge
	}
	if r.priced != nil && int64(r.priced.Len()) <= r.guard.pricedMax {
		r.priced.Write(chunk)
	}
	var err error
	if r.rewriter != nil {
		_, err = r.rewriter.Write(chunk)
	} else {
		_, err = r.w.Write(chunk)
	}
	return passError(err)
}

// end says whether the answer was whole.
func (r *relay) end() error {
	if r.rewriter == nil {
		return nil
	}
	return passError(r.rewriter.Close())
}

// passError tells upstream's fault from the client's.
func passError(err error) error {
	var bad *gqlhttp.ResponseError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &bad):
		return &upstreamError{cause: err, sent: true}
	}
	return &clientError{err}
}
