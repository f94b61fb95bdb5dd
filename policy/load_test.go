package policy

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// TestLoad reads testdata/load/*.txtar: a policy, and every problem that it
// has (or, in `warnings`, every doubt), a line each. -update rewrites them.
func TestLoad(t *testing.T) {
	files, err := filepath.Glob("testdata/load/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { runLoad(t, file) })
	}
}

func runLoad(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Modules: map[string]string{}}
	sdl, dir := "shop.graphql", t.TempDir()
	for _, f := range archive.Files {
		switch {
		case f.Name == "schema.graphql":
			sdl = string(f.Data)
		case strings.HasSuffix(f.Name, ".rego"):
			o.Modules[f.Name] = string(f.Data)
		case isData(f.Name):
			path := filepath.Join(dir, f.Name)
			if err := os.WriteFile(path, f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
			o.Data = append(o.Data, path)
		case f.Name == "tiers":
			o.Tiers = strings.Fields(string(f.Data))
		case f.Name == "headers":
			o.Headers = strings.Fields(string(f.Data))
		}
	}
	o.Schema = loadSchema(t, sdl)
	got := map[string]string{}
	e, err := Load(context.Background(), o)
	var loadErr *LoadError
	switch {
	case errors.As(err, &loadErr):
		got["problems"] = lines(loadErr.Problems, dir)
	case err != nil:
		t.Fatal(err)
	default:
		got["warnings"] = lines(e.Warnings(), dir)
	}
	for i, f := range archive.Files {
		if f.Name != "problems" && f.Name != "warnings" {
			continue
		}
		if *update {
			archive.Files[i].Data = []byte(got[f.Name])
			if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if diff := cmp.Diff(string(f.Data), got[f.Name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", f.Name, diff)
		}
	}
}

func lines(ps []Problem, dir string) string {
	var b strings.Builder
	for _, p := range ps {
		b.WriteString(strings.ReplaceAll(p.String(), dir+string(filepath.Separator), "") + "\n")
	}
	return b.String()
}

// What Load evaluates has not a request's time but one of its own: on a busy machine a good policy loads all the same.
func TestLoadTakesItsTime(t *testing.T) {
	if _, err := Load(t.Context(), Options{Schema: loadSchema(t, "shop.graphql"), Timeout: time.Nanosecond, Modules: map[string]string{
		"p.rego": "package graphward\n\nimport rego.v2\n\nimport data.graphward.lib.mask\n\nallow.Query.users := true\n\nmask.User.phone := mask.keep_last(4)\n",
	}}); err != nil {
		t.Error(err)
	}
}
