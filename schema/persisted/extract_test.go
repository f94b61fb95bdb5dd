package persisted

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

func TestExtract(t *testing.T) {
	files, err := filepath.Glob("testdata/extract/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			var want string
			for _, f := range archive.Files {
				if f.Name == "want" {
					want = string(f.Data)
					continue
				}
				source := f.Data
				if f.Name == "windows.js" {
					source = []byte(strings.ReplaceAll(string(f.Data), "\n", "\r\n"))
				}
				definitions, problems := Extract(f.Name, source)
				lines := make(map[int][]string)
				for _, d := range definitions {
					spread := ""
					for _, s := range d.Spreads {
						spread += " ..." + s
					}
					lines[d.Line] = append(lines[d.Line], fmt.Sprintf("%s:%d:%d: %s %s%s %q", d.File, d.Line, d.Column, d.Kind, d.Name, spread, d.Text))
				}
				for _, p := range problems {
					lines[p.Line] = append(lines[p.Line], p.String())
				}
				for n := 1; n <= strings.Count(string(source), "\n")+1; n++ {
					got = append(got, lines[n]...)
				}
			}
			if diff := cmp.Diff(want, strings.Join(got, "\n")+"\n"); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCompose(t *testing.T) {
	definitions, problems := Extract("a.graphql", []byte(`
		query B { ...Second ...First }
		query A { a }
		query A { a }
		fragment First on T { ...Third }
		fragment Second on T { ...First ...Loop }
		fragment Third on T { t }
		fragment Loop on T { ...Loop }
		query Missing { ...Nowhere }
		query Clash { ...Twice }
		fragment Twice on T { a }
		fragment Twice on T { b }
		{ anonymous }`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	documents, problems := Compose(definitions)
	var got []string
	for _, d := range documents {
		if d.ID != apolloID(d.Text) {
			t.Errorf("%s: the id is not the text's SHA-256", d.Name)
		}
		got = append(got, d.Source()+" "+d.Kind+" "+d.Name+": "+strings.ReplaceAll(d.Text, "\n\n", " / "))
	}
	want := []string{
		"a.graphql:13:3 query : { anonymous }",
		"a.graphql:3:3 query A: query A { a }",
		"a.graphql:2:3 query B: query B { ...Second ...First } / fragment Second on T { ...First ...Loop } / fragment First on T { ...Third } / fragment Third on T { t } / fragment Loop on T { ...Loop }",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var said []string
	for _, p := range problems {
		said = append(said, p.String())
	}
	if diff := cmp.Diff([]string{
		`a.graphql:9:3: entry "Missing": no fragment Nowhere is defined in any source`,
		`a.graphql:10:3: entry "Clash": the fragment Twice is defined in different ways, at a.graphql:11:3 and a.graphql:12:3`,
	}, said); diff != "" {
		t.Error(diff)
	}
}

// TestManifestRoundTrip: what AppendManifest writes, Load reads.
func TestManifestRoundTrip(t *testing.T) {
	var definitions []Definition
	for _, op := range corpus(t, "saleor") {
		d, problems := Extract(op.Name+".graphql", []byte(op.Query))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		documents, problems := Compose(d)
		if len(problems) > 0 || len(documents) != 1 {
			t.Fatalf("%s: %d documents, %v", op.Name, len(documents), problems)
		}
		definitions = append(definitions, Definition{Kind: documents[0].Kind, Name: documents[0].Name, Text: documents[0].Text})
	}
	documents, _ := Compose(definitions)
	documents[0].Client = "web"
	path := write(t, "m.json", string(AppendManifest(nil, documents)))
	set, err := Load(context.Background(), []Source{{Path: path}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if set.Len() != len(documents) {
		t.Errorf("%d of %d", set.Len(), len(documents))
	}
	for _, d := range documents {
		got, ok := set.Lookup(Client{Name: "web"}, d.ID)
		if !ok || got.Text != d.Text || got.Name != d.Name || got.Kind != d.Kind || got.Client != d.Client {
			t.Fatalf("%s: %+v", d.Name, got)
		}
	}
	if _, err := Load(context.Background(), []Source{{Path: write(t, "e.json", string(AppendManifest(nil, nil)))}}, Options{}); err != nil {
		t.Error(err)
	}
}

// FuzzExtract: nothing panics, and every definition stands where it says.
func FuzzExtract(f *testing.F) {
	archive, err := txtar.ParseFile("testdata/extract/tags.txtar")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(archive.Files[0].Data)
	f.Add([]byte("gql`{a${`${gql`{b}`}`}}`"))
	f.Fuzz(func(t *testing.T, source []byte) {
		definitions, problems := Extract("x.ts", source)
		lines := strings.Count(string(source), "\n") + 1
		for _, d := range definitions {
			if d.Line < 1 || d.Line > lines || d.Column < 1 || d.Text == "" {
				t.Fatalf("%+v", d)
			}
		}
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines || p.Column < 1 {
				t.Fatalf("%+v", p)
			}
		}
		Compose(definitions)
	})
}
