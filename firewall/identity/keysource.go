package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	defaultRefresh = 5 * time.Minute
	filePoll       = 2 * time.Second
	retryFirst     = 2 * time.Second

	// A token with an unknown key id asks for the keys at once, but all such
	// tokens together only this often: they cost their sender nothing.
	onDemandEvery = 10 * time.Second
	onDemandBurst = 3
)

// SourceError says that the keys, or another document that an authenticator
// needs, cannot be had.
type SourceError struct {
	Source string // the URL, issuer or file
	Err    error
}

func (e *SourceError) Error() string { return "identity: " + e.Source + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *SourceError) Unwrap() error { return e.Err }

// SourceStatus is the state of one document that is read again while an
// authenticator runs.
type SourceStatus struct {
	Source  string    // the URL, issuer or file
	Entries int       // keys in use
	Skipped []string  // entries of the document that are not used, and why
	Loaded  time.Time // when the document in use was last confirmed; zero: never
	Err     error     // why the latest attempt failed, nil when it did not
}

// source keeps a value that is parsed from a document, loads the document
// anew in the background, and keeps the last good value when that fails.
// (httprc, which jwx brings along, neither bounds fetches on demand nor
// tells which keys went away.)
type source[T any] struct {
	name  string
	every time.Duration
	// load returns the document, or nil when it knows it to be unchanged.
	load  func(ctx context.Context) ([]byte, error)
	parse func(document []byte, prior *T) (*T, error)
	// retire is told what replaced what.
	retire func(prior, next *T)
	count  func(*T) (int, []string)
	report func(SourceStatus)

	current atomic.Pointer[T]
	limiter *rate.Limiter
	stop    context.Context

	mu       sync.Mutex
	document []byte
	broken   error // why the latest document was not taken
	status   SourceStatus
	flight   chan struct{}
	ended    bool
	workers  sync.WaitGroup
}

// start loads the document once, within ctx, and then keeps it fresh until
// stop ends. When the first load fails, start returns the error and there
// is no background work, unless tolerant is set.
func (s *source[T]) start(ctx, stop context.Context, tolerant bool) error {
	s.stop = stop
	s.limiter = rate.NewLimiter(rate.Every(onDemandEvery), onDemandBurst)
	err := s.refresh(ctx)
	if err != nil && !tolerant {
		return &SourceError{Source: s.name, Err: err}
	}
	s.workers.Go(func() { s.run(err != nil) })
	return nil
}

// wait returns when the background work has ended, after stop has.
func (s *source[T]) wait() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.workers.Wait()
}

// run refreshes every s.every, sooner by up to a tenth so that many
// processes do not ask at once, and after a failure with doubling pauses.
func (s *source[T]) run(failed bool) {
	retry := retryFirst
	for {
		pause := s.every - time.Duration(rand.Int64N(int64(s.every)/10+1))
		if failed {
			pause = min(retry, pause)
			retry *= 2
		} else {
			retry = retryFirst
		}
		timer := time.NewTimer(pause)
		select {
		case <-s.stop.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		flight, _, ok := s.begin(nil)
		if !ok {
			return
		}
		select {
		case <-s.stop.Done():
			return
		case <-flight:
		}
		failed = s.state().Err != nil
	}
}

// demand loads the document now because a token may be newer than it, and
// waits for that as long as ctx lasts. It returns when have is satisfied, or
// when a load that began after the call has ended, or at once when loads
// were too frequent lately.
func (s *source[T]) demand(ctx context.Context, have func() bool) {
	for {
		flight, joined, ok := s.begin(have)
		if !ok {
			return
		}
		select {
		case <-flight:
		case <-ctx.Done():
			return
		}
		// A load that was under way may have read the document before it had
		// what is wanted. The next one begins now or began meanwhile.
		if have() || !joined {
			return
		}
	}
}

// begin joins the load under way or begins one. have is nil for a load that is
// due; else it is for what have misses and not too often. Whether it is still
// missed is asked again here: a load may have ended since the caller asked.
func (s *source[T]) begin(have func() bool) (flight <-chan struct{}, joined, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil {
		return s.flight, true, true
	}
	if s.ended || have != nil && (have() || !s.limiter.Allow()) {
		return nil, false, false
	}
	done := make(chan struct{})
	s.flight = done
	s.workers.Go(func() {
		_ = s.refresh(s.stop) // kept in the status
		s.mu.Lock()
		s.flight = nil
		s.mu.Unlock()
		close(done)
	})
	return done, false, true
}

func (s *source[T]) refresh(ctx context.Context) error {
	document, err := s.load(ctx)
	s.mu.Lock()
	status := s.status
	status.Source = s.name
	switch {
	case err != nil:
	case document == nil:
		err = s.broken
	case s.current.Load() != nil && bytes.Equal(document, s.document):
		s.broken = nil
	default:
		if err = s.replace(document); err == nil {
			status.Entries, status.Skipped = s.count(s.current.Load())
		}
		s.broken = err
	}
	changed := err != nil || status.Loaded.IsZero() || s.status.Err != nil || status.Entries != s.status.Entries
	status.Err = err
	if err == nil {
		status.Loaded = time.Now()
	}
	s.status = status
	s.mu.Unlock()
	if changed && s.report != nil && ctx.Err() == nil {
		s.report(status)
	}
	return err
}

func (s *source[T]) replace(document []byte) error {
	prior := s.current.Load()
	next, err := s.parse(document, prior)
	if err != nil {
		return err
	}
	s.document = document
	s.current.Store(next)
	if prior != nil && s.retire != nil {
		s.retire(prior, next)
	}
	return nil
}

func (s *source[T]) state() SourceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := s.status
	status.Source = s.name
	return status
}

// watchedFile reads a file again only when its size, time or identity
// changed.
type watchedFile struct {
	path string
	last fs.FileInfo
}

// load fits source.load. It is called by one goroutine at a time.
func (w *watchedFile) load(context.Context) ([]byte, error) {
	info, err := os.Stat(w.path)
	if err != nil {
		w.last = nil
		return nil, reasonOf(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	if w.last != nil && os.SameFile(w.last, info) && info.Size() == w.last.Size() && info.ModTime().Equal(w.last.ModTime()) {
		return nil, nil
	}
	file, err := os.Open(w.path)
	if err != nil {
		return nil, reasonOf(err)
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, maxDocument+1))
	if err != nil {
		return nil, reasonOf(err)
	}
	if len(data) > maxDocument {
		return nil, fmt.Errorf("is longer than %d bytes", maxDocument)
	}
	// A file that was just written may be written again within its clock's
	// grain: only an older time proves it unchanged.
	w.last = nil
	if time.Since(info.ModTime()) > filePoll {
		w.last = info
	}
	return data, nil
}

// reasonOf drops the path of a file error: the source's name says it.
func reasonOf(err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Err
	}
	return err
}
