//go:build mutation

package firewall_test

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/graphward/graphward/firewall/gqlhttp"
)

// mutants are the defences that are not a refusal code, with the cases that
// must notice that they are off.
var mutants = map[string][]string{
	"close after chunked": {"smuggling_te_and_cl", "smuggling_te_and_cl_covers_second"},
	"private answers": {"private_when_subject_read", "response_cache_poisoning_altered", "response_set_cookie_private",
		"filter_cut", "mask_reject", "object_rule_allowed", "object_rule_filter", "object_rule_reported"},
	// Masking reads the whole answer, and so also finds that it is none.
	"mask": {"errors_masked", "filter_errors_masked", "response_errors_after_long_data", "response_errors_code_twice", "response_errors_name_escaped",
		"response_errors_not_a_list", "response_errors_object", "response_errors_of_texts", "response_errors_twice",
		"response_stack_trace_kept_code", "response_stack_trace_masked", "response_suggestion_in_data_position",
		"response_cache_poisoning_altered", "response_endless_broken", "response_trailing_data", "response_truncated_json",
		"response_two_objects"},
	"suggestions": {"response_suggestion_kept_code", "suggestions_stripped"},
	// What begins no object is refused all the same.
	"answer's type": {"filter_content_type", "response_charset_utf16", "response_no_content_type", "response_plain_text"},
}

// TestMutations switches off one defence at a time, in a process of its own
// (mutation.go), and demands that exactly the cases that name it fail: every
// case has its verdict from the defence that it names, and no defence is
// without a case.
func TestMutations(t *testing.T) {
	byCode := casesByCode(t)
	for _, code := range slices.Sorted(maps.Keys(byCode)) {
		t.Run(code, func(t *testing.T) { mutate(t, code, byCode[code]) })
	}
	for _, name := range slices.Sorted(maps.Keys(mutants)) {
		t.Run(name, func(t *testing.T) { mutate(t, name, mutants[name]) })
	}
}

// answerCodes are given after forwarding, where nothing is left to let through.
var answerCodes = []string{"UPSTREAM_ERROR", "UPSTREAM_TIMEOUT", "INTERNAL"}

// casesByCode lists the cases whose verdicts have a code; a policy's own code
// is FORBIDDEN's.
func casesByCode(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob("testdata/[abc]*/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	base, err := readDir("testdata/base")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		c, err := newCase(name, archive, base)
		if err != nil {
			t.Fatal(err)
		}
		codes := map[string]bool{}
		for _, v := range c.verdicts {
			for _, code := range append(v.elements, v.code) {
				if _, known := gqlhttp.Lookup(code); !known && code != "" {
					code = gqlhttp.CodeForbidden
				}
				if code != "" && !slices.Contains(answerCodes, code) {
					codes[code] = true
				}
			}
		}
		for _, row := range gqlhttp.Codes {
			// A code that only reports stands in the record.
			if strings.Contains(c.files["audit"], row.Name) && !slices.Contains(answerCodes, row.Name) {
				codes[row.Name] = true
			}
		}
		for code := range codes {
			out[code] = append(out[code], name)
		}
	}
	return out
}

var failed = regexp.MustCompile(`(?m)^ +--- FAIL: Test\w+/.*/([^/ ]+) \(`)

func mutate(t *testing.T, defence string, want []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^(TestCases|TestAttacks|TestBenign)$", "-test.v", "-test.timeout", "5m")
	cmd.Env = append(os.Environ(), "GRAPHWARD_MUTATION="+defence)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err == nil {
		t.Error("nothing failed")
	}
	if !bytes.Contains(out.Bytes(), []byte("\n--- ")) {
		t.Fatalf("%v: %.2000s", err, out.Bytes())
	}
	var got []string
	for _, m := range failed.FindAllSubmatch(out.Bytes(), -1) {
		got = append(got, string(m[1]))
	}
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
		t.Errorf("cases that fail without %s (-want +got):\n%s", defence, diff)
	}
}
