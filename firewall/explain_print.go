package firewall

import (
	"fmt"
	"io"
	"strings"

	"github.com/graphward/graphward/cost"
)

// Print writes the explanation for people: stage by stage, with the share of
// each field in the cost.
func (e *Explanation) Print(w io.Writer) error {
	b := &strings.Builder{}
	name := e.Operation.Name
	if name == "" {
		name = "(anonymous)"
	}
	if e.Operation.Kind != "" {
		registered := "not registered"
		if e.Operation.Registered {
			registered = "registered"
		}
		fmt.Fprintf(b, "operation  %s %s, %s, %s\n", e.Operation.Kind, name, registered, e.Operation.Hash)
		s := e.Shape
		fmt.Fprintf(b, "shape      depth %d, aliases %d, root fields %d, directives %d, tokens %d, fragments %d\n",
			s.Depth, s.Aliases, s.RootFields, s.Directives, s.Tokens, s.Fragments)
	}
	if e.Cost != nil {
		PrintCost(b, e.Cost)
	}
	for _, f := range e.Fields {
		rule := f.Rule
		if rule == "" {
			rule = "no rule"
		}
		fmt.Fprintf(b, "field      %-6s %s (%s) by %s", f.Decision, f.Coordinate, f.Path, rule)
		if f.At != "" {
			fmt.Fprintf(b, " at %s", f.At)
		}
		if len(f.Reads) > 0 {
			fmt.Fprintf(b, ", reads %s", strings.Join(f.Reads, " "))
		}
		b.WriteByte('\n')
		f.printAnswer(b)
		for _, why := range f.Why {
			fmt.Fprintf(b, "           not true: %s\n", why)
		}
	}
	switch {
	case e.Forwarded == nil:
	case *e.Forwarded == "":
		b.WriteString("forwarded  nothing\n")
	default:
		fmt.Fprintf(b, "forwarded  %s\n", *e.Forwarded)
	}
	client := e.Budget.Client
	if client == "" {
		client = "(no client)"
	}
	fmt.Fprintf(b, "budget     %s, tier %s, charge %.6g\n", client, e.Budget.Tier, e.Budget.Charge)
	if e.Verdict.Allowed {
		b.WriteString("verdict    allowed\n")
	} else {
		b.WriteString("verdict    refused\n")
	}
	print := func(label string, list []ExplainedRefusal) {
		for _, r := range list {
			fmt.Fprintf(b, "%-10s %s in %s: %s", label, r.Code, r.Stage, r.Message)
			if r.Path != "" {
				fmt.Fprintf(b, " (%s)", r.Path)
			}
			if r.Rule != "" {
				fmt.Fprintf(b, ", %s", r.Rule)
			}
			b.WriteByte('\n')
		}
	}
	print("refusal", e.Verdict.Refusals)
	print("reported", e.Verdict.Reported)
	_, err := io.WriteString(w, b.String())
	return err
}

// printAnswer writes what becomes of a denied field, and of a list's items.
func (f *ExplainedField) printAnswer(b *strings.Builder) {
	switch {
	case f.Decision == "object" && f.Mask != "":
		fmt.Fprintf(b, "           decided on the answer, masked where denied by %s at %s\n", f.Mask, f.MaskAt)
	case f.Decision == "object":
		b.WriteString("           decided on the answer\n")
	case f.Mask != "":
		fmt.Fprintf(b, "           masked by %s at %s\n", f.Mask, f.MaskAt)
	}
	if f.Drop != "" {
		fmt.Fprintf(b, "           denied items are left out by %s at %s\n", f.Drop, f.DropAt)
	}
}

// PrintCost writes a price for people: each field with its count, its own cost
// and its share of the total.
func PrintCost(b *strings.Builder, c *cost.Report) {
	fmt.Fprintf(b, "cost       %.6g", *c.Total)
	if c.Max != nil {
		fmt.Fprintf(b, " of at most %.6g", *c.Max)
	}
	if c.Saturated {
		b.WriteString(", saturated")
	}
	if c.Approximate {
		b.WriteString(", approximate")
	}
	b.WriteByte('\n')
	for _, f := range c.ByField {
		if f.Cost == 0 {
			continue
		}
		indent := strings.Repeat("  ", max(len(f.Path)-1, 0))
		fmt.Fprintf(b, "           %5.1f%% %8.6g  %s%s x %g", 100*f.Cost/max(*c.Total, 1), f.Cost, indent, f.Coordinate, f.Count)
		if len(f.Path) > 0 {
			fmt.Fprintf(b, " (%s)", strings.Join(f.Path, "."))
		}
		b.WriteByte('\n')
	}
	if c.Actual != nil {
		fmt.Fprintf(b, "actual     %.6g\n", *c.Actual.Total)
	}
}
