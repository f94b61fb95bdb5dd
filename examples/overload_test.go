//go:build siege

package examples_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What TestOverload offers and what upstream can do: places requests at once,
// each for serviceTime, so capacity is places/serviceTime.
const (
	overloadPlaces = 4
	serviceTime    = 5 * time.Millisecond
)

// TestOverload offers the firewall a half of upstream's capacity, all of it,
// twice and four times as much, by arrivals that do not wait for answers
// (Poisson, seeded), with limits.in_flight at what upstream can do at once:
// without a queue, and with one. DURATION is the length of each of the eight
// runs. It prints what admitted and refused requests took, at the client and
// by their audit records, and what the firewall spent of the CPU; these are figures and
// not verdicts, as they are the machine's too. Verdicts are: each request gets
// one answer; what is not admitted is 503 OVERLOADED with Retry-After; upstream
// never has more than limits.in_flight at once; records and metrics agree with
// what clients saw.
func TestOverload(t *testing.T) {
	length := duration(t, 10*time.Second)
	for _, queue := range []int{0, 2 * overloadPlaces} {
		t.Run(fmt.Sprintf("queue=%d", queue), func(t *testing.T) {
			o := besiege(t, queue)
			fmt.Printf("limits: {in_flight: %d, queue: %d}, upstream takes %v, capacity %.0f/s\n", overloadPlaces, queue, serviceTime, capacity)
			fmt.Printf("%5s %9s %9s %9s | %21s | %21s | %21s | %s\n", "load", "offered/s", "admitted", "refused",
				"admitted p50/p99", "refused p50/p99", "in handler p50/p99", "CPU per request; generator late p99")
			for _, load := range []float64{0.5, 1, 2, 4} {
				o.run(t, load, length)
			}
		})
	}
}

const capacity = float64(overloadPlaces) / (float64(serviceTime) / float64(time.Second))

// overload is a siege whose upstream is in this process and counts.
type overload struct {
	*siege
	records      string // the audit file
	now, most    atomic.Int64
	served       atomic.Int64
	transport    *http.Transport
	refusedSoFar float64
}

var upstreamURL = regexp.MustCompile(`url: http://127[^\n]*`)

func besiege(t *testing.T, queue int) *overload {
	t.Helper()
	o := &overload{records: filepath.Join(t.TempDir(), "audit.json"),
		transport: &http.Transport{MaxIdleConns: 4096, MaxIdleConnsPerHost: 4096, DisableCompression: true}}
	upstream := httptest.NewServer(http.HandlerFunc(o.upstream))
	t.Cleanup(upstream.Close)
	t.Cleanup(o.transport.CloseIdleConnections)
	o.siege = lay(t, func(config string) string {
		if len(upstreamURL.FindAllString(config, -1)) != 1 {
			t.Fatalf("the quickstart's configuration has another upstream:\n%s", config)
		}
		config = upstreamURL.ReplaceAllLiteralString(config, "url: "+upstream.URL+"/graphql")
		limits := fmt.Sprintf("limits:\n  in_flight: %d\n", overloadPlaces)
		if queue > 0 {
			limits += fmt.Sprintf("  queue: %d\n", queue)
		}
		return swap(t, config, "limits:\n", limits) + "\naudit: {output: file, file: " + o.records + "}\n"
	})
	// One request, so that the first run measures no compilation.
	if a := o.ask(time.Now()); a.err != nil || a.status != http.StatusOK {
		t.Fatalf("%+v", a)
	}
	return o
}

func (o *overload) upstream(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	now := o.now.Add(1)
	defer o.now.Add(-1)
	for most := o.most.Load(); now > most && !o.most.CompareAndSwap(most, now); most = o.most.Load() {
	}
	o.served.Add(1)
	time.Sleep(serviceTime)
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"data":{"me":{"name":"Cleo Marin"}}}`)
}

// asked is one request and its answer.
type asked struct {
	late   time.Duration // of the generator
	took   time.Duration
	status int
	retry  string
	body   []byte
	err    error
}

const overloadBody = `{"query":"{ me { name } }"}`

func (o *overload) ask(due time.Time) (a asked) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+o.data+"/graphql", io.MultiReader(strings.NewReader(overloadBody)))
	if err != nil {
		return asked{err: err}
	}
	r.ContentLength = int64(len(overloadBody))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/graphql-response+json")
	r.Header.Set("Authorization", "Bearer "+o.tokens["customer"])
	began := time.Now()
	a.late = began.Sub(due)
	res, err := o.transport.RoundTrip(r)
	if err != nil {
		return asked{err: err}
	}
	defer res.Body.Close()
	a.body, a.err = io.ReadAll(res.Body)
	a.took, a.status, a.retry = time.Since(began), res.StatusCode, res.Header.Get("Retry-After")
	return a
}

// run offers load times upstream's capacity for so long, and judges.
func (o *overload) run(t *testing.T, load float64, length time.Duration) {
	t.Helper()
	rate := load * capacity
	o.most.Store(0)
	served, spent, at := o.served.Load(), o.spent(t), o.recorded(t)
	random := rand.New(rand.NewPCG(9, uint64(load*2)))
	var group sync.WaitGroup
	var mu sync.Mutex
	var all []asked
	began := time.Now()
	offered := 0
	for due := began; due.Sub(began) < length; offered++ {
		time.Sleep(time.Until(due))
		group.Go(func() {
			a := o.ask(due)
			mu.Lock()
			all = append(all, a)
			mu.Unlock()
		})
		due = due.Add(time.Duration(random.ExpFloat64() / rate * float64(time.Second)))
	}
	group.Wait()
	spent = o.spent(t) - spent
	var admitted, refused, late []time.Duration
	for _, a := range all {
		late = append(late, a.late)
		switch {
		case a.err != nil:
			t.Errorf("no answer: %v", a.err)
		case a.status == http.StatusOK && bytes.Contains(a.body, []byte(`"Cleo Marin"`)):
			admitted = append(admitted, a.took)
		case a.status == http.StatusServiceUnavailable && a.retry != "" && bytes.Contains(a.body, []byte(`"code":"OVERLOADED"`)):
			refused = append(refused, a.took)
		default:
			t.Errorf("status %d, Retry-After %q, %s", a.status, a.retry, a.body)
		}
	}
	inside := o.refusals(t, at)
	fmt.Printf("%4.1fx %9.0f %9d %9d | %21s | %21s | %21s | %v; %v\n", load, float64(offered)/length.Seconds(), len(admitted), len(refused),
		spread(admitted), spread(refused), spread(inside), (spent / time.Duration(max(offered, 1))).Round(time.Microsecond), percentile(late, 99))
	o.agree(t, load, offered, len(all), len(admitted), len(refused), len(inside), o.served.Load()-served)
}

// agree compares what clients saw with what upstream, records and metrics have.
func (o *overload) agree(t *testing.T, load float64, offered, answered, admitted, refused, recorded int, served int64) {
	t.Helper()
	if answered != offered || admitted+refused != offered {
		t.Errorf("%gx: %d requests, %d answers, %d admitted, %d refused", load, offered, answered, admitted, refused)
	}
	if int64(admitted) != served {
		t.Errorf("%gx: %d were admitted, upstream served %d", load, admitted, served)
	}
	if recorded != refused {
		t.Errorf("%gx: %d were refused, %d stand in the records", load, refused, recorded)
	}
	if most := o.most.Load(); most > overloadPlaces {
		t.Errorf("%gx: upstream had %d at once, limits.in_flight is %d", load, most, overloadPlaces)
	}
	total, err := o.metric(`graphward_refusals_total{code="OVERLOADED"}`)
	if err != nil && refused > 0 {
		t.Fatal(err)
	}
	if total-o.refusedSoFar != float64(refused) {
		t.Errorf("%gx: %d were refused, /metrics says %g", load, refused, total-o.refusedSoFar)
	}
	o.refusedSoFar = total
}

// spent is the CPU time of the firewall so far.
func (o *overload) spent(t *testing.T) time.Duration {
	t.Helper()
	seconds, err := o.metric("process_cpu_seconds_total")
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(seconds * float64(time.Second))
}

// recorded is how long the audit file is once all that was asked is in it.
func (o *overload) recorded(t *testing.T) int64 {
	t.Helper()
	var size int64 = -1
	err := eventually(20*time.Second, func() error {
		info, err := os.Stat(o.records)
		if err != nil {
			return err
		}
		was := size
		if size = info.Size(); size != was {
			return fmt.Errorf("%s still grows", o.records)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// refusals are the durations of what was refused as OVERLOADED, by the records
// behind an offset.
func (o *overload) refusals(t *testing.T, from int64) (out []time.Duration) {
	t.Helper()
	o.recorded(t)
	f, err := os.Open(o.records)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var record struct {
			Code     string
			Duration int64 `json:"duration_us"`
		}
		if err := json.Unmarshal(lines.Bytes(), &record); err != nil {
			t.Fatalf("%v: %s", err, lines.Bytes())
		}
		if record.Code == "OVERLOADED" {
			out = append(out, time.Duration(record.Duration)*time.Microsecond)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func spread(of []time.Duration) string {
	if len(of) == 0 {
		return "-"
	}
	return fmt.Sprintf("%v / %v", percentile(of, 50), percentile(of, 99))
}

// percentile is exact; it sorts what it is given.
func percentile(of []time.Duration, p int) time.Duration {
	if len(of) == 0 {
		return 0
	}
	slices.Sort(of)
	return of[min(len(of)-1, len(of)*p/100)].Round(time.Microsecond)
}
