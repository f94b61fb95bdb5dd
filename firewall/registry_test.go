//go:build registry

package firewall_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/graphward/graphward/firewall"
)

// registryEntries is how many operations TestRegistry registers: GRAPHWARD_BENCH_ENTRIES, else a million.
func registryEntries(t *testing.T) int {
	t.Helper()
	text := os.Getenv("GRAPHWARD_BENCH_ENTRIES")
	if text == "" {
		return 1_000_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// writeRegistry writes a map of n documents of 512 bytes. Ids do not depend on the version; texts do.
func writeRegistry(t *testing.T, file string, n, version int) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	_, _ = w.WriteString("{")
	for i := range n {
		text := fmt.Sprintf(`query V%dOperation%d { posts { id } `, version, i)
		text += strings.Repeat(`\n`, 511-len(text)) + "}"
		comma := ","
		if i == 0 {
			comma = ""
		}
		_, _ = fmt.Fprintf(w, `%s"%032x":"%s"`, comma, i, text)
	}
	_, _ = w.WriteString("}")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// timed prints what a step takes, by the clock and in processor time.
func timed(t *testing.T, what string, step func()) {
	t.Helper()
	before, began := processorTime(t), time.Now()
	step()
	t.Logf("%-44s %6.2f s  %6.2f CPU-s", what, time.Since(began).Seconds(), (processorTime(t) - before).Seconds())
}

// TestRegistry prints what a registry of a million operations takes: start with the index that publish writes, start without,
// and a swap of all of it under load. It fails when a request fails, or the firewall is ready too early.
func TestRegistry(t *testing.T) {
	n := registryEntries(t)
	dir := t.TempDir()
	plain, live := filepath.Join(dir, "plain.json"), filepath.Join(dir, "live.json")
	var versions [2]*firewall.Publication
	for v := range versions {
		writeRegistry(t, plain, n, v)
		timed(t, fmt.Sprintf("judging %d operations of 512 bytes", n), func() {
			var err error
			if versions[v], err = firewall.PreparePublication(t.Context(), registering(t, firewall.ManifestConfig{File: plain}), firewall.ManifestConfig{File: plain}); err != nil {
				t.Fatal(err)
			}
		})
	}
	publish := func(v int) {
		t.Helper()
		if _, err := versions[v].Publish(t.Context(), live, ""); err != nil {
			t.Fatal(err)
		}
		versions[v] = nil
	}
	publish(0)
	before := heap()
	c := registering(t, firewall.ManifestConfig{File: live})
	var f *firewall.Firewall
	timed(t, "start with the index", func() { f = opened(t, c) })
	if ok, body := ready(t, f); !ok {
		t.Errorf("it is not ready at once: %s", body)
	}
	one := int64(heap()) - int64(before)
	t.Logf("%-44s %6.0f", "bytes per entry, all that the firewall holds", float64(one)/float64(n))

	ctx, stop := context.WithCancel(t.Context())
	var served, failed atomic.Int64
	var workers sync.WaitGroup
	for w := range 3 {
		workers.Go(func() {
			for i := w; ctx.Err() == nil; i += 7919 {
				if res := post(t, f, map[string]any{"documentId": fmt.Sprintf("%032x", i%n)}); res.Code != http.StatusOK {
					failed.Add(1)
				}
				served.Add(1)
			}
		})
	}
	publish(1)
	next := *c
	timed(t, "swap of all of them under load", func() {
		if err := f.Reload(t.Context(), &next); err != nil {
			t.Error(err)
		}
	})
	stop()
	workers.Wait()
	t.Logf("%-44s %6d requests, failures=%d", "meanwhile", served.Load(), failed.Load())
	if failed.Load() > 0 || served.Load() == 0 {
		t.Error("requests failed, or none were served, during the swap")
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%-44s %6d MiB before, %d MiB from the system at most, for two generations", "heap", one>>20, m.HeapSys>>20)

	slow := registering(t, firewall.ManifestConfig{File: plain})
	timed(t, "start without an index, in the background", func() {
		late := opened(t, slow)
		if ok, _ := ready(t, late); ok && n > 50_000 {
			t.Error("it is ready before the manifest is loaded")
		}
		for ok := false; !ok; ok, _ = ready(t, late) {
			time.Sleep(20 * time.Millisecond)
		}
		if !answers(t, late, fmt.Sprintf("%032x", n-1)) {
			t.Error("it is ready without the last entry")
		}
	})
}
