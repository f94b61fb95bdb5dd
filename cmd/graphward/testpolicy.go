package main

import (
	"context"
	"fmt"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/policy"
)

type testCommand struct {
	Config   string `help:"Configuration whose policy is tested." placeholder:"FILE" default:"graphward.yaml"`
	Only     string `name:"run" help:"Run only tests whose package.name matches." placeholder:"REGEXP"`
	Verbose  bool   `short:"v" help:"Print tests that pass, too, and traces of those that fail."`
	Coverage bool   `help:"Print which coordinates have an explicit rule, a type's wildcard, the fallback, or nothing." default:"true" negatable:""`
	JSON     bool   `name:"json" help:"Print the counts and the coverage as one JSON object; the tests go to standard error."`
}

// tested is what `test --json` prints.
type tested struct {
	Passed   int              `json:"passed"`
	Failed   int              `json:"failed"`
	Errors   int              `json:"errors"`
	Skipped  int              `json:"skipped"`
	Coverage *policy.Coverage `json:"coverage,omitempty"`
}

func (t *testCommand) Run(ctx context.Context, c *console) error {
	file, err := loadConfig(t.Config)
	if err != nil {
		return err
	}
	out := c.out
	if t.JSON {
		out = c.err
	}
	r, err := firewall.TestPolicy(ctx, file.Config, policy.TestOptions{Run: t.Only, Verbose: t.Verbose, Coverage: t.Coverage}, out)
	if err != nil {
		return &exitError{exitFailed, lines(file.Problems(err))}
	}
	if t.JSON {
		if err := printJSON(c, tested{r.Passed, r.Failed, r.Errors, r.Skipped, r.Coverage}); err != nil {
			return err
		}
	}
	switch {
	case r.Failed+r.Errors > 0:
		return &exitError{exitRefused, fmt.Sprintf("%d of %d tests do not hold", r.Failed+r.Errors, r.Passed+r.Failed+r.Errors)}
	case r.Passed == 0:
		return &exitError{exitRefused, "no test ran: tests are rules named test_…, of which --run may leave none"}
	}
	return nil
}
