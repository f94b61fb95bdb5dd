package answer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2/ast"
	"golang.org/x/tools/txtar"

	"github.com/graphward/graphward/firewall/answer"
	"github.com/graphward/graphward/schema"
)

// setting is a document with guards, as the files of testdata give it.
type setting struct {
	op      *schema.Operation
	vars    *schema.Variables
	plan    *answer.Plan
	options answer.Options
}

func loadSchema(t testing.TB) *schema.Schema {
	t.Helper()
	s, err := schema.LoadFiles("testdata/schema.graphql")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// equals is the rule that the value at a path of the parent equals one value.
// What it is asked about is kept.
type equals struct {
	path  []string
	want  string
	asked *[]string
}

func (r *equals) Judge(_ context.Context, parents [][]byte) ([]bool, error) {
	verdicts := make([]bool, len(parents))
	for i, p := range parents {
		if r.asked != nil {
			*r.asked = append(*r.asked, string(p))
		}
		at := jsontext.Value(p)
		for _, name := range r.path {
			var object map[string]jsontext.Value
			if json.Unmarshal(at, &object) != nil {
				at = nil
				break
			}
			at = object[name]
		}
		verdicts[i] = string(at) == r.want
	}
	return verdicts, nil
}

type constant []byte

func (c constant) Append(dst, _ []byte) ([]byte, error) { return append(dst, c...), nil }

// lastTwo is a mask for strings of three letters or more.
type lastTwo struct{}

func (lastTwo) Append(dst, value []byte) ([]byte, error) {
	if value[0] != '"' || len(value) < 5 {
		return dst, errors.New("no string of three letters")
	}
	return append(append(dst, `"*`...), value[len(value)-3:]...), nil
}

// guards reads lines such as
//
//	deny User.email
//	mask User.phone "***"
//	last2 User.phone
//	rule Post.title owner.id "u1"
//	rule+mask Post.title owner.id "u1" "***"
//	drop Query.posts
func guards(t testing.TB, op *schema.Operation, text string, asked *[]string) (list []answer.Guard, drops []answer.Drop) {
	t.Helper()
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		typ, name, _ := strings.Cut(words[1], ".")
		object := op.Schema.ObjectIndex(typ)
		if object < 0 {
			t.Fatalf("no object type %s", typ)
		}
		set := op.Schema.Possible(typ)
		var rule answer.Rule
		var parents []answer.Parent
		if strings.HasPrefix(words[0], "rule") {
			path := strings.Split(words[2], ".")
			rule, parents = &equals{path, words[3], asked}, parentsOf(t, op.Schema, []string{typ}, path)
		}
		seen := map[*ast.Field]bool{}
		for i := range op.Uses {
			u := &op.Uses[i]
			if u.Field.Name != name || !u.Objects.Has(object) || seen[u.Field] {
				continue
			}
			seen[u.Field] = true
			g := answer.Guard{Field: u.Field, Types: set, Code: "FORBIDDEN", Message: "no " + words[1], Rule: rule, Parents: parents}
			switch words[0] {
			case "mask":
				g.Constant = []byte(words[2])
				g.Mask = constant(g.Constant)
			case "last2":
				g.Mask = lastTwo{}
			case "rule+mask":
				g.Constant = []byte(words[4])
				g.Mask = constant(g.Constant)
			case "drop":
				drops = append(drops, answer.Drop{Field: u.Field, Types: set})
				continue
			}
			list = append(list, g)
		}
	}
	return list, drops
}

// parentsOf makes what a rule reads of a path, on each of the object types.
func parentsOf(t testing.TB, s *schema.Schema, types, path []string) (out []answer.Parent) {
	for _, typ := range types {
		def := s.Type(typ)
		f := s.Field(def, path[0])
		if f == nil {
			continue
		}
		p := answer.Parent{Type: def, Fields: []answer.ParentField{{Definition: f}}}
		if len(path) > 1 {
			var below []string
			for i := range s.Possible(f.Type.Name()).All {
				below = append(below, s.Objects()[i].Name)
			}
			p.Fields[0].Fields = parentsOf(t, s, below, path[1:])
		}
		out = append(out, p)
	}
	return out
}

func prepare(t testing.TB, s *schema.Schema, files map[string]string, asked *[]string) *setting {
	t.Helper()
	op, err := s.Compile(files["query"], "", schema.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	vars, err := op.Coerce([]byte(files["variables"]), schema.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	list, drops := guards(t, op, files["guards"], asked)
	st := &setting{op: op, vars: vars, plan: answer.New(op, list, drops, nil, slices.Contains(strings.Fields(files["options"]), "check"))}
	st.options = answer.Options{Vars: vars, Guards: list, Limit: 8 << 20}
	for _, word := range strings.Fields(files["options"]) {
		switch word {
		case "withhold":
			st.options.Withhold = true
		case "observe":
			st.options.Observe = true
		case "check":
		case "mask":
			st.options.Errors.Mask = true
		default:
			t.Fatalf("no option %s", word)
		}
	}
	return st
}

func (st *setting) rewrite(body []byte, wrap func(*bytes.Reader) *chunked) (string, *answer.Report, error) {
	var out bytes.Buffer
	report, err := st.plan.Rewrite(context.Background(), &out, wrap(bytes.NewReader(body)), &st.options)
	return out.String(), report, err
}

// chunked reads at most so many bytes at once, from sizes in turn.
type chunked struct {
	r     *bytes.Reader
	sizes []int
	n     int
}

func (c *chunked) Read(p []byte) (int, error) {
	if len(c.sizes) > 0 {
		size := max(1, c.sizes[c.n%len(c.sizes)])
		c.n++
		p = p[:min(len(p), size)]
	}
	return c.r.Read(p)
}

func whole(r *bytes.Reader) *chunked { return &chunked{r: r} }

func chunks(sizes ...int) func(*bytes.Reader) *chunked {
	return func(r *bytes.Reader) *chunked { return &chunked{r: r, sizes: sizes} }
}

func TestRewrite(t *testing.T) {
	s := loadSchema(t)
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		common := map[string]string{}
		for len(archive.Files) > 0 {
			name, files := "", map[string]string{}
			for k, v := range common {
				files[k] = v
			}
			// A case begins with its name, a file with a blank in it or none.
			for i, f := range archive.Files {
				word, title, begins := strings.Cut(f.Name, " ")
				if word == "case" && begins {
					if name != "" {
						archive.Files = archive.Files[i:]
						break
					}
					name = title
				} else {
					files[f.Name] = strings.TrimSuffix(string(f.Data), "\n")
				}
				if i == len(archive.Files)-1 {
					archive.Files = nil
				}
			}
			t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar")+"/"+name, func(t *testing.T) { runCase(t, s, files) })
		}
	}
}

func runCase(t *testing.T, s *schema.Schema, files map[string]string) {
	var asked []string
	st := prepare(t, s, files, &asked)
	if diff := cmp.Diff(files["forwarded"], st.plan.Text()); diff != "" {
		t.Errorf("forwarded: %s", diff)
	}
	if text := st.plan.Text(); text != "" {
		wide := schema.Limits{Depth: 100, Aliases: 1000, RootFields: 1000}
		if _, err := s.Compile(text, st.op.Name, wide); err != nil {
			t.Errorf("what is forwarded: %v", err)
		}
	}
	body := []byte(files["upstream"])
	if !st.plan.Forwards(st.vars) {
		body = st.plan.Local(st.vars)
	} else if files["upstream"] == "" {
		t.Fatal("something is forwarded, and there is no upstream's answer")
	}
	got, _, err := st.rewrite(body, whole)
	if err != nil {
		got = "error: " + err.Error()
	}
	if diff := cmp.Diff(files["answer"], got); diff != "" {
		t.Errorf("answer (-want +got): %s\ngot: %s", diff, got)
	}
	if want := files["asked"]; want != "" {
		if diff := cmp.Diff(want, strings.Join(asked, "\n")); diff != "" {
			t.Errorf("asked: %s", diff)
		}
	}
	for _, sizes := range [][]int{{1}, {3}, {7, 1, 200}} {
		again, _, err2 := st.rewrite(body, chunks(sizes...))
		if err2 != nil {
			again = "error: " + err2.Error()
		}
		if again != got {
			t.Errorf("in chunks of %v: %s", sizes, cmp.Diff(got, again))
		}
	}
}

func TestRewriteFailures(t *testing.T) {
	s := loadSchema(t)
	broken := errors.New("broken")
	st := prepare(t, s, map[string]string{"query": "{ me { name email } }", "guards": "deny User.email"}, nil)
	var out bytes.Buffer
	_, err := st.plan.Rewrite(context.Background(), &out, iotest.ErrReader(broken), &st.options)
	if !errors.Is(err, broken) || out.Len() > 0 {
		t.Errorf("a broken upstream: %v, wrote %q", err, out.String())
	}
	st.options.Limit = 10
	_, err = st.plan.Rewrite(context.Background(), &out, strings.NewReader(`{"data":{"me":{"name":"a"}}}`), &st.options)
	if err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("a large answer: %v", err)
	}
}

// byIndex is a rule whose verdicts cost nothing: one parent in seven is allowed.
type byIndex struct{}

func (byIndex) Judge(_ context.Context, parents [][]byte) ([]bool, error) {
	verdicts := make([]bool, len(parents))
	for i := range verdicts {
		verdicts[i] = bytes.Contains(parents[i], []byte(`u1"`))
	}
	return verdicts, nil
}

// items is an answer with so many posts.
func items(n, size int) []byte {
	b := []byte(`{"data":{"posts":[`)
	filler := strings.Repeat("x", size)
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"graphward_1":{"graphward_2":"u%d"},"id":"%d","title":%q,"secret":"s"}`, i%7, i, filler)
	}
	return append(b, "]}}"...)
}

func itemSetting(t testing.TB) *setting {
	return prepare(t, loadSchema(t), map[string]string{
		"query": "{ posts { id title secret } }", "guards": `rule Post.secret author.id "u1"`,
	}, nil)
}

// TestWindows checks that the verdicts of a long list reach their items,
// whatever the windows.
func TestWindows(t *testing.T) {
	st := itemSetting(t)
	for _, c := range []struct{ n, size int }{{0, 1}, {1, 1}, {511, 1}, {512, 1}, {513, 1}, {3000, 40}, {700, 2000}, {5, 300 << 10}} {
		body := items(c.n, c.size)
		got, report, err := st.rewrite(body, whole)
		if err != nil {
			t.Fatal(err)
		}
		var decoded struct {
			Data struct {
				Posts []struct {
					ID     string
					Secret *string
				}
			}
			Errors []struct{ Path []any }
		}
		if err := json.Unmarshal([]byte(got), &decoded, json.MatchCaseInsensitiveNames(true)); err != nil {
			t.Fatal(err)
		}
		denials := 0
		for i, p := range decoded.Data.Posts {
			if p.ID != strconv.Itoa(i) || (p.Secret != nil) != (i%7 == 1) {
				t.Fatalf("%v: item %d is %+v", c, i, p)
			}
			if p.Secret == nil {
				want := []any{"posts", float64(i), "secret"}
				if !slices.Equal(decoded.Errors[denials].Path, want) {
					t.Fatalf("%v: error %v, want %v", c, decoded.Errors[denials].Path, want)
				}
				denials++
			}
		}
		if len(decoded.Data.Posts) != c.n || len(decoded.Errors) != denials || report.Denied[0] != denials {
			t.Errorf("%v: %d posts, %d errors, report %v", c, len(decoded.Data.Posts), len(decoded.Errors), report)
		}
	}
}
