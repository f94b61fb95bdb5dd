package firewall_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

const oracleSDL = `
type Query { me: User! user(id: ID!): User users(first: Int = 3): [User!]! nodes: [Node] search(kind: Kind): [Result!]
  grid: [[Doc!]] must: Wrap! owned: [Owned!]! maybe: User total: Int! now: String }
interface Node { id: ID! label: String }
interface Owned { owner: User level: Int! }
type User implements Node { id: ID! label: String name(short: Boolean = false): String! email: String phone: String! level: Int!
  tags: [String!]! friends(first: Int = 2): [User!] best: User docs: [Doc!]! pinned: Node wrap: Wrap! results: [Result]! }
type Doc implements Node & Owned { id: ID! label: String title: String! public: Boolean owner: User level: Int! body: String!
  ref: Node related: [[Node!]!] score: Float codes: [[String]!] items: [Item] }
type Wrap { inner: Wrap! doc: Doc! user: User value: String! items: [Item!]! any: Result! }
type Item implements Owned { owner: User level: Int! sku: String! price: Int kind: Kind! }
union Result = User | Doc | Item
enum Kind { A B }
`

// rule is one definition of a generated policy.
type rule struct{ kind, typ, field, text string }

func (r rule) head() string { return headRef(r.kind, r.typ, r.field) }

func headRef(kind, typ, field string) string {
	part := func(s string) string {
		if s == "*" {
			return `["*"]`
		}
		return "." + s
	}
	return kind + part(typ) + part(field)
}

func policyText(rules []rule) string {
	var b strings.Builder
	b.WriteString("package graphward\n\nimport rego.v2\n\nimport data.graphward.lib.mask\n\nhigh(n) if n >= 3\n\nstaff if \"staff\" in input.subject.roles\n" + oracleHelpers)
	for _, r := range rules {
		b.WriteString("\n" + r.text + "\n")
	}
	return b.String()
}

// reads are the paths under input.parent in a rule's text.
func (r rule) reads() (paths [][]string) {
	for _, m := range parentPath.FindAllStringSubmatch(r.text, -1) {
		paths = append(paths, strings.Split(strings.ReplaceAll(m[1], "[_]", ""), "."))
	}
	if helperOfLevel.MatchString(r.text) {
		paths = append(paths, []string{"level"})
	}
	for condition, more := range readThrough {
		if strings.Contains(r.text, condition) {
			for _, path := range more {
				paths = append(paths, strings.Split(path, "."))
			}
		}
	}
	return paths
}

// readThrough are the conditions that read objects through a variable or a function,
// with the paths that they read so.
var readThrough = map[string][]string{
	"some doc in input.parent.docs; doc.level > 3":                                   {"docs.level"},
	"some doc in input.parent.docs; not doc.public":                                  {"docs.public"},
	"count(input.parent.docs) > 0; every doc in input.parent.docs { doc.level < 4 }": {"docs.level"},
	"input.subject.id in {doc.id | some doc in input.parent.docs}":                   {"docs.id"},
	"best := input.parent.best; best.level > 1":                                      {"best.level"},
	"leads(input.parent)":     {"best.level"},
	"not leads(input.parent)": {"best.level"},
	"some result in input.parent.results; result.level > 2; not two(result.level)":             {"results.level"},
	"owner := input.parent.owner; leads(owner)":                                                {"owner.best.level"},
	"leads(input.parent.owner)":                                                                {"owner.best.level"},
	"some row in input.parent.related; some node in row; node.label != null":                   {"related.label"},
	"some item in input.parent.items; item.kind == \"A\"; item.level > 1":                      {"items.kind", "items.level"},
	"some i, item in input.parent.items; i < 2; high(item.owner.level)":                        {"items.owner.level"},
	"count([1 | some item in input.parent.items; item.kind != \"A\"; item.price > 2]) == 1":    {"items.kind", "items.price"},
	"user := input.parent.user; doc := input.parent.doc; user.level < doc.level; user != null": {"user.level", "doc.level"},
}

var parentPath = regexp.MustCompile(`input\.parent\.([a-z]+(?:\[_\])?(?:\.[a-z]+)*)`)

// apart is a module's text with each definition of an allow rule under a name of its own.
func apart(rules []rule) string {
	var b strings.Builder
	for i, r := range rules {
		if r.kind == "allow" {
			fmt.Fprintf(&b, "\ndefinition_%d%s\n", i, strings.TrimPrefix(r.text, r.head()))
		}
	}
	return b.String()
}

// oracleHelpers read the level of the object, whatever its type.
const oracleHelpers = `
grade := "top" if input.parent.level > 3

else := "low" if input.parent.level < 2

default rank := 0

rank := input.parent.level if input.parent.level > 1

top if input.parent.level >= 3

two(n) if n == 2

leads(user) if {
	best := user.best
	best.level > 1
}

band := "top" if input.parent.level > 3

band := "low" if input.parent.level < 2

default band := "middle"
`

var helperOfLevel = regexp.MustCompile(`\b(grade|rank|top|band)\b`)

// generator makes policies and operations.
type generator struct {
	*rand.Rand
	schema *ast.Schema
	types  []string // object types with rules of their own
}

func pick[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

var identityConditions = []string{"input.subject.authenticated", "staff", "not staff", `input.subject.id == "3"`, `input.request.method == "POST"`, `input.subject.roles == []`}

var argumentConditions = map[string][]string{
	"Query.user":   {"input.args.id == input.subject.id", `input.args.id in {"1", "2"}`},
	"Query.users":  {"input.args.first < 3"},
	"Query.search": {`input.args.kind == "A"`, "not input.args.kind", "input.args.kind == null"},
	"User.name":    {"input.args.short", "not input.args.short"},
	"User.friends": {"input.args.first > 1", "not input.args.first"},
}

var parentConditions = map[string][]string{
	"User": {"input.parent.level > 2", "high(input.parent.level)", `input.parent.email != null`, "input.parent.email == null", "count(input.parent.tags) > 1",
		"input.parent.best.level > 1", "not input.parent.best.id", "input.parent.id == input.subject.id", "some tag in input.parent.tags; contains(tag, \"1\")", "not input.parent.label",
		"best := input.parent.best.level; not two(best)", "count(input.parent.tags) > 0; every tag in input.parent.tags { not contains(tag, \"2\") }",
		`count([tag | tag := input.parent.tags[_]; contains(tag, "3")]) == 0`, `grade == "low"`, `grade != "low"`, "rank < 3", "not top", `not grade == "top"`,
		"some doc in input.parent.docs; doc.level > 3", "some doc in input.parent.docs; not doc.public", "count(input.parent.docs) > 1", "input.parent.best != null",
		"count(input.parent.docs) > 0; every doc in input.parent.docs { doc.level < 4 }", "input.subject.id in {doc.id | some doc in input.parent.docs}", "not input.parent.best", "best := input.parent.best; best.level > 1",
		"leads(input.parent)", "not leads(input.parent)", "some result in input.parent.results; result.level > 2; not two(result.level)",
		`band in {"top", "middle"}`, `sprintf("%s-%v", [input.parent.id, input.parent.level]) == "1-3"`, `not sprintf("%v", [input.parent.best.level]) in {"1", "2"}`, "time.now_ns() > input.parent.level", `concat("", input.parent.tags) != ""`},
	"Doc": {"input.parent.public", "not input.parent.public", "input.parent.owner.id == input.subject.id", "high(input.parent.level)", "high(input.parent.owner.level)",
		`input.parent.ref.label != null`, "input.parent.owner.best.level > 1", "input.parent.score > 20", "owner := input.parent.owner.level; not two(owner)", "not high(input.parent.owner.best.level)",
		"rank != 0", `grade == "low"`, `regex.match("[1-4]", input.parent.owner.id)`, "input.parent.level * 2 > input.parent.owner.level",
		"owner := input.parent.owner; leads(owner)", "leads(input.parent.owner)", "some row in input.parent.related; some node in row; node.label != null", "count(input.parent.related) == 2",
		`band != "low"`, "input.parent.public and not high(input.parent.level)", `$"{input.parent.owner.level}" == "2"`, `input.parent.level in {input.parent.owner.level, 1}`},
	"Wrap": {"input.parent.user.level > 1", "high(input.parent.doc.level)", "contains(input.parent.value, \"2\")", "count([i | i := input.parent.items[_].level]) > 1", "input.parent.items[_].level > 3",
		"level := input.parent.user.level; count([1 | level == 2]) == 0",
		"count({level | level := input.parent.items[_].level; not two(level)}) == 1",
		"some item in input.parent.items; item.kind == \"A\"; item.level > 1", "some i, item in input.parent.items; i < 2; high(item.owner.level)",
		"count([1 | some item in input.parent.items; item.kind != \"A\"; item.price > 2]) == 1", "user := input.parent.user; doc := input.parent.doc; user.level < doc.level; user != null", "is_null(input.parent.user)"},
	"Item": {`input.parent.kind == "A"`, "input.parent.owner.level > 1", "input.parent.price > 2", "high(input.parent.level)", "input.parent.price == null", "not top", "rank < 2", `lower(input.parent.kind) == "a"`, "price := input.parent.price; not price == null",
		`replace(input.parent.kind, "A", "B") == "B"`, `{"A": 1, "B": input.parent.level}[input.parent.kind] > 1`, "input.parent.owner == null"},
}

// condition returns the body of an allow rule, or "" for true.
func (g *generator) condition(typ, field string) string {
	switch n := g.IntN(10); {
	case n < 3:
		return ""
	case n < 5 && field != "*" && argumentConditions[typ+"."+field] != nil:
		return pick(g, argumentConditions[typ+"."+field]...)
	case n < 9 && parentConditions[typ] != nil:
		c := pick(g, parentConditions[typ]...)
		if g.IntN(4) == 0 {
			c += "; " + pick(g, identityConditions...)
		}
		return c
	}
	return pick(g, identityConditions...)
}

func (g *generator) allow(typ, field string) rule {
	r := rule{kind: "allow", typ: typ, field: field}
	r.text = r.head() + " := true"
	if c := g.condition(typ, field); c != "" {
		r.text = r.head() + " if { " + c + " }"
	}
	return r
}

// policy makes the rules of one policy.
func (g *generator) policy() []rule {
	var rules []rule
	if g.IntN(3) > 0 {
		rules = append(rules, rule{"allow", "*", "*", `allow["*"]["*"] := true`})
	} else if g.IntN(2) == 0 {
		rules = append(rules, rule{"allow", "*", "*", `allow["*"]["*"] if staff`})
	}
	if g.IntN(3) > 0 {
		rules = append(rules, rule{"allow", "Query", "*", `allow.Query["*"] := true`})
	}
	for _, typ := range g.types {
		if g.IntN(3) == 0 && typ != "Query" {
			rules = append(rules, g.allow(typ, "*"))
		}
		for _, f := range g.schema.Types[typ].Fields {
			if strings.HasPrefix(f.Name, "__") {
				continue
			}
			switch g.IntN(9) {
			case 0, 1:
				rules = append(rules, g.allow(typ, f.Name))
			case 2:
				rules = append(rules, g.allow(typ, f.Name))
				if more := g.allow(typ, f.Name); !strings.HasSuffix(more.text, ":= true") && !strings.HasSuffix(rules[len(rules)-1].text, ":= true") && more.text != rules[len(rules)-1].text {
					rules = append(rules, more)
				}
			case 3:
				rules = append(rules, rule{"allow", typ, f.Name, headRef("allow", typ, f.Name) + " := false"})
			}
			rules = append(rules, g.answers(typ, f)...)
		}
	}
	return rules
}

// answers makes mask and drop rules of one field.
func (g *generator) answers(typ string, f *ast.FieldDefinition) []rule {
	def := g.schema.Types[f.Type.Name()]
	condition := pick(g, "", "", " if staff")
	if f.Type.Elem != nil && f.Type.Elem.Elem == nil && g.IntN(8) == 0 {
		drop := rule{"drop", typ, f.Name, headRef("drop", typ, f.Name) + " := true" + condition}
		if def.IsCompositeType() {
			return []rule{drop}
		}
	}
	if def.IsCompositeType() || g.IntN(6) > 0 {
		return nil
	}
	value := map[string][]string{"ID": {`"0"`, "mask.keep_last(1)", "mask.redact"}, "Int": {"0", "7"}, "Float": {"0.5", "mask.round(0)"}, "Boolean": {"false"}, "Kind": {`"B"`},
		"String": {`"hidden"`, "mask.redact", "mask.keep_last(3)", "mask.keep_first(2)"}}[def.Name]
	values := slices.Clone(value)
	switch {
	case f.Type.Elem != nil && f.Type.Elem.Elem == nil:
		values = append(values, "[]", `["one"]`)
	case f.Type.Elem == nil && !f.Type.NonNull:
		values = append(values, "null")
	}
	return []rule{{"mask", typ, f.Name, headRef("mask", typ, f.Name) + " := " + pick(g, values...) + condition}}
}

// operation makes the text of a query and its variables. It may be invalid.
func (g *generator) operation() (text string, variables map[string]any) {
	o := operationWriter{g: g}
	body := o.set("Query", 0)
	for len(o.pending) > 0 {
		name := o.pending[0]
		o.pending = o.pending[1:]
		o.fragments += fmt.Sprintf(" fragment %s on %s%s", name, o.on[name], o.set(o.on[name], 3))
	}
	variables = map[string]any{}
	declared := ""
	for name, used := range o.used {
		if !used {
			continue
		}
		switch name {
		case "yes", "no":
			declared += "$" + name + ": Boolean! "
			variables[name] = name == "yes"
		case "id":
			declared += "$id: ID! "
			variables[name] = pick(g, "1", "3", "9")
		case "n":
			declared += "$n: Int " // may be left out
			if g.IntN(2) == 0 {
				variables[name] = 1 + g.IntN(3)
			}
		}
	}
	if declared != "" {
		declared = "(" + declared + ")"
	}
	return "query" + declared + body + o.fragments, variables
}

type operationWriter struct {
	g         *generator
	used      map[string]bool
	pending   []string
	on        map[string]string
	fragments string
	aliases   int
}

func (o *operationWriter) variable(name string) string {
	if o.used == nil {
		o.used = map[string]bool{}
	}
	o.used[name] = true
	return "$" + name
}

func (o *operationWriter) directive() string {
	g := o.g
	if g.IntN(8) > 0 {
		return ""
	}
	return " @" + pick(g, "skip", "include") + "(if: " + pick(g, "true", "false", o.variable("yes"), o.variable("no")) + ")"
}

// set writes a selection set on a type.
func (o *operationWriter) set(typ string, depth int) string {
	g := o.g
	def := g.schema.Types[typ]
	var parts []string
	for range 1 + g.IntN(4) {
		switch n := g.IntN(10); {
		case n < 2 && depth < 5 && typ != "Query":
			of := o.condition(def)
			parts = append(parts, "... on "+of+o.directive()+o.set(of, depth+1))
		case n == 2 && depth < 4 && typ != "Query" && len(o.on) < 4:
			of := o.condition(def)
			name := "F" + strconv.Itoa(len(o.on))
			if o.on == nil {
				o.on = map[string]string{}
			}
			o.on[name] = of
			o.pending = append(o.pending, name)
			parts = append(parts, "..."+name+o.directive())
		case n == 3 && typ != "Query":
			parts = append(parts, "__typename")
		case def.Kind != ast.Union:
			if f := o.field(def, depth); f != "" {
				parts = append(parts, f)
			}
		}
	}
	if len(parts) == 0 {
		parts = append(parts, "__typename")
	}
	return " { " + strings.Join(parts, " ") + " }"
}

// condition picks a type that overlaps.
func (o *operationWriter) condition(def *ast.Definition) string {
	if def.Kind == ast.Object {
		return pick(o.g, append([]string{def.Name}, def.Interfaces...)...)
	}
	var names []string
	for _, p := range o.g.schema.PossibleTypes[def.Name] {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return pick(o.g, names...)
}

func (o *operationWriter) field(def *ast.Definition, depth int) string {
	g := o.g
	var fields []*ast.FieldDefinition
	for _, f := range def.Fields {
		leaf := !g.schema.Types[f.Type.Name()].IsCompositeType()
		if !strings.HasPrefix(f.Name, "__") && (leaf || depth < 5) {
			fields = append(fields, f)
		}
	}
	if len(fields) == 0 {
		return ""
	}
	f := pick(g, fields...)
	text := f.Name
	if g.IntN(4) == 0 && o.aliases < 20 {
		o.aliases++
		text = pick(g, "x"+f.Name, "y"+f.Name, "c"+strconv.Itoa(o.aliases)) + ": " + text
	}
	for _, a := range f.Arguments {
		value := ""
		switch a.Name {
		case "id":
			value = pick(g, `"1"`, `"3"`, "3", o.variable("id"))
		case "first":
			value = pick(g, "", "", "1", "3", "null", o.variable("n"))
		case "short":
			value = pick(g, "", "", "true", "false")
		case "text":
			value = `"1"`
		case "kind":
			value = pick(g, "", "A", "B", "null")
		}
		if value != "" {
			text += "(" + a.Name + ": " + value + ")"
		}
	}
	text += o.directive()
	if g.schema.Types[f.Type.Name()].IsCompositeType() {
		text += o.set(f.Type.Name(), depth+1)
	}
	return text
}
