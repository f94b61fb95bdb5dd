package configfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graphward/graphward/firewall"
)

// FuzzParse reads any text as a configuration. What is refused has a reason
// within the text; what is taken is valid, takes no alias and no key that the
// reference does not know, and is read the same again.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal("no files", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	const good = "upstream: {url: \"http://127.0.0.1:1/graphql\"}\nschema: {files: [schema.graphql]}\nidentity: {anonymous: allow}\noperations: {adhoc: allow}\nallow_all: true\n"
	for _, more := range []string{
		"", "limits: {depth: 7, body: 1MiB}\n", "budgets: {tiers: {default: {cost: 20000/1m, in_flight: 5}}, overrides: {root_fields: {Mutation.login: 5/1m}}}\n",
		"upstream: {url: x}\n", "cost: {weights: {User.posts: .inf}}\n", "modes: {<<: {COST_LIMIT: report}}\n", "a: &a [*a]\n", "listen: ${HOME}:1\n",
		"--- {}\n", "? [a]\n: b\n", "limits: !!binary aGk=\n", "cost: {max: 0x_1}\n",
	} {
		f.Add(good + more)
	}
	f.Fuzz(func(t *testing.T, text string) {
		file, err := Parse("/etc/graphward/graphward.yaml", []byte(text))
		again, err2 := Parse("/etc/graphward/graphward.yaml", []byte(text))
		if (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
			t.Fatalf("first %v, then %v", err, err2)
		}
		if err != nil {
			checkProblems(t, err, text)
			return
		}
		if problems := file.Config.Validate(); len(problems) > 0 {
			t.Fatalf("taken though %v", problems)
		}
		for i, source := range file.Sources() {
			if !filepath.IsAbs(source) || source != again.Sources()[i] {
				t.Fatalf("source %q", source)
			}
		}
		for _, p := range file.Problems(&firewall.ConfigError{Problems: []firewall.Problem{{Path: "budgets.tiers.default.cost", Message: "x"}, {Path: "identity.jwt[0].issuer", Message: "x"}}}) {
			if p.Line < 1 || p.Line > strings.Count(text, "\n")+strings.Count(text, "\r")+1 {
				t.Fatalf("%v is outside the text", p)
			}
		}
	})
}

// checkProblems: each says something, and where in the text.
func checkProblems(t *testing.T, err error, text string) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || len(e.Problems) == 0 {
		t.Fatalf("%T: %v", err, err)
	}
	// YAML has more line breaks than \n, and the end of the text is a line too.
	last := 2
	for _, r := range text {
		if strings.ContainsRune("\n\r\u0085\u2028\u2029", r) {
			last++
		}
	}
	for _, p := range e.Problems {
		if p.Message == "" || p.Line < 0 || p.Line > last || p.Line > 0 && p.Column < 1 {
			t.Fatalf("a problem without its place, of %d lines: %+v", last, p)
		}
	}
}
