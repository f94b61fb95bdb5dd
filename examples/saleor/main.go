// Command saleor turns the permissions that a schema states in its descriptions into a policy.
//
// saleor's schema says in words, 778 times and in some other forms besides, "Requires one of the following permissions:
// MANAGE_ORDERS, MANAGE_USERS." The backend enforces that; a policy made of it refuses such requests before they
// reach the backend, and shows in one file who may do what:
//
//	go run ./examples/saleor schema/testdata/corpora/saleor/schema.graphql > policies/saleor.rego
//
// What states nothing is open, as it is in saleor. A statement with a condition ("… to include the unpublished items:
// …") restricts a field's effect and not the field, so it makes no rule. AUTHENTICATED_USER, AUTHENTICATED_STAFF_USER
// and AUTHENTICATED_APP are kinds of callers; the claim names them like permissions. OWNER depends on the object: the claim cannot
// hold it, so that a field for owners alone is open to nobody until a rule is added that knows owners.
package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	gql "github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/schema"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: saleor SCHEMA.graphql")
		os.Exit(2)
	}
	s, err := schema.LoadFiles(os.Args[1])
	if err == nil {
		err = WritePolicy(os.Stdout, s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Owner is the permission that depends on the object.
const Owner = "OWNER"

// Kind is what a statement is about.
type Kind string

const (
	Field    Kind = "field"
	Type     Kind = "type" // all fields of it that state nothing themselves
	Argument Kind = "argument"
	Input    Kind = "input field"
)

// Requirement is alternatives, each of which is permissions that are needed together. A description that asks for none has none.
type Requirement [][]string

// Met reports whether a caller with these permissions may.
func (r Requirement) Met(permissions []string) bool {
	return slices.ContainsFunc(r, func(all []string) bool {
		return !slices.ContainsFunc(all, func(p string) bool { return p == Owner || !slices.Contains(permissions, p) })
	})
}

// Statement is what the description of a coordinate requires.
type Statement struct {
	Kind       Kind
	Coordinate string // "Type.field", "Type", "Type.field.argument"
	Requirement
}

var (
	oneOf = regexp.MustCompile("Requires (?:one of|of of) (?:the )?following (?:set of )?permissions([^:.]*): ([^.]*)")
	allOf = regexp.MustCompile("Requires the following permissions: ([^.]*)")
	both  = regexp.MustCompile(`Requires ([A-Z_]+) and ([A-Z_]+) permissions?\.`)
	apps  = regexp.MustCompile("(?:set|used) only by (?:an )?apps? (?:with|that has) `([A-Z_]+)` permission")
	staff = regexp.MustCompile("Requires staff permissions")
	word  = regexp.MustCompile("`[^`]*`|[A-Z][A-Z_]+[A-Z]")
)

// Required reads a description. conditional says that it states a permission for some cases only, which makes no requirement.
func Required(description string) (r Requirement, conditional bool) {
	text := strings.Join(strings.Fields(description), " ")
	if statements := oneOf.FindAllStringSubmatch(text, -1); statements != nil {
		return oneOfAll(statements)
	}
	if m := allOf.FindStringSubmatch(text); m != nil {
		r = alternatives(m[1], ", ")
		for i, part := range strings.Split(m[1], ", ") { // "A and B for apps, C for staff users"
			switch {
			case strings.HasSuffix(part, " for apps"):
				r[i] = with(r[i], "AUTHENTICATED_APP")
			case strings.HasSuffix(part, " for staff users"):
				r[i] = with(r[i], "AUTHENTICATED_STAFF_USER")
			}
		}
		return r, false
	}
	if m := both.FindStringSubmatch(text); m != nil {
		return Requirement{with([]string{m[1]}, m[2])}, false
	}
	if m := apps.FindStringSubmatch(text); m != nil {
		return Requirement{with([]string{m[1]}, "AUTHENTICATED_APP")}, false
	}
	if staff.MatchString(text) {
		return Requirement{{"AUTHENTICATED_APP"}, {"AUTHENTICATED_STAFF_USER"}}, false
	}
	return nil, strings.Contains(text, "equires") && strings.Contains(text, "ermission") && word.MatchString(text)
}

// oneOfAll reads the statements of a description that name alternatives. What is enough "when updating only `x` field" is an
// alternative too: which fields are updated is for the backend to see.
func oneOfAll(statements [][]string) (r Requirement, conditional bool) {
	for _, m := range statements {
		condition, names := m[1], m[2]
		switch {
		case strings.HasPrefix(condition, " when updating only"):
			names = strings.ReplaceAll(names, "`", "")
		case condition != "" && !strings.HasPrefix(condition, ", depending on"):
			conditional = true
			continue
		case strings.Contains(names, " + "):
			r = append(r, alternatives(names, " or ")...)
			continue
		}
		for _, p := range permissions(names) {
			if !slices.ContainsFunc(r, func(all []string) bool { return slices.Equal(all, []string{p}) }) {
				r = append(r, []string{p})
			}
		}
	}
	return r, conditional && r == nil
}

func alternatives(text, separator string) Requirement {
	var r Requirement
	for part := range strings.SplitSeq(text, separator) {
		r = append(r, permissions(part))
	}
	return r
}

func with(all []string, p string) []string {
	all = append(all, p)
	slices.Sort(all)
	return slices.Compact(all)
}

// permissions lists the names in a text, sorted, each once. What is quoted is what a permission is for.
func permissions(text string) []string {
	var out []string
	for _, p := range word.FindAllString(text, -1) {
		if !strings.HasPrefix(p, "`") {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Statements yields what descriptions require: of object types and their fields, of arguments and of input fields. A field that
// states nothing itself has what the interfaces of its type state.
func Statements(s *schema.Schema) func(yield func(Statement) bool) {
	return func(yield func(Statement) bool) {
		state := func(kind Kind, at, description string) bool {
			r, _ := Required(description)
			return r == nil || yield(Statement{kind, at, r})
		}
		for _, def := range s.Objects() {
			if !state(Type, def.Name, def.Description) {
				return
			}
			for _, f := range def.Fields {
				if !state(Field, at(def, f), fieldDescription(s, def, f)) {
					return
				}
				for _, a := range f.Arguments {
					if !state(Argument, at(def, f)+"."+a.Name, a.Description) {
						return
					}
				}
			}
		}
		for _, def := range inputs(s) {
			for _, f := range def.Fields {
				if !state(Input, at(def, f), f.Description) {
					return
				}
			}
		}
	}
}

func fieldDescription(s *schema.Schema, def *gql.Definition, f *gql.FieldDefinition) string {
	texts := []string{f.Description}
	for _, name := range def.Interfaces {
		if stated := s.AST().Types[name].Fields.ForName(f.Name); stated != nil {
			texts = append(texts, stated.Description)
		}
	}
	for _, text := range texts {
		if r, conditional := Required(text); r != nil || conditional {
			return text
		}
	}
	return ""
}

// inputs lists the input types by name.
func inputs(s *schema.Schema) []*gql.Definition {
	var out []*gql.Definition
	for _, def := range s.AST().Types {
		if def.Kind == gql.InputObject {
			out = append(out, def)
		}
	}
	slices.SortFunc(out, func(a, b *gql.Definition) int { return strings.Compare(a.Name, b.Name) })
	return out
}

const preamble = `# Made by examples/saleor from the descriptions of the schema. Do not edit.
package graphward

import rego.v2

# The permissions of the caller, and what kind of caller it is: AUTHENTICATED_USER, AUTHENTICATED_STAFF_USER or
# AUTHENTICATED_APP. OWNER depends on the object and is never held.
held := {name | some name in input.subject.claims.permissions} - {"OWNER"}

one_of(names) if count(held & names) > 0

all_of(names) if count(names - held) == 0

allow["*"]["*"] := true
`

// WritePolicy writes the policy that the schema's descriptions state.
func WritePolicy(w io.Writer, s *schema.Schema) error {
	if _, err := io.WriteString(w, preamble); err != nil {
		return err
	}
	for statement := range Statements(s) {
		if _, err := io.WriteString(w, "\n"+statement.rules()); err != nil {
			return err
		}
	}
	return nil
}

// rules writes a rule for all alternatives of one permission, and one for each other.
func (s Statement) rules() string {
	head := "allow." + s.Coordinate
	switch s.Kind {
	case Type:
		head += `["*"]`
	case Argument:
		head = "allow_argument." + s.Coordinate
	case Input:
		head = "allow_input." + s.Coordinate
	}
	var out strings.Builder
	var single []string
	for _, all := range s.Requirement {
		if len(all) == 1 {
			single = append(single, all[0])
		} else {
			fmt.Fprintf(&out, "%s if all_of(%s)\n", head, set(all))
		}
	}
	if single != nil {
		fmt.Fprintf(&out, "%s if one_of(%s)\n", head, set(single))
	}
	return out.String()
}

// set writes a Rego set of strings.
func set(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	return "{" + strings.Join(quoted, ", ") + "}"
}

func at(def *gql.Definition, f *gql.FieldDefinition) string { return def.Name + "." + f.Name }
