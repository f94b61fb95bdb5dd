package cost

import (
	"sort"
	"testing"

	"github.com/graphward/graphward/schema"
)

// median returns the operation of the corpus whose text has the median length.
func (c *corpus) median() (*schema.Operation, *schema.Variables) {
	order := make([]int, len(c.operations))
	for i := range order {
		order[i] = i
	}
	sort.Slice(order, func(i, j int) bool { return len(c.operations[order[i]].Text) < len(c.operations[order[j]].Text) })
	i := order[len(order)/2]
	return c.operations[i], c.variables[i]
}

func BenchmarkEstimateMedian(b *testing.B) {
	c := loadCorpus(b, "artsy")
	m, err := NewModel(c.schema, Options{})
	if err != nil {
		b.Fatal(err)
	}
	op, vars := c.median()
	p, err := m.Compile(op)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Estimate(vars); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEstimateCorpus prices every operation of a corpus in turn; ns/op is
// for the whole corpus, ns/estimate for one.
func BenchmarkEstimateCorpus(b *testing.B) {
	for _, name := range []string{"artsy", "saleor"} {
		b.Run(name, func(b *testing.B) {
			c := loadCorpus(b, name)
			m, err := NewModel(c.schema, Options{})
			if err != nil {
				b.Fatal(err)
			}
			programs := make([]*Program, len(c.operations))
			for i, op := range c.operations {
				if programs[i], err = m.Compile(op); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				for i, p := range programs {
					if _, err := p.Estimate(c.variables[i]); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(programs)), "ns/estimate")
		})
	}
}

// BenchmarkCompileCorpus compiles every operation; µs/KB is per kilobyte of
// canonical text.
func BenchmarkCompileCorpus(b *testing.B) {
	for _, name := range []string{"artsy", "saleor"} {
		b.Run(name, func(b *testing.B) {
			c := loadCorpus(b, name)
			m, err := NewModel(c.schema, Options{})
			if err != nil {
				b.Fatal(err)
			}
			size := 0
			for _, op := range c.operations {
				size += len(op.Text)
			}
			b.ReportAllocs()
			for b.Loop() {
				for _, op := range c.operations {
					if _, err := m.Compile(op); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/(float64(size)/1024), "µs/KB")
		})
	}
}

// BenchmarkCompileKilobyte compiles the operation of artsy nearest to 1 KB.
func BenchmarkCompileKilobyte(b *testing.B) {
	c := loadCorpus(b, "artsy")
	m, err := NewModel(c.schema, Options{})
	if err != nil {
		b.Fatal(err)
	}
	best := c.operations[0]
	for _, op := range c.operations {
		if abs(len(op.Text)-1024) < abs(len(best.Text)-1024) {
			best = op
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Compile(best); err != nil {
			b.Fatal(err)
		}
	}
}

func abs(n int) int { return max(n, -n) }
