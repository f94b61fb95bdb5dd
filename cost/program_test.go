package cost

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/graphward/graphward/schema"
)

const dynamicSchema = `
type Query { users(first: Int, ids: [ID], filter: Filter): [User] }
interface Named { name: String }
type User implements Named { name: String @cost(weight: "2") friends(first: Int): [User] posts(first: Int): PostConnection }
type PostConnection { edges: [PostEdge] }
type PostEdge { node: Post }
type Post implements Named { name: String @cost(weight: "3") body: String }
input Filter { age: Int @cost(weight: "1") nested: Filter }
`

const dynamicQuery = `
query ($n: Int, $m: Int = 5, $f: Filter, $x: Boolean!, $y: Boolean!) {
  users(first: $n, filter: $f) {
    ...U @include(if: $x)
    ... on Named @skip(if: $y) { name }
    friends(first: $m) @include(if: $y) { name posts(first: $n) { edges { node { name body } } } }
  }
}
fragment U on User { name friends(first: $m) { friends(first: $n) { name } } }
`

func dynamicProgram(t testing.TB) (*schema.Operation, *Program) {
	t.Helper()
	s := loadSchema(t, dynamicSchema)
	m, err := NewModel(s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	op, err := s.Compile(dynamicQuery, "", openLimits)
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.Compile(op)
	if err != nil {
		t.Fatal(err)
	}
	return op, p
}

func dynamicVariables(t testing.TB, op *schema.Operation, n int) *schema.Variables {
	t.Helper()
	text := fmt.Sprintf(`{"n": %d, "f": {"age": 1, "nested": {"age": 2}}, "x": %v, "y": %v}`, n, n%2 == 0, n%3 == 0)
	vars, err := op.Coerce([]byte(text), schema.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return vars
}

// TestConcurrentUse holds that one program serves many at once; run it with -race.
func TestConcurrentUse(t *testing.T) {
	op, p := dynamicProgram(t)
	var want [12]Estimate
	for i := range want {
		e, err := p.Estimate(dynamicVariables(t, op, i))
		if err != nil {
			t.Fatal(err)
		}
		want[i] = e
	}
	body := `{"data": {"users": [{"name": "a", "friends": [{"friends": [{"name": "b"}, null]}]}]}}`
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			for i := range 200 {
				n := (g + i) % len(want)
				vars := dynamicVariables(t, op, n)
				if e, err := p.Estimate(vars); err != nil || e != want[n] {
					t.Errorf("%+v, %v, want %+v", e, err, want[n])
					return
				}
				if _, err := p.Actual(strings.NewReader(body), vars); err != nil {
					t.Error(err)
				}
				if len(p.Breakdown(vars)) == 0 {
					t.Error("no breakdown")
				}
			}
		})
	}
	group.Wait()
}

// TestReportJSON holds the names that explain prints.
func TestReportJSON(t *testing.T) {
	op, p := dynamicProgram(t)
	most := 5000.0
	r, err := p.Report(dynamicVariables(t, op, 3), &most)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for _, want := range []string{`"total":`, `"field":`, `"type":`, `"saturated":false`, `"approximate":false`, `"max":5000`,
		`"by_field":[{"path":"","coordinate":"Query","count":1,"cost":1},{"path":"users","coordinate":"Query.users","count":1,`,
		`"path":"users.friends.posts.edges.node.name"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(text, `"score"`) || strings.Contains(text, `"nodes"`) {
		t.Errorf("numbers of another profile in %s", text)
	}
	var tree strings.Builder
	if err := PrintTree(&tree, r.ByField, *r.Total); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(tree.String(), "\n"); got != len(r.ByField) || !strings.Contains(tree.String(), "  friends  3 x User.friends") {
		t.Errorf("%d lines:\n%s", got, tree.String())
	}
}
