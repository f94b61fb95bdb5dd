package answer_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// settings are documents with guards under which any answer must be rewritten
// without a panic, in the same way however it comes.
var settings = []map[string]string{
	{"query": "{ me { id name tags boss { id email } } users { id email } posts { id title secret author { name } } grid { id } a b }",
		"guards": "rule Post.secret author.id \"u1\"\nrule User.email name \"Ann\""},
	{"query": "{ nodes { id label ... on Post { title } } node { label } search { __typename ... on User { email } ... on Post { secret } } strict { phone id } a }",
		"guards": "deny User.label\nrule Post.title ownerId \"u1\"\nmask User.email \"***\"\nlast2 User.phone\ndeny Post.secret"},
	{"query": "{ posts { id title } users { id phone posts { title } } lax { email phone } a }", "options": "check mask",
		"guards": "rule Post.title ownerId null\nrule User.phone name \"Ann\"\ndrop Query.posts\ndrop Query.users\ndeny User.email"},
}

var seeds = []string{
	`{"data":{"me":{"graphward_2":"Ann","id":"1","name":"Ann","tags":["a",null],"boss":null},"users":[{"graphward_2":"Bob","id":"1","email":"x"}],"posts":[{"graphward_1":{"graphward_3":"u1"},"id":"1","title":"t","secret":"s","author":{"name":"n"}}],"grid":[[{"id":"1"}],null],"a":"x","b":"y"}}`,
	`{"errors":[{"message":"m","path":["nodes",0,"graphward_1"]}],"data":{"nodes":[{"graphward_t":"User","id":"1","label":"l"},{"graphward_t":"Post","graphward_1":null,"id":"2","label":"m","title":"t"}],"node":null,"search":[{"graphward_t":"User","__typename":"User"}],"strict":[{"phone":"123","id":"1"}],"a":null}}`,
	` {"data" : {"posts":[ {"graphward_1":null,"id":"1","title":null} , {"graphward_1":"u1","id":"2","title":"b"}],"users":[{"graphward_2":"Ann","id":"1","phone":"1","posts":[]}],"lax":[{}],"a":"\"\\"},"errors":[{"path":["posts",1,"title"],"message":"x"}],"extensions":{"a":[1.50,true]}}`,
}

func FuzzRewrite(f *testing.F) {
	s := loadSchema(f)
	var all []*setting
	for _, files := range settings {
		all = append(all, prepare(f, s, files, nil))
	}
	for _, seed := range seeds {
		for which := range settings {
			f.Add([]byte(seed), uint8(which), 3, 17)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, which uint8, first, second int) {
		st := all[int(which)%len(all)]
		out, _, err := st.rewrite(body, whole)
		again, _, err2 := st.rewrite(body, chunks(first%64, second%1000, 1))
		if (err == nil) != (err2 == nil) || err == nil && out != again {
			t.Fatalf("whole: %q, %v\nin chunks: %q, %v", out, err, again, err2)
		}
		if err != nil {
			return
		}
		if !jsontext.Value(body).IsValid() {
			return
		}
		if !jsontext.Value(out).IsValid() {
			t.Fatalf("%q became %q", body, out)
		}
		// Where leaves are checked, no member of a leaf can be meant.
		if data, _, _ := bytes.Cut([]byte(out), []byte(`"extensions"`)); settings[int(which)%len(all)]["options"] != "" && ownMember(data) {
			t.Fatalf("a key of ours is in %q", out)
		}
	})
}

// ownMember reports whether a member has a name of ours.
func ownMember(body []byte) bool {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	for {
		t, err := d.ReadToken()
		if err != nil {
			return false
		}
		kind, length := d.StackIndex(d.StackDepth())
		if t.Kind() == '"' && kind == '{' && length%2 == 1 && len(t.String()) > 10 && t.String()[:10] == "graphward_" {
			return true
		}
	}
}

// FuzzUntouched checks that an answer in which every position is allowed passes
// byte for byte, as long as nothing of ours is in it.
func FuzzUntouched(f *testing.F) {
	st := prepare(f, loadSchema(f), map[string]string{
		"query": "{ me { id name boss { id } } posts { id secret } grid { id } a }", "guards": `rule Post.secret title "x"`}, nil)
	st.options.Guards[0].Rule = allowAll{}
	f.Add([]byte(`{"data":{"me":{"id":"1","name":"Ann","boss":{"id":[1]}},"posts":[{"id":"1","secret":"s"}, null],"grid":[[ {"id":1.0} ]],"a":""} , "extensions": 1}`), 5)
	f.Add([]byte("\n{ }\n"), 1)
	f.Fuzz(func(t *testing.T, body []byte, size int) {
		if bytes.Contains(body, []byte("graphward")) || bytes.ContainsAny(body, `\`) || bytes.Contains(body, []byte(`"errors"`)) {
			return
		}
		var members map[string]jsontext.Value
		if json.Unmarshal(body, &members) != nil {
			return
		}
		delete(members, "data")
		delete(members, "extensions")
		if out, _, err := st.rewrite(body, chunks(size%100)); err == nil && len(members) == 0 && out != string(body) {
			t.Fatalf("%q became %q", body, out)
		}
	})
}

type allowAll struct{}

func (allowAll) Judge(_ context.Context, parents [][]byte) ([]bool, error) {
	verdicts := make([]bool, len(parents))
	for i := range verdicts {
		verdicts[i] = true
	}
	return verdicts, nil
}
