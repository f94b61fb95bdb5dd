package firewall

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/graphward/graphward/schema"
)

// What two sides of a difference can be.
const (
	SideConfig   = "config"
	SideManifest = "manifest"
	SidePolicy   = "policy"
	SideSchema   = "schema"
)

// SideOf guesses what a path is: a configuration by its ending .yaml or .yml,
// a policy by .rego files, a schema by being one, else a manifest.
func SideOf(path string) string {
	switch ext := strings.ToLower(filepath.Ext(path)); {
	case ext == ".yaml" || ext == ".yml":
		return SideConfig
	case holdsRego(path):
		return SidePolicy
	}
	if _, err := schema.LoadFiles(path); err == nil {
		return SideSchema
	}
	return SideManifest
}

func holdsRego(path string) bool {
	found := false
	_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(p, ".rego") && !strings.HasSuffix(p, "_test.rego") {
			found = true
			return fs.SkipAll
		}
		return nil
	})
	return found
}

// WithSide returns a copy of c with path in place of its manifests, policy or
// schema. For a manifest the client is the one that it belongs to; empty: as the
// manifest of c that is found in a file of the same name, failing that of other's
// name, which is what path is compared with; or shared.
func (c *Config) WithSide(side, path, client, other string) *Config {
	out := *c
	switch side {
	case SideManifest:
		m := ManifestConfig{File: path, Client: client, Index: os.DevNull}
		old := c.manifestNamed(path)
		if old == nil {
			old = c.manifestNamed(other)
		}
		if client == "" && old != nil {
			m.Client, m.Version, m.Limits, m.Cost = old.Client, old.Version, old.Limits, old.Cost
		}
		out.Operations.Manifests = []ManifestConfig{m}
		if out.Operations.Adhoc == "" {
			out.Operations.Adhoc = "deny"
		}
	case SidePolicy:
		out.Policy.Paths, out.Policy.Bundle = []string{path}, BundleConfig{}
		out.AllowAll, out.Policy.AllowAll = false, false
	case SideSchema:
		out.Schema = SchemaConfig{Files: []string{path}}
	}
	return &out
}

// manifestNamed finds the manifest whose file has path's name, wherever it is;
// nil when there is none.
func (c *Config) manifestNamed(path string) *ManifestConfig {
	for i := range c.Operations.Manifests {
		if m := &c.Operations.Manifests[i]; m.File != "" && path != "" && filepath.Base(m.File) == filepath.Base(path) {
			return m
		}
	}
	return nil
}
