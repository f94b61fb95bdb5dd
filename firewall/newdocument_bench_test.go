package firewall

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/identity"
)

// newDocumentFields is how many leaf fields the benchmark's Product has, each
// with a rule.
const newDocumentFields = 89

// newDocument is graphward-bench's operation of 1 KB over 60 fields; two of
// different numbers differ in a name and an alias.
func newDocument(number int) string {
	var b strings.Builder
	fields := func(from, to int) {
		for i := from; i < to; i++ {
			fmt.Fprintf(&b, "      f%d\n", i)
		}
	}
	fmt.Fprintf(&b, "query New%08d($id: ID!, $first: Int!, $after: String, $owner: ID!) {\n  p%08d: product(id: $id) {\n", number, number)
	fields(0, 20)
	b.WriteString("    related(first: 3) {\n")
	fields(20, 30)
	b.WriteString("    }\n  }\n  products(first: $first, after: $after) {\n    edges {\n      node {\n")
	fields(30, 50)
	b.WriteString("      }\n    }\n  }\n  orders(owner: $owner) {\n    id\n    total\n    items(first: 2) {\n")
	fields(50, 56)
	b.WriteString("    }\n  }\n}\n")
	return b.String()
}

// marks are the offsets of the two numbers in a document of newDocument.
func marks(document []byte) [2]int {
	return [2]int{len("query New"), bytes.Index(document, []byte("  p")) + len("  p")}
}

// cpuTime is what the process has used.
func cpuTime(tb testing.TB) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// newDocumentFirewall guards newDocument's schema with a policy of 100 rules.
func newDocumentFirewall(b *testing.B) *Firewall {
	b.Helper()
	var sdl, rules strings.Builder
	sdl.WriteString("type Query { products(first: Int!, after: String): ProductConnection product(id: ID!): Product orders(owner: ID!): [Order!] }\n" +
		"type ProductConnection { edges: [ProductEdge!] } type ProductEdge { node: Product }\n" +
		"type Order { id: ID! total: Float items(first: Int): [Product!] }\ntype Product { related(first: Int): [Product!]\n")
	rules.WriteString("package graphward\n\nimport rego.v1\n\nis_member if \"member\" in input.subject.roles\n\n" +
		"allow.Query.products if input.subject.authenticated\nallow.Query.product if input.subject.authenticated\n" +
		"allow.Query.orders if input.args.owner == input.subject.id\nallow.ProductConnection[\"*\"] if is_member\n" +
		"allow.ProductEdge[\"*\"] if is_member\nallow.Order[\"*\"] if is_member\nallow.Product.related if is_member\n")
	for i := range newDocumentFields {
		fmt.Fprintf(&sdl, "f%d: String\n", i)
		condition := []string{"is_member", "input.subject.authenticated", `"read" in input.subject.scopes`}[i%3]
		fmt.Fprintf(&rules, "allow.Product.f%d if %s\n", i, condition)
	}
	sdl.WriteString("}\n")
	dir := b.TempDir()
	for name, text := range map[string]string{"schema.graphql": sdl.String(), "policy.rego": rules.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	c := DefaultConfig()
	c.Schema.Files, c.Policy.Paths = []string{filepath.Join(dir, "schema.graphql")}, []string{filepath.Join(dir, "policy.rego")}
	c.Operations.Adhoc, c.Identity.Anonymous, c.Audit.Output = "allow", identity.Allow, audit.Off
	f, err := New(b.Context(), c, WithHandler(http.NotFoundHandler()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	return f
}

// All that a document of 1 KB costs which no request had before: looked for in
// the caches, compiled, priced, bound to the policy, and made ready to forward.
func BenchmarkNewDocument(b *testing.B) {
	f := newDocumentFirewall(b)
	g := f.current.Load()
	text, number := []byte(newDocument(0)), 0
	// next is a document that no call returned before, one allocation of its size.
	next := func() string {
		number++
		for _, at := range marks(text) {
			_ = strconv.AppendInt(text[at:at], 10_000_000+int64(number), 10)
		}
		return string(text)
	}
	cpu := func(b *testing.B, run func() error) {
		b.ReportAllocs()
		start, n := cpuTime(b), 0
		for b.Loop() {
			if err := run(); err != nil {
				b.Fatal(err)
			}
			n++
		}
		b.ReportMetric(float64(cpuTime(b)-start)/float64(n), "cpu-ns/op")
	}
	b.Run("whole", func(b *testing.B) {
		cpu(b, func() error { _, err := f.plans.plan(g, next(), ""); return err })
	})
	b.Run("compile", func(b *testing.B) {
		cpu(b, func() error { _, err := g.schema.Compile(next(), "", g.compile); return err })
	})
	op, err := g.schema.Compile(next(), "", g.compile)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("canonical form", func(b *testing.B) {
		cpu(b, func() error { op.CanonicalForm(); return nil })
	})
	b.Run("price", func(b *testing.B) {
		cpu(b, func() error { _, err := g.model.Compile(op); return err })
	})
	b.Run("bind", func(b *testing.B) {
		cpu(b, func() error { _, err := g.policy.Bind(op); return err })
	})
}
