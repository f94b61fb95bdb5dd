package budget

import (
	"bytes"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/alicebob/miniredis/v2"
)

const benchClients = 1_000_000

// benchKey is a key whose client can be changed in place, so that a benchmark measures the ledger and not the fetching of a million strings
// from memory: in the pipeline the key was made a moment before.
type benchKey struct{ text, digits []byte }

func newBenchKey() *benchKey {
	k := &benchKey{text: []byte(Key(Holder(KindSubject, "https://issuer.example", "user-0000000"), "cost"))}
	at := bytes.Index(k.text, []byte("0000000"))
	k.digits = k.text[at : at+7]
	return k
}

// client is the key of client i; it changes with the next call.
func (k *benchKey) client(i int) string {
	for at := len(k.digits) - 1; at >= 0; at-- {
		k.digits[at] = byte('0' + i%10)
		i /= 10
	}
	return unsafe.String(&k.text[0], len(k.text))
}

// fill makes a ledger that knows every client, and says how much memory it took for each.
func fill(b *testing.B, window Window) (*Memory, float64) {
	b.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	ledger := NewMemory(MemoryOptions{})
	key := newBenchKey()
	charge := []Charge{{Window: window, Amount: 1, Final: true}}
	for i := range benchClients {
		charge[0].Key = key.client(i)
		if _, err := ledger.Spend(b.Context(), charge); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if n := ledger.Stats().Buckets; n != benchClients {
		b.Fatalf("%d buckets for %d clients", n, benchClients)
	}
	return ledger, float64(after.HeapAlloc-before.HeapAlloc) / benchClients
}

// reportCPU reports the process's CPU time an operation, which a busy machine does not stretch as it does ns/op.
func reportCPU(b *testing.B) func() {
	start := cpuTime(b)
	return func() { b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N), "cpu-ns/op") }
}

func cpuTime(b *testing.B) int64 {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// BenchmarkMemory spends and settles one charge for one of a million live clients, each time another.
func BenchmarkMemory(b *testing.B) {
	window := Window{Amount: 100_000, Per: 365 * 24 * time.Hour} // a unit takes five minutes: none becomes idle
	ledger, bytes := fill(b, window)
	loop := func(next func() bool) {
		key := newBenchKey()
		charges, actual := []Charge{{Window: window, Amount: 10}}, []float64{5}
		var receipt Receipt
		for i := 0; next(); i++ {
			charges[0].Key = key.client(i * 7919 % benchClients)
			if err := ledger.reserve(b.Context(), &receipt, charges); err != nil {
				b.Error(err)
				return
			}
			if err := ledger.Settle(b.Context(), receipt, actual); err != nil {
				b.Error(err)
				return
			}
		}
	}
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		report := reportCPU(b)
		loop(b.Loop)
		report()
		b.ReportMetric(bytes, "B/client")
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		report := reportCPU(b)
		b.RunParallel(func(pb *testing.PB) { loop(pb.Next) })
		report()
		b.ReportMetric(bytes, "B/client")
	})
}

// BenchmarkMemoryAdmission is what the pipeline spends for one operation: requests, a slot and cost in one call.
func BenchmarkMemoryAdmission(b *testing.B) {
	ledger := NewMemory(MemoryOptions{})
	holder := Holder(KindSubject, "https://issuer.example", "alice")
	charges := []Charge{
		{Key: Key(holder, "requests"), Window: Window{Amount: 1 << 40, Per: time.Minute}, Amount: 1, Final: true},
		{Key: Key(holder, "in_flight"), Window: Window{Amount: 50}, Amount: 1},
		{Key: Key(holder, "cost"), Window: Window{Amount: 1 << 40, Per: time.Minute}, Amount: 100},
	}
	actual := []float64{1, 1, 40}
	var receipt Receipt
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		if err := ledger.reserve(b.Context(), &receipt, charges); err != nil {
			b.Fatal(err)
		}
		if err := ledger.Settle(b.Context(), receipt, actual); err != nil {
			b.Fatal(err)
		}
	}
}

// benchStore is a server for a benchmark: the real one when it is installed.
func benchStore(b *testing.B) (*Redis, *roundTrips) {
	b.Helper()
	url := ""
	if binary := redisBinary(b); binary != "" {
		url = startRedis(b, binary).url()
	} else {
		url = "redis://" + miniredis.RunT(b).Addr()
	}
	r := mustRedis(b, RedisOptions{URL: url, Timeout: patience})
	trips := new(roundTrips)
	r.client.AddHook(trips)
	return r, trips
}

func benchOperations(b *testing.B, ledger Ledger, trips *roundTrips) {
	charges := operation("alice", 100)
	for i := range charges {
		if !charges[i].Window.Slots() {
			charges[i].Window.Amount = 1 << 40
		}
	}
	run := func() bool {
		receipt, err := ledger.Spend(b.Context(), charges)
		if err != nil {
			b.Error(err)
			return false
		}
		if err := ledger.Settle(b.Context(), receipt, []float64{1, 1, 40}); err != nil {
			b.Error(err)
			return false
		}
		return true
	}
	for range 1000 { // loads the scripts, and the slices grow
		run()
	}
	trips.commands.Store(0)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() && run() {
			continue
		}
	})
	b.ReportMetric(float64(trips.commands.Load())/float64(b.N), "trips/op")
}

// BenchmarkRedis is one operation of three charges: a spend and a settlement are two round trips.
func BenchmarkRedis(b *testing.B) {
	r, trips := benchStore(b)
	benchOperations(b, r, trips)
}

// BenchmarkLeasing is the same with slices taken ahead.
func BenchmarkLeasing(b *testing.B) {
	r, trips := benchStore(b)
	ledger := NewLeasing(r, LeasingOptions{})
	defer ledger.Close()
	benchOperations(b, ledger, trips)
}
