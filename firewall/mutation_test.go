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

	"golang.org/x/tools/txtar"

	"github.com/graphward/graphward/firewall/gqlhttp"
)

// guardedCases are the cases whose verdict comes from a guard on the answer that is
// not there where nothing is forbidden, and does not say FORBIDDEN itself.
var guardedCases = []string{"filter_content_type", "filter_unknown_type", "object_rule_allowed", "object_rule_filter", "protected_abstract",
	"protected_answered_anyway", "protected_answered_anyway_escaped", "protected_batch", "protected_data_twice", "protected_duplicate_typename",
	"protected_error_locations", "protected_missing_typename", "protected_object_duplicate_keys", "protected_own_key_answered",
	"protected_scalar_for_object", "protected_text_after", "protected_unknown_typename"}

// maskedCases say FORBIDDEN of a value that a mask does not fit; masks hold
// whatever the mode of that code.
var maskedCases = []string{"protected_mask_list", "protected_mask_wrong_type"}

// mutants are the defences that are not a refusal code, with the cases that
// must notice that they are off. Of "private answers" it is those that want them.
var mutants = map[string][]string{
	"close after chunked": {"smuggling_te_and_cl", "smuggling_te_and_cl_covers_second"},
	"request headers": {"cve_2024_24791_expect_continue", "headers_forwarded", "http_expect_continue", "method_override_header", "request_forwarded_headers",
		"request_hop_by_hop", "request_own_header_overwritten", "response_accept_encoding", "response_conditional_request"},
	// Upstream's length is one that the rewritten answer no longer has.
	"response headers": {"response_errors_after_long_data", "response_header_own_prefix", "response_hop_by_hop", "response_removed_headers", "response_trailer"},
	"answer's size":    {"response_endless_data", "response_too_large_announced"},
	"nominated":        {"nominated_authorization", "nominated_authorization_in_second_connection", "nominated_authorization_required", "nominated_cookie", "nominated_policy_header", "nominated_policy_header_underscore", "nominated_preflight_header"},
	// Masking reads the whole answer, and so also finds that it is none.
	"mask": {"errors_masked", "filter_errors_masked", "response_errors_after_long_data", "response_errors_code_twice", "response_errors_name_escaped",
		"response_errors_not_a_list", "response_errors_object", "response_errors_of_texts", "response_errors_twice",
		"response_stack_trace_kept_code", "response_stack_trace_masked", "response_suggestion_in_data_position",
		"response_cache_poisoning_altered", "response_errors_masked_grow", "response_endless_broken", "response_trailing_data", "response_truncated_json",
		"response_two_objects"},
	"suggestions": {"response_suggestion_kept_code", "suggestions_stripped"},
	// What begins no object is refused all the same.
	"trusted proxies": {"budget_spoofed_x_forwarded_for", "budget_x_forwarded_for_left_of_trusted", "budget_x_forwarded_for_many_headers", "headers_forwarded",
		"request_forwarded_headers"},
	"origins":       {"cors_foreign_origin", "cors_origin_null", "cors_origin_suffix", "cors_preflight", "cors_upstream_headers_removed"},
	"answer's type": {"filter_content_type", "response_charset_utf16", "response_no_content_type", "response_plain_text"},
}

// TestMutations switches off one defence at a time, in a process of its own
// (mutation.go), and demands that exactly the cases that name it fail: every
// case has its verdict from the defence that it names, and no defence is
// without a case.
func TestMutations(t *testing.T) {
	byCode, private := casesByCode(t)
	byCode[gqlhttp.CodeForbidden] = notIn(slices.Compact(slices.Sorted(slices.Values(append(byCode[gqlhttp.CodeForbidden], guardedCases...)))), maskedCases)
	t.Run("private answers", func(t *testing.T) { mutate(t, "private answers", private) })
	for _, code := range slices.Sorted(maps.Keys(byCode)) {
		t.Run(code, func(t *testing.T) { mutate(t, code, byCode[code]) })
	}
	for _, name := range slices.Sorted(maps.Keys(mutants)) {
		t.Run(name, func(t *testing.T) { mutate(t, name, mutants[name]) })
	}
}

// answerCodes are given after forwarding, where nothing is left to let through.
var answerCodes = []string{"UPSTREAM_ERROR", "UPSTREAM_TIMEOUT", "INTERNAL"}

// casesByCode lists the cases whose verdicts have a code, a policy's own code
// being FORBIDDEN's, and those whose answers must be private.
func casesByCode(t *testing.T) (byCode map[string][]string, private []string) {
	t.Helper()
	files, err := filepath.Glob("testdata/[abc]*/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	base, err := readDir("testdata/base")
	if err != nil {
		t.Fatal(err)
	}
	byCode = map[string][]string{}
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
			// A code that only reports stands in the record, that of a field that was taken out in the answer.
			if strings.Contains(c.files["audit"]+c.files["response"], `"`+row.Name+`"`) && !slices.Contains(answerCodes, row.Name) {
				codes[row.Name] = true
			}
		}
		for code := range codes {
			byCode[code] = append(byCode[code], name)
		}
		if strings.Contains(c.files["response"], "Cache-Control: private, no-store\n") {
			private = append(private, name)
		}
	}
	return byCode, private
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
	got, want = slices.Compact(got), slices.Sorted(slices.Values(want))
	if missing := notIn(want, got); len(missing) > 0 {
		t.Errorf("without %s these cases should fail and do not: %q", defence, missing)
	}
	if surplus := notIn(got, want); len(surplus) > 0 {
		t.Errorf("without %s these cases fail and should not: %q", defence, surplus)
	}
}

// notIn is what of all is not in some.
func notIn(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(some, s) })
}
