package graphward_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphward/graphward/firewall/gqlhttp"
)

// README's table of refusals is what clients rely on, so it is the code's.
func TestReadmeListsEveryCode(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "<!-- codes: ")
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
