package budget

import (
	"fmt"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

const benchClients = 1_000_000

// fill makes a ledger that knows every client, and says how much memory it took.
func fill(b *testing.B, window Window) (*Memory, []string, float64) {
	b.Helper()
	keys := make([]string, benchClients)
	for i := range keys {
		keys[i] = Key(Holder(KindSubject, "https://issuer.example", "user-"+strconv.Itoa(i)), "cost")
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	ledger := NewMemory(MemoryOptions{})
	for _, key := range keys {
		if _, err := ledger.Spend(b.Context(), []Charge{{Key: key, Window: window, Amount: 1, Final: true}}); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	return ledger, keys, float64(after.HeapAlloc-before.HeapAlloc) / benchClients
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
	for _, parallel := range []bool{false, true} {
		b.Run(fmt.Sprintf("parallel=%v", parallel), func(b *testing.B) {
			ledger, keys, bytes := fill(b, window)
			b.ReportAllocs()
			b.ResetTimer()
			defer reportCPU(b)()
			one := func(i int, charges []Charge, actual []float64) {
				charges[0].Key = keys[i*7919%benchClients]
				receipt, err := ledger.Spend(b.Context(), charges)
				if err != nil {
					b.Fatal(err)
				}
				if err := ledger.Settle(b.Context(), receipt, actual); err != nil {
					b.Fatal(err)
				}
			}
			if !parallel {
				charges, actual := []Charge{{Window: window, Amount: 10}}, []float64{5}
				for i := 0; b.Loop(); i++ {
					one(i, charges, actual)
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					charges, actual := []Charge{{Window: window, Amount: 10}}, []float64{5}
					for i := 0; pb.Next(); i++ {
						one(i, charges, actual)
					}
				})
			}
			b.ReportMetric(bytes, "B/client")
		})
	}
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
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		receipt, err := ledger.Spend(b.Context(), charges)
		if err != nil {
			b.Fatal(err)
		}
		if err := ledger.Settle(b.Context(), receipt, actual); err != nil {
			b.Fatal(err)
		}
	}
}
