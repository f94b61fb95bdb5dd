package firewall

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// LoadPersonas reads personas: "NAME=FILE", a folder of NAME.json files, or
// "anonymous". A file is the JSON object of a token's claims; or, where its
// member claims is an object or null, {"claims", "issuer", "headers"} (headers:
// name to value). Claims null, and a file that is null, are an anonymous caller.
func LoadPersonas(specs []string) ([]Persona, error) {
	var out []Persona
	seen := map[string]bool{}
	add := func(p Persona) error {
		if p.Name == "" || seen[p.Name] {
			return fmt.Errorf("the persona %q has no name or is given twice", p.Name)
		}
		seen[p.Name] = true
		out = append(out, p)
		return nil
	}
	for _, spec := range specs {
		name, file, named := strings.Cut(spec, "=")
		if !named && spec == "anonymous" {
			if err := add(Persona{Name: spec}); err != nil {
				return nil, err
			}
			continue
		}
		files := map[string]string{}
		order := []string{name}
		if named {
			files[name] = file
		} else {
			paths, err := filepath.Glob(filepath.Join(spec, "*.json"))
			if err != nil || len(paths) == 0 {
				return nil, fmt.Errorf("%s is neither NAME=FILE nor anonymous nor a folder of NAME.json files", spec)
			}
			order = order[:0]
			for _, path := range paths {
				stem := strings.TrimSuffix(filepath.Base(path), ".json")
				files[stem] = path
				order = append(order, stem)
			}
		}
		for _, name := range order {
			p, err := loadPersona(name, files[name])
			if err != nil {
				return nil, err
			}
			if err := add(p); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func loadPersona(name, path string) (Persona, error) {
	p := Persona{Name: name}
	text, err := os.ReadFile(path)
	if err != nil {
		return p, err
	}
	var members map[string]any
	if err := decodeExact(text, &members); err != nil {
		return p, fmt.Errorf("%s is not the JSON object of a token's claims: %w", path, err)
	}
	inner, wrapped := members["claims"]
	if _, isObject := inner.(map[string]any); !wrapped || !isObject && inner != nil {
		p.Claims = members
		return p, nil
	}
	var file struct {
		Claims  map[string]any    `json:"claims"`
		Issuer  string            `json:"issuer"`
		Headers map[string]string `json:"headers"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return p, fmt.Errorf("%s: %w", path, err)
	}
	p.Claims, p.Issuer, p.Headers = file.Claims, file.Issuer, http.Header{}
	for name, value := range file.Headers {
		p.Headers.Set(name, value)
	}
	return p, nil
}

func decodeExact(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return fmt.Errorf("there is more than one value")
	}
	return nil
}

// LoadVariables reads a JSON object from operation names to their variables,
// for JudgeOperations. An empty path is no variables.
func LoadVariables(path string) (map[string][]byte, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if err := decodeExact(text, &members); err != nil {
		return nil, fmt.Errorf("%s is not a JSON object of variables by operation name: %w", path, err)
	}
	out := map[string][]byte{}
	for name, raw := range members {
		out[name] = raw
	}
	return out, nil
}
