package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Problem is one thing that is wrong with a policy. Line and Column are
// 1-based; 0 when the whole file is meant.
type Problem struct {
	File         string
	Line, Column int
	Message      string
}

func (p Problem) String() string {
	switch {
	case p.File == "":
		return p.Message
	case p.Line == 0:
		return p.File + ": " + p.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}

// LoadError lists everything that is wrong with a policy, ordered by place.
type LoadError struct {
	Problems []Problem
}

func (e *LoadError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// TimeoutError says that a decision took longer than Options.Timeout. The
// operation must be refused.
type TimeoutError struct {
	After time.Duration
	Rule  string // the rule head that was being evaluated
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("policy: no decision within %s (evaluating %s)", e.After, e.Rule)
}

// UnknownTierError says that the policy named a tier that Options.Tiers lacks.
type UnknownTierError struct{ Tier string }

func (e *UnknownTierError) Error() string {
	return fmt.Sprintf("policy: tier: the config has no tier %q", e.Tier)
}

// EvalError says that a rule failed: two of its definitions contradict each
// other, or OPA could not evaluate it. The operation must be refused.
type EvalError struct {
	Rule string
	Err  error
}

func (e *EvalError) Error() string { return "policy: " + e.Rule + ": " + e.Err.Error() }

// Unwrap returns OPA's error.
func (e *EvalError) Unwrap() error { return e.Err }

// report collects problems and warnings while a policy is loaded.
type report struct {
	problems []Problem
	warnings []Problem
}

func (r *report) add(loc *ast.Location, format string, args ...any) {
	r.problems = append(r.problems, at(loc, fmt.Sprintf(format, args...)))
}

func (r *report) warn(loc *ast.Location, format string, args ...any) {
	r.warnings = append(r.warnings, at(loc, fmt.Sprintf(format, args...)))
}

func (r *report) addFile(file, format string, args ...any) {
	r.problems = append(r.problems, Problem{File: file, Message: fmt.Sprintf(format, args...)})
}

// addErr adds what OPA's parser or compiler says, one problem for each error.
func (r *report) addErr(file string, err error) {
	var many ast.Errors
	if !errors.As(err, &many) {
		var one *ast.Error
		if !errors.As(err, &one) {
			r.addFile(file, "%s", err)
			return
		}
		many = ast.Errors{one}
	}
	for _, e := range many {
		p := at(e.Location, e.Code+": "+strings.Join(strings.Fields(e.Message), " "))
		if e.Details != nil {
			p.Message += detail(e.Details.Lines())
		}
		if p.File == "" {
			p.File = file
		}
		r.problems = append(r.problems, p)
	}
}

// detail joins the lines of OPA's details to one line. Source excerpts and
// their carets repeat what line and column say.
func detail(lines []string) string {
	var kept []string
	for _, l := range lines {
		l = strings.TrimSpace(l)
		if l == "" || strings.Trim(l, "^ ") == "" || strings.HasPrefix(l, "input") || strings.HasPrefix(l, "data") {
			continue
		}
		kept = append(kept, l)
	}
	if len(kept) == 0 {
		return ""
	}
	return " (" + strings.Join(kept, "; ") + ")"
}

// err returns the collected problems as a *LoadError, or nil.
func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	return &LoadError{Problems: sorted(r.problems)}
}

func sorted(ps []Problem) []Problem {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(ps)
}

func at(loc *ast.Location, message string) Problem {
	p := Problem{Message: message}
	if loc != nil {
		p.File, p.Line, p.Column = loc.File, loc.Row, max(1, loc.Col)
	}
	return p
}
