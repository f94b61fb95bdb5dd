package configfile

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/graphward/graphward/schema"
)

//go:embed scaffold/*.tmpl
var scaffold embed.FS

// Init writes a configuration, a policy that denies by default and a first test
// for a schema into dir, which is made where it is not there. It overwrites
// nothing: a file that is there already is an error, before anything is written.
// It returns the files written, the configuration first.
func Init(dir, schemaPath, upstream string) ([]string, error) {
	s, err := schema.LoadFiles(schemaPath)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "graphward.yaml")
	files := []struct{ path, from string }{
		{config, "graphward.yaml"},
		{filepath.Join(dir, "policies", "policy.rego"), "policy.rego"},
		{filepath.Join(dir, "policies", "policy_test.rego"), "policy_test.rego"},
	}
	for _, f := range files {
		if _, err := os.Stat(f.path); !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is there already; nothing was written", f.path)
		}
	}
	seen, err := relative(dir, schemaPath)
	if err != nil {
		return nil, err
	}
	data := struct {
		Config, Upstream, Schema string
		Roots                    []string
	}{config, upstream, yamlText(seen), roots(s)}
	t, err := template.ParseFS(scaffold, "scaffold/*.tmpl")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "policies"), 0o755); err != nil {
		return nil, err
	}
	var written []string
	for _, f := range files {
		var b strings.Builder
		if err := t.ExecuteTemplate(&b, f.from+".tmpl", data); err != nil {
			return written, err
		}
		if err := os.WriteFile(f.path, []byte(b.String()), 0o644); err != nil {
			return written, err
		}
		written = append(written, f.path)
	}
	return written, nil
}

// relative is the schema's path as the configuration names it.
func relative(dir, path string) (string, error) {
	from, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	to, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(from, to); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel), nil
	}
	return filepath.ToSlash(to), nil
}

// yamlText quotes a path for a flow sequence where it needs it.
func yamlText(s string) string {
	if strings.ContainsAny(s, " ,:[]{}#&*!|>'\"%@`$") {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", "$$").Replace(s) + `"`
	}
	return s
}

// roots lists the coordinates of the query and mutation fields.
func roots(s *schema.Schema) []string {
	var out []string
	for _, t := range []string{"query", "mutation"} {
		def := s.AST().Query
		if t == "mutation" {
			def = s.AST().Mutation
		}
		if def == nil {
			continue
		}
		for _, f := range def.Fields {
			if !strings.HasPrefix(f.Name, "__") {
				out = append(out, def.Name+"."+f.Name)
			}
		}
	}
	return out
}
