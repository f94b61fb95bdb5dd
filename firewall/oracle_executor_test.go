package firewall_test

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/firewall/answer"
)

// The reference executor of the oracle test: GraphQL's section 6 over a graph
// that is made up as it is asked for. An object is its type and a number; the
// value of a field is a function of the object, the field and its arguments.

// object is an object of the graph.
type object struct {
	typ string
	n   uint64
}

// position is what a rule decides.
type position struct {
	coordinate [2]string // object type and field
	parent     object
	args       map[string]any
	def        *ast.FieldDefinition
}

// ruling is what the policy says of a position.
type ruling struct {
	denied bool
	mask   func(leaf string) string // nil: null and an error
	whole  *string                  // replaces the whole value
	drop   bool
}

// pathError is an error of the answer.
type pathError struct {
	path    []any
	ours    bool
	message string
}

// executor answers one operation. A nil rule allows everything: the backend.
type executor struct {
	schema *ast.Schema
	doc    *ast.QueryDocument
	vars   map[string]any
	seed   uint64
	fails  map[string]bool // coordinates whose value is an error upstream
	gone   map[string]bool // coordinates that the backend leaves out where the firewall asks for them itself
	rule   func(position) ruling
	errors []pathError
	plant  *planting // nil: every value is what rules read
}

// failure is a null where none may be; it makes what is around it null.
type failure struct{ err pathError }

// run answers {"data":…,"errors":…}; errors have their paths and whether they are ours.
func (e *executor) run(op *ast.OperationDefinition) (data string, errs []pathError) {
	root := object{e.schema.Query.Name, 0}
	if op.Operation == ast.Mutation {
		root.typ = e.schema.Mutation.Name
	}
	data, _, fail := e.selection(root, []ast.SelectionSet{op.SelectionSet}, nil)
	if fail != nil {
		e.errors, data = []pathError{fail.err}, "null"
	}
	slices.SortStableFunc(e.errors, func(a, b pathError) int {
		return map[bool]int{false: 0, true: 1}[a.ours] - map[bool]int{false: 0, true: 1}[b.ours]
	})
	return data, e.errors
}

// selection writes an object; barren says that every field but __typename was denied.
func (e *executor) selection(o object, sets []ast.SelectionSet, path []any) (text string, barren bool, fail *failure) {
	var keys []string
	nodes := map[string][]*ast.Field{}
	seen := map[string]bool{}
	for _, set := range sets {
		e.collect(o, set, seen, func(f *ast.Field) {
			if nodes[f.Alias] == nil {
				keys = append(keys, f.Alias)
			}
			nodes[f.Alias] = append(nodes[f.Alias], f)
		})
	}
	var b strings.Builder
	asked, denied := 0, 0
	for _, key := range keys {
		if e.rule == nil && strings.HasPrefix(key, answer.Prefix) && e.gone[o.typ+"."+nodes[key][0].Name] {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		value, no, fail := e.field(o, nodes[key], append(slices.Clone(path), key))
		if fail != nil {
			return "", false, fail
		}
		if nodes[key][0].Name != "__typename" {
			asked++
			if no {
				denied++
			}
		}
		b.WriteString(strconv.Quote(key) + ":" + value)
	}
	return "{" + b.String() + "}", asked > 0 && asked == denied, nil
}

func (e *executor) collect(o object, set ast.SelectionSet, seen map[string]bool, add func(*ast.Field)) {
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.Field:
			if e.live(sel.Directives) {
				add(sel)
			}
		case *ast.InlineFragment:
			if e.live(sel.Directives) && e.is(o, sel.TypeCondition) {
				e.collect(o, sel.SelectionSet, seen, add)
			}
		case *ast.FragmentSpread:
			if !e.live(sel.Directives) || seen[sel.Name] {
				continue
			}
			seen[sel.Name] = true
			f := e.doc.Fragments.ForName(sel.Name)
			if e.is(o, f.TypeCondition) {
				e.collect(o, f.SelectionSet, seen, add)
			}
		}
	}
}

func (e *executor) live(list ast.DirectiveList) bool {
	for _, d := range list {
		if d.Name == "skip" || d.Name == "include" {
			if on, _ := e.value(d.Arguments.ForName("if").Value).(bool); on != (d.Name == "include") {
				return false
			}
		}
	}
	return true
}

func (e *executor) is(o object, condition string) bool {
	if condition == "" || condition == o.typ {
		return true
	}
	return slices.ContainsFunc(e.schema.PossibleTypes[condition], func(d *ast.Definition) bool { return d.Name == o.typ })
}

func (e *executor) value(v *ast.Value) any {
	switch v.Kind {
	case ast.Variable:
		value, ok := e.vars[v.Raw]
		if !ok {
			return absent
		}
		return value
	case ast.IntValue:
		n, _ := strconv.Atoi(v.Raw)
		return n
	case ast.BooleanValue:
		return v.Raw == "true"
	case ast.NullValue:
		return nil
	}
	return v.Raw
}

// absent is the value of a variable that was not given.
var absent = new(int)

// arguments coerces: what is absent and has no default is not there.
func (e *executor) arguments(def *ast.FieldDefinition, f *ast.Field) map[string]any {
	out := map[string]any{}
	for _, a := range def.Arguments {
		var value any = absent
		if given := f.Arguments.ForName(a.Name); given != nil {
			value = e.value(given.Value)
		}
		if value == any(absent) && a.DefaultValue != nil {
			value = e.value(a.DefaultValue)
		}
		if value == any(absent) {
			continue
		}
		if n, ok := value.(int); ok && a.Type.Name() == "ID" {
			value = strconv.Itoa(n)
		}
		out[a.Name] = value
	}
	return out
}

// field answers one response key; denied says that it was, and has no mask.
func (e *executor) field(o object, nodes []*ast.Field, path []any) (text string, denied bool, fail *failure) {
	if nodes[0].Name == "__typename" {
		return strconv.Quote(o.typ), false, nil
	}
	def := e.schema.Types[o.typ].Fields.ForName(nodes[0].Name)
	args := e.arguments(def, nodes[0])
	var r ruling
	if e.rule != nil {
		r = e.rule(position{[2]string{o.typ, def.Name}, o, args, def})
	}
	secret := ""
	if e.plant != nil {
		secret = e.plant.enter(position{[2]string{o.typ, def.Name}, o, args, def}, e.digest(o, def.Name, args))
		defer e.plant.leave()
	}
	switch {
	case r.denied && r.whole != nil:
		return *r.whole, false, nil
	case r.denied && r.mask == nil:
		err := pathError{path: path, ours: true}
		if def.Type.NonNull {
			return "", true, &failure{err}
		}
		e.errors = append(e.errors, err)
		return "null", true, nil
	case r.denied && e.fails[o.typ+"."+def.Name]:
		if def.Type.Elem != nil {
			return "null", false, nil
		}
		return r.mask("null"), false, nil
	case e.fails[o.typ+"."+def.Name]:
		err := pathError{path: path, message: secret}
		if e.plant != nil && def.Type.NonNull {
			return "", false, &failure{err}
		}
		e.errors = append(e.errors, err)
		return "null", false, nil
	}
	var sets []ast.SelectionSet
	for _, n := range nodes {
		sets = append(sets, n.SelectionSet)
	}
	c := completion{e: e, sets: sets, ruling: r}
	text, fail = c.complete(def.Type, e.digest(o, def.Name, args), path, true)
	return text, false, fail
}

func (e *executor) digest(o object, field string, args map[string]any) uint64 {
	if field == "id" { // equal for equal objects, as caches expect
		return o.n
	}
	h := fnv.New64a()
	list, _ := json.Marshal(args)
	fmt.Fprint(h, e.seed, o.typ, o.n, field, string(list))
	return mix(h.Sum64())
}

func mix(x uint64) uint64 {
	x ^= x >> 31
	x *= 0x9e3779b97f4a7c15
	return x ^ x>>29
}

// completion completes the value of one field.
type completion struct {
	e      *executor
	sets   []ast.SelectionSet
	ruling ruling
}

// complete writes a value of type t that is made of n (section 6.4.3).
func (c *completion) complete(t *ast.Type, n uint64, path []any, top bool) (string, *failure) {
	mark := len(c.e.errors)
	if !t.NonNull && n%7 == 0 {
		if t.Elem == nil && c.ruling.mask != nil {
			return c.ruling.mask("null"), nil
		}
		return "null", nil
	}
	text, fail := c.present(t, n, path, top)
	if fail != nil && !t.NonNull {
		c.e.errors = append(c.e.errors[:mark], fail.err)
		return "null", nil
	}
	return text, fail
}

func (c *completion) present(t *ast.Type, n uint64, path []any, top bool) (string, *failure) {
	e := c.e
	if t.Elem != nil {
		return c.list(t, n, path, top)
	}
	def := e.schema.Types[t.NamedType]
	if !def.IsCompositeType() {
		leaf := leafOf(def, n)
		if e.plant != nil {
			leaf = e.plant.leaf(def, n)
		}
		if c.ruling.mask != nil {
			leaf = c.ruling.mask(leaf)
		}
		return leaf, nil
	}
	text, _, fail := e.selection(e.object(def, n), c.sets, path)
	return text, fail
}

func (e *executor) object(def *ast.Definition, n uint64) object {
	if def.Kind == ast.Object {
		return object{def.Name, n % 11}
	}
	possible := slices.Clone(e.schema.PossibleTypes[def.Name])
	slices.SortFunc(possible, func(a, b *ast.Definition) int { return strings.Compare(a.Name, b.Name) })
	return object{possible[mix(n)%uint64(len(possible))].Name, n % 11}
}

func (c *completion) list(t *ast.Type, n uint64, path []any, top bool) (string, *failure) {
	var items []string
	for i := range n % 4 {
		mark := len(c.e.errors)
		at := append(slices.Clone(path), len(items))
		item := mix(n + 977*(i+1))
		if !c.ruling.drop || !top || t.Elem.Elem != nil {
			text, fail := c.complete(t.Elem, item, at, false)
			if fail != nil {
				return "", fail
			}
			items = append(items, text)
			continue
		}
		if !t.Elem.NonNull && item%7 == 0 {
			items = append(items, "null")
			continue
		}
		def := c.e.schema.Types[t.Elem.NamedType]
		text, barren, fail := "", false, (*failure)(nil)
		if def.IsCompositeType() {
			text, barren, fail = c.e.selection(c.e.object(def, item), c.sets, at)
		} else {
			text = leafOf(def, item)
		}
		if barren || fail != nil {
			c.e.errors = c.e.errors[:mark]
			continue
		}
		items = append(items, text)
	}
	return "[" + strings.Join(items, ",") + "]", nil
}

func leafOf(def *ast.Definition, n uint64) string {
	switch {
	case def.Kind == ast.Enum:
		return strconv.Quote(def.EnumValues[n%uint64(len(def.EnumValues))].Name)
	case def.Name == "ID":
		return strconv.Quote(strconv.Itoa(int(n % 11)))
	case def.Name == "Int":
		return strconv.Itoa(int(n % 5))
	case def.Name == "Float":
		return strconv.Itoa(int(n%50)) + ".25"
	case def.Name == "Boolean":
		return strconv.FormatBool(n%2 == 0)
	}
	return strconv.Quote(fmt.Sprintf("text %d <é>", n%1000))
}

// parent is what rules may read of an object: its fields that take no
// arguments, and of the objects that they hold, deep enough for every rule.
func (e *executor) parent(o object, depth int) map[string]any {
	out := map[string]any{}
	for _, f := range e.schema.Types[o.typ].Fields {
		if len(f.Arguments) > 0 || strings.HasPrefix(f.Name, "__") || e.fails[o.typ+"."+f.Name] {
			continue
		}
		if v, ok := e.plain(f.Type, e.digest(o, f.Name, map[string]any{}), depth); ok {
			out[f.Name] = v
		}
	}
	return out
}

// lost reports whether the upstream fails to give a value that a rule reads of an
// object under a path such as owner.id.
func (e *executor) lost(o object, path []string) bool {
	def := e.schema.Types[o.typ].Fields.ForName(path[0])
	if def == nil {
		return false // another type's
	}
	if at := o.typ + "." + def.Name; e.fails[at] || e.gone[at] {
		return true
	}
	return len(path) > 1 && e.lostIn(def.Type, e.digest(o, def.Name, map[string]any{}), path[1:])
}

func (e *executor) lostIn(t *ast.Type, n uint64, path []string) bool {
	if !t.NonNull && n%7 == 0 {
		return false
	}
	if t.Elem == nil {
		return e.lost(e.object(e.schema.Types[t.NamedType], n), path)
	}
	for i := range n % 4 {
		if e.lostIn(t.Elem, mix(n+977*(i+1)), path) {
			return true
		}
	}
	return false
}

func (e *executor) plain(t *ast.Type, n uint64, depth int) (any, bool) {
	if !t.NonNull && n%7 == 0 {
		return nil, true
	}
	def := e.schema.Types[t.Name()]
	switch {
	case def.IsCompositeType() && depth == 0:
		return nil, false
	case t.Elem != nil:
		out := []any{}
		for i := range n % 4 {
			v, ok := e.plain(t.Elem, mix(n+977*(i+1)), depth)
			if !ok {
				return nil, false
			}
			out = append(out, v)
		}
		return out, true
	case def.IsCompositeType():
		return e.parent(e.object(def, n), depth-1), true
	}
	var v any
	_ = json.Unmarshal([]byte(leafOf(def, n)), &v)
	return v, true
}
