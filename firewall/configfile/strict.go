package configfile

import (
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"go.yaml.in/yaml/v4"

	"github.com/graphward/graphward/firewall"
)

var (
	configType = reflect.TypeFor[firewall.Config]()
	textType   = reflect.TypeFor[encoding.TextUnmarshaler]()
	yamlType   = reflect.TypeFor[yaml.Unmarshaler]()
)

// walk checks a node against the type that it will be read into: unknown and
// repeated keys are reported and taken out, so that the rest is still checked;
// ${NAME} in values is replaced.
func (r *reader) walk(n *yaml.Node, t reflect.Type, path string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	r.keys[place{n.Line, n.Column}] = path
	switch n.Kind {
	case yaml.ScalarNode:
		r.expand(n)
	case yaml.AliasNode:
		r.add(n, "%s: aliases are not read here; write the value out", path)
		*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null", Line: n.Line, Column: n.Column}
	case yaml.SequenceNode:
		elem := t
		if t.Kind() == reflect.Slice {
			elem = t.Elem()
		}
		for i, item := range n.Content {
			r.walk(item, elem, fmt.Sprintf("%s[%d]", path, i))
		}
	case yaml.MappingNode:
		r.mapping(n, t, path)
	}
}

func (r *reader) mapping(n *yaml.Node, t reflect.Type, path string) {
	fields := fieldsOf(t)
	seen := map[string]int{}
	kept := n.Content[:0]
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		where := strings.TrimPrefix(path+"."+key.Value, ".")
		if line, again := seen[key.Value]; again {
			r.add(key, "%s is written twice, first in line %d", where, line)
			continue
		}
		seen[key.Value] = key.Line
		elem := t
		switch {
		case t.Kind() == reflect.Map:
			elem = t.Elem()
		case t.Kind() == reflect.Struct && !scalarOnly(t):
			f, ok := fields[key.Value]
			if !ok {
				r.add(key, "there is no key %s%s", where, nearest(key.Value, fields))
				continue
			}
			elem = f
		}
		kept = append(kept, key, value)
		r.walk(value, elem, where)
	}
	n.Content = kept
}

// scalarOnly types are written as one value, such as a budget window.
func scalarOnly(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(textType) && !reflect.PointerTo(t).Implements(yamlType)
}

// fieldsOf maps a struct's yaml keys to their types.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	if t.Kind() != reflect.Struct {
		return out
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case slices.Contains(strings.Split(options, ","), "inline"):
			for k, v := range fieldsOf(f.Type) {
				out[k] = v
			}
		case name != "" && name != "-":
			out[name] = f.Type
		}
	}
	return out
}

// nearest suggests the key that was probably meant: one of the same mapping, or
// the same name elsewhere.
func nearest(given string, fields map[string]reflect.Type) string {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	best, distance := "", len(given)/2+1
	for _, name := range names {
		if d := levenshtein.ComputeDistance(strings.ToLower(given), name); d < distance {
			best, distance = name, d
		}
	}
	if best != "" {
		return ": did you mean " + best + "?"
	}
	if other := elsewhere(given, configType, ""); other != "" {
		return ": it belongs at " + other
	}
	return "; " + strings.TrimSuffix("known here: "+strings.Join(names, ", "), ": ")
}

// elsewhere finds a key of that name in another mapping.
func elsewhere(name string, t reflect.Type, path string) string {
	fields := fieldsOf(t)
	for _, key := range slices.Sorted(keys(fields)) {
		where := strings.TrimPrefix(path+"."+key, ".")
		if key == name {
			return where
		}
		f := fields[key]
		for f.Kind() == reflect.Pointer || f.Kind() == reflect.Slice {
			f = f.Elem()
		}
		if f.Kind() == reflect.Struct && !scalarOnly(f) {
			if found := elsewhere(name, f, where); found != "" {
				return found
			}
		}
	}
	return ""
}

func keys(m map[string]reflect.Type) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

var variable = regexp.MustCompile(`\$\$|\$\{([^}]*)\}?`)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand replaces ${NAME} in a scalar by the environment's value and $$ by $.
// What it gives is a value, never YAML: a variable cannot add keys. A name that
// is not set is a problem, not an empty text.
func (r *reader) expand(n *yaml.Node) {
	if !strings.Contains(n.Value, "$") {
		return
	}
	replaced := false
	n.Value = variable.ReplaceAllStringFunc(n.Value, func(m string) string {
		replaced = true
		if m == "$$" {
			return "$"
		}
		name := strings.TrimSuffix(strings.TrimPrefix(m, "${"), "}")
		if !variableName.MatchString(name) || !strings.HasSuffix(m, "}") {
			r.add(n, "%s is not a variable such as ${NAME}; write $$ for a dollar sign", m)
			return m
		}
		value, ok := r.lookup(name)
		if !ok {
			r.add(n, "the environment has no variable %s", name)
		}
		return value
	})
	if replaced && n.Style == 0 {
		n.Tag = "" // a plain scalar is typed again: port: ${PORT} may be a number
	}
}
