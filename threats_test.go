package graphward_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var heldBy = regexp.MustCompile("`([^`]+)`")

// Each advisory in docs/THREATS.md names the attack cases, or the tests as
// folder.Test, that hold its line; all of them are there.
func TestThreatsAreHeld(t *testing.T) {
	text, err := os.ReadFile("docs/THREATS.md")
	if err != nil {
		t.Fatal(err)
	}
	advisories := strings.Split(string(text), "\n- ")[1:]
	if len(advisories) < 50 {
		t.Fatalf("%d advisories", len(advisories))
	}
	for _, advisory := range advisories {
		line, _, _ := strings.Cut(advisory, "\n")
		advisory, _, _ = strings.Cut(advisory, "\n\n")
		_, held, ok := strings.Cut(advisory, "\n  Held by ")
		if !ok {
			t.Errorf("nothing is said to hold: %s", line)
			continue
		}
		for _, m := range heldBy.FindAllStringSubmatch(held, -1) {
			if folder, name, ok := strings.Cut(m[1], "."); ok {
				if !defines(t, folder, name) {
					t.Errorf("%s: there is no test %s in %s", line, name, folder)
				}
			} else if _, err := os.Stat(filepath.Join("firewall/testdata/attacks", m[1]+".txtar")); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
}

// defines reports whether a test file of the folder defines a test.
func defines(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name+"(t *testing.T)") {
			return true
		}
	}
	return false
}
