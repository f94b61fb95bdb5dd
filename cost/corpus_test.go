package cost

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/graphward/graphward/schema"
)

const corpora = "../schema/testdata/corpora"

// corpus is a real schema with real operations.
type corpus struct {
	name       string
	schema     *schema.Schema
	operations []*schema.Operation
	variables  []*schema.Variables
}

var corpusCache = map[string]*corpus{}

func loadCorpus(t testing.TB, name string) *corpus {
	t.Helper()
	if c := corpusCache[name]; c != nil {
		return c
	}
	s, err := schema.LoadFiles(filepath.Join(corpora, name, "schema.graphql"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(corpora, name, "operations.json"))
	if err != nil {
		t.Fatal(err)
	}
	var entries []struct {
		Name, Query string
		Variables   json.RawMessage
	}
	if err := json.Unmarshal(text, &entries); err != nil {
		t.Fatal(err)
	}
	c := &corpus{name: name, schema: s}
	for _, e := range entries {
		op, err := s.Compile(e.Query, "", schema.Limits{Depth: 100, Aliases: 1000, Directives: 1000})
		if err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		vars, err := op.Coerce(e.Variables, schema.Limits{})
		if err != nil {
			vars = &schema.Variables{Values: make([]schema.Value, len(op.Variables)), Given: make([]bool, len(op.Variables))}
			for i := range op.Variables {
				vars.Values[i] = op.Variables[i].Default
			}
		}
		c.operations = append(c.operations, op)
		c.variables = append(c.variables, vars)
	}
	corpusCache[name] = c
	return c
}

// TestCorpusTable prices every operation of both corpora with the default
// profile. Run with -v for the table of the documentation.
func TestCorpusTable(t *testing.T) {
	var table strings.Builder
	fmt.Fprintf(&table, "| corpus | operations | min | median | p99 | max | saturated | approximate |\n|---|---|---|---|---|---|---|---|\n")
	for _, name := range []string{"artsy", "saleor"} {
		c := loadCorpus(t, name)
		m, err := NewModel(c.schema, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var totals []float64
		saturated, approximate := 0, 0
		for i, op := range c.operations {
			p, err := m.Compile(op)
			if err != nil {
				t.Fatal(err)
			}
			e, err := p.Estimate(c.variables[i])
			if err != nil {
				t.Errorf("%s: %v", op.Name, err)
				continue
			}
			checkInvariants(t, p, c.variables[i], e, err)
			totals = append(totals, e.Total)
			if e.Saturated {
				saturated++
			}
			if e.Approximate {
				approximate++
			}
		}
		sort.Float64s(totals)
		n := len(totals)
		if n == 0 || approximate > 0 || totals[0] < 1 {
			t.Errorf("%s: %d priced, %d approximate", name, n, approximate)
		}
		fmt.Fprintf(&table, "| %s | %d | %v | %v | %v | %v | %d | %d |\n", name, n,
			totals[0], totals[n/2], totals[n*99/100], totals[n-1], saturated, approximate)
	}
	t.Log("\n" + table.String())
}
