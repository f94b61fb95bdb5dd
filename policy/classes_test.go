package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/graphward/graphward/schema"
)

// TestManyClasses decides 400 fields by 400 rules, which takes several queries
// that share what helpers answered, for subjects with different roles.
func TestManyClasses(t *testing.T) {
	sdl, policy := wide(4, 100)
	policy += "\nhas(r) if r in input.subject.roles\n\nactive if not input.subject.claims.suspended\n"
	policy = strings.ReplaceAll(policy, `" in input.subject.roles`, `" in input.subject.roles`+"\n")
	for i := 1; i < 400; i += 2 { // half of them by a function and a helper
		policy = strings.Replace(policy, fmt.Sprintf("if \"r%d\" in input.subject.roles\n", i), fmt.Sprintf("if {\n\thas(\"r%d\")\n\tactive\n}\n", i), 1)
	}
	e, err := Load(context.Background(), Options{Schema: loadSchema(t, sdl), Modules: map[string]string{"p.rego": policy}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(e.identity.queries); n < 6 {
		t.Fatalf("%d queries", n)
	}
	var q strings.Builder
	for i := range 4 {
		fmt.Fprintf(&q, "t%d{", i)
		for j := range 100 {
			fmt.Fprintf(&q, "f%d ", j)
		}
		q.WriteString("}")
	}
	op := compileOperation(t, e.schema, "{"+q.String()+"}", "")
	b, err := e.Bind(op)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		roles     []string
		suspended bool
	}{{nil, false}, {[]string{"r0", "r63", "r64", "r65", "r399"}, false}, {[]string{"r0", "r63", "r64", "r65", "r399"}, true}} {
		sub := &Subject{Authenticated: true, Roles: tt.roles, Claims: map[string]any{}}
		if tt.suspended {
			sub.Claims["suspended"] = true
		}
		d, err := e.Decide(context.Background(), b, sub, nil, OperationFacts{}, &schema.Variables{})
		if err != nil {
			t.Fatal(err)
		}
		denied := map[string]bool{}
		for _, denial := range d.Denials {
			denied[denial.Coordinate] = true
		}
		for n := range 400 {
			at := fmt.Sprintf("T%d.f%d", n/100, n%100)
			want := slices.Contains(tt.roles, fmt.Sprintf("r%d", n)) && (n%2 == 0 || !tt.suspended)
			if denied[at] == want {
				t.Errorf("%v, suspended %v: %s is allowed: %v", tt.roles, tt.suspended, at, !denied[at])
			}
		}
	}
}
