//go:build !race

// Under the race detector sync.Pool drops what it holds at random.

package cost

import "testing"

// TestAllocations holds that a warm estimate allocates nothing.
func TestAllocations(t *testing.T) {
	op, p := dynamicProgram(t)
	if p.constant {
		t.Fatal("the program is constant")
	}
	vars := dynamicVariables(t, op, 6)
	corpus := loadCorpus(t, "artsy")
	m, err := NewModel(corpus.schema, Options{})
	if err != nil {
		t.Fatal(err)
	}
	median, medianVars := corpus.median()
	q, err := m.Compile(median)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(){
		"variables": func() { _, _ = p.Estimate(vars) },
		"median":    func() { _, _ = q.Estimate(medianVars) },
	} {
		f()
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
