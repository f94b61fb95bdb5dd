package policy

import (
	"context"
	"testing"
)

// TestResidual says which forms of rules are decided without asking OPA for
// each object: a form that is lost is a hundredfold slower, not wrong.
func TestResidual(t *testing.T) {
	const before = `package graphward

import rego.v2

is_owner if input.parent.ownerId == input.subject.id

is_admin if "admin" in input.subject.roles

default is_public := false

is_public if input.parent.public

owner := input.parent.ownerId

same(x) if x == input.subject.id

same(x) if x in input.subject.scopes

`
	for _, c := range []struct {
		rule, want string // of always, never, opaque or empty for compared
	}{
		{"is_owner", ""},
		{"is_admin\n}\n\nallow.Post.title if {\n\tis_owner", ""},
		{"(is_admin or is_owner)", ""},
		{"is_public", ""},
		{"not is_public", ""},
		{"not is_owner", ""},
		{"input.parent.public\n\tnot input.parent.ownerId == \"2\"", ""},
		{"not {input.parent.public; input.parent.size == 3}", ""},
		{"owner == input.subject.id", ""},
		{"same(input.parent.ownerId)", ""},
		{"input.parent.size >= 3", ""},
		{"input.subject.id in input.parent.tags", ""},
		{"input.parent.readers[_].id == input.subject.id", ""},
		{"some tag in input.parent.tags\n\tstartswith(tag, input.subject.id)", ""},
		{"lower(input.parent.ownerId) == input.subject.id", ""},
		{"count(input.parent.tags) == 0", ""},
		{"input.parent.ownerId == input.parent.readers[0].id", ""},
		{"input.subject.authenticated\n}\n\nallow.Post.title if {\n\tis_owner", "always"},
		{"(input.subject.authenticated or is_owner)", "always"},
		{"not {(input.subject.authenticated or is_owner)}", "never"},
		{"is_owner\n\tis_admin", "never"},
		{"input.parent.ownerId == input.subject.issuer", "never"},
		{"data.owners[input.parent.ownerId] == input.subject.id", "opaque"},
		{"count(input.parent.tags) > 0\n\tevery tag in input.parent.tags { tag == input.subject.id }", "opaque"},
		{"some tag in input.parent.tags\n\ttag != \"a\"\n\ttag != \"b\"", "opaque"},
		{"regex.match(`^a`, input.parent.ownerId)", "opaque"},
		{"time.now_ns() > input.parent.size", "opaque"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			f := decisionFile{ParentNonNull: "accept", Schema: `type Query { post: Post }
				type Post { title: String ownerId: ID public: Boolean size: Int tags: [String!] readers: [Post] id: ID }`,
				Policy: before + "allow.Post.title if {\n\t" + c.rule + "\n}\n", Data: map[string]any{"owners": map[string]any{"1": "7"}}}
			e := f.load(t)
			s := e.begin(context.Background(), &Subject{ID: "7", Authenticated: true, Scopes: []string{"a"}}, nil)
			defer s.end()
			r, err := s.residual(objectClass{class: e.allow.static[coordinate{"Post", "title"}]})
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			switch {
			case r.opaque:
				got = "opaque"
			case r.always():
				got = "always"
			case r.never():
				got = "never"
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
