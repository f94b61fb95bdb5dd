package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// load is one burst against one target.
type load struct {
	name        string // of the target, for errors
	address     string
	connections int
	duration    time.Duration
	rate        float64 // requests a second over all connections; 0: as fast as answers come
	guarded     bool    // hostile requests must be refused
	next        func([]byte, uint64) request
	counter     *atomic.Uint64
}

// result is what a burst measured. Latencies are microseconds; at a fixed rate
// they count from when a request was due, so that a target cannot hide a stall
// by slowing its clients down.
type result struct {
	requests  int
	elapsed   time.Duration
	latencies []uint32
}

func (r *result) quantile(q float64) time.Duration {
	if len(r.latencies) == 0 {
		return 0
	}
	return time.Duration(r.latencies[min(len(r.latencies)-1, int(q*float64(len(r.latencies))))]) * time.Microsecond
}

// run loads the target and waits for every answer that was asked for.
func (l *load) run(ctx context.Context) (*result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conns := make([]*client, l.connections)
	dialer := net.Dialer{Timeout: 5 * time.Second}
	for i := range conns {
		c, err := dialer.DialContext(ctx, "tcp", l.address)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		conns[i] = &client{conn: c, in: bufio.NewReaderSize(c, 64<<10)}
	}
	began := time.Now()
	end := began.Add(l.duration)
	var group sync.WaitGroup
	for i, c := range conns {
		_ = c.conn.SetDeadline(end.Add(15 * time.Second))
		group.Go(func() {
			if err := l.drive(ctx, c, i, began, end); err != nil {
				cancel(fmt.Errorf("%s: %w", l.name, err))
			}
		})
	}
	group.Wait()
	out := &result{elapsed: time.Since(began)}
	for _, c := range conns {
		out.latencies = append(out.latencies, c.latencies...)
	}
	out.requests = len(out.latencies)
	slices.Sort(out.latencies)
	return out, context.Cause(ctx)
}

// drive sends requests over one connection, one at a time.
func (l *load) drive(ctx context.Context, c *client, index int, began, end time.Time) error {
	var buf []byte
	var interval time.Duration
	due := began
	if l.rate > 0 {
		interval = time.Duration(float64(l.connections) / l.rate * 1e9)
		due = due.Add(interval * time.Duration(index) / time.Duration(l.connections))
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		if l.rate > 0 {
			if wait := time.Until(due); wait > 0 {
				timer.Reset(wait)
				select {
				case <-timer.C:
				case <-ctx.Done():
				}
			}
		} else {
			due = time.Now()
		}
		// Without a rate a connection asks once at least, however late it is: a target is not to blame for a stall of ours.
		if !due.Before(end) && (l.rate > 0 || len(c.latencies) > 0) {
			return nil
		}
		r := l.next(buf, l.counter.Add(1)-1)
		buf = r.raw
		if _, err := c.conn.Write(r.raw); err != nil {
			return err
		}
		status, err := c.answer()
		if err != nil {
			return err
		}
		if l.guarded && (status >= 400) != r.hostile || status >= 500 {
			return fmt.Errorf("status %d for a request with hostile=%v", status, r.hostile)
		}
		c.latencies = append(c.latencies, uint32(min(time.Since(due).Microseconds(), 1<<31)))
		due = due.Add(interval)
	}
	return nil
}

// client is one keep-alive connection of the load.
type client struct {
	conn      net.Conn
	in        *bufio.Reader
	latencies []uint32
}

var errAnswer = errors.New("the answer is not HTTP/1.1 with a length")

// answer reads one answer and drops its body.
func (c *client) answer() (status int, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, errAnswer
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, errAnswer
	}
	length, chunked := -1, false
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case len(name) == 14 && bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, errAnswer
			}
		case len(name) == 17 && bytes.EqualFold(name, []byte("transfer-encoding")):
			chunked = true
		case len(name) == 10 && bytes.EqualFold(name, []byte("connection")) && bytes.EqualFold(bytes.TrimSpace(value), []byte("close")):
			return 0, fmt.Errorf("status %d: the target closes the connection", status)
		}
	}
	switch {
	case chunked:
		return status, c.chunks()
	case length < 0:
		return 0, errAnswer
	}
	n, err := c.in.Discard(length)
	if err != nil {
		return 0, fmt.Errorf("the answer is cut after %d of %d bytes: %w", n, length, err)
	}
	return status, nil
}

func (c *client) chunks() error {
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
		if err != nil {
			return errAnswer
		}
		if _, err := c.in.Discard(int(n) + 2); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if n == 0 {
			return nil
		}
	}
}
