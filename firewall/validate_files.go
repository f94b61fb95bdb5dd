package firewall

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// absences are the schema, policy and manifest files and folders that the
// configuration names and that are not there, each a problem of its key.
func (c *Config) absences() []Problem {
	var out []Problem
	look := func(path, key string, of ...any) {
		if path == "" {
			return
		}
		_, err := os.Stat(path)
		if err == nil {
			return
		}
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			err = e.Err
		}
		out = append(out, Problem{fmt.Sprintf(key, of...), fmt.Sprintf("%s: %v", path, err)})
	}
	for i, path := range c.Schema.Files {
		look(path, "schema.files[%d]", i)
	}
	for i, path := range c.Policy.Paths {
		look(path, "policy.paths[%d]", i)
	}
	for i, path := range c.Policy.Data {
		look(path, "policy.data[%d]", i)
	}
	look(c.Policy.Bundle.File, "policy.bundle.file")
	for i := range c.Operations.Manifests {
		look(c.Operations.Manifests[i].File, "operations.manifests[%d].file", i)
	}
	return out
}

// concerns reports whether one of the problems is of a key below section.
func concerns(problems []Problem, section string) bool {
	for _, p := range problems {
		if strings.HasPrefix(p.Path, section) {
			return true
		}
	}
	return false
}
