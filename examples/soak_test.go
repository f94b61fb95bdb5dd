//go:build siege

package examples_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestSoak holds the firewall at saturation with one hostile request in five.
// Before the clock starts, its plan cache, the only one that such traffic
// fills, is filled: it is bounded, and until it is full its growth would hide
// any other. After the warm-up (a fifth of the time, at least a minute) neither
// its resident set nor what its collector finds alive nor its goroutines may
// grow, no answer may be wrong, and when the traffic has ended no goroutine of
// it is left.
func TestSoak(t *testing.T) {
	length := duration(t, 30*time.Minute)
	warm := max(length/5, time.Minute)
	if length < 3*warm {
		t.Fatalf("DURATION=%v is too short: the warm-up takes %v", length, warm)
	}
	s := lay(t, func(config string) string { return swap(t, config, "limits:\n", "limits:\n  plan_cache: 16MiB\n") })
	s.fillCaches(t)
	if err := s.profile("heap-filled"); err != nil {
		t.Error(err)
	}
	before, err := s.sample(0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	done := make(chan *tally, 1)
	go func() { done <- s.attack(ctx, 32, false) }()
	samples := s.watch(t, ctx, length)
	got := <-done
	fmt.Printf("%d requests in %v (%.0f/s), %d wrong verdicts\n", got.shots.Load(), length, float64(got.shots.Load())/length.Seconds(), got.wrong.Load())
	for _, e := range got.examples {
		t.Error(e)
	}
	if got.wrong.Load() > 0 || got.shots.Load() == 0 {
		t.Errorf("%d of %d verdicts are wrong", got.wrong.Load(), got.shots.Load())
	}
	flat(t, samples, warm)
	s.idle(t, before.goroutines)
}

// sample is what the firewall holds at a time.
type sample struct {
	at         time.Duration
	resident   float64 // MiB
	target     float64 // MiB: where the next collection begins, twice what the last found alive
	goroutines float64
}

func (s *siege) sample(at time.Duration) (out sample, err error) {
	resident, err := residentSet(s.firewall.pid())
	if err != nil {
		return out, err
	}
	target, err1 := s.metric("go_memstats_next_gc_bytes")
	goroutines, err2 := s.metric("go_goroutines")
	return sample{at, float64(resident) / (1 << 20), target / (1 << 20), goroutines}, errors.Join(err1, err2)
}

// watch takes and prints sixty samples over the length of ctx. A sample that a
// busy machine misses is no verdict; most of them missing is.
func (s *siege) watch(t *testing.T, ctx context.Context, length time.Duration) (samples []sample) {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(length / 60)
	defer tick.Stop()
	missed := 0
	fmt.Println("   time      RSS MiB   GC target MiB   goroutines")
	for {
		select {
		case <-ctx.Done():
			if missed > 30 {
				t.Errorf("%d samples could not be taken", missed)
			}
			return samples
		case <-tick.C:
		}
		now, err := s.sample(time.Since(began))
		if err != nil {
			fmt.Println("no sample:", err)
			missed++
			continue
		}
		samples = append(samples, now)
		fmt.Printf("%7.0fs %12.1f %15.1f %12.0f\n", now.at.Seconds(), now.resident, now.target, now.goroutines)
		if err := s.profile(fmt.Sprintf("heap-%05.0f", now.at.Seconds())); err != nil {
			t.Error(err)
		}
	}
}

// flat wants each curve level after the warm-up, by two measures: the medians
// of its halves, and the rise of the line that fits it best. One tenth and 8
// MiB are the collector's own breathing; goroutines come and go with the
// requests in flight, of which there are at most as many as workers.
func flat(t *testing.T, samples []sample, warm time.Duration) {
	t.Helper()
	for len(samples) > 0 && samples[0].at < warm {
		samples = samples[1:]
	}
	if len(samples) < 10 {
		t.Fatalf("%d samples after the warm-up are too few", len(samples))
	}
	for _, curve := range []struct {
		name  string
		of    func(sample) float64
		slack float64
	}{
		{"RSS, MiB", func(s sample) float64 { return s.resident }, 8},
		{"GC target, MiB", func(s sample) float64 { return s.target }, 8},
		{"goroutines", func(s sample) float64 { return s.goroutines }, 32},
	} {
		first, second := median(samples[:len(samples)/2], curve.of), median(samples[len(samples)/2:], curve.of)
		rise := rise(samples, curve.of)
		fmt.Printf("%s: median %.1f in the first half after %v, %.1f in the second; the fitted line rises by %.1f\n", curve.name, first, warm, second, rise)
		if most := first/10 + curve.slack; second-first > most || rise > most {
			t.Errorf("%s: it grows by more than %.1f", curve.name, most)
		}
	}
}

func median(samples []sample, of func(sample) float64) float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// rise is how much the least-squares line rises from the first sample to the last.
func rise(samples []sample, of func(sample) float64) float64 {
	var x, y, xx, xy, n float64
	for _, s := range samples {
		at, value := s.at.Seconds(), of(s)
		x, y, xx, xy, n = x+at, y+value, xx+at*at, xy+at*value, n+1
	}
	return (n*xy - x*y) / (n*xx - x*x) * (samples[len(samples)-1].at - samples[0].at).Seconds()
}

// idle waits until the firewall has no more goroutines than before the traffic.
func (s *siege) idle(t *testing.T, before float64) {
	t.Helper()
	var now float64
	err := eventually(time.Minute, func() (err error) {
		if now, err = s.metric("go_goroutines"); err == nil && now > before {
			err = fmt.Errorf("%.0f goroutines are left, %.0f were there before the traffic", now, before)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	fmt.Printf("goroutines when idle: %.0f before, %.0f after\n", before, now)
}

// fillCaches sends documents that have never been seen, far more than the plan
// cache of the siege can hold.
func (s *siege) fillCaches(t *testing.T) {
	t.Helper()
	const documents = 10_000
	var next atomic.Int64
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			transport := &http.Transport{MaxConnsPerHost: 1, DisableCompression: true}
			defer transport.CloseIdleConnections()
			for i := next.Add(1); i <= documents; i = next.Add(1) {
				x := shot{name: "filling", as: "customer", status: 200, holds: `"Cleo Marin"`,
					body: fmt.Sprintf(`{"query":"{ f%d: me { %s} }"}`, i, numbered("a%d: name ", 55))}
				if _, err := s.fire(transport, &x); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	fmt.Printf("the plan cache was filled with %d documents\n", documents)
}
