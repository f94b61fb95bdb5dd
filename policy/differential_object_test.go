package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/graphward/graphward/schema"
)

const objectSchema = `
type Query { a(id: ID): T b: T t(id: ID): T }
type T {
  x(id: ID, n: Int = 3, list: [String!], obj: In): String
  y(id: ID, n: Int = 3, list: [String!], obj: In): String
  z: String
  id: ID
  n: Int
  flag: Boolean
  tags: [String]
  grid: [[Int]]
  owner: U
  readers: [U]
  meta: JSON
}
type U { id: ID! name: String friend: U tags: [String!] }
input In { id: ID k: String tags: [String] in: In d: Int = 7 }
scalar JSON
`

const objectQuery = `query($id: ID, $n: Int, $list: [String!], $obj: In) {
  t { x(id: $id, n: $n, list: $list, obj: $obj) y(n: $n) z }
}`

// objectGenerator writes random policies that read the parent too.
type objectGenerator struct{ generator }

func (g *objectGenerator) parent() string {
	return g.pick("input.parent.id", "input.parent.id", "input.parent.n", "input.parent.flag", "input.parent.owner.id",
		"input.parent.owner.friend.name", "input.parent.tags[_]", "input.parent.tags[0]", "input.parent.grid[_][_]", "input.parent.readers[_].id",
		"input.parent.readers[_].tags[_]", "input.parent.readers[1].name", "input.parent.meta", "input.parent.meta.a", "input.parent.tags")
}

func (g *objectGenerator) term() string {
	if g.IntN(3) > 0 {
		return g.parent()
	}
	return g.scalar()
}

func (g *objectGenerator) condition(depth int) string {
	switch g.IntN(38) {
	case 0:
		return g.parent()
	case 26:
		return fmt.Sprintf("sprintf(\"%%v:%%v\", [%s, %s]) %s %s", g.parent(), g.term(), g.pick("==", "!="), g.pick(`"a:a"`, `"a:b"`, g.term()))
	case 27:
		return fmt.Sprintf("concat(\",\", [%s, %s]) == %s", g.parent(), g.scalar(), g.pick(`"a,b"`, `"a,a"`, `"a,7"`))
	case 28:
		return fmt.Sprintf("%s(%s) == %s", g.pick("base64.encode", "strings.reverse", "json.marshal", "upper", "to_number", "type_name", "crypto.md5"), g.parent(), g.pick(`"a"`, `"A"`, `"string"`, `"\"a\""`, "1", g.term()))
	case 29:
		return fmt.Sprintf("replace(%s, \"a\", %s) %s %s", g.parent(), g.pick(`"b"`, `""`, g.term()), g.pick("==", "!="), g.pick(`"b"`, g.term()))
	case 30:
		return fmt.Sprintf("%s %s {%s, %s}", g.term(), g.pick("in", "in", "=="), g.parent(), g.term())
	case 31:
		return fmt.Sprintf("{\"a\": %s, \"b\": [%s]}.%s %s %s", g.parent(), g.term(), g.pick("a", "b[0]", "b", "c"), g.pick("==", "!=", "<"), g.term())
	case 32:
		return fmt.Sprintf("{w: v | some v, w in %s; w != %s}[%s] %s %s", g.pick("input.parent.tags", "input.parent.meta", `["a", "b", input.parent.id]`), g.scalar(), g.term(), g.pick("==", "!=", "<"), g.pick("0", "1", g.term()))
	case 33:
		return fmt.Sprintf("band %s %s", g.pick("==", "!=", "in"), g.pick(`{"gold", "silver"}`, `["gold"]`, `"gold"`, `"silver"`, g.term()))
	case 34:
		return fmt.Sprintf("(%s and %s)", g.condition(0), g.condition(0))
	case 35:
		return fmt.Sprintf("$\"x{%s}\" %s %s", g.parent(), g.pick("==", "!="), g.pick(`"xa"`, `"x1"`, g.term()))
	case 36:
		return fmt.Sprintf("grade(%s) %s %s", g.term(), g.pick("==", ">", "!="), g.pick("1", "2", g.term()))
	case 37:
		return g.pick("time.now_ns() > input.parent.n", "not time.now_ns() < input.parent.n", "not late", "late",
			"object.get(input.parent.meta, \"a\", \"b\") == "+g.term(), "array.concat(input.parent.tags, [\"a\"])[_] == "+g.term(), "bits.and(input.parent.n, 1) == 1",
			"strings.any_prefix_match(input.parent.tags, {\"a\", \"x\"})", "numbers.range(0, input.parent.n)[_] == 2", "substring(input.parent.id, 0, 1) == "+g.term())
	case 19:
		return fmt.Sprintf("regex.match(%q, %s)", g.pick("^a", "b$", "[", ""), g.parent())
	case 20:
		return fmt.Sprintf("count([w | w := %s; %s]) %s %d", g.pick("input.parent.tags[_]", "input.parent.grid[_][_]", "input.parent.readers[_].id"),
			g.pick(`w != "a"`, "q0(w)", "not q1(w)", "startswith(w, \"a\")", "v2 != w", "w == "+g.term()), g.pick(">", "==", "<"), g.IntN(3))
	case 21:
		return fmt.Sprintf("v2 %s %s", g.pick("==", "!=", "<"), g.pick(g.scalar(), `"low"`, "1", g.term()))
	case 22:
		return fmt.Sprintf("%s in s0", g.term())
	case 23:
		return fmt.Sprintf("f0(%s, %s) %s %s", g.term(), g.pick("1", g.term()), g.pick("==", "!="), g.pick(`"top"`, `"low"`, g.term()))
	case 24:
		return fmt.Sprintf("%s(lower(%s), %q) == %s", g.pick("trim", "trim_prefix"), g.parent(), g.pick("a", " "), g.scalar())
	case 25:
		return fmt.Sprintf("input.parent.n %s %d > %s", g.pick("+", "*", "-", "/", "%"), g.IntN(3), g.pick("1", "input.parent.n", g.term()))
	case 1:
		return g.parent() + " in " + g.pick(g.list(), `{"a", "b"}`, "input.parent.tags")
	case 2:
		return fmt.Sprintf("p%d", g.IntN(4))
	case 3:
		return fmt.Sprintf("q%d(%s)", g.IntN(3), g.term())
	case 4:
		return fmt.Sprintf("%s(%s, %q)", g.pick("startswith", "endswith", "contains"), g.parent(), g.pick("a", "b", ""))
	case 5:
		return fmt.Sprintf("lower(%s) == %s", g.parent(), g.scalar())
	case 6:
		return fmt.Sprintf("count(input.parent.tags) %s %d", g.pick(">", "==", "<"), g.IntN(3))
	case 7:
		if depth > 0 {
			return "not {" + g.condition(depth-1) + "}"
		}
	case 8:
		if depth > 0 {
			return "not " + g.parent() + " == " + g.scalar()
		}
	case 9, 10:
		if depth > 0 {
			return "(" + g.condition(depth-1) + " or " + g.condition(depth-1) + ")"
		}
	case 11:
		if depth > 0 {
			return "not {" + g.condition(depth-1) + "; " + g.condition(depth-1) + "}"
		}
	case 12:
		return g.simple(1)
	case 13:
		return "data.owners[" + g.parent() + "] == " + g.scalar()
	case 14:
		return g.pick("is_null", "is_string", "is_number", "is_boolean") + "(" + g.parent() + ")"
	case 15:
		return "v1 == " + g.scalar()
	case 16:
		return "input.subject.claims[input.parent.id] == " + g.term()
	}
	return g.parent() + " " + g.pick("==", "==", "==", "!=", "<", ">=") + " " + g.term()
}

// ofReader is a condition on an object that a variable stands for.
func (g *objectGenerator) ofReader(name string) string {
	leaf := name + "." + g.pick("id", "name", "tags[1]", "tags[0]", "friend.id", "friend.friend.name")
	return g.pick(leaf+" == "+g.term(), leaf+" != "+g.term(), leaf+" in input.subject.roles", name+".tags[_] == "+g.term(), "not "+leaf+" == "+g.scalar(), "contains("+leaf+", \"a\")",
		"friendly("+name+")", "not friendly("+name+")", name+".friend != null", "not "+name+".friend", leaf, "count("+name+".tags) > 1", "(friendly("+name+") or "+leaf+" == "+g.scalar()+")",
		"object.get("+name+", \"name\", \"a\") == "+g.term())
}

func (g *objectGenerator) objectBody() string {
	if g.IntN(6) == 0 { // reads nothing of the object
		return " if {\n\t" + g.pick("input.subject.authenticated", "input.subject.authenticated", "not input.subject.authenticated", "input.subject.claims.a", "not input.subject.claims.a",
			"input.subject.claims[_]", "input.subject.id == "+g.term(), g.term()+" in input.subject.roles", "count(input.subject.roles) > 0") + "\n}\n\n"
	}
	var lines []string
	for i := range 1 + g.IntN(2) {
		switch g.IntN(25) {
		case 15:
			lines = append(lines, fmt.Sprintf("\tsome r%d in input.parent.readers\n\t%s", i, g.ofReader(fmt.Sprintf("r%d", i))))
		case 16:
			lines = append(lines, fmt.Sprintf("\tcount(input.parent.readers) %s %d\n\tevery r%d in input.parent.readers { %s }", g.pick(">", ">=", "!="), g.IntN(4), i, g.ofReader(fmt.Sprintf("r%d", i))))
		case 17:
			lines = append(lines, fmt.Sprintf("\tr%d := input.parent.owner%s\n\t%s", i, g.pick("", "", ".friend"), g.ofReader(fmt.Sprintf("r%d", i))))
		case 18:
			lines = append(lines, fmt.Sprintf("\tm%d := %s\n\t%s", i, g.pick("{r.id | some r in input.parent.readers}", "{r.id: r.name | some r in input.parent.readers}", "[r.name | some r in input.parent.readers; "+g.ofReader("r")+"]"),
				g.pick(fmt.Sprintf("count(m%d) > 1", i), fmt.Sprintf("m%d[%s]", i, g.term()), fmt.Sprintf("m%d[0] == %s", i, g.term()), fmt.Sprintf("%s in m%d", g.term(), i))))
		case 19:
			lines = append(lines, "\t"+g.pick("input.parent.owner != null", "not input.parent.owner", "is_null(input.parent.owner.friend)", "input.parent.owner", "is_object(input.parent.owner)",
				"known(input.parent)", "not known(input.parent)", "friendly(input.parent.owner)", "friendly(input.parent.readers[_])", "not friendly(input.parent.owner)", "friendly(input.parent.readers[1].friend)",
				"object.get(input.parent, \"id\", \"b\") == "+g.term(), "object.get(input.parent.owner, [\"friend\", \"name\"], \"b\") == "+g.term(), "type_name(input.parent.owner) == \"object\""))
		case 20: // mostly refused: the object itself is looked at
			lines = append(lines, "\t"+strings.ReplaceAll(g.pick("some r# in input.parent.readers\n\tnot r# == input.parent.owner", "r# := input.parent.owner\n\tinput.parent.readers[_] != r#", "[r#] = [input.parent.owner]\n\tnot r# == input.parent.readers[0]",
				"some r# in [1, 2]\n\tnot r# == input.parent.owner", "count(input.parent.owner) < 2", "not input.parent.owner in input.parent.readers", "count({r | some r in input.parent.readers}) > 1",
				"r# := input.parent\n\tcount([1 | r#[_] == \"a\"]) > 0", "some k#, _ in input.parent.owner\n\tk# == \"name\"", "object.get(input.parent, \"owner\", 1) != 1", "lost(input.parent.owner, input.parent.readers[0])"), "#", fmt.Sprint(i)))
		case 21:
			lines = append(lines, fmt.Sprintf("\twalk(%s, [%s, z%d])\n\tz%d == %s", g.pick("input.parent.meta", "input.parent.grid", "input.parent.tags", "[input.parent.id]"), g.pick("_", fmt.Sprintf("y%d", i), "[]", "[_, _]", "[0]"), i, i, g.term()))
		case 22:
			lines = append(lines, fmt.Sprintf("\t%s %s %s", g.pick("names["+g.term()+"]", "indices[0]", "names.a", "indices[_]", "count(names)"), g.pick("==", "!="), g.term()))
		case 23:
			lines = append(lines, "\t"+g.pick(g.term()+" in perms["+g.term()+"]", "not \"a\" in perms["+g.pick(`"a"`, "input.parent.id")+"]", "perms[_][_] == "+g.term(), "count(perms.a) > 1", "not perms.b", "names.b", "not names.b"))
		case 24: // evaluated as written
			lines = append(lines, "\t"+g.pick("time.now_ns() > input.parent.n", "not time.now_ns() < input.parent.n", "input.parent.n < time.now_ns()\n\t"+g.condition(1)))
		case 14: // of the few that only OPA decides
			lines = append(lines, fmt.Sprintf("\trand.intn(input.parent.id, 1) == 0\n\t%s", g.condition(1)))
		case 12:
			lines = append(lines, fmt.Sprintf("\t[%s, d%d] %s split(%s, %s)\n\td%d %s %s", g.pick("_", "_", fmt.Sprintf("e%d", i)), i, g.pick(":=", ":="), g.parent(), g.pick(`"c"`, `""`, `"m"`), i, g.pick("==", "!="), g.pick(`"e"`, g.term())))
		case 13:
			lines = append(lines, fmt.Sprintf("\t[a%d, [b%d, _]] := [%s, %s]\n\tnot a%d == b%d", i, i, g.parent(), g.pick("input.parent.tags", "[input.parent.id, 1]", "input.parent.grid[_]"), i, i))
		case 8:
			lines = append(lines, fmt.Sprintf("\tsome k%d, s%d in %s\n\tk%d %s %d\n\t%s", i, i, g.pick("input.parent.tags", "input.parent.meta", "input.parent.readers"), i, g.pick("==", ">", "!="), g.IntN(2),
				g.pick(fmt.Sprintf("not q0(s%d)", i), fmt.Sprintf("s%d != %s", i, g.term()), fmt.Sprintf("contains(s%d, \"a\")", i))))
		case 9:
			lines = append(lines, fmt.Sprintf("\tcount(input.parent.grid) > 0\n\tevery l%d in input.parent.grid { count(l%d) > 0; every k%d, c%d in l%d { c%d != %s; k%d < 4 } }", i, i, i, i, i, i, g.term(), i))
		case 10:
			lines = append(lines, fmt.Sprintf("\tm%d := {%s | w := %s}\n\t%s", i, g.pick("w", "lower(w)"), g.pick("input.parent.tags[_]", "input.parent.readers[_].id"),
				g.pick(fmt.Sprintf("count(m%d) > 1", i), fmt.Sprintf("m%d[%s]", i, g.term()), fmt.Sprintf("m%d & {\"a\", \"b\"} == {\"a\"}", i))))
		case 11:
			lines = append(lines, fmt.Sprintf("\to%d := {n: w | some n, w in input.parent.tags}\n\to%d[%d] == %s", i, i, g.IntN(2), g.term()))
		case 0:
			lines = append(lines, fmt.Sprintf("\tsome s%d in %s\n\ts%d == %s", i, g.pick("input.parent.tags", "input.subject.roles", "input.parent.grid[_]"), i, g.term()))
		case 1:
			lines = append(lines, fmt.Sprintf("\tw%d := %s\n\tw%d == %s", i, g.parent(), i, g.term()))
		case 2:
			lines = append(lines, fmt.Sprintf("\tcount(input.parent.tags) > 0\n\tevery e%d in input.parent.tags { e%d != %s }", i, i, g.scalar()))
		default:
			lines = append(lines, "\t"+g.condition(2))
		}
	}
	return " if {\n" + strings.Join(lines, "\n") + "\n}\n\n"
}

func (g *objectGenerator) policy() string {
	var b strings.Builder
	b.WriteString("package graphward\n\nimport rego.v2\n\nallow.Query[\"*\"] := true\n\n")
	fmt.Fprintf(&b, "fn0(x) if x == %q\n\nh0 if input.subject.authenticated\n\n", g.pick("a", "b"))
	g.functions, g.helpers = 0, 0
	b.WriteString("q0(x) if x == input.subject.id\n\nq1(x) if x in input.subject.roles\n\nq1(x) if x == input.parent.id\n\nq2(x) := input.parent.n == x\n\n")
	fmt.Fprintf(&b, "default band := \"none\"\n\nband := \"gold\" if %s\n\nband := \"silver\" if %s\n\n", g.pick("input.parent.n > 3", "input.parent.id == \"a\"", g.parent()), g.pick("input.parent.n == 1", "not input.parent.n > 1", g.parent()))
	fmt.Fprintf(&b, "%sgrade(x) := 1 if x == %s\n\ngrade(x) := 2 if x == %s\n\ngrade(x) := %s if is_number(x)\n\n", g.pick("", "default grade(_) := 1\n\n"), g.scalar(), g.term(), g.pick("x", "3", "x + 1"))
	fmt.Fprintf(&b, "late if time.now_ns() > %s\n\n", g.pick("input.parent.n", "0"))
	fmt.Fprintf(&b, "known(o) if o.%s == %s\n\nknown(o) if %s\n\n", g.pick("id", "n", "owner.name", "tags[_]"), g.scalar(), g.ofReader("o.owner"))
	fmt.Fprintf(&b, "friendly(u) if u.%s == %s\n\nfriendly(u) := false if u.name == \"x\"\n\nelse if {\n\tv := u.friend\n\tv.id == %s\n}\n\n", g.pick("id", "name", "tags[_]"), g.scalar(), g.term())
	fmt.Fprintf(&b, "names[r.id] := r.name if some r in %s\n\nnames[%s] := true if %s\n\n", g.pick("input.parent.readers", "[input.parent.readers[0]]", "[{\"id\": input.parent.id, \"name\": \"a\"}]"), g.pick(`"a"`, "input.parent.id"), g.pick("input.parent.flag", "p0"))
	fmt.Fprintf(&b, "indices[i] := w if some i, w in %s\n\n", g.pick("input.parent.tags", "input.parent.grid[_]"))
	fmt.Fprintf(&b, "perms[w] contains %s if some w in %s\n\nperms[x] contains y if some x, y in {\"a\": %s, \"b\": \"a\"}\n\n", g.term(), g.pick("input.parent.tags", "input.subject.roles"), g.term())
	b.WriteString("lost(a, b) if not a == b\n\n")
	b.WriteString("p0 if input.parent.owner.id == input.subject.id\n\np1 if input.subject.authenticated\n\np1 if input.parent.flag\n\n")
	fmt.Fprintf(&b, "v1 := %s\n\n", g.term())
	fmt.Fprintf(&b, "f0(x, 1) := \"top\" if x == %s\n\nelse := \"low\" if x != %s\n\n", g.term(), g.scalar())
	fmt.Fprintf(&b, "s0 contains w if {\n\tsome w in %s\n\tw != %s\n}\n\ns0 contains %s if input.subject.authenticated\n\n", g.pick("input.parent.tags", "input.parent.grid[_]"), g.term(), g.parent())
	switch g.IntN(4) {
	case 0:
		fmt.Fprintf(&b, "default v2 := 1\n\nv2 := %s if %s\n\n", g.term(), g.pick("input.parent.flag", "not input.parent.flag", "input.subject.authenticated"))
	case 1:
		fmt.Fprintf(&b, "v2 := \"a\" if input.parent.n > 2\n\nelse := 3 if p0\n\nelse := \"low\"\n\n")
	case 2:
		fmt.Fprintf(&b, "default v2 := \"b\"\n\nv2 := \"a\" if {\n\tsome w in input.parent.tags\n\tw == %s\n}\n\nelse := 3 if not p1\n\n", g.scalar())
	default:
		fmt.Fprintf(&b, "v2 := %s\n\n", g.parent()) // may have two values, which OPA refuses
	}
	switch g.IntN(4) {
	case 0:
		fmt.Fprintf(&b, "default p2 := false\n\np2%s", strings.ReplaceAll(g.objectBody(), "p2", "p1"))
	case 1:
		b.WriteString("p2 := false if input.parent.flag\n\np2 := true if input.parent.n == 3\n\n")
	case 2:
		b.WriteString("p2 if input.parent.id in owners\n\nowners contains r if some r in input.subject.roles\n\nowners contains input.parent.owner.id\n\n")
	default:
		fmt.Fprintf(&b, "p2 := true if {\n\t%s == 3\n} else := %s if {\n\t%s\n}\n\n", g.parent(), g.pick("true", "false"), g.parent())
	}
	b.WriteString("p3 if not p0\n\n")
	if g.IntN(2) == 0 {
		fmt.Fprintf(&b, "default p3 := %s\n\n", g.pick("false", "false", "true"))
	}
	return g.write(b.String())
}

// write writes the heads after the helpers.
func (g *objectGenerator) write(helpers string) string {
	g.heads = map[coordinate]bool{{"Query", star}: true}
	g.parts = nil
	var b strings.Builder
	b.WriteString(helpers)
	for _, at := range []coordinate{{"T", "x"}, {"T", "y"}, {"T", "z"}, {"T", star}} {
		if at.field != star && g.IntN(4) == 0 {
			continue
		}
		g.heads[at] = true
		for range 1 + g.IntN(2) {
			fmt.Fprintf(&b, "%s%s%s", headOf(at.typ, at.field), g.pick("", "", "", " := false"), g.objectBody())
		}
	}
	policy := b.String()
	g.parts = []string{policy}
	if g.IntN(4) == 0 {
		rule := fmt.Sprintf("allow.T[f] if {\n\tsome f in %s\n\t%s\n}\n\n", g.list(), g.condition(1))
		g.parts = append(g.parts, helpers+rule)
		policy += rule
	}
	return policy
}

func (g *objectGenerator) value(depth int) any {
	switch g.IntN(9) {
	case 0:
		return nil
	case 1:
		return g.IntN(5)
	case 2:
		return g.IntN(2) == 0
	case 3:
		if depth > 0 {
			return []any{g.value(depth - 1), g.value(depth - 1)}
		}
	case 4:
		if depth > 0 {
			return map[string]any{"a": g.value(depth - 1)}
		}
	}
	return g.pick("a", "b", "acme", "A", "x", "")
}

// object is a parent as an upstream may give it: fields may be missing, and
// of types that the schema does not say.
func (g *objectGenerator) object(depth int) map[string]any {
	out := map[string]any{}
	fields := map[string]func() any{
		"id": func() any { return g.value(0) }, "n": func() any { return g.IntN(5) }, "flag": func() any { return g.value(0) },
		"name": func() any { return g.word() }, "tags": func() any { return []any{g.word(), g.value(1)} },
		"grid": func() any { return []any{[]any{g.IntN(4), nil}, nil, []any{}} }, "meta": func() any { return g.value(2) },
		"owner": func() any { return g.object(depth - 1) }, "friend": func() any { return g.object(depth - 1) },
		"readers": func() any { return []any{g.object(depth - 1), nil, g.object(depth - 1)} },
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if g.IntN(6) > 0 && (depth > 0 || name != "owner" && name != "friend" && name != "readers") {
			out[name] = fields[name]()
		}
	}
	return out
}

// TestObjectDifferential compares object rules, as they are judged on the
// answer, with plain OPA on all of input.
func TestObjectDifferential(t *testing.T) {
	s := loadSchema(t, objectSchema)
	op := compileOperation(t, s, objectQuery, "")
	data := writeData(t, differentialData)
	count := map[string]int{}
	for round := uint64(0); count["parents"] < *pairs; round++ {
		g := &objectGenerator{generator{Rand: rand.New(rand.NewPCG(*seed, round))}}
		text := g.policy()
		e, err := Load(context.Background(), Options{
			Schema: s, Modules: map[string]string{"p.rego": text}, Data: []string{data}, Timeout: time.Minute,
			OnDeny: "filter", ParentNonNull: "accept",
		})
		if count["policies"]++; err != nil {
			count["refused"]++
			if count["refused"] > 20 && count["refused"]*10 > count["policies"]*9 {
				t.Fatalf("almost every policy is refused: %v\n%s", err, text)
			}
			continue
		}
		reference := newPlain(t, &g.generator, differentialData)
		if reference == nil {
			t.Fatalf("OPA refuses this policy, the engine does not:\n%s", text)
		}
		b, err := e.Bind(op)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			compareObjects(t, g, e, b, reference, text, count)
		}
	}
	t.Log(count)
	for what, least := range map[string]int{"allowed": 20, "denied": 20, "beforehand": 20, "by OPA": 20, "here": 20, "failed": 10_000} {
		if count[what] < count["parents"]/least {
			t.Errorf("only %d of %d were %s: the generator has gone stale", count[what], count["parents"], what)
		}
	}
}

func compareObjects(t *testing.T, g *objectGenerator, e *Engine, b *Binding, reference *plain, text string, count map[string]int) {
	raw, _ := json.Marshal(g.variables())
	vars, err := b.op.Coerce(raw, schema.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	sub, req := g.subject(), &Request{Method: g.word(), Headers: map[string]string{}}
	d, decideErr := e.Decide(context.Background(), b, sub, req, OperationFacts{}, vars)
	var parents [][]byte
	var objects []map[string]any
	for range 10 {
		o := g.object(2)
		text, _ := json.Marshal(o)
		parents, objects = append(parents, text), append(objects, o)
	}
	for i := range b.op.Uses {
		use := &b.op.Uses[i]
		if use.Parent.Name != "T" {
			continue
		}
		at := coordinate{"T", use.Field.Name}
		input := fullInput(t, sub, req, b.op, OperationFacts{}, use, vars).(map[string]any)
		var want []bool
		var broken error
		for _, o := range objects {
			input["parent"] = o
			v, err := ast.InterfaceToValue(input)
			if err != nil {
				t.Fatal(err)
			}
			ok, err := reference.allowed(at, v, true)
			if err != nil {
				broken = err
			}
			want = append(want, ok)
		}
		count["parents"] += len(objects)
		if broken != nil {
			count["failed"]++
		}
		if decideErr != nil {
			count["undecided"]++
			continue // the operation is refused; what fails need not fail for these objects
		}
		count[e.way(at, b, sub, req, use, vars)] += len(objects)
		got, err := judged(d, use, parents, count)
		if broken != nil {
			// What another head grants stands, whatever a rule beside it fails of; so does what
			// a definition grants without the object.
			if err == nil && len(reference.queries) == 1 {
				for j := range got {
					if got[j] && !want[j] && !without(t, reference, at, input) {
						t.Fatalf("%s: OPA fails (%v), the engine allows %s\n%s", at, broken, parents[j], text)
					}
				}
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: the engine fails, OPA does not: %v\n%s", at, err, text)
		}
		for j := range got {
			if got[j] != want[j] {
				full, _ := json.Marshal(input)
				t.Fatalf("%s: engine says %v, OPA %v of %s\ninput %s\n%s", at, got[j], want[j], parents[j], full, text)
			}
			count[map[bool]string{true: "allowed", false: "denied"}[got[j]]]++
		}
	}
}

// way says who judges: OPA or what partial evaluation left.
func (e *Engine) way(at coordinate, b *Binding, sub *Subject, req *Request, use *schema.FieldUse, vars *schema.Variables) string {
	s := e.begin(context.Background(), sub, req)
	defer s.end()
	s.facts.operation, s.facts.vars, s.facts.use = b.op, vars, use
	for _, lv := range e.verdicts[at.typ][at.field].levels {
		for c := range lv.classes {
			if c.kind != classObject {
				continue
			}
			if r, err := s.residual(objectClass{c, lv.at}); err != nil || r.opaque {
				return "by OPA"
			}
		}
	}
	return "here"
}

// judged is the engine's verdict for each parent of a use.
func judged(d *Decision, use *schema.FieldUse, parents [][]byte, count map[string]int) ([]bool, error) {
	n := len(parents)
	out := make([]bool, n)
	for i := range d.Guards {
		g := &d.Guards[i]
		switch {
		case g.Field != use.Field:
		case g.Object == nil:
			count["beforehand"] += n
			return out, nil
		default:
			parents := projected(g.Object.Parents, parents)
			got, err := g.Object.Judge(context.Background(), parents)
			if again, err2 := g.Object.Judge(context.Background(), parents); err == nil && (err2 != nil || fmt.Sprint(again) != fmt.Sprint(got)) {
				return nil, fmt.Errorf("judged differently the second time: %v %v %v", got, again, err2)
			}
			return got, err
		}
	}
	for i := range out {
		out[i] = true
	}
	count["beforehand"] += n
	return out, nil
}

// projected leaves of each parent, of type T, what a rule reads: what an answer
// would hold.
func projected(rule []ParentFields, parents [][]byte) [][]byte {
	out := make([][]byte, len(parents))
	for i, text := range parents {
		var v any
		_ = json.Unmarshal(text, &v)
		at := slices.IndexFunc(rule, func(p ParentFields) bool { return p.Type.Name == "T" })
		out[i], _ = json.Marshal(project(&rule[at], v))
	}
	return out
}

func project(fields *ParentFields, v any) any {
	switch v := v.(type) {
	case []any:
		out := []any{}
		for _, element := range v {
			out = append(out, project(fields, element))
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for _, f := range fields.Fields {
			value, ok := v[f.Definition.Name]
			switch {
			case !ok:
			case f.Fields == nil:
				out[f.Definition.Name] = value
			default:
				out[f.Definition.Name] = project(&f.Fields[0], value)
			}
		}
		return out
	}
	return v
}

// without reports whether OPA allows where there is no object.
func without(t *testing.T, reference *plain, at coordinate, input map[string]any) bool {
	t.Helper()
	input = maps.Clone(input)
	delete(input, "parent")
	v, err := ast.InterfaceToValue(input)
	if err != nil {
		t.Fatal(err)
	}
	ok, err := reference.allowed(at, v, true)
	return ok && err == nil
}
