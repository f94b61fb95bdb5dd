package persisted

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The most particular document wins: the version's, the client's, then the
// shared one; a version's own is unknown to every other version.
func TestVersions(t *testing.T) {
	set, err := Load(t.Context(), []Source{
		{Path: "shared", Content: []byte(`{"a":"{shared}","b":"{b}"}`)},
		{Path: "web", Content: []byte(`{"a":"{web}"}`), Client: "web"},
		{Path: "web2", Content: []byte(`{"a":"{two}","c":"{c}"}`), Client: "web", Version: "2.0.0"},
	}, Options{Canonical: textForm})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		client   Client
		id, want string
	}{
		{Client{}, "a", "{shared}"},
		{Client{Name: "ios"}, "a", "{shared}"},
		{Client{Name: "web"}, "a", "{web}"},
		{Client{"web", "1.0.0"}, "a", "{web}"},
		{Client{"web", "2.0.0"}, "a", "{two}"},
		{Client{"web", "2.0.0"}, "b", "{b}"},
		{Client{"web", "2.0.0"}, "c", "{c}"},
		{Client{"web", "1.0.0"}, "c", ""},
		{Client{"ios", "2.0.0"}, "c", ""},
		{Client{"", "2.0.0"}, "c", ""},
	} {
		d, ok := set.Lookup(c.client, c.id)
		if ok != (c.want != "") || ok && d.Text != c.want {
			t.Errorf("%v %s: %+v, want %q", c.client, c.id, d, c.want)
		}
		if form, _ := textForm(c.want); c.want != "" {
			if d, ok := set.Match(c.client, form); !ok || d.Text != c.want {
				t.Errorf("%v by text %s: %+v", c.client, c.want, d)
			}
		}
	}
}

// An entry's own raise holds in place of its source's; numbers name documents.
func TestRaise(t *testing.T) {
	const manifest = `{"format":"apollo-persisted-query-manifest","version":1,"operations":[
		{"id":"bad","body":"{"},
		{"id":"a","body":"{a}","limits":{"depth":20,"cost":9000.5}},
		{"id":"b","body":"{b}"}]}`
	var (
		mu     sync.Mutex // documents are judged side by side
		judged []string
	)
	set, err := Load(t.Context(), []Source{{Path: "m", Content: []byte(manifest), Raise: Raise{Aliases: 70}}}, Options{
		Canonical: textForm, SkipBad: true, Accept: func(d *Document) error {
			mu.Lock()
			defer mu.Unlock()
			judged = append(judged, d.ID)
			if d.ID == "bad" {
				return errors.New("not accepted")
			}
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := set.Lookup(Client{}, "a")
	b, _ := set.Lookup(Client{}, "b")
	if diff := cmp.Diff([]Raise{{Depth: 20, Cost: 9000.5}, {Aliases: 70}, {20, 70, 0, 0, 9000.5}}, []Raise{a.Raise, b.Raise, set.Highest()}); diff != "" {
		t.Error(diff)
	}
	if a.Number == b.Number || max(a.Number, b.Number) >= set.Numbers() || len(judged) != 3 {
		t.Errorf("numbers %d and %d of %d; judged %v", a.Number, b.Number, set.Numbers(), judged)
	}
	for _, wrong := range []string{`{"deth":1}`, `{"depth":-1}`, `[]`, `{"depth":1.5}`} {
		_, err := Load(t.Context(), []Source{{Path: "m", Content: []byte(strings.Replace(manifest, `{"depth":20,"cost":9000.5}`, wrong, 1))}}, Options{})
		if err == nil || !strings.Contains(err.Error(), "limits must") {
			t.Errorf("limits %s: %v", wrong, err)
		}
	}
}

func TestExtractFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"src/a.ts":            "export const A = gql`query A { a ...F }`",
		"src/b.graphql":       "fragment F on T { f }",
		"node_modules/x/x.ts": "gql`query X { x }`",
		"src/types.d.ts":      "gql`query D { d }`",
		"src/readme.md":       "query M { m }",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	definitions, problems, err := ExtractFiles(dir)
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	documents, problems := Compose(definitions)
	if len(documents) != 1 || len(problems) > 0 || documents[0].Name != "A" {
		t.Fatalf("%+v %v", documents, problems)
	}
	MD5(documents)
	set, err := Load(t.Context(), []Source{{Path: "map", Content: AppendMap(nil, documents)}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d, ok := set.Lookup(Client{}, relayID("query A { a ...F }\n\nfragment F on T { f }")); !ok || d.Name != "A" {
		t.Errorf("%+v", d)
	}
	if _, _, err := ExtractFiles(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a path that is not there was passed over")
	}
}
