package cost

import (
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/graphward/graphward/schema"
)

// hostileSDL is adversarialSchema with 60 more object types, whose leaf has a
// price of its own on each.
func hostileSDL() string {
	var b strings.Builder
	b.WriteString(adversarialSchema)
	for i := range 60 {
		fmt.Fprintf(&b, "type U%d implements N { a: N b: N c: N list(first: Int): [N] leaf: Int @cost(weight: \"%d\") }\n", i, i)
	}
	return b.String()
}

// hostileFamilies build documents of some n selections that are made to be dear.
var hostileFamilies = []struct {
	name  string
	build func(n int) string
}{
	{"chain", func(n int) string { return chain(n / 3) }},
	{"wide", func(n int) string { return wide(n / 6) }},
	{"deep", func(n int) string {
		depth := min(n/2, 180)
		return "{ n " + strings.Repeat("{"+strings.Repeat(" leaf", n/depth-1)+" a ", depth) + "{ leaf }" + strings.Repeat(" }", depth) + " }"
	}},
	{"siblings", func(n int) string {
		return "{ n { ...F" + strings.Repeat(" leaf a { leaf }", n/3) + " } } fragment F on N { leaf }"
	}},
	{"subsets", func(n int) string {
		width := max(2, int(math.Sqrt(float64(n)/2)))
		return subsets(width, width)
	}},
	{"fragment in many places", func(n int) string {
		return many(n/6, "k%[1]d: a { leaf ...F }", "") + " fragment F on N {" + repeat(n/2, " x%[1]d: leaf") + " }"
	}},
	{"type conditions", func(n int) string { return many(n/2, "... on U%[2]d { k%[1]d: leaf }", "") }},
	{"type conditions nested", func(n int) string {
		return many(n/3, "... on N { ... on U%[2]d { leaf } }", "")
	}},
	{"prices by type", func(n int) string { return many(n, "k%[1]d: leaf", "") }},
	{"conditions", func(n int) string {
		return many(n/2, "...F @include(if: $v%[3]d)", "query("+repeat(8, "$v%[1]d: Boolean! ")+")") + " fragment F on N {" + repeat(n/2, " x%[1]d: leaf") + " }"
	}},
	{"conditions in a chain", func(n int) string {
		var b strings.Builder
		b.WriteString("query(" + repeat(8, "$v%[1]d: Boolean! ") + ") { n { ...F0 } }")
		for i := range n / 2 {
			fmt.Fprintf(&b, " fragment F%d on N { leaf ...F%d @include(if: $v%d) }", i, i+1, i%8)
		}
		return b.String() + fmt.Sprintf(" fragment F%d on N { leaf }", n/2)
	}},
	{"repeated arguments", func(n int) string { return many(n/2, "list(first: 3) { leaf }", "") }},
}

// many selects k times on n; %[1]d is which, %[2]d that modulo the number of
// types, %[3]d modulo that of variables.
func many(k int, selection, head string) string {
	return head + " { n { leaf " + repeat(k, selection+" ") + "} }"
}

func repeat(k int, selection string) string {
	var b strings.Builder
	for i := range k {
		b.WriteString(strings.TrimSuffix(fmt.Sprintf(selection+"%[1]d%[2]d%[3]d", i, i%60, i%8), fmt.Sprintf("%d%d%d", i, i%60, i%8)))
	}
	return b.String()
}

// Sizes, in selections: the smallest document and the largest.
const leastSelections, mostSelections = 60, 2000

// hostileGrowth is how much dearer a document may be than one half as large.
const hostileGrowth = 2.5

func hostileModel(tb testing.TB, profile Profile) *Model {
	tb.Helper()
	m, err := NewModel(loadSchema(tb, hostileSDL()), Options{Profile: profile})
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// eachDoubling compiles the document of each size and hands over it and the one
// half as large, with the sizes that they have.
func eachDoubling(tb testing.TB, s *schema.Schema, build func(n int) string, f func(half, full *schema.Operation)) {
	var half *schema.Operation
	for n := leastSelections; n <= mostSelections; n *= 2 {
		full, err := s.Compile(build(n), "", openLimits)
		if err != nil {
			tb.Fatalf("%v\n%.2000s", err, build(n))
		}
		if half != nil {
			f(half, full)
		}
		half = full
	}
}

// TestLinearWork holds, without a clock, that twice the document is at most two
// and a half times the work, before the budget and past it, and that no document
// gives up on what one of twice its size does, which would be a step between them.
func TestLinearWork(t *testing.T) {
	for _, profile := range []Profile{Default, IBM} {
		m := hostileModel(t, profile)
		for _, family := range hostileFamilies {
			eachDoubling(t, m.schema, family.build, func(half, full *schema.Operation) {
				var work, selections [2]int
				var approximate [2]bool
				for i, op := range []*schema.Operation{half, full} {
					p, err := m.Compile(op)
					if err != nil {
						t.Fatal(err)
					}
					c := newCompiler(m, op)
					work[i], selections[i], approximate[i] = p.work, c.selected, p.approximate
					c.release()
				}
				if approximate[0] && !approximate[1] {
					t.Errorf("%s, %s: approximate for %d selections, exact for %d", profile, family.name, selections[0], selections[1])
				}
				allowed := hostileGrowth * float64(selections[1]) / float64(2*selections[0])
				if growth := float64(work[1]) / float64(work[0]); growth > allowed {
					t.Errorf("%s, %s: %d for %d selections, %d for %d: %.2f times as much", profile, family.name, work[0], selections[0], work[1], selections[1], growth)
				}
			})
		}
	}
}

// BenchmarkHostile prints the worst of each family of up to 2,000 selections, and
// in the end the worst of all: the CPU time of compiling a document, in
// milliseconds, and what that allocates, for the largest; how its CPU time grows
// from a document half as large, garbage collection excluded, at every size.
func BenchmarkHostile(b *testing.B) {
	m := hostileModel(b, IBM)
	var ms, bytes, growth float64
	var slowest, fattest, grown string
	for _, family := range hostileFamilies {
		b.Run(strings.ReplaceAll(family.name, " ", "-"), func(b *testing.B) {
			var cpu, allocated, most float64
			for b.Loop() {
				most = 0
				eachDoubling(b, m.schema, family.build, func(half, full *schema.Operation) {
					g := compileGrowth(b, m, half, full)
					if most = max(most, g); g > growth {
						growth, grown = g, fmt.Sprintf("%s from %d to %d tokens", family.name, half.Shape.Tokens, full.Shape.Tokens)
					}
					cpu = compileTime(b, m, full, 10*time.Millisecond).Seconds() * 1000
					allocated = compileBytes(m, full)
				})
			}
			if cpu > ms {
				ms, slowest = cpu, family.name
			}
			if allocated > bytes {
				bytes, fattest = allocated, family.name
			}
			reportHostile(b, cpu, allocated, most)
		})
	}
	b.Run("worst-of-all", func(b *testing.B) {
		for b.Loop() {
			continue
		}
		reportHostile(b, ms, bytes, growth)
		b.Logf("%.2f ms of CPU (bar 10): %s", ms, slowest)
		b.Logf("%.2f MiB allocated (bar 8): %s", bytes/(1<<20), fattest)
		b.Logf("growth %.2f (bar %.1f): %s", growth, hostileGrowth, grown)
	})
}

func reportHostile(b *testing.B, ms, bytes, growth float64) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms, "ms-cpu/doc")
	b.ReportMetric(bytes/(1<<20), "MiB/doc")
	b.ReportMetric(growth, "growth")
}

// compileGrowth is the median of five ratios of the CPU times of two operations,
// each of which is the least of three, without garbage collection in between. The
// two take turns, so that what else the machine does bears on both.
func compileGrowth(tb testing.TB, m *Model, half, full *schema.Operation) float64 {
	const least = 300 * time.Microsecond
	var ratios []float64
	for range 5 {
		runtime.GC()
		percent := debug.SetGCPercent(-1)
		less, more := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
		for range 3 {
			less = min(less, compileTime(tb, m, half, least))
			more = min(more, compileTime(tb, m, full, least))
		}
		debug.SetGCPercent(percent)
		ratios = append(ratios, float64(more)/float64(less))
	}
	slices.Sort(ratios)
	return ratios[2]
}

// compileTime is the process's CPU time for compiling an operation once, over as
// many times as take the least time that can be told.
func compileTime(tb testing.TB, m *Model, op *schema.Operation, least time.Duration) time.Duration {
	start := cpuTime(tb)
	for n := time.Duration(1); ; n++ {
		if _, err := m.Compile(op); err != nil {
			tb.Fatal(err)
		}
		if spent := cpuTime(tb) - start; spent >= least {
			return spent / n
		}
	}
}

func compileBytes(m *Model, op *schema.Operation) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _ = m.Compile(op)
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc - before.TotalAlloc)
}

func cpuTime(tb testing.TB) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
