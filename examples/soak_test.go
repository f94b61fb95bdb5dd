//go:build siege

package examples_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestSoak holds the firewall at saturation with one hostile request in five.
// Before the clock starts, its caches are filled: they are bounded, and until
// they are full their growth would hide any other. After the warm-up (a fifth
// of the time, at least a minute) neither its resident set nor its goroutines
// may grow, and no answer may be wrong.
func TestSoak(t *testing.T) {
	length := duration(t, 30*time.Minute)
	warm := max(length/5, time.Minute)
	if length < 3*warm {
		t.Fatalf("DURATION=%v is too short: the warm-up takes %v", length, warm)
	}
	s := lay(t, func(config string) string { return config })
	s.fillCaches(t)
	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	done := make(chan *tally, 1)
	go func() { done <- s.attack(ctx, 32, false) }()
	var samples []sample
	began := time.Now()
	tick := time.NewTicker(length / 60)
	defer tick.Stop()
	fmt.Println("   time      RSS MiB   goroutines")
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			now, err := s.sample(time.Since(began))
			if err != nil {
				t.Error(err)
				continue
			}
			samples = append(samples, now)
			fmt.Printf("%7.0fs %12.1f %12.0f\n", now.at.Seconds(), float64(now.resident)/(1<<20), now.goroutines)
		}
	}
	got := <-done
	fmt.Printf("%d requests in %v (%.0f/s), %d wrong verdicts\n", got.shots.Load(), length, float64(got.shots.Load())/length.Seconds(), got.wrong.Load())
	for _, e := range got.examples {
		t.Error(e)
	}
	if got.wrong.Load() > 0 || got.shots.Load() == 0 {
		t.Errorf("%d of %d verdicts are wrong", got.wrong.Load(), got.shots.Load())
	}
	flat(t, samples, warm)
}

type sample struct {
	at         time.Duration
	resident   int64
	goroutines float64
}

func (s *siege) sample(at time.Duration) (sample, error) {
	resident, err := residentSet(s.firewall.pid())
	if err != nil {
		return sample{}, err
	}
	goroutines, err := s.metric("go_goroutines")
	return sample{at, resident, goroutines}, err
}

// flat compares the first with the last third after the warm-up: 10 % and
// 8 MiB are the collector's own breathing, 16 goroutines that of connections.
func flat(t *testing.T, samples []sample, warm time.Duration) {
	t.Helper()
	for len(samples) > 0 && samples[0].at < warm {
		samples = samples[1:]
	}
	third := len(samples) / 3
	if third < 3 {
		t.Fatalf("%d samples after the warm-up are too few", len(samples))
	}
	mean := func(part []sample) (resident, goroutines float64) {
		for _, p := range part {
			resident += float64(p.resident) / float64(len(part))
			goroutines += p.goroutines / float64(len(part))
		}
		return resident, goroutines
	}
	resident0, goroutines0 := mean(samples[:third])
	resident1, goroutines1 := mean(samples[len(samples)-third:])
	fmt.Printf("RSS %.1f -> %.1f MiB, goroutines %.0f -> %.0f (means of the first and the last third after %v)\n",
		resident0/(1<<20), resident1/(1<<20), goroutines0, goroutines1, warm)
	if resident1 > resident0*1.1+8<<20 {
		t.Error("the resident set grows")
	}
	if goroutines1 > goroutines0*1.1+16 {
		t.Error("the goroutines grow")
	}
}

// fillCaches sends large documents, each once, until the resident set no
// longer grows with them.
func (s *siege) fillCaches(t *testing.T) {
	t.Helper()
	const step, most = 2000, 60_000
	var last int64
	for n := 0; n < most; n += step {
		var next atomic.Int64
		var group sync.WaitGroup
		for range 16 {
			group.Go(func() {
				transport := &http.Transport{MaxConnsPerHost: 1, DisableCompression: true}
				defer transport.CloseIdleConnections()
				for i := next.Add(1); i <= step; i = next.Add(1) {
					x := shot{name: "filling", as: "customer", status: 200, holds: `"Cleo Marin"`,
						body: fmt.Sprintf(`{"query":"{ f%d: me { %s} }"}`, n+int(i), numbered("a%d: name ", 55))}
					if _, err := s.fire(transport, &x); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		group.Wait()
		now, err := residentSet(s.firewall.pid())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("filled with %d documents: RSS %.1f MiB\n", n+step, float64(now)/(1<<20))
		if now < last+last/50 {
			return
		}
		last = now
	}
}
