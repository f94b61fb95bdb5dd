package policy

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// BenchmarkJudge judges 10,000 objects, all different, in windows of 512: by a
// rule that partial evaluation leaves a comparison of, and by one that only
// OPA can decide.
func BenchmarkJudge(b *testing.B) {
	for _, c := range []struct{ name, rule string }{
		{"compared", "allow.User.phone if input.parent.id == input.subject.id\n\nallow.User.phone if \"admin\" in input.subject.roles\n"},
		{"list", "allow.User.phone if input.parent.friends[_].id == input.subject.id\n"},
		{"opa", "allow.User.phone if shown\n\ndefault shown := true\n\nshown := false if input.parent.id == input.subject.id\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			f := decisionFile{Schema: "shop.graphql", OnDeny: "filter", ParentNonNull: "accept",
				Policy: "package graphward\n\nimport rego.v2\n\nallow.Query[\"*\"] := true\n\n" + c.rule}
			e := f.load(b)
			e.timeout = time.Minute
			bound, err := e.Bind(compileOperation(b, e.schema, "{users{phone}}", ""))
			if err != nil {
				b.Fatal(err)
			}
			var windows [][][]byte
			bytes := 0
			for i := range 10_000 {
				if i%512 == 0 {
					windows = append(windows, nil)
				}
				text := fmt.Appendf(nil, `{"id":"user-%d"}`, i)
				if c.name == "list" {
					text = fmt.Appendf(nil, `{"friends":[{"id":"user-%d"},{"id":"user-%d"}]}`, i, i+1)
				}
				bytes += len(text)
				windows[len(windows)-1] = append(windows[len(windows)-1], text)
			}
			b.ReportAllocs()
			for b.Loop() {
				d, err := e.Decide(context.Background(), bound, &Subject{ID: "user-7"}, nil, OperationFacts{}, nil)
				if err != nil || len(d.Guards) != 1 {
					b.Fatal(d, err)
				}
				for _, w := range windows {
					if _, err := d.Guards[0].Object.Judge(context.Background(), w); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/object")
		})
	}
}

// BenchmarkGuarded decides an operation whose answer is guarded, from the caches.
func BenchmarkGuarded(b *testing.B) {
	f := decisionFile{Schema: "shop.graphql", OnDeny: "filter", ParentNonNull: "accept", Policy: `package graphward

import rego.v2

allow.Query["*"] := true

allow.User.name := true

allow.User.phone if input.parent.id == input.subject.id

mask.User.email := "hidden" if "support" in input.subject.roles
`}
	e := f.load(b)
	bound, err := e.Bind(compileOperation(b, e.schema, "{users{name phone email}}", ""))
	if err != nil {
		b.Fatal(err)
	}
	sub := &Subject{ID: "7", Roles: []string{"support"}}
	b.ReportAllocs()
	for b.Loop() {
		d, err := e.Decide(context.Background(), bound, sub, nil, OperationFacts{}, nil)
		if err != nil || len(d.Guards) != 2 {
			b.Fatal(d, err)
		}
	}
}
