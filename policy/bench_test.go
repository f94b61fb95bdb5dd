package policy

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/graphward/graphward/schema"
)

// wide is a schema of types × fields coordinates with one helper rule for
// every third field and the rest explicit.
func wide(types, fields int) (sdl, policy string) {
	var s, p strings.Builder
	s.WriteString("type Query { arg(id: ID): T0 ")
	p.WriteString("package graphward\n\nimport rego.v2\n\n")
	p.WriteString("allow.Query[\"*\"] if input.subject.authenticated\n\nallow.Query.arg if input.args.id == input.subject.id\n\n")
	for i := range types {
		fmt.Fprintf(&s, "t%d: T%d ", i, i)
	}
	s.WriteString("}\n")
	for i := range types {
		fmt.Fprintf(&s, "type T%d {\n", i)
		for j := range fields {
			fmt.Fprintf(&s, "  f%d: Int\n", j)
			fmt.Fprintf(&p, "allow.T%d.f%d if \"r%d\" in input.subject.roles\n\n", i, j, (i*fields+j)%400)
		}
		s.WriteString("}\n")
	}
	return s.String(), p.String()
}

func wideEngine(b testing.TB, types, fields int) *Engine {
	sdl, policy := wide(types, fields)
	e, err := Load(context.Background(), Options{Schema: loadSchema(b, sdl), Modules: map[string]string{"p.rego": policy}, Timeout: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	return e
}

var roleName = regexp.MustCompile(`"r\d+"`)

func BenchmarkWarmIdentity(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("fields=%d", n), func(b *testing.B) {
			types := max(1, n/100)
			sdl, policy := wide(types, n/types)
			policy = roleName.ReplaceAllString(policy, `"reader"`)
			e, err := Load(context.Background(), Options{Schema: loadSchema(b, sdl), Modules: map[string]string{"p.rego": policy}, Timeout: time.Minute})
			if err != nil {
				b.Fatal(err)
			}
			var q strings.Builder
			q.WriteString("{")
			for i := range types {
				fmt.Fprintf(&q, "t%d{", i)
				for j := range n / types {
					fmt.Fprintf(&q, "f%d ", j)
				}
				q.WriteString("}")
			}
			q.WriteString("}")
			sub := &Subject{Authenticated: true, ID: "7", Roles: []string{"reader", "writer"}}
			benchmarkDecide(b, e, q.String(), nil, sub)
		})
	}
}

func BenchmarkWarmArgument(b *testing.B) {
	e := wideEngine(b, 1, 10)
	benchmarkDecide(b, e, `query($id:ID){arg(id:$id){__typename}}`, []byte(`{"id":"7"}`), &Subject{Authenticated: true, ID: "7", Roles: []string{"reader"}})
}

func benchmarkDecide(b *testing.B, e *Engine, query string, variables []byte, sub *Subject) {
	op := compileOperation(b, e.schema, query, "")
	vars, err := op.Coerce(variables, schema.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	bound, err := e.Bind(op)
	if err != nil {
		b.Fatal(err)
	}
	ctx, req := context.Background(), &Request{}
	b.ReportAllocs()
	for b.Loop() {
		d, err := e.Decide(ctx, bound, sub, req, OperationFacts{}, vars)
		if err != nil || !d.Allowed {
			b.Fatal(err, d)
		}
	}
}

func BenchmarkIdentityMiss(b *testing.B) {
	e := wideEngine(b, 1, 400)
	subjects := []*Subject{{Authenticated: true, Roles: []string{"r1", "r2", "r3"}}, {Authenticated: true, Roles: []string{"r4"}}}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		e.answers = newAnswers()
		s := e.begin(context.Background(), subjects[i%2], nil)
		if _, err := s.identity(); err != nil {
			b.Fatal(err)
		}
		s.end()
		i++
	}
}

func BenchmarkLoad(b *testing.B) {
	sdl, policy := wide(60, 100)
	s := loadSchema(b, sdl)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(context.Background(), Options{Schema: s, Modules: map[string]string{"p.rego": policy}, Timeout: time.Minute}); err != nil {
			b.Fatal(err)
		}
	}
}
