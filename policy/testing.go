package policy

import (
	"context"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
)

// TestOptions says which tests of a policy to run and how to print them.
type TestOptions struct {
	// Run selects tests by a regular expression on package.name; empty runs all.
	Run string
	// Verbose prints tests that pass, too, and the trace of those that fail.
	Verbose bool
	// Coverage prints which rule governs each coordinate of the schema.
	Coverage bool
}

// TestReport counts tests. The policy's tests hold when Failed and Errors are 0.
type TestReport struct {
	Passed, Failed, Errors, Skipped int
	// Coverage is filled in when it was asked for.
	Coverage *Coverage
}

// testTime bounds each test: long enough that only one without an end exceeds it, on a busy machine too.
const testTime = time.Minute

// Test runs the *_test.rego files among the policy's paths and modules with
// OPA's tester and prints the results to out as `opa test` does. Tests see the
// policy as it is written, with its data and graphward's library. One that takes
// more than a minute is an error. A policy that does not load is a *LoadError.
func Test(ctx context.Context, o Options, t TestOptions, out io.Writer) (*TestReport, error) {
	e, err := Load(ctx, o)
	if err != nil {
		return nil, err
	}
	modules, data, err := testModules(&o)
	if err != nil {
		return nil, err
	}
	store := inmem.NewFromObject(data)
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return nil, err
	}
	defer store.Abort(ctx, txn)
	results, err := tester.NewRunner().
		SetCompiler(ast.NewCompiler().WithEnablePrintStatements(true)).
		SetTimeout(testTime).SetStore(store).SetModules(modules).EnableTracing(t.Verbose).CapturePrintOutput(true).Filter(t.Run).
		RunTests(ctx, txn)
	if err != nil {
		return nil, err
	}
	report := &TestReport{}
	counted := make(chan *tester.Result)
	go func() {
		defer close(counted)
		for r := range results {
			report.count(r)
			counted <- r
		}
	}()
	if err := (tester.PrettyReporter{Output: out, Verbose: t.Verbose}).Report(counted); err != nil {
		return nil, err
	}
	if t.Coverage {
		c := e.Coverage()
		report.Coverage = &c
		return report, c.Write(out)
	}
	return report, nil
}

// testModules gathers the policy, its tests and the library.
func testModules(o *Options) (map[string]*ast.Module, map[string]any, error) {
	r, src := &report{}, newSources()
	src.read(o, r)
	for _, path := range o.Paths {
		src.walk(path, r, func(file, _ string, text []byte) {
			if isPolicyTest(file) {
				src.parse(file, text, r)
			}
		}, func(file string) bool { return strings.HasSuffix(file, ".rego") }, "holds no .rego file")
	}
	for name, text := range o.Modules {
		if isPolicyTest(name) {
			src.parse(name, []byte(text), r)
		}
	}
	if err := r.err(); err != nil {
		return nil, nil, err
	}
	tests := 0
	for name := range src.modules {
		if isPolicyTest(name) {
			tests++
		}
	}
	if tests == 0 {
		return nil, nil, fmt.Errorf("policy: no *_test.rego among %s", strings.Join(o.Paths, ", "))
	}
	return maps.Clone(src.modules), src.data, nil
}

func isPolicyTest(file string) bool { return strings.HasSuffix(file, "_test.rego") }

// count adds a result, test cases one by one.
func (t *TestReport) count(r *tester.Result) {
	switch {
	case r.Skip:
		t.Skipped++
	case r.Error != nil:
		t.Errors++
	case len(r.SubResults) > 0:
		for _, sub := range r.SubResults.Iter {
			if len(sub.SubResults) == 0 && sub.Fail {
				t.Failed++
			} else if len(sub.SubResults) == 0 {
				t.Passed++
			}
		}
	case r.Fail:
		t.Failed++
	default:
		t.Passed++
	}
}
