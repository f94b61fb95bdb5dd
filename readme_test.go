package graphward_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphward/graphward/examples/backend"
	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/configfile"
	"github.com/graphward/graphward/firewall/gqlhttp"
	"github.com/graphward/graphward/policy"
	"github.com/graphward/graphward/schema"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// README's table of refusals is what clients rely on, so it is the code's.
func TestReadmeListsEveryCode(t *testing.T) {
	_, table, ok := strings.Cut(readme(t), "<!-- codes: ")
	if !ok {
		t.Fatal("README.md has lost the mark before its table of codes")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var got []gqlhttp.Code
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		status, err := strconv.Atoi(cells[0])
		if err != nil {
			continue
		}
		if len(cells) != 5 || cells[4] == "" || cells[1] != "" && cells[1] != "200" || cells[2] != "" && cells[2] != "yes" {
			t.Errorf("a row that says something else: %s", line)
			continue
		}
		got = append(got, gqlhttp.Code{
			Name: strings.Trim(cells[3], "`"), Status: status, Legacy200: cells[1] == "200", Reportable: cells[2] == "yes",
		})
	}
	if diff := cmp.Diff(gqlhttp.Codes, got); diff != "" {
		t.Error(diff)
	}
}

// The policies that README shows load against the schema of the example. That one leaves most of it without a rule is its point.
func TestReadmePoliciesLoad(t *testing.T) {
	shop, err := schema.Load(schema.Source{Name: "schema.graphql", Text: backend.SDL})
	if err != nil {
		t.Fatal(err)
	}
	text := readme(t)
	shown := regexp.MustCompile("(?s)```rego\n(.*?)```").FindAllStringSubmatch(text, -1)
	shown = append(shown, regexp.MustCompile(`(?s)cat > policy\.rego <<'END'\n(.*?)END\n`).FindAllStringSubmatch(text, -1)...)
	if len(shown) != 2 {
		t.Fatalf("README shows %d policies, want 2", len(shown))
	}
	for _, match := range shown {
		if _, err := policy.Load(t.Context(), policy.Options{Schema: shop, Modules: map[string]string{"README.rego": match[1]}}); err != nil {
			t.Errorf("%v in\n%s", err, match[1])
		}
	}
}

// The files that README's quick start writes are a configuration that starts, without a warning.
func TestReadmeQuickStartStarts(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{"schema.graphql": backend.SDL}
	for _, match := range regexp.MustCompile(`(?s)cat > (\S+) <<'END'\n(.*?)END\n`).FindAllStringSubmatch(readme(t), -1) {
		files[match[1]] = match[2]
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file, err := configfile.Load(filepath.Join(dir, "graphward.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	guard, err := firewall.New(t.Context(), file.Config, firewall.Offline())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = guard.Close() }()
	for _, warning := range guard.Warnings() {
		t.Error(warning)
	}
}

// Every link to a file of the repository leads to one.
func TestDocumentsLinkToFiles(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	for _, pattern := range []string{"*.md", "*/*.md", "*/*/*.md"} {
		documents, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range documents {
			text, err := os.ReadFile(document)
			if err != nil {
				t.Fatal(err)
			}
			for _, match := range link.FindAllStringSubmatch(string(text), -1) {
				if strings.Contains(match[1], "://") {
					continue
				}
				if _, err := os.Stat(filepath.Join(filepath.Dir(document), match[1])); err != nil {
					t.Errorf("%s: %v", document, err)
				}
			}
		}
	}
}
