package policy

import (
	"bytes"
	"context"
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphward/graphward/rego"
)

// TestLibrary runs the library's own Rego tests, and sees that every module has some.
func TestLibrary(t *testing.T) {
	o := Options{Schema: loadSchema(t, "shop.graphql"), Modules: map[string]string{"p.rego": "package graphward\n\nallow.Query.me := true\n"}}
	files, err := fs.Glob(rego.Library, "lib/*.rego")
	if err != nil {
		t.Fatal(err)
	}
	modules := 0
	for _, file := range files {
		if !isPolicyTest(file) {
			modules++
			continue
		}
		text, err := fs.ReadFile(rego.Library, file)
		if err != nil {
			t.Fatal(err)
		}
		o.Modules[path.Base(file)] = string(text)
	}
	if len(files) != 2*modules {
		t.Errorf("%d modules have %d test files", modules, len(files)-modules)
	}
	var out bytes.Buffer
	report, err := Test(context.Background(), o, TestOptions{Verbose: true}, &out)
	if err != nil {
		t.Fatal(err)
	}
	if report.Failed+report.Errors+report.Skipped > 0 || report.Passed < 15 {
		t.Errorf("%+v\n%s", report, &out)
	}
}

func TestTest(t *testing.T) {
	o := Options{
		Schema: loadSchema(t, `type Query { a: Int b: T c: Int } type T { x: Int y: Int } type U { z: Int }`),
		Modules: map[string]string{
			"p.rego": `package graphward

import rego.v2

import data.graphward.lib.subject

allow.Query.a := true

allow.T["*"] if subject.has_role("r")

allow.Query[f] if { some f in data.open }
`,
			"p_test.rego": `package graphward_test

import rego.v2

import data.graphward

test_good if graphward.allow.Query.a

test_role if graphward.allow.T["*"] with input as {"subject": {"roles": ["r"]}}

test_bad if graphward.allow.T["*"] with input as {"subject": {"roles": []}}

todo_test_later if false
`,
		},
		Data: []string{writeData(t, map[string]any{"open": []any{"b"}})},
	}
	var out bytes.Buffer
	report, err := Test(context.Background(), o, TestOptions{Coverage: true}, &out)
	if err != nil {
		t.Fatal(err)
	}
	want := &TestReport{Passed: 2, Failed: 1, Skipped: 1, Coverage: &Coverage{
		Explicit: []string{"Query.a"}, Granted: []string{"Query.b", "Query.c"}, Wildcard: []string{"T.x", "T.y"}, Nothing: []string{"U.z"},
	}}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	for _, line := range []string{"data.graphward_test.test_bad: FAIL", "PASS: 2/4", "FAIL: 1/4", "SKIPPED: 1/4", "nothing governs U.z"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("the output lacks %q:\n%s", line, &out)
		}
	}
}
