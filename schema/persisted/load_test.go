package persisted

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/graphward/graphward/schema"
)

// realOperation is one line of a corpus of schema/testdata.
type realOperation struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Query string `json:"query"`
}

func corpus(t testing.TB, name string) []realOperation {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "testdata", "corpora", name, "operations.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ops []realOperation
	if err := json.Unmarshal(data, &ops); err != nil {
		t.Fatal(err)
	}
	return ops
}

// textForm stands in for schema.CanonicalForm where only identity matters.
func textForm(text string) ([32]byte, error) { return sha256.Sum256([]byte(text)), nil }

func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func quote(s string) string {
	b, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// relayMap is what relay-compiler's persistConfig writes: MD5 to text.
func relayMap(ops []realOperation) string {
	var b strings.Builder
	b.WriteString("{\n")
	for i, op := range ops {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, "  %s: %s", quote(relayID(op.Query)), quote(op.Query))
	}
	b.WriteString("\n}\n")
	return b.String()
}

func relayID(text string) string {
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

// apolloManifest is what @apollo/generate-persisted-query-manifest writes.
func apolloManifest(ops []realOperation) string {
	var b strings.Builder
	b.WriteString("{\n  \"format\": \"apollo-persisted-query-manifest\",\n  \"version\": 1,\n  \"operations\": [\n")
	for i, op := range ops {
		if i > 0 {
			b.WriteString(",\n")
		}
		fmt.Fprintf(&b, "    {\n      \"id\": %s,\n      \"name\": %s,\n      \"type\": %s,\n      \"body\": %s\n    }",
			quote(apolloID(op.Query)), quote(op.Name), quote(op.Kind), quote(op.Query))
	}
	b.WriteString("\n  ]\n}\n")
	return b.String()
}

func apolloID(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// TestRealManifests: each of the real operations is found by id and by text,
// other white space and a comment notwithstanding; for another client, or with
// a field more, it is not.
func TestRealManifests(t *testing.T) {
	for _, c := range []struct {
		corpus   string
		manifest func([]realOperation) string
		id       func(string) string
	}{
		{"artsy", relayMap, relayID},
		{"saleor", apolloManifest, apolloID},
	} {
		t.Run(c.corpus, func(t *testing.T) {
			s, err := schema.LoadFiles(filepath.Join("..", "testdata", "corpora", c.corpus, "schema.graphql"))
			if err != nil {
				t.Fatal(err)
			}
			form := func(text string) [32]byte {
				t.Helper()
				f, err := s.CanonicalForm(text, schema.Limits{})
				if err != nil {
					t.Fatal(err)
				}
				return f
			}
			ops := corpus(t, c.corpus)
			path := write(t, "manifest.json", c.manifest(ops))
			set, err := Load(context.Background(), []Source{{Path: path, Client: "web"}}, Options{Canonical: func(text string) ([32]byte, error) {
				return s.CanonicalForm(text, schema.Limits{})
			}})
			if err != nil {
				t.Fatal(err)
			}
			for _, op := range ops {
				d, ok := set.Lookup(Client{Name: "web"}, c.id(op.Query))
				if !ok || d.Text != op.Query || d.Name != op.Name || d.Kind != op.Kind || d.Client != "web" {
					t.Fatalf("%s: %v, %+v", op.Name, ok, d)
				}
				for _, text := range []string{op.Query, "# a comment\n" + strings.ReplaceAll(op.Query, "\n", "\n\t,")} {
					if d, ok := set.Match(Client{Name: "web"}, form(text)); !ok || form(d.Text) != form(op.Query) {
						t.Fatalf("%s is not found by its text", op.Name)
					}
				}
				if d, ok := set.Match(Client{Name: "web"}, form(strings.Replace(op.Query, "{", "{ graphward_added: __typename", 1))); ok {
					t.Fatalf("%s with a field more matches %s", op.Name, d.Name)
				}
				for _, other := range []string{"ios", ""} {
					if _, ok := set.Lookup(Client{Name: other}, c.id(op.Query)); ok {
						t.Fatalf("%s: the id is known to client %q", op.Name, other)
					}
					if _, ok := set.Match(Client{Name: other}, form(op.Query)); ok {
						t.Fatalf("%s: the text is known to client %q", op.Name, other)
					}
				}
			}
			if set.Len() != len(ops) {
				t.Errorf("%d documents of %d", set.Len(), len(ops))
			}
		})
	}
}

func TestFolder(t *testing.T) {
	root := t.TempDir()
	const me, other = "query Me { me { id } }\n", "mutation { logout }"
	for name, text := range map[string]string{
		"me.graphql": me, "nested/deep/out.gql": other, "README.md": "# no", "copy.GRAPHQL": me,
	} {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set, err := Load(context.Background(), []Source{{Path: root}}, Options{Canonical: textForm})
	if err != nil {
		t.Fatal(err)
	}
	if set.Len() != 3 {
		t.Errorf("%d documents", set.Len())
	}
	for id, want := range map[string]string{
		"me": me, "out": other, "copy": me, apolloID(me): me, "sha256:" + apolloID(me): me, "sha256:" + apolloID(other): other,
		"sha256:" + strings.ToUpper(apolloID(me)): "", "ME": "", "me.graphql": "", "nested/deep/out": "", "": "",
	} {
		d, ok := set.Lookup(Client{Name: "web"}, id)
		if ok != (want != "") || ok && d.Text != want {
			t.Errorf("%q: %v %+v", id, ok, d)
		}
	}
	var all []string
	for d := range set.All() {
		all = append(all, d.ID+" "+d.Kind+" "+d.Name+" "+strings.TrimPrefix(d.Source(), root))
	}
	slices.Sort(all)
	want := []string{"copy query Me /copy.GRAPHQL:1:1", "me query Me /me.graphql:1:1", "out mutation  /nested/deep/out.gql:1:1"}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Error(diff)
	}
}

// TestClients: client-specific documents first, then shared ones; another
// client's are unknown.
func TestClients(t *testing.T) {
	shared := write(t, "shared.json", `{"a":"query Shared { a }","b":"query Shared { b }"}`)
	web := write(t, "web.json", `{"a":"query Web { a }"}`)
	mixed := write(t, "mixed.json", `{"operations":[
		{"id":"m","name":"M","type":"query","body":"query M { m }","clientName":"ios"},
		{"id":"m","name":"M","type":"query","body":"query M { web }","clientName":"web"},
		{"id":"n","body":"query N { n }"}],"version":1,"format":"apollo-persisted-query-manifest"}`)
	set, err := Load(context.Background(), []Source{{Path: shared}, {Path: web, Client: "web"}, {Path: mixed}}, Options{Canonical: textForm})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ client, id, want string }{
		{"web", "a", "query Web { a }"}, {"ios", "a", "query Shared { a }"}, {"", "a", "query Shared { a }"}, {"nobody", "a", "query Shared { a }"},
		{"web", "b", "query Shared { b }"},
		{"ios", "m", "query M { m }"}, {"web", "m", "query M { web }"}, {"", "m", ""}, {"android", "m", ""}, {"IOS", "m", ""},
		{"android", "n", "query N { n }"},
	} {
		d, ok := set.Lookup(Client{Name: c.client}, c.id)
		if ok != (c.want != "") || ok && d.Text != c.want {
			t.Errorf("%s %s: %v %+v", c.client, c.id, ok, d)
		}
		if c.want == "" {
			continue
		}
		form, _ := textForm(c.want)
		if d, ok := set.Match(Client{Name: c.client}, form); !ok || d.Text != c.want {
			t.Errorf("%s %s by text: %v %+v", c.client, c.id, ok, d)
		}
	}
	form, _ := textForm("query Web { a }")
	if _, ok := set.Match(Client{Name: "ios"}, form); ok {
		t.Error("a text of web's matches for ios")
	}
}

func TestLoadProblems(t *testing.T) {
	const apollo = `"format":"apollo-persisted-query-manifest","version":1`
	for _, c := range []struct{ name, manifest, want string }{
		{"text is no string", `{"a":1}`, `M:1:2: entry "a": the text must be a string`},
		{"places", "{\n  \"a\": \"{a}\",\n\n    \"b\": null, \"c\": []\n}", "M:4:5: entry \"b\": the text must be a string\nM:4:16: entry \"c\": the text must be a string"},
		{"no operation", `{"a":"fragment F on T { a }"}`, `M:1:2: entry "a": the text has no operation`},
		{"empty text", `{"a":""}`, `M:1:2: entry "a": the text has no operation`},
		{"no selection", `{"a":"query AllClient"}`, `M:1:2: entry "a": the document is not acceptable: no selection`},
		{"empty id", `{"":"{a}"}`, `M:1:2: the id is missing`},
		{"id with a space", `{"a b":"{a}"}`, `M:1:2: entry "a b": the id cannot be requested: ids are 1 to 256 printable ASCII characters without spaces`},
		{"same id, other text", `{"a":"{a}","a":"{b}"}`, `M:1:12: entry "a": the id is also that of another text, at M:1:2`},
		{"same hash, with prefix", `{"` + apolloID("{a}") + `":"{a}","sha256:` + apolloID("{a}") + `":"{b}"}`, `M:1:75: entry "` + apolloID("{a}") + `": the id is also that of another text, at M:1:2`},
		{"same id, same text", `{"a":"{a}","a":"{a}"}`, ``},
		{"empty map", `{}`, ``},
		{"empty manifest", `{` + apollo + `,"operations":[]}`, ``},
		{"unknown members", `{` + apollo + `,"operations":[{"id":"a","body":"{a}","type":"query","x":{}}],"z":1}`, ``},
		{"no operations", `{` + apollo + `}`, `M:1:57: the manifest has no operations`},
		{"not JSON", `{"a":"{a}",}`, `M:1:11: not valid JSON: invalid character ',' at start of value`},
		{"cut short", `{"a":"{a}"`, `M:1:11: not valid JSON: unexpected EOF`},
		{"a list", `["{a}"]`, `M:1:2: the manifest must be a JSON object: an Apollo persisted query manifest or a map from id to text`},
		{"two objects", `{"a":"{a}"} {}`, `M:1:14: the manifest goes on after its JSON object`},
		{"other format", `{"format":"x","version":1,"operations":[]}`, `M:1:14: the format "x" is not known`},
		{"other version", `{"format":"apollo-persisted-query-manifest","version":2,"operations":[]}`, `M:1:56: version 2 of the manifest is not known, only 1`},
		{"no format", `{"version":1,"operations":[]}`, `M:1:30: the manifest's format must be "apollo-persisted-query-manifest"`},
		{"no version", `{"format":"apollo-persisted-query-manifest","operations":[]}`, `M:1:61: the manifest's version must be 1: others are not known`},
		{"mixed", `{` + apollo + `,"abc":"{a}"}`, `M:1:57: the manifest mixes {id: text} entries with Apollo's format, version or operations`},
		{"operation is no object", `{` + apollo + `,"operations":["{a}"]}`, `M:1:71: an operation must be an object`},
		{"id missing", `{` + apollo + `,"operations":[{"body":"query A {a}"}]}`, `M:1:71: the id is missing`},
		{"body missing", `{` + apollo + `,"operations":[{"id":"a","name":"A"}]}`, `M:1:71: entry "a": the body is missing`},
		{"body is null", `{` + apollo + `,"operations":[{"id":"a","body":null}]}`, `M:1:71: entry "a": body must be a string`},
		{"name is null", `{` + apollo + `,"operations":[{"id":"a","body":"{a}","name":null,"clientName":null}]}`, ``},
		{"body twice", `{` + apollo + `,"operations":[{"id":"a","body":"{a}","body":"{b}"}]}`, `M:1:71: entry "a": body is given twice`},
		{"other name", `{` + apollo + `,"operations":[{"id":"a","body":"query A {a}","name":"B"}]}`, `M:1:71: entry "a": the name is "B" and the text's operation is "A"`},
		{"other type", `{` + apollo + `,"operations":[{"id":"a","body":"mutation {a}","type":"query"}]}`, `M:1:71: entry "a": the type is "query" and the text's operation is a mutation`},
		{"names repeat", `{` + apollo + `,"operations":[{"id":"a","body":"query A {a}","name":"A"},{"id":"b","body":"query A {b}","name":"A"}]}`, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, "m.json", c.manifest)
			form := func(text string) ([32]byte, error) {
				if !strings.Contains(text, "{") {
					return [32]byte{}, errors.New("no selection")
				}
				return textForm(text)
			}
			_, err := Load(context.Background(), []Source{{Path: path}}, Options{Canonical: form})
			var got []string
			if err != nil {
				le, ok := errors.AsType[*LoadError](err)
				if !ok {
					t.Fatal(err)
				}
				for _, p := range le.Problems {
					got = append(got, strings.ReplaceAll(p.String(), path, "M"))
				}
			}
			if text := strings.Join(got, "\n"); text != c.want {
				t.Errorf("\n got %s\nwant %s", text, c.want)
			}
		})
	}
}

func TestSkipBad(t *testing.T) {
	path := write(t, "m.json", `{"good":"{a}","none":"","twice":"{a}","twice":"{b}","last":"query L {a}"}`)
	set, err := Load(context.Background(), []Source{{Path: path}}, Options{Canonical: textForm, SkipBad: true})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{"good": true, "last": true, "none": false, "twice": false} {
		if _, ok := set.Lookup(Client{}, id); ok != want {
			t.Errorf("%s: %v", id, ok)
		}
	}
	if set.Len() != 2 || len(set.Problems()) != 2 {
		t.Errorf("%d documents, problems %v", set.Len(), set.Problems())
	}
	form, _ := textForm("{b}")
	if _, ok := set.Match(Client{}, form); ok {
		t.Error("a bad entry is found by its text")
	}
	if _, err := Load(context.Background(), []Source{{Path: path + "x"}}, Options{SkipBad: true}); err == nil {
		t.Error("a missing file is skipped")
	}
	if _, err := Load(context.Background(), []Source{{Path: t.TempDir()}}, Options{SkipBad: true}); err == nil {
		t.Error("an empty folder is skipped")
	}
	if _, err := Load(context.Background(), []Source{{Path: path}}, Options{SkipBad: true, MaxDocuments: 1}); err == nil {
		t.Error("documents beyond the bound are skipped")
	}
}

func TestSeveralOperationsAreFoundByIDOnly(t *testing.T) {
	const text = "query A { a } query B { b }"
	set, err := FromMap("", map[string]string{"ab": text}, Options{Canonical: func(string) ([32]byte, error) {
		t.Error("the canonical form of several operations is asked for")
		return [32]byte{}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	d, ok := set.Lookup(Client{}, "ab")
	if !ok || d.Name != "" || d.Kind != "" {
		t.Errorf("%+v", d)
	}
	if _, ok := set.Match(Client{}, [32]byte{}); ok {
		t.Error("it matches the zero form")
	}
}

func TestDigest(t *testing.T) {
	digest := func(client string, documents map[string]string) [32]byte {
		t.Helper()
		s, err := FromMap(client, documents, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s.Digest()
	}
	base := digest("", map[string]string{"a": "{a}", "b": "{b}"})
	if base != digest("", map[string]string{"b": "{b}", "a": "{a}"}) {
		t.Error("the digest is not a function of the content")
	}
	for name, other := range map[string][32]byte{
		"client": digest("web", map[string]string{"a": "{a}", "b": "{b}"}),
		"text":   digest("", map[string]string{"a": "{a}", "b": "{c}"}),
		"id":     digest("", map[string]string{"a": "{a}", "c": "{b}"}),
		"fewer":  digest("", map[string]string{"a": "{a}"}),
	} {
		if other == base {
			t.Errorf("another %s, the same digest", name)
		}
	}
	var none *Set
	if _, ok := none.Lookup(Client{}, "a"); ok || none.Digest() != [32]byte{} || none.Len() != 0 {
		t.Error("a nil set is not empty")
	}
}

func TestIndex(t *testing.T) {
	documents := map[string]string{"twice": "query D0 { a }", "several": "query A { a } query B { b }"}
	for i := range 3000 {
		documents[fmt.Sprint("d", i)] = fmt.Sprintf("query D%d { a }", i)
	}
	rule := [32]byte{1}
	first, err := FromMap("", documents, Options{Canonical: textForm})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := first.WriteIndex(&file, rule); err != nil {
		t.Fatal(err)
	}
	index, err := ReadIndex(bytes.NewReader(file.Bytes()), rule)
	if err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int32
	counting := func(text string) ([32]byte, error) {
		calls.Add(1)
		return textForm(text)
	}
	documents["new"] = "query New { a }"
	second, err := FromMap("", documents, Options{Canonical: counting, Index: index})
	if err != nil {
		t.Fatal(err)
	}
	if n := calls.Load(); n < 2 || n > 8 {
		t.Errorf("%d of 3002 forms were computed: want the new one and a few samples", n)
	}
	for d := range first.All() {
		form, _ := textForm(d.Text)
		if _, ok := second.Match(Client{}, form); ok != (d.Kind != "") {
			t.Errorf("%s: %v", d.ID, ok)
		}
	}
	other := func(text string) ([32]byte, error) { return textForm(text + " ") }
	if _, err := FromMap("", documents, Options{Canonical: other, Index: index}); err == nil || !strings.Contains(err.Error(), "another canonical form") {
		t.Errorf("a wrong index is believed: %v", err)
	}

	for _, c := range []struct {
		name, want string
		file       []byte
		rule       [32]byte
	}{
		{"another schema", "persisted index: it was made for another schema or by another version", file.Bytes(), [32]byte{2}},
		{"cut", "persisted index: it ends early", file.Bytes()[:file.Len()-1], rule},
		{"cut in the records", "persisted index: it ends early", file.Bytes()[:1000], rule},
		{"empty", "persisted index: it ends early", nil, rule},
		{"changed", "persisted index: its checksum is wrong", flip(file.Bytes(), 5000), rule},
		{"something else", "persisted index: it is not an index of this version", flip(file.Bytes(), 0), rule},
		{"a huge count", "persisted index: it claims", flip(file.Bytes(), len(indexMagic)+32+7), rule},
	} {
		_, err := ReadIndex(bytes.NewReader(c.file), c.rule)
		if _, ok := errors.AsType[*IndexError](err); !ok || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func TestLoadHonoursItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, path := range []string{write(t, "m.json", `{"a":"{a}"}`), write(t, "a.graphql", `{a}`)} {
		if _, err := Load(ctx, []Source{{Path: path}}, Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Strings mean what JSON says, whatever escapes they have.
func TestAppendText(t *testing.T) {
	for _, raw := range []string{`""`, `"a"`, `"\n"`, `"a\nb\tc\r\b\f\/\"\\"`, `"\\n"`, `"\u0041\n"`, `"\n\u00e9"`, `"é\ud83d\ude00\n"`, `"\\\\"`} {
		want, err := jsontext.AppendUnquote(nil, raw)
		if err != nil {
			t.Fatal(err)
		}
		got, err := appendText([]byte("before")[:0], jsontext.Value(raw))
		if err != nil || string(got) != string(want) {
			t.Errorf("%s: %q, want %q (%v)", raw, got, want, err)
		}
	}
}
