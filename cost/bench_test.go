package cost

import (
	"sort"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"

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

// sample writes a response in which every list has members many members and
// object types take turns.
type sample struct {
	*reference
	members int
	turn    int
	body    []byte
}

func (s *sample) object(sets []ast.SelectionSet, typeName string) {
	objects := s.objects(typeName)
	object := objects[s.turn%len(objects)]
	s.turn++
	s.body = append(s.body, '{')
	for i, g := range s.collect(sets, object) {
		if i > 0 {
			s.body = append(s.body, ',')
		}
		s.body = append(s.body, '"')
		s.body = append(s.body, g.key...)
		s.body = append(s.body, `":`...)
		if g.fields[0].Name == "__typename" {
			s.body = append(append(append(s.body, '"'), object.Name...), '"')
			continue
		}
		s.value(g, object.Fields.ForName(g.fields[0].Name).Type)
	}
	s.body = append(s.body, '}')
}

func (s *sample) value(g refGroup, t *ast.Type) {
	if t.Elem != nil {
		s.body = append(s.body, '[')
		for i := range s.members {
			if i > 0 {
				s.body = append(s.body, ',')
			}
			s.value(g, t.Elem)
		}
		s.body = append(s.body, ']')
		return
	}
	switch def := s.schema.AST().Types[t.Name()]; {
	case def.IsCompositeType():
		s.object(g.sets(), t.Name())
	case t.Name() == "Int" || t.Name() == "Float":
		s.body = append(s.body, "1234"...)
	case t.Name() == "Boolean":
		s.body = append(s.body, "true"...)
	default:
		s.body = append(s.body, `"https://example.org/a \"value\" of some length"`...)
	}
}

// BenchmarkActual measures responses of a quarter megabyte and more: the default
// profile over the operations of artsy with the most selections.
func BenchmarkActual(b *testing.B) {
	c := loadCorpus(b, "artsy")
	m, err := NewModel(c.schema, Options{})
	if err != nil {
		b.Fatal(err)
	}
	order := make([]int, len(c.operations))
	for i := range order {
		order[i] = i
	}
	sort.Slice(order, func(i, j int) bool {
		return c.operations[order[i]].Shape.Fields > c.operations[order[j]].Shape.Fields
	})
	for _, i := range []int{order[0], order[20], order[60]} {
		op, vars := c.operations[i], c.variables[i]
		p, err := m.Compile(op)
		if err != nil {
			b.Fatal(err)
		}
		s := &sample{reference: newReference(op, vars, Default, 10)}
		for s.members = 1; len(s.body) < 256<<10 && s.members < 200; s.members++ {
			s.body, s.turn = append(s.body[:0], `{"data":`...), 0
			s.object([]ast.SelectionSet{op.Definition.SelectionSet}, rootType(c.schema, op.Kind))
			s.body = append(s.body, '}')
		}
		b.Run(op.Name, func(b *testing.B) {
			b.SetBytes(int64(len(s.body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.ActualBytes(s.body, vars); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkNewModel prices the schema of artsy: what a reload costs.
func BenchmarkNewModel(b *testing.B) {
	c := loadCorpus(b, "artsy")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewModel(c.schema, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEstimateVariables prices an operation in which everything depends on
// variables: sizes, conditions and inputs.
func BenchmarkEstimateVariables(b *testing.B) {
	op, p := dynamicProgram(b)
	vars := dynamicVariables(b, op, 6)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Estimate(vars); err != nil {
			b.Fatal(err)
		}
	}
}
