package schema

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// answerAll answers a document that holds introspection alone.
func answerAll(t testing.TB, v *View, document, variables string) string {
	t.Helper()
	op, err := v.schema.Compile(document, "", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	vars, err := op.Coerce([]byte(variables), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	answers, err := v.Answer(op, vars, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	var members []string
	for _, a := range answers {
		members = append(members, `"`+a.Key+`":`+string(a.JSON))
	}
	return "{" + strings.Join(members, ",") + "}"
}

// plain decodes an introspection answer and orders what has no order. The
// specified types and directives say the same everywhere, in other words.
func plain(t testing.TB, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s\n%s", err, text)
	}
	arrange(v)
	return v
}

func arrange(v any) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			arrange(item)
		}
	case map[string]any:
		for name, value := range v {
			arrange(value)
			switch list, _ := value.([]any); name {
			case "types", "directives", "possibleTypes", "interfaces":
				slices.SortFunc(list, func(a, b any) int { return strings.Compare(nameOf(a), nameOf(b)) })
			}
		}
		if list, ok := v["types"].([]any); ok {
			v["types"] = slices.DeleteFunc(list, func(t any) bool { return strings.HasPrefix(nameOf(t), "__") || specifiedScalar(nameOf(t)) })
		}
		if list, ok := v["directives"].([]any); ok {
			given := specified().Directives
			list = slices.DeleteFunc(list, func(d any) bool { return given.ForName(nameOf(d)) != nil })
			v["directives"] = list
			for _, d := range list {
				delete(d.(map[string]any), "isDeprecated") // of directives: a draft's
				delete(d.(map[string]any), "deprecationReason")
			}
		}
	}
}

func nameOf(v any) string {
	object, _ := v.(map[string]any)
	name, _ := object["name"].(string)
	return name
}

// fullQuery asks for everything, as the query did that made
// testdata/introspection/result.json.
var fullQuery = strings.NewReplacer("specifiedByURL\n", "specifiedByURL\n  isOneOf\n", "Type { name }", "Type { kind name }").Replace(IntrospectionQuery)

// TestViewAll compares the view of everything with graphql-js's result.
func TestViewAll(t *testing.T) {
	s, err := LoadFiles("testdata/introspection/schema.graphql")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/introspection/result.json")
	if err != nil {
		t.Fatal(err)
	}
	want := plain(t, string(text)).(map[string]any)["data"]
	for name, v := range map[string]*View{"nil": s.View(nil), "true": s.View(func(_, _ string) bool { return true })} {
		got := plain(t, answerAll(t, v, fullQuery, ""))
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestViewRoundTrip loads the answer of the view of everything: it must be the
// same schema.
func TestViewRoundTrip(t *testing.T) {
	files := []string{"testdata/introspection/schema.graphql", "testdata/kennel/schema.graphql"}
	for _, c := range loadCorpora(t) {
		files = append(files, filepath.Join("testdata", "corpora", c.name, "schema.graphql"))
	}
	for _, file := range files {
		s, err := LoadFiles(file)
		if err != nil {
			t.Fatal(err)
		}
		back, err := FromIntrospection(file, []byte(answerAll(t, s.View(nil), fullQuery, "")))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if diff := sameSchema(s, back); diff != "" {
			t.Errorf("%s: %.2000s", file, diff)
		}
	}
}

const hiddenSDL = `
type Query { me: User node(id: ID!): Node search(q: Query2): [Result!] log: Log plain: Int admin(filter: AdminFilter): Admin lonely: Lonely }
type Mutation { wipe(really: Really!): Boolean }
interface Node { id: ID! at: Time }
interface Named implements Node { id: ID! at: Time name: String }
interface Lonely { x: Int }
type User implements Node & Named { id: ID! at: Time name: String email: Email friend: User secret: Secret kind: Kind }
type Shop implements Node { id: ID! at: Time owner: User }
type Secret { value: String inner: Inner }
type Inner { value: String }
type Admin implements Node { id: ID! at: Time level: Level }
type Log { lines(level: Level2): [String] }
union Result = User | Shop | Secret
union Hidden = Secret
type Apart { a: Int }
enum Kind { A B }
enum Level { LOW HIGH }
enum Level2 { LOW }
enum Really { YES }
scalar Time
scalar Email
input Query2 { text: String nested: Query3 }
input Query3 { x: Int }
input AdminFilter { level: Level deep: AdminDeep }
input AdminDeep { x: Float }
`

// outline prints a view: its types with their fields, members and interfaces.
func outline(t *testing.T, v *View) string {
	t.Helper()
	text := answerAll(t, v, `{__schema{mutationType{name} types{kind name fields(includeDeprecated:true){name args{name type{name ofType{name}}}} interfaces{name} possibleTypes{name} inputFields{name}}}}`, "")
	var r introspectionResult
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, d := range r.Schema.Types {
		if reserved(d.Name) {
			continue
		}
		b.WriteString(d.Name)
		for _, i := range d.Interfaces {
			b.WriteString(" :" + i.Name)
		}
		for _, f := range d.Fields {
			b.WriteString(" " + f.Name)
		}
		for _, f := range d.InputFields {
			b.WriteString(" " + f.Name)
		}
		for _, p := range d.PossibleTypes {
			b.WriteString(" |" + p.Name)
		}
		b.WriteString("\n")
	}
	if r.Schema.MutationType == nil {
		b.WriteString("no mutation\n")
	}
	return b.String()
}

func TestViewHides(t *testing.T) {
	s := mustLoad(t, hiddenSDL)
	for _, c := range []struct {
		name, hidden string // coordinates; Type.* for all
		want         string
	}{
		{"nothing but an interface that nothing implements", "", `
Admin :Node id at level
AdminDeep x
AdminFilter level deep
Apart a
Boolean
Email
Float
Hidden |Secret
ID
Inner value
Int
Kind
Level
Level2
Log lines
Mutation wipe
Named :Node id at name |User
Node id at |Admin |Shop |User
Query me node search log plain admin
Query2 text nested
Query3 x
Really
Result |User |Shop |Secret
Secret value inner
Shop :Node id at owner
String
Time
User :Node :Named id at name email friend secret kind
`},
		{"types without fields, with inputs and enums that only they used", "Query.admin Query.log Mutation.* Secret.* Apart.* User.kind", `
Admin :Node id at level
Boolean
Email
ID
Int
Level
Named :Node id at name |User
Node id at |Admin |Shop |User
Query me node search plain
Query2 text nested
Query3 x
Result |User |Shop
Shop :Node id at owner
String
Time
User :Node :Named id at name email friend
no mutation
`},
		{"what one object type hides its interfaces hide, all the way", "Mutation.* Query.log Query.admin Secret.* User.at Apart.*", `
Admin :Node id at level
Boolean
Email
ID
Int
Kind
Level
Named :Node id name |User
Node id |Admin |Shop |User
Query me node search plain
Query2 text nested
Query3 x
Result |User |Shop
Shop :Node id at owner
String
Time
User :Node :Named id name email friend kind
no mutation
`},
		{"an interface without fields", "Mutation.* Query.log Query.admin Query.search Secret.* User.at Shop.id Apart.*", `
Boolean
Email
ID
Int
Kind
Named id name |User
Query me plain
String
User :Named id name email friend kind
no mutation
`},
		{"cascades", "Mutation.* Query.log Query.admin Secret.value Inner.* User.* Admin.* Shop.id Shop.at Apart.*", `
Boolean
Int
Query plain
String
no mutation
`},
		{"everything", "*", `
Boolean
Query
String
no mutation
`},
	} {
		v := s.View(func(object, field string) bool {
			return c.hidden != "*" && !slices.Contains(strings.Fields(c.hidden), object+"."+field) && !slices.Contains(strings.Fields(c.hidden), object+".*")
		})
		if diff := cmp.Diff(strings.TrimSpace(c.want), strings.TrimSpace(outline(t, v))); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		for _, gone := range []string{"Secret", "User", "Lonely", "Nothing"} {
			shown := strings.Contains("\n"+c.want, "\n"+gone+" ")
			if got := answerAll(t, v, `query($n:String!){__type(name:$n){name}}`, `{"n":"`+gone+`"}`); (got == `{"__type":null}`) == shown {
				t.Errorf("%s: __type(name: %q) is %s", c.name, gone, got)
			}
		}
	}
}

// TestViewIsSchema: whatever is hidden, what is shown is a valid schema that
// refers to nothing else and has every visible field that can be reached.
func TestViewIsSchema(t *testing.T) {
	schemas := map[string]*Schema{"hidden": mustLoad(t, hiddenSDL), "kennel": loadKennel(t).schema}
	rounds := 300
	if !testing.Short() {
		for _, c := range loadCorpora(t) {
			schemas[c.name] = c.schema
		}
	}
	for name, s := range schemas {
		n := rounds
		if len(s.objects) > 100 {
			n = 3
		}
		for seed := range n {
			random := rand.New(rand.NewPCG(uint64(seed), 11))
			kept := []int{50, 80, 95, 99}[seed%4]
			hidden := map[string]bool{}
			for _, def := range s.objects {
				for _, f := range def.Fields {
					hidden[def.Name+"."+f.Name] = random.IntN(100) >= kept
				}
			}
			v := s.View(func(object, field string) bool { return !hidden[object+"."+field] })
			if len(v.fields(s.ast.Query)) == 0 {
				continue
			}
			text := answerAll(t, v, fullQuery, "")
			back, err := FromIntrospection(name, []byte(text))
			if err != nil {
				t.Fatalf("%s, seed %d: %v", name, seed, err)
			}
			for _, def := range back.objects {
				for _, f := range def.Fields {
					if !reserved(def.Name) && !reserved(f.Name) && hidden[def.Name+"."+f.Name] {
						t.Errorf("%s, seed %d: %s.%s is shown", name, seed, def.Name, f.Name)
					}
				}
			}
		}
	}
}

// TestViewAnswer holds the executor to the specification's section 6.
func TestViewAnswer(t *testing.T) {
	s := mustLoad(t, `
type Query implements Top { a: A top: Top }
interface Top { top: Top }
type A { x(old: Int @deprecated, new: [Int!]! = [1, 2]): Int y: Int @deprecated(reason: "no \"y\"") }
enum E { V W @deprecated }
input I @oneOf { s: String e: E @deprecated }
input J { s: String e: E }
directive @d(arg: J = {s: "x\n", e: V} old: Int @deprecated) repeatable on FIELD | QUERY
scalar S @specifiedBy(url: "https://s")
`)
	for _, c := range []struct{ document, variables, want string }{
		{`{__typename __type(name:"S"){__typename kind name specifiedByURL isOneOf fields{name} ofType{name}}}`, "",
			`{"__type":{"__typename":"__Type","kind":"SCALAR","name":"S","specifiedByURL":"https://s","isOneOf":null,"fields":null,"ofType":null}}`},
		{`{x:__type(name:"A"){n:name fields{name isDeprecated} f2:fields(includeDeprecated:true){name deprecationReason}}}`, "",
			`{"x":{"n":"A","fields":[{"name":"x","isDeprecated":false}],"f2":[{"name":"x","deprecationReason":null},{"name":"y","deprecationReason":"no \"y\""}]}}`},
		{`query($d:Boolean){__type(name:"A"){fields(includeDeprecated:$d){name}}}`, `{"d":true}`, `{"__type":{"fields":[{"name":"x"},{"name":"y"}]}}`},
		{`query($d:Boolean=true){__type(name:"E"){enumValues(includeDeprecated:$d){name deprecationReason}}}`, ``,
			`{"__type":{"enumValues":[{"name":"V","deprecationReason":null},{"name":"W","deprecationReason":"No longer supported"}]}}`},
		{`query($d:Boolean=true){__type(name:"E"){enumValues(includeDeprecated:$d){name}}}`, `{"d":null}`, `{"__type":{"enumValues":[{"name":"V"}]}}`},
		{`{__type(name:"I"){isOneOf inputFields{name} all:inputFields(includeDeprecated:true){name type{name} isDeprecated}}}`, "",
			`{"__type":{"isOneOf":true,"inputFields":[{"name":"s"}],"all":[{"name":"s","type":{"name":"String"},"isDeprecated":false},{"name":"e","type":{"name":"E"},"isDeprecated":true}]}}`},
		{`{__type(name:"A"){fields{args{name defaultValue type{kind ofType{kind ofType{kind ofType{kind name ofType{name}}}}}} args(includeDeprecated:true){name}}}}`, "", ``},
		{`{__type(name:"A"){fields{args{name defaultValue type{kind ofType{kind ofType{kind ofType{kind name ofType{name}}}}}}}}}`, "",
			`{"__type":{"fields":[{"args":[{"name":"new","defaultValue":"[1, 2]","type":{"kind":"NON_NULL","ofType":{"kind":"LIST","ofType":{"kind":"NON_NULL","ofType":{"kind":"SCALAR","name":"Int","ofType":null}}}}}]}]}}`},
		{`query($y:Boolean!,$n:Boolean!){a:__type(name:"E")@include(if:$n){name} ...F@skip(if:$n) ...{b:__type(name:"E")@skip(if:$y){name}}}
			fragment F on Query{c:__type(name:"E"){...N@include(if:$y) kind @skip(if:true)}} fragment N on __Type{name name @skip(if:$y) ...on __Type{name}}`,
			`{"y":true,"n":false}`, `{"c":{"name":"E"}}`},
		{`query($y:Boolean!,$n:Boolean!){s:__schema{queryType{name}} ...on Top{...on Query{s:__schema{queryType{kind} t:queryType{interfaces{name}}}}}}`, `{"y":true,"n":false}`, ``},
		{`{s:__schema{queryType{name}} ...on Top{...on Query{s:__schema{queryType{kind} t:queryType{interfaces{name possibleTypes{name}}}}}}}`, ``,
			`{"s":{"queryType":{"name":"Query","kind":"OBJECT"},"t":{"interfaces":[{"name":"Top","possibleTypes":[{"name":"Query"}]}]}}}`},
		{`{__schema{mutationType{name} subscriptionType{name} description __typename}}`, "",
			`{"__schema":{"mutationType":null,"subscriptionType":null,"description":null,"__typename":"__Schema"}}`},
		{`{__schema{directives{name ...D}}} fragment D on __Directive{isRepeatable locations args{name defaultValue}}`, "", `{"__schema":{"directives":[` +
			`{"name":"d","isRepeatable":true,"locations":["FIELD","QUERY"],"args":[{"name":"arg","defaultValue":"{s: \"x\\n\", e: V}"}]},` +
			`{"name":"deprecated","isRepeatable":false,"locations":["FIELD_DEFINITION","ARGUMENT_DEFINITION","INPUT_FIELD_DEFINITION","ENUM_VALUE","DIRECTIVE_DEFINITION"],"args":[{"name":"reason","defaultValue":"\"No longer supported\""}]},` +
			`{"name":"include","isRepeatable":false,"locations":["FIELD","FRAGMENT_SPREAD","INLINE_FRAGMENT"],"args":[{"name":"if","defaultValue":null}]},` +
			`{"name":"oneOf","isRepeatable":false,"locations":["INPUT_OBJECT"],"args":[]},` +
			`{"name":"skip","isRepeatable":false,"locations":["FIELD","FRAGMENT_SPREAD","INLINE_FRAGMENT"],"args":[{"name":"if","defaultValue":null}]},` +
			`{"name":"specifiedBy","isRepeatable":false,"locations":["SCALAR"],"args":[{"name":"url","defaultValue":null}]}]}}`},
		{`{__type(name:"__TypeKind"){name enumValues{name}}}`, "",
			`{"__type":{"name":"__TypeKind","enumValues":[{"name":"SCALAR"},{"name":"OBJECT"},{"name":"INTERFACE"},{"name":"UNION"},{"name":"ENUM"},{"name":"INPUT_OBJECT"},{"name":"LIST"},{"name":"NON_NULL"}]}}`},
		{`{__type(name:"__Field"){fields{name}}}`, "", `{"__type":{"fields":[{"name":"name"},{"name":"description"},{"name":"args"},{"name":"type"},{"name":"isDeprecated"},{"name":"deprecationReason"}]}}`},
	} {
		if c.want == "" {
			if _, err := s.Compile(c.document, "", Limits{}); err == nil {
				t.Errorf("%s: accepted", c.document)
			}
			continue
		}
		if got := answerAll(t, s.View(nil), c.document, c.variables); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.document, got, c.want)
		}
	}
}

// TestViewAnswerNested: an object of the query root's type below the root may
// not be introspected, however it is reached.
func TestViewAnswerNested(t *testing.T) {
	s := mustLoad(t, `type Query { self: Query at: In node: Node x: Int } interface Node { x: Int } type In implements Node { q: [Query] x: Int } type Mutation { m: Query }`)
	for document, want := range map[string]string{
		`{x __schema{queryType{name}} ...{__type(name:"A"){name}} ...F self{x at{x}}} fragment F on Query{a:__schema{__typename}}`: "",
		`{__schema{types{name}} at{q{x @skip(if:true) ...on Query{self{__typename}}}}}`:                                            "",
		`{self{__schema{__typename}}}`:                                                                                     "Query.self",
		`{self{s:__schema @skip(if:true){__typename}}}`:                                                                    "Query.self",
		`{__schema{__typename} at{q{...on Query{...{__type(name:"x"){name}}}}}}`:                                           "In.q",
		`{...A ...B} fragment A on Query{__schema{__typename}} fragment B on Query{self{...A}}`:                            "Query.self",
		`{...B ...A} fragment A on Query{...C} fragment C on Query{__schema{__typename}} fragment B on Query{at{q{...A}}}`: "In.q",
		`{...on Query{node{...on In{q{__schema{__typename}}}}}}`:                                                           "In.q",
		`mutation{m{__schema{__typename}}}`:                                                                                "Mutation.m",
		`mutation{m{x __typename}}`:                                                                                        "",
	} {
		op, err := s.Compile(document, "", Limits{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.View(nil).Answer(op, nil, 1<<20)
		var nested *NestedIntrospectionError
		if errors.As(err, &nested) != (want != "") || nested != nil && nested.Coordinate != want {
			t.Errorf("%s: %v, want %q", document, err, want)
		}
	}
}

// TestViewAnswerBounded: the answer stops at its limit, and a document that
// multiplies itself costs no more than what it may write.
func TestViewAnswerBounded(t *testing.T) {
	s := loadKennel(t).schema
	document := "{__schema{types{...F0}}}"
	for i := range 12 {
		next := "name"
		if i < 11 {
			next = "...F" + string(rune('A'+i))
		}
		name := "F0"
		if i > 0 {
			name = "F" + string(rune('A'+i-1))
		}
		document += " fragment " + name + " on __Type{a:ofType{" + next + "} b:ofType{" + next + "}}"
	}
	op, err := s.Compile(document, "", Limits{Aliases: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.View(nil).Answer(op, nil, 1<<20); err != nil {
		t.Error(err)
	}
	op, err = s.Compile(fullQuery, "", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var size *AnswerSizeError
	if _, err := s.View(nil).Answer(op, nil, 1000); !errors.As(err, &size) || size.Max != 1000 {
		t.Errorf("a limit of 1000 bytes: %v", err)
	}
	full := len(answerAll(t, s.View(nil), fullQuery, "")) - len(`{"__schema":}`)
	for max, ok := range map[int]bool{full: true, full - 1: false} {
		if _, err := s.View(nil).Answer(op, nil, max); (err == nil) != ok {
			t.Errorf("%d bytes of %d: %v", max, full, err)
		}
	}
}

func BenchmarkView(b *testing.B) {
	for _, c := range loadCorpora(b) {
		op, err := c.schema.Compile(fullQuery, "", Limits{})
		if err != nil {
			b.Fatal(err)
		}
		visible := func(object, field string) bool { return len(object+field)%5 > 0 }
		b.Run(c.name+"/build", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.schema.View(visible)
			}
		})
		b.Run(c.name+"/answer", func(b *testing.B) {
			b.ReportAllocs()
			v := c.schema.View(visible)
			for b.Loop() {
				answers, err := v.Answer(op, nil, 64<<20)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(answers[0].JSON)))
			}
		})
	}
}
