// Command saleor turns the permissions that a schema states in its field
// descriptions into a policy.
//
// saleor's schema says of 481 fields of object types, in words, "Requires one of the following
// permissions: MANAGE_ORDERS, MANAGE_USERS." The backend enforces that; a policy
// made of it refuses such requests before they reach the backend, and shows in
// one file who may read what:
//
//	go run ./examples/saleor schema/testdata/corpora/saleor/schema.graphql > policies/saleor.rego
//
// Fields that state nothing are open, as they are in saleor. A statement with a
// condition ("… to include the unpublished items: …") restricts an argument's
// effect and not the field, so it makes no rule. OWNER depends on the object
// and is granted by nobody here.
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

var (
	statement  = regexp.MustCompile(`Requires one of the following permissions([^:.]*): ([^.]*)`)
	permission = regexp.MustCompile("`[^`]*`|[A-Z][A-Z_]+[A-Z]")
)

// Required lists the permissions of which a description asks for one, sorted;
// nil when it asks for none.
func Required(description string) []string {
	m := statement.FindStringSubmatch(strings.Join(strings.Fields(description), " "))
	if m == nil || m[1] != "" && !strings.HasPrefix(m[1], ", depending on") {
		return nil
	}
	var out []string
	for _, p := range permission.FindAllString(m[2], -1) {
		if !strings.HasPrefix(p, "`") { // what a permission is for
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

const preamble = `# Made by examples/saleor from the descriptions of the schema's fields. Do not edit.
package graphward

import rego.v2

# A permission is in the claim, or is a kind of caller that the claim tells.
permitted(names) if {
	some name in input.subject.claims.permissions
	name in names
}

allow["*"]["*"] := true
`

// WritePolicy writes the policy that the schema's descriptions state.
func WritePolicy(w io.Writer, s *schema.Schema) error {
	if _, err := io.WriteString(w, preamble); err != nil {
		return err
	}
	for at, names := range Coordinates(s) {
		if _, err := fmt.Fprintf(w, "\nallow.%s if permitted({%q})\n", at, names); err != nil {
			return err
		}
	}
	return nil
}

// Coordinates yields every field of an object type that requires permissions.
func Coordinates(s *schema.Schema) func(yield func(string, Permissions) bool) {
	return func(yield func(string, Permissions) bool) {
		for _, def := range s.Objects() {
			for _, f := range def.Fields {
				if names := Required(f.Description); names != nil && !yield(at(def, f), names) {
					return
				}
			}
		}
	}
}

// Permissions prints as the members of a Rego set.
type Permissions []string

// Format implements fmt.Formatter for %q.
func (p Permissions) Format(f fmt.State, _ rune) {
	for i, name := range p {
		if i > 0 {
			fmt.Fprint(f, ", ")
		}
		fmt.Fprintf(f, "%q", name)
	}
}

func at(def *gql.Definition, f *gql.FieldDefinition) string { return def.Name + "." + f.Name }
