package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

// output is a writer whose failures a test chooses.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	err   error         // of every write
	most  int           // bytes that a failing or short write takes
	stall chan struct{} // closed: writes go on
}

func (o *output) Write(p []byte) (int, error) {
	if o.stall != nil {
		<-o.stall
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		n := min(o.most, len(p))
		o.text.Write(p[:n])
		return n, o.err
	}
	return o.text.Write(p)
}

func (o *output) fail(err error, most int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err, o.most = err, most
}

// ids returns the decision ids of the lines, each of which must be whole.
func ids(t *testing.T, text string) []string {
	t.Helper()
	var list []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "}\n") {
			t.Fatalf("a broken line: %q", line)
		}
		_, rest, _ := strings.Cut(line, `"decision_id":"`)
		id, _, _ := strings.Cut(rest, `"`)
		list = append(list, id)
	}
	return list
}

func numbered(from, to int) []string {
	var list []string
	for n := from; n < to; n++ {
		list = append(list, fmt.Sprint(n))
	}
	return list
}

func record(n int) *Record {
	return &Record{ID: fmt.Sprint(n), Verdict: Refused, Code: "FORBIDDEN"}
}

var errDisk = errors.New("no space left on device")

func TestOrderAndDrain(t *testing.T) {
	var out output
	l := NewWriter(&out, Config{})
	for n := range 5000 {
		if err := l.Write(record(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(numbered(0, 5000), ids(t, out.text.String())); diff != "" {
		t.Error(diff)
	}
	if l.Written() != 5000 || l.Dropped() != 0 {
		t.Errorf("written %d, dropped %d", l.Written(), l.Dropped())
	}
	if err := l.Write(record(0)); err != nil || l.Dropped() != 1 {
		t.Errorf("after Close: %v, dropped %d", err, l.Dropped())
	}
	if err := l.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
}

func TestConcurrentWriters(t *testing.T) {
	var out output
	l := NewWriter(&out, Config{OnFailure: Refuse})
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for n := range 500 {
				if err := l.Write(record(g*500 + n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, id := range ids(t, out.text.String()) {
		seen[id] = true
	}
	if len(seen) != 4000 {
		t.Errorf("%d of 4000 records", len(seen))
	}
}

// counting counts the writes that an output gets.
type counting struct{ writes int }

func (c *counting) Write(p []byte) (int, error) {
	c.writes++
	return len(p), nil
}

// TestGather: records that come within gatherPause are one write; under refuse
// each is written at once.
func TestGather(t *testing.T) {
	for mode, want := range map[string]int{Drop: 2, Refuse: 4} {
		synctest.Test(t, func(t *testing.T) {
			var out counting
			l := NewWriter(&out, Config{OnFailure: mode})
			for n := range 4 {
				_ = l.Write(record(n))
				synctest.Wait()
				time.Sleep(gatherPause / 2)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if out.writes != want {
				t.Errorf("%s: %d writes, want %d", mode, out.writes, want)
			}
		})
	}
}

// TestBacklog: what gathered is written when the pause ends, however much it
// is, in calls of no more than batchBytes.
func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sizes
		l := NewWriter(&out, Config{})
		const total = 1000
		size := len(new(encoder).append(nil, full())) + 1
		for range total {
			_ = l.Write(full())
		}
		time.Sleep(gatherPause)
		synctest.Wait()
		if l.Written() != total {
			t.Errorf("%d of %d records are written after one pause", l.Written(), total)
		}
		each := batchBytes / size
		var want []int
		for left := total; left > 0; left -= each {
			want = append(want, min(left, each)*size)
		}
		if diff := cmp.Diff(want, []int(out)); diff != "" {
			t.Error(diff)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// sizes keeps the size of each write that an output gets.
type sizes []int

func (s *sizes) Write(p []byte) (int, error) {
	*s = append(*s, len(p))
	return len(p), nil
}

// TestWakeUps: of what gathers the first record alone is to wake the writer,
// and after it has been written the next one.
func TestWakeUps(t *testing.T) {
	for _, mode := range []string{Drop, Refuse} {
		synctest.Test(t, func(t *testing.T) {
			var out counting
			l := NewWriter(&out, Config{OnFailure: mode})
			waiting := func() bool {
				synctest.Wait()
				l.mu.Lock()
				defer l.mu.Unlock()
				return l.waiting
			}
			for n := range 3 {
				if !waiting() {
					t.Errorf("%s: record %d will not wake the writer", mode, n)
				}
				_ = l.Write(record(n))
				if mode == Drop && waiting() {
					t.Errorf("another record than %d will wake the writer", n)
				}
				time.Sleep(gatherPause)
			}
			if err := l.Close(); err != nil || waiting() {
				t.Errorf("%s: %v, or a closed log waits for records", mode, err)
			}
		})
	}
}

// TestBurstMemory: what a stalled output made the queue hold is collected once
// it has been written.
func TestBurstMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &output{stall: make(chan struct{})}
		l := NewWriter(out, Config{})
		for range 1000 {
			_ = l.Write(full())
		}
		var held []weak.Pointer[batch]
		l.mu.Lock()
		for b := l.queue.head; b != nil; b = b.next {
			held = append(held, weak.Make(b))
		}
		l.mu.Unlock()
		if len(held) < 10 {
			t.Fatalf("%d batches", len(held))
		}
		close(out.stall)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		for range 3 { // a pool keeps what it has for two
			runtime.GC()
		}
		kept := 0
		for _, b := range held {
			if b.Value() != nil {
				kept++
			}
		}
		if kept > 0 || l.Written() != 1000 {
			t.Errorf("%d of %d batches are kept, %d records written", kept, len(held), l.Written())
		}
	})
}

// TestFailingOutput: while the disk is full, drop goes on and refuse
// refuses; when there is room again, what was queued is written, whole.
func TestFailingOutput(t *testing.T) {
	for _, mode := range []string{Drop, Refuse} {
		t.Run(mode, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out output
				l := NewWriter(&out, Config{OnFailure: mode})
				write := func(n int) error {
					err := l.Write(record(n))
					time.Sleep(gatherPause)
					synctest.Wait()
					return err
				}
				if err := write(0); err != nil || l.Err() != nil || l.Failure() != nil {
					t.Fatalf("at first: %v", err)
				}
				out.fail(errDisk, 10) // part of a line
				_ = write(1)
				err := write(2)
				if mode == Drop && (err != nil || l.Err() != nil) {
					t.Errorf("got %v and %v", err, l.Err())
				}
				if failure, ok := errors.AsType[*WriteError](err); mode == Refuse && (!ok || !errors.Is(failure, errDisk) || !errors.Is(l.Err(), errDisk)) {
					t.Errorf("got %v and %v", err, l.Err())
				}
				if !errors.Is(l.Failure(), errDisk) {
					t.Errorf("the failure is not shown: %v", l.Failure())
				}
				out.fail(nil, 0)
				time.Sleep(retryPause)
				synctest.Wait()
				if err := write(3); err != nil || l.Err() != nil || l.Failure() != nil {
					t.Errorf("after recovery: %v", err)
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(numbered(0, 4), ids(t, out.text.String())); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// TestStalledOutput: a reader that does not read makes nobody wait. The
// queue fills, then records are dropped or refused; Close gives up.
func TestStalledOutput(t *testing.T) {
	for _, mode := range []string{Drop, Refuse} {
		t.Run(mode, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out := &output{stall: make(chan struct{})}
				l := NewWriter(out, Config{OnFailure: mode})
				refused := 0
				const total = queueRecords + 2000
				for n := range total {
					if err := l.Write(record(n)); err != nil {
						if !errors.Is(err, ErrFull) {
							t.Fatal(err)
						}
						refused++
					}
				}
				if (refused > 0) != (mode == Refuse) || l.Dropped() != 2000 {
					t.Errorf("%d refused, %d dropped", refused, l.Dropped())
				}
				if err := l.Err(); (err != nil) != (mode == Refuse) {
					t.Errorf("Err: %v", err)
				}
				began := time.Now()
				if err := l.Close(); !errors.Is(err, ErrStalled) || time.Since(began) != closePause+retryPause {
					t.Errorf("Close: %v after %s", err, time.Since(began))
				}
				close(out.stall)
				synctest.Wait()
				if got := uint64(len(ids(t, out.text.String()))); got != l.Written() || l.Written()+l.Dropped() != total {
					t.Errorf("%d lines, %d written, %d dropped of %d", got, l.Written(), l.Dropped(), total)
				}
			})
		})
	}
}

// TestQueueBytes: the queue is bounded in bytes, not only in records.
func TestQueueBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &output{stall: make(chan struct{})}
		l := NewWriter(out, Config{})
		large := record(1)
		large.Rules = make([]Rule, MaxRules)
		for i := range large.Rules {
			large.Rules[i] = Rule{Coordinate: strings.Repeat("x", MaxText), Head: strings.Repeat("y", MaxText)}
		}
		for range 1000 {
			_ = l.Write(large)
		}
		l.mu.Lock()
		size := l.queue.bytes
		l.mu.Unlock()
		if size > queueBytes || size < queueBytes/2 || l.Dropped() == 0 {
			t.Errorf("%d bytes are queued, %d records dropped", size, l.Dropped())
		}
		close(out.stall)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestCloseWhileFailing: Close tries for its time and then says what is lost.
func TestCloseWhileFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &output{err: errDisk}
		l := NewWriter(out, Config{})
		for n := range 10 {
			_ = l.Write(record(n))
		}
		if err := l.Close(); !errors.Is(err, errDisk) {
			t.Errorf("got %v", err)
		}
		if l.Dropped() != 10 || l.Written() != 0 {
			t.Errorf("dropped %d, written %d", l.Dropped(), l.Written())
		}
	})
}

func TestSampling(t *testing.T) {
	rate := func(f float64) *float64 { return &f }
	for name, test := range map[string]struct {
		sample   *float64
		record   Record
		low, top int // of 1000
	}{
		"allowed, by default":        {nil, Record{Verdict: Allowed}, 1000, 1000},
		"allowed, none":              {rate(0), Record{Verdict: Allowed}, 0, 0},
		"allowed, a quarter":         {rate(0.25), Record{Verdict: Allowed}, 150, 350},
		"refused, none":              {rate(0), Record{Verdict: Refused}, 1000, 1000},
		"failed, none":               {rate(0), Record{Verdict: Failed}, 1000, 1000},
		"reported, none":             {rate(0), Record{Verdict: Allowed, Reported: []string{"COST_LIMIT"}}, 1000, 1000},
		"allowed with a panic, none": {rate(0), Record{Verdict: Allowed, Panic: true}, 1000, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			var out output
			l := NewWriter(&out, Config{SampleAllowed: test.sample})
			for range 1000 {
				if err := l.Write(&test.record); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if n := len(ids(t, out.text.String())); n < test.low || n > test.top {
				t.Errorf("%d records, not %d to %d", n, test.low, test.top)
			}
		})
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	open := func() *Log {
		l, err := New(Config{Output: path})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	content := func(path string) []string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return ids(t, string(text))
	}
	l := open()
	_ = l.Write(record(0))
	for l.Written() < 1 {
		time.Sleep(time.Millisecond)
	}
	// Rotation: the old name keeps the old records, the new file gets the new.
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	_ = l.Write(record(1))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); !errors.Is(err, ErrClosed) {
		t.Errorf("Reopen after Close: %v", err)
	}
	// A second process appends.
	l = open()
	_ = l.Write(record(2))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{{"0"}, {"1", "2"}}, [][]string{content(path + ".1"), content(path)}); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestReopenFails: a folder that is gone leaves the old file in use.
func TestReopenFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "audit.log")
	l, err := New(Config{Output: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err == nil {
		t.Error("no error")
	}
	_ = l.Write(record(0))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir+".1", "audit.log"))
	if err != nil || len(ids(t, string(text))) != 1 {
		t.Errorf("%q, %v", text, err)
	}
}

// TestReopenWithinLine: a line of which a failing file took a part goes to
// the new file whole, and those before it do not go there again.
func TestReopenWithinLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	file, err := openFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l := newLog(file, Config{})
	l.path = path
	b := &batch{text: []byte("{1}\n{2}\n{3}\n"), sent: len("{1}\n{2"), records: 3}
	if err := l.swap(b); err != nil {
		t.Fatal(err)
	}
	l.flush(b)
	if err := l.out.(*os.File).Close(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "{2}\n{3}\n" {
		t.Errorf("%q, %v", text, err)
	}
}

// TestReopenBehindBacklog: Reopen waits for one write, not for all that is
// queued.
func TestReopenBehindBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.log")
		file, err := openFile(path)
		if err != nil {
			t.Fatal(err)
		}
		l := newLog(file, Config{})
		l.path = path
		for n := range 1000 {
			large := full()
			large.ID = fmt.Sprint(n)
			_ = l.Write(large)
		}
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		answer := make(chan error)
		go func() { answer <- l.Reopen() }()
		synctest.Wait()
		go l.run()
		if err := <-answer; err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		old, err := os.ReadFile(path + ".1")
		if err != nil || len(old) != 0 {
			t.Errorf("%d bytes went to the old file: %v", len(old), err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(numbered(0, 1000), ids(t, string(text))); diff != "" {
			t.Error(diff)
		}
	})
}

// TestTornLine: what a crash left half written spoils no record after it.
func TestTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte(`{"time":"2026`), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := New(Config{Output: path})
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Write(record(0))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	torn, rest, _ := strings.Cut(string(text), "\n")
	if torn != `{"time":"2026` || len(ids(t, rest)) != 1 {
		t.Errorf("got %q", text)
	}
}

// TestPipe: a named pipe without reader is an error at once; one whose
// reader goes away fails and does not end the process.
func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Output: path}); err == nil {
		t.Fatal("opened without a reader")
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(Config{Output: path, OnFailure: Refuse})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Write(record(0)); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(reader).ReadString('\n')
	if err != nil || len(ids(t, line)) != 1 {
		t.Errorf("%q, %v", line, err)
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	_ = l.Write(record(1))
	for l.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if err := l.Err(); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("got %v", err)
	}
	if err := l.Close(); err == nil {
		t.Error("Close hides the failure")
	}
}

func TestConfig(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                                   "",
		"output: stdout":                       "",
		"output: stderr":                       "",
		"output: off":                          "",
		"output: /var/log/graphward/audit.log": "",
		"output: ./audit":                      "",
		"output: audit.log":                    "",
		"output: stdot":                        `output: "stdot" is not stdout`,
		"output: file":                         "file: is needed with output: file",
		"output: file\nfile: /tmp/a.log":       "",
		"file: /tmp/a.log":                     "file: is for output: file",
		"sample_allowed: 0":                    "",
		"sample_allowed: 0.5":                  "",
		"sample_allowed: 1.5":                  "sample_allowed: 1.5 is not",
		"sample_allowed: -1":                   "sample_allowed: -1",
		"sample_allowed: .nan":                 "sample_allowed: NaN",
		"on_failure: drop":                     "",
		"on_failure: refuse":                   "",
		"on_failure: ignore":                   `on_failure: "ignore" is neither`,
	} {
		var c Config
		if err := yaml.Load([]byte(text), &c, yaml.WithKnownFields()); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := c.Validate()
		if want == "" && len(got) != 0 || want != "" && (len(got) != 1 || !strings.HasPrefix(got[0].String(), want)) {
			t.Errorf("%s: %v", text, got)
		}
		if want == "" {
			continue
		}
		_, err := New(c)
		if failure, ok := err.(*ConfigError); !ok || len(failure.Problems) != 1 {
			t.Errorf("%s: New: %v", text, err)
		}
	}
	if _, err := New(Config{Output: "/does/not/exist/audit.log"}); err == nil {
		t.Error("a file in no folder was opened")
	}
}

func TestOff(t *testing.T) {
	l, err := New(Config{Output: Off, OnFailure: Refuse})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Write(record(0)); err != nil || l.Err() != nil {
		t.Errorf("got %v", err)
	}
	if err := l.Reopen(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// cpuTime is what this process has used, in nanoseconds.
func cpuTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkWrite is what a request pays (encoding and queueing, ns/op) and what
// the writer pays as well (cpu-ns/op). It waits for the writer before any
// record would be dropped: a dropped one costs less.
func BenchmarkWrite(b *testing.B) {
	allowed := full()
	allowed.Verdict, allowed.Code, allowed.Stage, allowed.Message, allowed.Reported = Allowed, "", "", "", nil
	allowed.Aborted, allowed.Panic = false, false
	off := 0.0
	for name, test := range map[string]struct {
		record *Record
		config Config
	}{
		"every-field":      {full(), Config{}},
		"allowed":          {allowed, Config{}},
		"early-refusal":    {&Record{Time: allowed.Time, ID: "x", Verdict: Refused, Code: "BAD_REQUEST", Stage: "decode"}, Config{}},
		"sampled-out":      {allowed, Config{SampleAllowed: &off}},
		"every-field-file": {full(), Config{Output: filepath.Join(b.TempDir(), "audit.log")}},
	} {
		b.Run(name, func(b *testing.B) {
			l := newLog(io.Discard, test.config)
			if test.config.Output != "" {
				file, err := openFile(test.config.Output)
				if err != nil {
					b.Fatal(err)
				}
				l.out, l.path = file, test.config.Output
			}
			go l.run()
			b.ReportAllocs()
			before := cpuTime(b)
			for n := 1; b.Loop(); n++ {
				if err := l.Write(test.record); err != nil {
					b.Fatal(err)
				}
				if n%1024 == 0 && test.config.SampleAllowed == nil {
					b.StopTimer()
					for l.Written()+l.Dropped() < uint64(n) {
						time.Sleep(gatherPause)
					}
					b.StartTimer()
				}
			}
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(l.Dropped())/float64(b.N), "dropped/op")
		})
	}
}

func BenchmarkNewID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		NewID()
	}
}
