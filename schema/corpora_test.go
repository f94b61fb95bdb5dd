package schema

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// corpus is a real schema with the real operations of one of its clients;
// testdata/corpora/*/SOURCE.md says which.
type corpus struct {
	name, file string
	schema     *Schema
	operations []corpusOperation
}

type corpusOperation struct {
	Name      string          `json:"name"`
	Kind      string          `json:"kind"`
	Query     string          `json:"query"`
	Variables json.RawMessage `json:"variables"`
}

var corpora = sync.OnceValues(func() ([]corpus, error) {
	var all []corpus
	for _, name := range []string{"artsy", "saleor"} {
		dir := filepath.Join("testdata", "corpora", name)
		file := filepath.Join(dir, "schema.graphql")
		s, err := LoadFiles(file)
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(filepath.Join(dir, "operations.json"))
		if err != nil {
			return nil, err
		}
		c := corpus{name: name, file: file, schema: s}
		if err := json.Unmarshal(text, &c.operations); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
})

// loadKennel returns the made-up schema that has every corner, with documents
// for most of them, some of which are invalid.
func loadKennel(tb testing.TB) corpus {
	tb.Helper()
	dir := filepath.Join("testdata", "kennel")
	c := corpus{name: "kennel", file: filepath.Join(dir, "schema.graphql")}
	var err error
	if c.schema, err = LoadFiles(c.file); err != nil {
		tb.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "documents.graphql"))
	if err != nil {
		tb.Fatal(err)
	}
	for _, document := range strings.Split(string(text), "---\n") {
		c.operations = append(c.operations, corpusOperation{Query: document})
	}
	return c
}

func loadCorpora(tb testing.TB) []corpus {
	tb.Helper()
	all, err := corpora()
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

// TestCompileCorpora compiles every real operation with the default limits.
func TestCompileCorpora(t *testing.T) {
	n := 0
	for _, c := range loadCorpora(t) {
		for _, o := range c.operations {
			n++
			op, err := c.schema.Compile(o.Query, "", Limits{})
			if err != nil {
				t.Errorf("%s %s: %v", c.name, o.Name, err)
				continue
			}
			if op.Name != o.Name || string(op.Kind) != o.Kind {
				t.Errorf("%s %s: compiled to %s %s", c.name, o.Name, op.Kind, op.Name)
			}
			again, err := c.schema.Compile(op.Text, o.Name, Limits{})
			if err != nil {
				t.Errorf("%s %s: canonical text: %v", c.name, o.Name, err)
				continue
			}
			if again.Text != op.Text || again.Hash != op.Hash {
				t.Errorf("%s %s: the canonical text of the canonical text is another", c.name, o.Name)
			}
		}
	}
	if n != 1327 {
		t.Errorf("%d operations, want 1327", n)
	}
}
