package policy

import (
	"context"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// Warming changes no answer, whatever rules read and whether they fail: a warm engine is compared with plain OPA as a cold one is.
func TestWarmChangesNothing(t *testing.T) {
	s := loadSchema(t, differentialSchema)
	op := compileOperation(t, s, differentialQuery, "")
	data := writeData(t, differentialData)
	warm := 0
	for round := range uint64(200) {
		g := &generator{Rand: rand.New(rand.NewPCG(*seed, round))}
		text := g.policy()
		e, err := Load(t.Context(), Options{Schema: s, Modules: map[string]string{"p.rego": text}, Data: []string{data}, Timeout: time.Minute})
		if err != nil {
			continue
		}
		warm++
		e.Warm(t.Context())
		b, err := e.Bind(op)
		if err != nil {
			t.Fatal(err)
		}
		reference := newPlain(t, g, differentialData)
		for range 5 {
			comparePair(t, g, e, b, reference, text)
		}
	}
	if warm < 5 {
		t.Errorf("only %d policies were loaded", warm)
	}
}

// After Warm a request prepares no rule.
func TestWarmPrepares(t *testing.T) {
	e, err := Load(t.Context(), Options{Schema: loadSchema(t, "shop.graphql"), Modules: map[string]string{"p.rego": `package graphward

import rego.v2

is_self if input.args.id == input.subject.id

allow.Query.user if is_self

allow.Query.me if input.subject.authenticated

deny contains {"code": "CLOSED", "message": "closed"} if input.operation.name == "Closed"
`}})
	if err != nil {
		t.Fatal(err)
	}
	prepared := func() (n int) {
		for _, c := range e.classes {
			if c.kind == classRequest && !reflect.ValueOf(c.prepared).IsZero() {
				n++
			}
		}
		return n
	}
	if n := prepared(); n != 0 {
		t.Fatalf("%d rules are prepared before", n)
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	e.Warm(ended)
	if n := prepared(); n != 0 {
		t.Errorf("%d rules were prepared though the context had ended", n)
	}
	// Each takes a bounded time, in which a busy machine may not come to the end: the next goes on.
	for tries := 0; prepared() < 2 && tries < 20; tries++ {
		e.Warm(t.Context())
	}
	if n := prepared(); n != 2 {
		t.Errorf("%d rules are prepared, want 2", n)
	}
}
