// Package configfile reads graphward.yaml into a firewall.Config: strictly,
// with every problem at once, each with file, line and column and what would be
// right. It also watches the files that a configuration names, and generates
// schema.json and reference.md from the Config's own types.
package configfile

//go:generate go run ./reference

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/audit"
)

// maxFile bounds a configuration file; artsy's weights by field would be 300 KiB.
const maxFile = 4 << 20

// Problem is one thing wrong, with its place. Line and Column are 1-based; 0
// where the whole file is meant.
type Problem struct {
	File         string
	Line, Column int
	Message      string
}

func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}

// Error lists everything that is wrong, in the order of the file.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// File is a configuration that was read, with the places of its keys. It is
// immutable.
type File struct {
	Path   string
	Config *firewall.Config
	root   *yaml.Node
}

// Load reads a configuration over the defaults. Relative paths in it are
// relative to its own folder. The error is an *Error; the File beside it is nil
// only when the text is no YAML mapping, else it has what could be read, for a
// caller that wants to find more problems.
func Load(path string) (*File, error) {
	text, err := readBounded(path)
	if err != nil {
		return nil, &Error{[]Problem{{File: path, Message: err.Error()}}}
	}
	return Parse(path, text)
}

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("has %d bytes, more than %d", info.Size(), maxFile)
	}
	return os.ReadFile(path)
}

// Parse reads a configuration from text; path names it in problems and is what
// relative paths start from.
func Parse(path string, text []byte) (*File, error) {
	r := &reader{file: path, lookup: os.LookupEnv, keys: map[place]string{}}
	f := &File{Path: path, Config: firewall.DefaultConfig()}
	root := &yaml.Node{}
	if err := yaml.Load(text, root); err != nil {
		r.yamlError(err)
		return nil, r.err()
	}
	if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
		root = root.Content[0]
	}
	f.root = root
	if root.Kind != yaml.MappingNode {
		r.add(root, "the file must be a mapping of keys; see `graphward init` for one that works")
		return nil, r.err()
	}
	r.walk(root, configType, "")
	if err := root.Load(f.Config); err != nil {
		r.yamlError(err)
	}
	f.normalize()
	for _, p := range f.Config.Validate() {
		if !r.already(p.Path) {
			r.problems = append(r.problems, f.problem(p))
		}
	}
	return f, r.err()
}

// problem gives a firewall.Problem its place: that of the key, or of the
// nearest key above it that is written.
func (f *File) problem(p firewall.Problem) Problem {
	line, column := f.position(p.Path)
	return Problem{f.Path, line, column, p.Path + " " + p.Message}
}

// position finds a key such as budgets.tiers.gold.cost or identity.jwt[0].issuer.
func (f *File) position(path string) (line, column int) {
	node := f.root
	line, column = 1, 1
	for path != "" && node != nil {
		if node.Kind == yaml.AliasNode {
			node = node.Alias
		}
		switch node.Kind {
		case yaml.MappingNode:
			key, value, rest := member(node, path)
			if key == nil {
				return line, column
			}
			line, column, node, path = key.Line, key.Column, value, rest
		case yaml.SequenceNode:
			var i int
			if n, _ := fmt.Sscanf(path, "[%d]", &i); n != 1 || i >= len(node.Content) {
				return line, column
			}
			_, path, _ = strings.Cut(path, "]")
			path = strings.TrimPrefix(path, ".")
			node = node.Content[i]
			line, column = node.Line, node.Column
		default:
			return line, column
		}
	}
	return line, column
}

// member finds the longest key of a mapping that the path begins with, since
// keys may hold dots (Mutation.login).
func member(node *yaml.Node, path string) (key, value *yaml.Node, rest string) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		k := node.Content[i]
		after, ok := strings.CutPrefix(path, k.Value)
		if !ok || (after != "" && after[0] != '.' && after[0] != '[') || (key != nil && len(k.Value) <= len(key.Value)) {
			continue
		}
		key, value, rest = k, node.Content[i+1], strings.TrimPrefix(after, ".")
	}
	return key, value, rest
}

// normalize makes relative paths relative to the file's folder.
func (f *File) normalize() {
	dir := filepath.Dir(f.Path)
	c := f.Config
	at := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	for _, list := range [][]string{c.Schema.Files, c.Policy.Paths, c.Policy.Data} {
		for i := range list {
			at(&list[i])
		}
	}
	for i := range c.Operations.Manifests {
		m := &c.Operations.Manifests[i]
		at(&m.File)
		at(&m.TokenFile)
		if m.URL == "" {
			at(&m.Index)
		}
	}
	for i := range c.Identity.JWT {
		at(&c.Identity.JWT[i].JWKSFile)
	}
	for i := range c.Identity.Introspection {
		at(&c.Identity.Introspection[i].SecretFile)
	}
	if c.Identity.APIKeys != nil {
		at(&c.Identity.APIKeys.File)
	}
	for _, p := range []*string{&c.Admin.TokenFile, &c.TLS.CertFile, &c.TLS.KeyFile, &c.TLS.ClientCAFile, &c.Policy.Bundle.File,
		&c.Policy.Bundle.Signing, &c.Policy.MaskKeyFile, &c.Upstream.TLS.CAFile, &c.Upstream.TLS.CertFile, &c.Upstream.TLS.KeyFile, &c.Identity.CAFile} {
		at(p)
	}
	if t := c.Upstream.Identity.JWT; t != nil {
		at(&t.KeyFile)
	}
	switch c.Audit.Output {
	case "", audit.Stdout, audit.Stderr, audit.Off:
	case audit.File:
		at(&c.Audit.File)
	default:
		at(&c.Audit.Output)
	}
}

// Sources lists the files and folders whose change means a new generation: the
// configuration itself, schema, policy, data, manifests and the key of upstream.identity.
func (f *File) Sources() []string {
	c := f.Config
	out := []string{f.Path}
	out = append(out, c.Schema.Files...)
	out = append(out, c.Policy.Paths...)
	out = append(out, c.Policy.Data...)
	for _, m := range c.Operations.Manifests {
		if m.File != "" {
			out = append(out, m.File)
		}
	}
	if t := c.Upstream.Identity.JWT; t != nil && t.KeyFile != "" {
		out = append(out, t.KeyFile)
	}
	return slices.Compact(out)
}

// reader collects problems.
type reader struct {
	file     string
	lookup   func(string) (string, bool)
	keys     map[place]string // of values, by where they stand
	problems []Problem
}

type place struct{ line, column int }

func (r *reader) add(n *yaml.Node, format string, args ...any) {
	r.problems = append(r.problems, Problem{r.file, n.Line, n.Column, fmt.Sprintf(format, args...)})
}

// already reports whether a key's own value is known to be wrong: what it was
// replaced by needs no second complaint.
func (r *reader) already(path string) bool {
	return slices.ContainsFunc(r.problems, func(p Problem) bool { return r.keys[place{p.Line, p.Column}] == path })
}

func (r *reader) yamlError(err error) {
	var many *yaml.LoadErrors
	if errors.As(err, &many) {
		for _, e := range many.Errors {
			message := strings.TrimPrefix(e.Message, "yaml: ")
			key := r.keys[place{e.Mark.Line, e.Mark.Column}]
			if holdsSecrets(key) {
				message = "has a value of the wrong kind"
			} else if m := misfit.FindStringSubmatch(message); m != nil {
				message = m[1] + " is not " + expected(m[2])
			}
			if key != "" {
				message = key + " " + message
			}
			r.problems = append(r.problems, Problem{r.file, e.Mark.Line, e.Mark.Column, message})
		}
		return
	}
	var one *yaml.LoadError
	if errors.As(err, &one) {
		r.problems = append(r.problems, Problem{r.file, one.Mark.Line, max(one.Mark.Column, 1), one.Message})
		return
	}
	r.problems = append(r.problems, Problem{File: r.file, Message: err.Error()})
}

// holdsSecrets reports whether a key's value, or one below it, must not be
// shown.
func holdsSecrets(key string) bool {
	return strings.HasPrefix(key, "upstream.headers") || key == "budgets.store"
}

// misfit is the library's way to say that a value has another type.
var misfit = regexp.MustCompile("^cannot construct !!\\w+ (`.*`|.*) into (\\S+)$")

// expected says in words what a Go type is written as.
func expected(goType string) string {
	switch {
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case strings.HasPrefix(goType, "int"), strings.HasPrefix(goType, "uint"):
		return "a whole number"
	case strings.HasPrefix(goType, "float"):
		return "a number"
	case goType == "bool":
		return "true or false"
	case goType == "string":
		return "a text"
	case goType == "time.Duration":
		return "a duration such as 250ms, 10s or 5m"
	}
	return "a mapping of keys"
}

func (r *reader) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return &Error{slices.Compact(r.problems)}
}
