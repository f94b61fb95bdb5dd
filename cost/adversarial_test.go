package cost

import (
	"fmt"
	"strings"
	"testing"

	"github.com/graphward/graphward/schema"
)

const adversarialSchema = `
interface N { a: N b: N c: N list(first: Int): [N] leaf: Int @cost(weight: "1") }
type T0 implements N { a: N b: N c: N list(first: Int): [N] leaf: Int @cost(weight: "1") x: Int }
type T1 implements N { a: N b: N c: N list(first: Int): [N] leaf: Int @cost(weight: "2") y: Int }
type Query { n: N deep: N }
`

// subsets is a document whose merged selection sets are the subsets that the
// determinised automaton "the symbol width places before the end is b" has:
// levels x width fragments, 2^width scopes a level.
func subsets(levels, width int) string {
	b := &strings.Builder{}
	b.WriteString("{ n { ...L0s0 } }\n")
	for l := range levels {
		for s := range width {
			fmt.Fprintf(b, "fragment L%ds%d on N {", l, s)
			if l == levels-1 {
				b.WriteString(" leaf }\n")
				continue
			}
			next := fmt.Sprintf("...L%ds%d", l+1, s+1)
			switch {
			case s == 0:
				fmt.Fprintf(b, " a { ...L%ds0 } b { ...L%ds0 ...L%ds1 } }\n", l+1, l+1, l+1)
			case s == width-1:
				b.WriteString(" leaf }\n")
			default:
				fmt.Fprintf(b, " a { %s } b { %s } }\n", next, next)
			}
		}
	}
	return prune(b.String())
}

// prune drops the fragments that nothing reaches; validation refuses them.
func prune(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for {
		var kept []string
		text := strings.Join(lines, "\n")
		for _, line := range lines {
			name, ok := strings.CutPrefix(line, "fragment ")
			name, _, _ = strings.Cut(name, " ")
			if !ok || strings.Contains(text, "..."+name+" ") {
				kept = append(kept, line)
			}
		}
		if len(kept) == len(lines) {
			return strings.Join(lines, "\n")
		}
		lines = kept
	}
}

// chain is a document of n fragments that each spread the next twice.
func chain(n int) string {
	b := &strings.Builder{}
	b.WriteString("{ n { ...F0 } }\n")
	for i := range n {
		fmt.Fprintf(b, "fragment F%d on N { ...F%d ... on T%d { ...F%d } }\n", i, i+1, i%2, i+1)
	}
	fmt.Fprintf(b, "fragment F%d on N { leaf }\n", n)
	return b.String()
}

// wide is a document of n response keys under n conditions of two variables.
func wide(n int) string {
	b := &strings.Builder{}
	b.WriteString("query ($x: Boolean!, $y: Boolean!) { n {")
	for i := range n {
		fmt.Fprintf(b, " k%d: a @include(if: $%s) { leaf } ... on T%d @skip(if: $y) { k%d: a { b { leaf } } }", i, [2]string{"x", "y"}[i%2], i%2, i)
	}
	b.WriteString(" } }")
	return b.String()
}

func compileHostile(t testing.TB, text string) (*schema.Schema, *schema.Operation) {
	t.Helper()
	s := loadSchema(t, adversarialSchema)
	op, err := s.Compile(text, "", openLimits)
	if err != nil {
		t.Fatalf("%v\n%.2000s", err, text)
	}
	return s, op
}

// TestWorkBudget holds that merged sets that outgrow the budget are bounded and
// flagged, and those that do not are exact.
func TestWorkBudget(t *testing.T) {
	for _, c := range []struct {
		text        string
		approximate bool
	}{
		{subsets(4, 4), false},
		{subsets(17, 16), true},
		{chain(900), false},
		{wide(1500), false},
	} {
		s, op := compileHostile(t, c.text)
		m, err := NewModel(s, Options{Profile: IBM})
		if err != nil {
			t.Fatal(err)
		}
		p, err := m.Compile(op)
		if err != nil {
			t.Fatal(err)
		}
		vars := &schema.Variables{Values: []schema.Value{{Kind: schema.Bool, Text: "true"}, {Kind: schema.Bool, Text: "false"}}}
		e, err := p.Estimate(vars)
		if err != nil {
			t.Fatal(err)
		}
		if e.Approximate != c.approximate || e.Total <= 0 {
			t.Errorf("%.60s: %+v with %d scopes, %d visits", c.text, e, len(p.scopes), p.work)
		}
		bound, err := m.compileSyntactic(op).Estimate(vars)
		if err != nil || bound.Total < e.Total {
			t.Errorf("%.60s: bound %+v (%v) of %+v", c.text, bound, err, e)
		}
		checkInvariants(t, p, vars, e, err)
		if c.approximate {
			if _, err := p.ActualBytes([]byte(`{"data":{}}`), vars); typeName(err) != "cost.ApproximateError" {
				t.Errorf("an approximate program measures: %v", err)
			}
		}
	}
}
