package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"text/tabwriter"
)

// row is what was measured of one target under one workload.
type row struct {
	target *target
	bursts []burst
}

// report is what --json prints. Times are seconds; cpu is CPU-seconds for
// 1,000 requests.
type report struct {
	Go         string           `json:"go"`
	CPUs       int              `json:"cpus"`
	Procs      int              `json:"gomaxprocs,omitzero"` // 0: Go's default
	Rounds     int              `json:"rounds"`
	Duration   float64          `json:"duration"`
	Workloads  []workloadReport `json:"workloads"`
	Connection int              `json:"connections"`
}

type workloadReport struct {
	Name    string         `json:"name"`
	About   string         `json:"about"`
	Rate    float64        `json:"rate,omitzero"` // 0: as fast as answers come
	Targets []targetReport `json:"targets"`
}

// targetReport has medians over the rounds; ratios are to the bare proxy.
type targetReport struct {
	Name       string  `json:"name"`
	Throughput float64 `json:"throughput"`
	P50        float64 `json:"p50"`
	P99        float64 `json:"p99"`
	CPU        float64 `json:"cpu"`
	Mallocs    float64 `json:"mallocs,omitzero"` // objects allocated for a request; 0: not known
	PeakRSS    int64   `json:"peak_rss"`

	ThroughputRatio ratio `json:"throughput_ratio"`
	P50Ratio        ratio `json:"p50_ratio"`
	P99Ratio        ratio `json:"p99_ratio"`
	CPURatio        ratio `json:"cpu_ratio"`
}

// ratio is taken in each round against the bare proxy in the same round.
type ratio struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	// Low and High are the distribution-free interval of the median with the
	// coverage Confidence, which is at least 0.95 from six rounds on.
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	Confidence float64 `json:"confidence"`
}

func newReport(c *compareCommand) *report {
	return &report{Go: runtime.Version(), CPUs: runtime.NumCPU(), Procs: c.Procs, Rounds: c.Rounds, Duration: c.Duration.Seconds(), Connection: c.Connections}
}

func (r *report) add(name, about string, rate float64, rows []row) {
	w := workloadReport{Name: name, About: about, Rate: rate}
	base := rows[0].bursts
	for _, row := range rows {
		t := targetReport{Name: row.target.name}
		of := func(field func(burst) float64) (float64, ratio) {
			values, ratios := make([]float64, len(base)), make([]float64, len(base))
			for i := range base {
				values[i] = field(row.bursts[i])
				ratios[i] = quotient(values[i], field(base[i]))
			}
			return median(values), newRatio(ratios)
		}
		t.Throughput, t.ThroughputRatio = of(func(b burst) float64 { return b.throughput })
		t.P50, t.P50Ratio = of(func(b burst) float64 { return b.p50 })
		t.P99, t.P99Ratio = of(func(b burst) float64 { return b.p99 })
		t.CPU, t.CPURatio = of(func(b burst) float64 { return b.cpu })
		if t.Mallocs, _ = of(func(b burst) float64 { return b.mallocs }); math.IsNaN(t.Mallocs) {
			t.Mallocs = 0
		}
		for _, b := range row.bursts {
			t.PeakRSS = max(t.PeakRSS, b.rss)
		}
		w.Targets = append(w.Targets, t)
	}
	r.Workloads = append(r.Workloads, w)
}

// quotient is 0 where there is nothing to compare with.
func quotient(value, base float64) float64 {
	if base == 0 || math.IsNaN(value) || math.IsNaN(base) {
		return 0
	}
	return value / base
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// newRatio takes the order statistics that enclose the median with a
// probability of at least 0.95 (sign test), or all of them when there are too
// few.
func newRatio(values []float64) ratio {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	r := ratio{Median: median(values), Min: sorted[0], Max: sorted[n-1], Low: sorted[0], High: sorted[n-1]}
	outside, term := 0.0, math.Pow(0.5, float64(n)) // P(fewer than k+1 values below the median)
	for k := 0; k < (n+1)/2; k++ {
		outside += term
		term *= float64(n-k) / float64(k+1)
		if k > 0 && 1-2*outside < 0.95 {
			break
		}
		r.Low, r.High, r.Confidence = sorted[k], sorted[n-1-k], 1-2*outside
	}
	return r
}

// print writes a table for people.
func (r *report) print(out io.Writer) error {
	for _, w := range r.Workloads {
		fmt.Fprintf(out, "\n%s: %s", w.Name, w.About)
		if w.Rate > 0 {
			fmt.Fprintf(out, "; %.0f requests/s", w.Rate)
		}
		fmt.Fprintln(out)
		t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprint(t, "\treq/s\tp50 µs\tp99 µs\tCPU s/1,000\tallocs\tpeak RSS\tCPU ratio\tthroughput ratio\tp99 ratio\t\n")
		for i, row := range w.Targets {
			fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f\t%.4f\t%.1f\t%.1f MB\t", row.Name, row.Throughput, row.P50*1e6, row.P99*1e6, row.CPU, row.Mallocs, float64(row.PeakRSS)/1e6)
			if i > 0 {
				fmt.Fprintf(t, "%s\t%s\t%s\t", row.CPURatio, row.ThroughputRatio, row.P99Ratio)
			}
			fmt.Fprintln(t)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "\nRatios are to bare in the same round: the median [interval of the median] over the rounds; %s, %d CPUs.\n", r.Go, r.CPUs)
	return err
}

func (r ratio) String() string { return fmt.Sprintf("%.2f [%.2f %.2f]", r.Median, r.Low, r.High) }
