package policy

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// TestShieldReadme runs the examples of rego/README.md: in each section the
// Rego block is the policy, "yaml data" its data and "yaml decides" its cases.
func TestShieldReadme(t *testing.T) {
	text, err := os.ReadFile("../rego/README.md")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		title, _, _ := strings.Cut(section, "\n")
		f := decisionFile{Schema: "shop.graphql", Policy: fenced(section, "rego")}
		if f.Policy == "" {
			continue
		}
		t.Run(title, func(t *testing.T) {
			for block, into := range map[string]any{"yaml data": &f.Data, "yaml decides": &f.Cases} {
				if err := yaml.Load([]byte(fenced(section, block)), into, yaml.WithKnownFields()); err != nil && fenced(section, block) != "" {
					t.Fatal(err)
				}
			}
			e := f.load(t)
			for i, c := range f.Cases {
				ran++
				t.Run(fmt.Sprint(i), func(t *testing.T) { c.run(t, e) })
			}
		})
	}
	if ran < 30 {
		t.Errorf("only %d examples ran", ran)
	}
}

// fenced returns the text of the block that is fenced as info.
func fenced(section, info string) string {
	_, rest, ok := strings.Cut(section, "```"+info+"\n")
	if !ok {
		return ""
	}
	block, _, _ := strings.Cut(rest, "```")
	return block
}
