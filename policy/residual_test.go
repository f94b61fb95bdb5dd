package policy

import (
	"context"
	"fmt"
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

grade := "top" if input.parent.size > 3

else := "low" if input.parent.public

default rank := 1

rank := input.parent.size if input.parent.public

default band := "none"

band := "gold" if input.parent.size > 10

band := "silver" if input.parent.size == 10

grants[tag] contains input.parent.ownerId if some tag in input.parent.tags

tags[tag] := i if some i, tag in input.parent.tags

names contains tag if { some tag in input.parent.tags; tag != "a" }

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
		{"not {(input.subject.authenticated or is_owner)}", ""},
		{"is_owner\n\tis_admin", "never"},
		{"input.parent.ownerId == input.subject.issuer", "never"},
		{"data.owners[input.parent.ownerId] == input.subject.id", ""},
		{"count(input.parent.tags) > 0\n\tevery tag in input.parent.tags { tag == input.subject.id }", ""},
		{"some tag in input.parent.tags\n\ttag != \"a\"\n\ttag != \"b\"", ""},
		{"regex.match(`^a`, input.parent.ownerId)", ""},
		{"count(input.parent.tags) > 0\n\tevery i, tag in input.parent.tags { i < 3; same(tag) }", ""},
		{"count([r | r := input.parent.readers[_].id; not same(r)]) == 0", ""},
		{"grade == \"low\"", ""},
		{"rank < 3", ""},
		{"input.subject.id in names", ""},
		{"o := input.parent.ownerId\n\tnot same(o)", ""},
		{"substring(upper(input.parent.ownerId), 0, 1) == \"A\"", ""},
		{"input.subject.authenticated\n}\n\nallow.Post.title if {\n\to := input.parent.ownerId\n\tnot same(o)", "always"},
		{"time.now_ns() > input.parent.size", ""},
		{"not time.now_ns() < input.parent.size", ""},
		{"json.unmarshal(input.parent.ownerId).a == 1", ""},
		{"sprintf(\"user:%v\", [input.parent.ownerId]) in input.subject.scopes", ""},
		{"$\"user:{input.parent.ownerId}\" in input.subject.scopes", ""},
		{"[_, domain] := split(input.parent.ownerId, \"@\")\n\tdomain == \"a.org\"", ""},
		{"replace(concat(\"-\", [input.parent.ownerId, \"x\"]), \"-\", \"\") == \"7x\"", ""},
		{"band in {\"gold\", \"silver\"}", ""},
		{"is_owner or \"7\" in input.subject.roles", ""},
		{"input.parent.public and not is_owner", ""},
		{"o := {\"owner\": input.parent.ownerId, \"size\": input.parent.size}\n\to.owner == input.subject.id", ""},
		{"input.subject.id in {input.parent.ownerId, input.parent.id}", ""},
		{"{r.id: r.size | some r in input.parent.readers}[input.subject.id] > 2", ""},
		{"tags[input.subject.id] == 1", ""},
		{"input.subject.id in grants[input.parent.ownerId]", ""},
		{"walk(input.parent.tags, [_, input.subject.id])", ""},
		{"rand.intn(input.parent.ownerId, 2) == 1", "opaque"},
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

// TestJudge judges single objects.
func TestJudge(t *testing.T) {
	// Three of many: more ways than are tried before OPA is asked.
	const three = "some a in input.parent.tags\n\tsome b in input.parent.tags\n\tsome c in input.parent.tags\n\t"
	many := `{"tags":["t0"`
	for i := range 59 {
		many += fmt.Sprintf(`,"t%d"`, i+1)
	}
	many += "]}"
	for _, c := range []struct {
		rule   string
		parent string
		want   bool
	}{
		{"input.parent.public", `{"public":true}`, true},
		{"input.parent.public", `{"public":false}`, false},
		{"input.parent.public", `{"public":null}`, true}, // as OPA has it: defined and not false
		{"input.parent.public", `{}`, false},
		{"input.parent.public", `{"public":true`, false},
		{"input.parent.public", `{"public":true}{}`, false},
		{"input.parent.public", `{"public":true,"public":true}`, false},
		{"input.parent.public", `[true]`, false},
		{"input.parent.public", `null`, false},
		{"input.parent.public", ``, false},
		// Partial evaluation leaves input.parent.public of these two.
		{"input.parent.public == input.parent.public", `{"public":false}`, true},
		{"not {input.parent.public == input.parent.public}", `{"public":false}`, false},
		{"p := input.parent.public\n\tp != null", `{"public":false}`, true},
		{"not input.parent.public", `{}`, true},
		{"input.parent.ownerId == input.subject.id", `{"ownerId":"7"}`, true},
		{"input.parent.ownerId == input.subject.id", `{"ownerId":7}`, false},
		{"input.parent.ownerId == input.subject.id", `{"ownerId":null}`, false},
		{"input.parent.ownerId == input.subject.issuer", `{"ownerId":null}`, false},
		{"input.parent.ownerId == input.subject.issuer", `{}`, false},
		{"input.parent.ownerId == null", `{"ownerId":null}`, true},
		{"input.parent.ownerId == null", `{}`, false},
		{"input.parent.size > 1e3", `{"size":1e999999999}`, false},
		{"input.parent.size == 1", `{"size":1.0}`, true},
		{"input.parent.readers[_].ownerId == input.subject.id", `{"readers":[null,{"ownerId":"1"},{"ownerId":"7"}]}`, true},
		{"input.parent.readers[_].ownerId == input.subject.id", `{"readers":[null,{},{"ownerId":"8"}]}`, false},
		{"regex.match(`^7$`, input.parent.ownerId)", `{"ownerId":"7"}`, true},
		// Partial evaluation would forget that the path must be there.
		{"o := input.parent.readers[0].ownerId\n\tnot o == \"1\"", `{"readers":[null]}`, false},
		{"o := input.parent.readers[0].ownerId\n\tnot o == \"1\"", `{"readers":[{"ownerId":"7"}]}`, true},
		{"not input.parent.readers[0].ownerId == \"1\"", `{"readers":[null]}`, true},
		{"o := input.parent.readers[0].ownerId\n\to == input.parent.readers[0].ownerId\n\tnot input.parent.readers[0].ownerId == \"1\"", `{"readers":[null]}`, false},
		{"o := input.parent.readers[0].ownerId\n\tcount([1 | o == \"1\"]) == 0", `{"readers":[null]}`, false},
		{"o := input.parent.readers[0].ownerId\n\t(o == \"1\" or input.parent.public)", `{"readers":[null],"public":true}`, false},
		{"not input.parent.size > 3", `{"size":1e999999999}`, false},
		{three + "b == c\n\ta == c\n\ta != b", many, false},
		{three + "count([1 | a != b; b != c]) == 1\n\ta == \"t59\"", many, true},
		{"regex.match(`^7$`, input.parent.ownerId)", `{"ownerId":7}`, false},
		{"walk(input.parent.tags, [[_, _], z])\n\tz == input.parent.tags", `{"tags":["y",{"a":"x"}]}`, false},
		{"walk(input.parent.tags, [[_, _], z])\n\tz == \"x\"", `{"tags":["y",{"a":"x"}]}`, true},
		{"[a, b] := split(input.parent.ownerId, \"m\")\n\tb == input.parent.ownerId", `{"ownerId":"acme"}`, false},
		{"[a, b] := split(input.parent.ownerId, \"m\")\n\tb == \"e\"", `{"ownerId":"acme"}`, true},
		{"walk(input.parent.tags, [[_, _], \"x\"])", `{"tags":["y",{"a":"x"}]}`, true},
		{"walk(input.parent.tags, [[_, _], \"y\"])", `{"tags":["y",{"a":"x"}]}`, false},
		{"walk(input.parent.tags, [[i, _], \"x\"])\n\ti == 1", `{"tags":["y",{"a":"x"}]}`, true},
	} {
		t.Run(c.rule+" "+c.parent, func(t *testing.T) {
			f := decisionFile{ParentNonNull: "accept", OnDeny: "reject", Schema: `type Query { post: Post }
				type Post { title: String ownerId: ID public: Boolean size: Float tags: [String!] readers: [Post] }`,
				Policy: "package graphward\n\nimport rego.v2\n\nallow.Query.post := true\n\nallow.Post.title if {\n\t" + c.rule + "\n}\n"}
			e := f.load(t)
			b, err := e.Bind(compileOperation(t, e.schema, "{post{title}}", ""))
			if err != nil {
				t.Fatal(err)
			}
			d, err := e.Decide(context.Background(), b, &Subject{ID: "7"}, nil, OperationFacts{}, nil)
			if err != nil || !d.Allowed || len(d.Guards) != 1 || d.Guards[0].Object == nil {
				t.Fatalf("%+v, %v", d, err)
			}
			got, err := d.Guards[0].Object.Judge(context.Background(), [][]byte{[]byte(c.parent), []byte(c.parent)})
			if err != nil {
				t.Fatal(err)
			}
			if got[0] != c.want || got[1] != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// TestJudgeEnds sees that a call that is given up judges nothing.
func TestJudgeEnds(t *testing.T) {
	f := decisionFile{ParentNonNull: "accept", Schema: `type Query { post: Post } type Post { title: String size: Float }`,
		Policy: "package graphward\n\nimport rego.v2\n\nallow.Query.post := true\n\nallow.Post.title if time.now_ns() > input.parent.size\n"}
	e := f.load(t)
	b, err := e.Bind(compileOperation(t, e.schema, "{post{title}}", ""))
	if err != nil {
		t.Fatal(err)
	}
	d, err := e.Decide(context.Background(), b, nil, nil, OperationFacts{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if got, err := d.Guards[0].Object.Judge(ctx, [][]byte{[]byte(`{"size":1}`)}); err == nil || got != nil {
		t.Errorf("judged %v, %v", got, err)
	}
}
