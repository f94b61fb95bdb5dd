package identity

import (
	"context"
	"fmt"
)

// CheckFiles returns every problem of the files that c names: keys, API keys
// and secrets. It asks no server. Paths that Validate refuses are skipped.
func (c *Config) CheckFiles() []Problem {
	var p problems
	// read loads a file as a running authenticator would, and hands it on.
	read := func(path, file string, parse func([]byte) error) {
		if file == "" {
			return
		}
		data, err := (&watchedFile{path: file}).load(context.Background())
		if err == nil {
			err = parse(data)
		}
		if err != nil {
			p.add(path, "%s: %s", file, err)
		}
	}
	if _, err := readRoots(c.CAFile); err != nil {
		p.add("ca_file", "%s: %s", c.CAFile, err)
	}
	for i := range c.JWT {
		read(fmt.Sprintf("jwt[%d].jwks_file", i), c.JWT[i].JWKSFile, func(data []byte) error {
			_, err := parseFirstKeys(data, c.JWT[i].algorithms())
			return err
		})
	}
	for i := range c.Introspection {
		file := c.Introspection[i].SecretFile
		if file == "" {
			continue
		}
		if _, err := readSecret(file); err != nil {
			p.add(fmt.Sprintf("introspection[%d].secret_file", i), "%s: %s", file, err)
		}
	}
	if c.APIKeys != nil {
		read("api_keys.file", c.APIKeys.File, func(data []byte) error {
			_, err := parseAPIKeys(data)
			return err
		})
	}
	return p
}
