package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	retryPause = time.Second
	closePause = 5 * time.Second

	// gatherPause is how long the writer lets records gather behind a first
	// one. While it does, a record wakes nobody and costs no system call of
	// its own. It is also how much longer a crash can lose a record.
	gatherPause = 2 * time.Millisecond
)

// The errors of a [Log], beside [WriteError].
var (
	// ErrFull means that the output takes records more slowly than they come.
	ErrFull = errors.New("audit: the queue is full")
	// ErrClosed means that Close was called.
	ErrClosed = errors.New("audit: closed")
	// ErrStalled means that a write did not return while Close waited.
	ErrStalled = errors.New("audit: the output stalled")
)

// WriteError says that the output fails. Records are queued meanwhile.
type WriteError struct{ Err error }

func (e *WriteError) Error() string { return "audit: cannot write: " + e.Err.Error() }

// Unwrap returns Err.
func (e *WriteError) Unwrap() error { return e.Err }

// Log is a [Sink] that writes JSON lines. Writing happens in a goroutine of
// its own, in batches; what a crash can lose is what is queued.
type Log struct {
	sample  float64
	refuse  bool
	encoder encoder

	dropped atomic.Uint64
	written atomic.Uint64
	failure atomic.Pointer[WriteError]

	mu      sync.Mutex // guards what follows, down to closed
	queue   queue
	waiting bool // the writer has seen the queue empty and wants to be woken
	closed  bool

	giveUp  sync.Once
	due     *time.Timer   // what has gathered is to be written
	wake    chan struct{} // in its place under refuse; holds one
	closing chan struct{} // Close was called: nothing gathers any more
	reopen  chan chan error
	done    chan struct{} // the writer has ended
	abort   chan struct{} // the writer must end without the rest

	path    string // to reopen; empty: not a file
	out     io.Writer
	discard bool
}

var _ Sink = (*Log)(nil)

// line is where a record is encoded, before it has a place in the queue.
type line struct{ text []byte }

// release gives l back, unless an unusual record made it large.
func (l *line) release() {
	if cap(l.text) <= batchBytes {
		lines.Put(l)
	}
}

var lines = sync.Pool{New: func() any { return &line{make([]byte, 0, usualLine)} }}

// usualLine is what most records have room in.
const usualLine = 1 << 10

// New opens the output that c names. Its error is a [*ConfigError], or says
// why the file cannot be opened.
func New(c Config) (*Log, error) {
	if p := c.Validate(); len(p) > 0 {
		return nil, &ConfigError{Problems: p}
	}
	switch c.Output {
	case "", Stdout:
		return NewWriter(os.Stdout, c), nil
	case Stderr:
		return NewWriter(os.Stderr, c), nil
	case Off:
		return NewWriter(nil, c), nil
	}
	path := c.Output
	if path == File {
		path = c.File
	}
	file, err := openFile(path)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	l := newLog(file, c)
	l.path = path
	go l.run()
	return l, nil
}

// NewWriter returns a log that writes to w, whatever c.Output says, and does
// not close it. With a nil w all records are discarded.
func NewWriter(w io.Writer, c Config) *Log {
	l := newLog(w, c)
	go l.run()
	return l
}

func newLog(w io.Writer, c Config) *Log {
	l := &Log{
		sample: 1,
		refuse: c.OnFailure == Refuse,
		done:   make(chan struct{}),
		abort:  make(chan struct{}),
		out:    w,

		due:     time.NewTimer(gatherPause),
		wake:    make(chan struct{}, 1),
		closing: make(chan struct{}),
		reopen:  make(chan chan error),

		discard: w == nil,
	}
	l.due.Stop() // until there is something
	if c.SampleAllowed != nil {
		l.sample = *c.SampleAllowed
	}
	return l
}

// openFile opens a file to append to. O_NONBLOCK makes a named pipe without
// reader an error instead of a wait. A last line without end, which a crash
// or a full disk left, is ended, so that it spoils no other.
func openFile(path string) (*os.File, error) {
	torn := endsTorn(path)
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if torn {
		// A failure shows again at the first record.
		_, _ = file.Write([]byte{'\n'})
	}
	return file, nil
}

// endsTorn reports whether path is a regular file whose last byte does not
// end a line.
func endsTorn(path string) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return false
	}
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }()
	var last [1]byte
	_, err = file.ReadAt(last[:], info.Size()-1)
	return err == nil && last[0] != '\n'
}

// Write implements [Sink]. Under `on_failure: drop` a record that finds no
// place is counted and Write returns nil; under `refuse` Write returns
// [ErrFull] or a [*WriteError], and so does it, for the sake of the operation
// that it records, while the latest attempt to write has failed, although
// such a record is still queued if it can be.
func (l *Log) Write(r *Record) error {
	if l.discard || l.skips(r) {
		return nil
	}
	entry := lines.Get().(*line)
	entry.text = append(l.encoder.append(entry.text[:0], r), '\n')
	err := l.enqueue(entry.text)
	entry.release()
	if err != nil {
		l.dropped.Add(1)
		if l.refuse {
			return err
		}
		return nil
	}
	return l.Err()
}

// skips decides about an allowed operation by chance.
func (l *Log) skips(r *Record) bool {
	return l.sample < 1 && r.Verdict == Allowed && len(r.Reported) == 0 && !r.Panic && rand.Float64() >= l.sample
}

// enqueue copies text to the queue's end. It wakes the writer only for the
// first of what it writes together.
func (l *Log) enqueue(text []byte) error {
	l.mu.Lock()
	switch {
	case l.closed:
		l.mu.Unlock()
		return ErrClosed
	case !l.queue.add(text):
		l.mu.Unlock()
		return ErrFull
	}
	first := l.waiting
	l.waiting = false
	l.mu.Unlock()
	if first {
		l.rouse()
	}
	return nil
}

// rouse has what is queued written: after gatherPause, or at once under
// refuse, which wants to know of a failure.
func (l *Log) rouse() {
	if !l.refuse {
		l.due.Reset(gatherPause)
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Err reports, under `on_failure: refuse`, why operations must be refused
// now: a [*WriteError], or [ErrFull]. Under `drop` it is always nil. A caller
// asks before it forwards an operation.
func (l *Log) Err() error {
	if !l.refuse {
		return nil
	}
	if failure := l.failure.Load(); failure != nil {
		return failure
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.queue.full() {
		return ErrFull
	}
	return nil
}

// Failure returns why the latest attempt to write failed, nil when it did
// not, under either on_failure.
func (l *Log) Failure() error {
	if failure := l.failure.Load(); failure != nil {
		return failure
	}
	return nil
}

// Dropped returns how many records were lost since the start.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Written returns how many records the output took since the start.
func (l *Log) Written() uint64 { return l.written.Load() }

// Reopen opens the file by its path again, so that a rotated one is let go.
// When that fails the old one stays in use. It waits for the write under
// way, for at most 5 seconds. It does nothing for other outputs.
func (l *Log) Reopen() error {
	if l.path == "" {
		return nil
	}
	answer := make(chan error, 1)
	timer := time.NewTimer(closePause)
	defer timer.Stop()
	select {
	case l.reopen <- answer:
		return <-answer
	case <-l.done:
		return ErrClosed
	case <-timer.C:
		return ErrStalled
	}
}

// Close implements [Sink]. It writes what is queued, for at most 5 seconds.
// What an output that fails or stalls does not take by then is dropped, and
// the error says so.
func (l *Log) Close() error {
	l.mu.Lock()
	already := l.closed
	l.closed = true
	if !already {
		close(l.closing)
	}
	l.mu.Unlock()
	timer := time.NewTimer(closePause)
	defer timer.Stop()
	select {
	case <-l.done:
		return l.Failure()
	case <-timer.C:
	}
	l.giveUp.Do(func() { close(l.abort) })
	timer.Reset(retryPause)
	select {
	case <-l.done:
		return l.Failure()
	case <-timer.C:
		return ErrStalled
	}
}

// run is the only goroutine that touches out.
func (l *Log) run() {
	defer close(l.done)
	defer func() {
		if l.path != "" {
			_ = l.out.(*os.File).Close()
		}
	}()
	defer l.due.Stop()
	for due := false; ; {
		b, more := l.next(due)
		switch {
		case b != nil:
			l.serveReopen(b)
			l.flush(b)
			l.finish(b)
			due = due && more
		case !more:
			return
		default:
			l.wait()
			due = true
		}
	}
}

// next takes a batch to write: one that is full or, when all is due, what
// there is. more reports, with a batch, whether others are queued, and without
// one, whether any can come.
func (l *Log) next(due bool) (b *batch, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b = l.queue.take(due || l.refuse || l.closed); b != nil {
		return b, l.queue.head != nil
	}
	if l.queue.head != nil { // it came while another was written
		l.due.Reset(gatherPause)
		return nil, true
	}
	l.waiting = !l.closed
	return nil, !l.closed
}

// finish makes room for others than b.
func (l *Log) finish(b *batch) {
	l.mu.Lock()
	l.queue.done(b)
	l.mu.Unlock()
	b.release()
}

// wait returns when what is queued is due.
func (l *Log) wait() {
	for {
		select {
		case answer := <-l.reopen:
			answer <- l.swap(&batch{})
			continue
		case <-l.due.C:
		case <-l.wake:
		case <-l.closing:
		}
		return
	}
}

// serveReopen does what a Reopen that waits asks for, before b is written.
func (l *Log) serveReopen(b *batch) {
	select {
	case answer := <-l.reopen:
		answer <- l.swap(b)
	default:
	}
}

// swap replaces the file. A line of which the old file has only a part goes
// to the new one whole.
func (l *Log) swap(b *batch) error {
	file, err := openFile(l.path)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	b.sent = bytes.LastIndexByte(b.text[:b.sent], '\n') + 1
	old := l.out.(*os.File)
	l.out = file
	return old.Close()
}

// flush writes b until the output has taken it. While the output fails, the
// queue fills up behind it.
func (l *Log) flush(b *batch) {
	for b.sent < len(b.text) {
		n, err := l.out.Write(b.text[b.sent:])
		b.sent += min(max(n, 0), len(b.text)-b.sent)
		if err == nil && b.sent < len(b.text) {
			err = io.ErrShortWrite
		}
		if err == nil {
			break
		}
		l.failure.Store(&WriteError{Err: err})
		if !l.pause(b) {
			l.dropped.Add(b.records)
			return
		}
	}
	l.failure.Store(nil)
	l.written.Add(b.records)
}

// pause waits before the next attempt, and serves Reopen, which may be the
// cure. It reports false when there is to be no other attempt.
func (l *Log) pause(b *batch) bool {
	timer := time.NewTimer(retryPause)
	defer timer.Stop()
	select {
	case answer := <-l.reopen:
		answer <- l.swap(b)
	case <-l.abort:
		return false
	case <-timer.C:
	}
	return true
}
