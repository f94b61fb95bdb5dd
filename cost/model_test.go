package cost

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const modelSchema = `
type Query { user(id: ID): User users(first: Int, filter: Filter): [User] search: Result }
type User { name: String posts(first: Int): PostConnection }
type PostConnection { edges: [PostEdge] }
type PostEdge { node: Post }
type Post { title: String }
union Result = User | Post
input Filter { page: Page text: String }
input Page { size: Int }
`

func ptr(n int) *int { return &n }

// TestProblems lists what NewModel refuses, by key.
func TestProblems(t *testing.T) {
	for name, c := range map[string]struct {
		sdl     string
		options Options
		want    []string
	}{
		"profile": {options: Options{Profile: "imb"}, want: []string{
			`profile: "imb" is not one of default, ibm, apollo, github, shopify, shopify_log, simple`}},
		"default size twice": {options: Options{DefaultListSize: ptr(3), NoDefaultListSize: true}, want: []string{
			"default_list_size: is both set and none"}},
		"negative default size": {options: Options{DefaultListSize: ptr(-3)}, want: []string{
			"default_list_size: is -3, a size cannot be negative"}},
		"page size": {options: Options{PageSize: PageSize{Min: ptr(5), Max: ptr(-1)}}, want: []string{
			"page_size: min 5 is above max -1", "page_size.max: is -1, a size cannot be negative"}},
		"negative size": {options: Options{NegativeSize: "allow"}, want: []string{
			`negative_size: "allow" is not one of refuse, fallback`}},
		"weights": {options: Options{Weights: map[string]float64{
			"User.postz": 5, "Usr": 1, "User.posts(frist:)": 1, "User.posts(first)": 1, "Result": 2, "User.name": math.NaN(), "@tag(a:)": 1,
			"@skip": 1, "@skip(iff:)": 1, "Zebra.x": 1,
		}}, want: []string{
			`weights.@skip: a directive's argument is written @skip(argument:)`,
			`weights.@skip(iff:): @skip has no argument "iff"; did you mean if?`,
			`weights.@tag(a:): the schema has no directive "tag"`,
			"weights.Result: Result is abstract and weighs what its object types do: Post, User",
			"weights.User.name: is not a finite number",
			"weights.User.posts(first): an argument is written User.posts(name:)",
			`weights.User.posts(frist:): User.posts has no argument "frist"; did you mean first?`,
			`weights.User.postz: User has no field "postz"; did you mean posts?`,
			`weights.Usr: the schema has no type "Usr"; did you mean User?`,
			`weights.Zebra.x: the schema has no type "Zebra"`,
		}},
		"list sizes": {options: Options{ListSizes: map[string]ListSize{
			"Query":       {},
			"Query.usrs":  {},
			"Filter.page": {Assumed: ptr(1)},
			"Query.users": {Slicing: []string{"frist", "filter.page.sise", "first.x", ""}, SizedFields: []string{"edges", "name.x"}, Assumed: ptr(-1)},
			"User.posts":  {Slicing: []string{"first"}, SizedFields: []string{"edges.nod"}},
		}}, want: []string{
			"list_sizes.Filter.page: is not a field of an object type or interface",
			"list_sizes.Query: is not of the form Type.field",
			`list_sizes.Query.users: "edges": User has no field "edges"`,
			`list_sizes.Query.users: "filter.page.sise": Page has no field "sise"; did you mean size?`,
			`list_sizes.Query.users: "first.x": first is not an input object`,
			`list_sizes.Query.users: "name.x": String has no fields`,
			"list_sizes.Query.users: a slicing argument has no name",
			"list_sizes.Query.users: the assumed size is -1, a size cannot be negative",
			`list_sizes.Query.users: users has no argument "frist"; did you mean first?`,
			`list_sizes.Query.usrs: Query has no field "usrs"; did you mean users, user?`,
			`list_sizes.User.posts: "edges.nod": PostEdge has no field "nod"; did you mean node?`,
		}},
		"directives": {sdl: `
			type Query {
				a: Int @cost(weight: "dear")
				b: [Int] @listSize(slicingArguments: ["first"])
				c: [Int] @cost(weight: "Inf") @listSize(assumedSize: 3000000000000000000000)
			}`, want: []string{
			`schema: Query.a @cost: weight "dear" is not a finite number`,
			`schema: Query.b @listSize: b has no argument "first"`,
			`schema: Query.c @cost: weight "Inf" is not a finite number`,
			`schema: Query.c @listSize: assumedSize "3000000000000000000000" is not a size`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.sdl == "" {
				c.sdl = modelSchema
			}
			_, err := NewModel(loadSchema(t, c.sdl), c.options)
			var problems *ModelError
			if !errors.As(err, &problems) {
				t.Fatalf("error %v", err)
			}
			var got []string
			for _, p := range problems.Problems {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDigest holds that the digest changes with every option that changes a
// price, and with nothing else.
func TestDigest(t *testing.T) {
	s := loadSchema(t, modelSchema)
	seen := map[[32]byte]int{}
	options := []Options{
		{}, {Profile: IBM}, {Profile: Apollo}, {Profile: Shopify}, {Profile: ShopifyLog}, {DefaultListSize: ptr(11)}, {NoDefaultListSize: true},
		{Weights: map[string]float64{"User": 2}}, {Weights: map[string]float64{"User": 3}}, {Weights: map[string]float64{"User": 2, "Post": 1}},
		{ListSizes: map[string]ListSize{"Query.users": {Slicing: []string{"first"}}}},
		{ListSizes: map[string]ListSize{"Query.users": {Slicing: []string{"first"}, RequireOne: true}}},
		{ListSizes: map[string]ListSize{"Query.users": {Assumed: ptr(0)}}},
		{ListSizes: map[string]ListSize{"User.posts": {Assumed: ptr(0), SizedFields: []string{"edges"}}}},
		{PageSize: PageSize{Max: ptr(5)}}, {PageSize: PageSize{Min: ptr(5)}}, {PageSize: PageSize{Required: true}},
		{NegativeSize: NegativeFallback}, {IgnoreRequireOne: true},
	}
	for i, o := range options {
		m, err := NewModel(s, o)
		if err != nil {
			t.Fatal(err)
		}
		if j, ok := seen[m.Digest()]; ok {
			t.Errorf("options %d and %d have one digest", j, i)
		}
		seen[m.Digest()] = i
	}
	same := []Options{{}, {Profile: Default}, {DefaultListSize: ptr(10)}, {NegativeSize: NegativeRefuse}}
	for _, o := range same {
		m, err := NewModel(loadSchema(t, modelSchema), o)
		if err != nil {
			t.Fatal(err)
		}
		if i, ok := seen[m.Digest()]; !ok || i != 0 {
			t.Errorf("%+v differs from the zero options", o)
		}
	}
}

// TestForeignOperation holds that a model prices only its own schema.
func TestForeignOperation(t *testing.T) {
	m, err := NewModel(loadSchema(t, modelSchema), Options{})
	if err != nil {
		t.Fatal(err)
	}
	op, err := loadSchema(t, `type Query { user: Int }`).Compile(`{ user }`, "", openLimits)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Compile(op); !errors.Is(err, ErrSchema) {
		t.Errorf("error %v", err)
	}
}
