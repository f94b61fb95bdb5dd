package schema

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// The oracles below are the plain, slow form of what the compiler does in
// linear time. They expand every fragment wherever it is spread.

// expansion is what a compiled operation comes to when it is written out.
type expansion struct {
	op    *Operation
	vars  map[string]bool
	shape Shape
	// uses are the distinct "coordinate object,object" of the fields, by node;
	// live those that the variables leave.
	uses, live map[string]bool
	paths      map[string]bool
	steps      int
}

// maxExpansion bounds the oracle's own work, in selections.
const maxExpansion = 20_000

func useKey(f *ast.Field, parent string, objects TypeSet) string {
	return fmt.Sprintf("%p %s.%s %v", f, parent, f.Name, slices.Collect(objects.All))
}

func (e *expansion) set(set ast.SelectionSet, parent *ast.Definition, objects TypeSet, depth int, top, live bool, path []string) {
	for _, sel := range set {
		if e.steps++; e.steps > maxExpansion {
			return
		}
		switch sel := sel.(type) {
		case *ast.Field:
			live := live && e.live1(sel.Directives) && !objects.Empty()
			e.shape.Depth = max(e.shape.Depth, depth)
			e.shape.Fields++
			e.shape.Directives += len(sel.Directives)
			if sel.Alias != sel.Name {
				e.shape.Aliases++
			}
			if top {
				e.shape.RootFields++
			}
			key := useKey(sel, parent.Name, objects)
			e.uses[key] = true
			e.live[key] = e.live[key] || live
			path := append(slices.Clone(path), sel.Alias)
			e.paths[key+" "+strings.Join(path, ".")] = true
			if len(sel.SelectionSet) > 0 {
				next := e.op.Schema.ast.Types[sel.Definition.Type.Name()]
				e.set(sel.SelectionSet, next, e.op.Schema.Possible(next.Name), depth+1, false, live, path)
			}
		case *ast.InlineFragment:
			e.shape.Depth = max(e.shape.Depth, depth)
			e.shape.Directives += len(sel.Directives)
			next, inner := parent, objects
			if sel.TypeCondition != "" {
				next = e.op.Schema.ast.Types[sel.TypeCondition]
				inner = objects.Intersect(e.op.Schema.Possible(next.Name))
			}
			e.set(sel.SelectionSet, next, inner, depth+1, top, live && e.live1(sel.Directives), path)
		case *ast.FragmentSpread:
			e.shape.Directives += len(sel.Directives) + len(sel.Definition.Directives)
			next := sel.Definition.Definition
			e.set(sel.Definition.SelectionSet, next, objects.Intersect(e.op.Schema.Possible(next.Name)),
				depth, top, live && e.live1(sel.Directives), path)
		}
	}
}

func (e *expansion) live1(list ast.DirectiveList) bool {
	for _, d := range list {
		if d.Name != "skip" && d.Name != "include" {
			continue
		}
		v := d.Arguments.ForName("if").Value
		val := v.Raw == "true"
		if v.Kind == ast.Variable {
			val = e.vars[v.Raw]
		}
		if val != (d.Name == "include") {
			return false
		}
	}
	return true
}

// checkExpansion compares a compiled operation with its expansion under random
// values of its boolean variables.
func checkExpansion(t *testing.T, op *Operation, rng *rand.Rand) {
	t.Helper()
	e := expansion{op: op, vars: map[string]bool{}, uses: map[string]bool{}, live: map[string]bool{}, paths: map[string]bool{}}
	vars := &Variables{Values: make([]Value, len(op.Variables))}
	for i, v := range op.Variables {
		e.vars[v.Name] = rng.IntN(2) == 0
		vars.Values[i] = Value{Kind: Bool, Text: fmt.Sprint(e.vars[v.Name])}
	}
	e.shape.Directives = len(op.Definition.Directives)
	for _, v := range op.Definition.VariableDefinitions {
		e.shape.Directives += len(v.Directives)
	}
	root := op.Schema.Root(op.Kind)
	e.set(op.Definition.SelectionSet, root, op.Schema.Possible(root.Name), 1, true, true, nil)
	if e.steps > maxExpansion {
		return
	}
	live := op.Live(vars, nil)
	uses, alive := map[string]bool{}, map[string]bool{}
	for i := range op.Uses {
		u := &op.Uses[i]
		key := useKey(u.Field, u.Parent.Name, u.Objects)
		if uses[key] {
			t.Errorf("use %s twice in\n%s", u.Coordinate(), op.Text)
		}
		uses[key], alive[key] = true, live[u.Cond]
		if u.Up >= int32(i) {
			t.Errorf("use %d is above use %d in\n%s", u.Up, i, op.Text)
		}
		if path := strings.Join(op.Path(i), "."); !e.paths[key+" "+path] {
			t.Errorf("use %s has the path %s in\n%s", u.Coordinate(), path, op.Text)
		}
	}
	if diff := cmp.Diff(e.uses, uses); diff != "" {
		t.Errorf("uses (-want +got) of\n%s\n%s", op.Text, diff)
	}
	if diff := cmp.Diff(e.live, alive); diff != "" {
		t.Errorf("live uses (-want +got) of\n%s\nwith %v\n%s", op.Text, e.vars, diff)
	}
	got := op.Shape
	got.Tokens, got.Fragments, got.ValueDepth, got.ListItems, got.Introspection = 0, 0, 0, 0, false
	if diff := cmp.Diff(e.shape, got); diff != "" {
		t.Errorf("shape (-want +got) of\n%s\n%s", op.Text, diff)
	}
	for i, c := range op.Conditions {
		for _, before := range c.Any {
			if before >= int32(i) {
				t.Errorf("condition %d refers to %d", i, before)
			}
		}
	}
}

// TestExpansion holds uses, conditions, paths and shape of the corpora and of
// mutations of the kennel's documents against the expansion.
func TestExpansion(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for _, c := range append(loadCorpora(t), loadKennel(t)) {
		m := newMutator(c.schema, 11)
		compiled := 0
		for _, o := range c.operations {
			documents := []string{o.Query}
			for range 1500 / len(c.operations) {
				documents = append(documents, m.mutate(o.Query))
			}
			for _, document := range documents {
				op, err := c.schema.Compile(document, "", Limits{Aliases: 1000, Directives: 1000, RootFields: 1000})
				if err != nil {
					continue
				}
				compiled++
				checkExpansion(t, op, rng)
			}
		}
		if compiled < 400 {
			t.Errorf("%s: only %d documents compile", c.name, compiled)
		}
	}
}

// merges is the specification's FieldsInSetCanMerge (section 5.3.2) word by
// word, but for what graphql-js makes of it: meta fields have no type.
func merges(s *Schema, a, b *mergeField, exclusive bool) bool {
	exclusive = exclusive || a.parent != b.parent && a.parent.Kind == ast.Object && b.parent.Kind == ast.Object
	if !exclusive && (a.field.Name != b.field.Name || !sameByText(a.field.Arguments, b.field.Arguments)) {
		return false
	}
	if !strings.HasPrefix(a.field.Name, "__") && !strings.HasPrefix(b.field.Name, "__") &&
		!sameShapeByText(s, a.field.Definition.Type, b.field.Definition.Type) {
		return false
	}
	for _, x := range collectMerge(s, a.field) {
		for _, y := range collectMerge(s, b.field) {
			if x.field.Alias == y.field.Alias && !merges(s, x, y, exclusive) {
				return false
			}
		}
	}
	return true
}

type mergeField struct {
	field  *ast.Field
	parent *ast.Definition
}

func collectMerge(s *Schema, f *ast.Field) []*mergeField {
	return collectSet(s, f.SelectionSet, s.ast.Types[f.Definition.Type.Name()], nil)
}

func collectSet(s *Schema, set ast.SelectionSet, parent *ast.Definition, list []*mergeField) []*mergeField {
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.Field:
			list = append(list, &mergeField{sel, parent})
		case *ast.InlineFragment:
			next := parent
			if sel.TypeCondition != "" {
				next = s.ast.Types[sel.TypeCondition]
			}
			list = collectSet(s, sel.SelectionSet, next, list)
		case *ast.FragmentSpread:
			list = collectSet(s, sel.Definition.SelectionSet, s.ast.Types[sel.Definition.TypeCondition], list)
		}
	}
	return list
}

func setMerges(s *Schema, list []*mergeField) bool {
	for i, a := range list {
		for _, b := range list[i+1:] {
			if a.field.Alias == b.field.Alias && !merges(s, a, b, false) {
				return false
			}
		}
	}
	for _, a := range list {
		if !setMerges(s, collectMerge(s, a.field)) {
			return false
		}
	}
	return true
}

func sameByText(a, b ast.ArgumentList) bool {
	text := func(list ast.ArgumentList) []string {
		var all []string
		for _, arg := range list {
			all = append(all, arg.Name+":"+valueText(arg.Value))
		}
		slices.Sort(all)
		return all
	}
	return slices.Equal(text(a), text(b))
}

func valueText(v *ast.Value) string {
	var parts []string
	for _, c := range v.Children {
		parts = append(parts, c.Name+":"+valueText(c.Value))
	}
	if v.Kind == ast.ObjectValue {
		slices.Sort(parts)
	}
	return fmt.Sprintf("%d%q%q", v.Kind, v.Raw, parts)
}

func sameShapeByText(s *Schema, a, b *ast.Type) bool {
	if a.NonNull != b.NonNull || (a.Elem == nil) != (b.Elem == nil) {
		return false
	}
	if a.Elem != nil {
		return sameShapeByText(s, a.Elem, b.Elem)
	}
	if s.ast.Types[a.NamedType].IsCompositeType() && s.ast.Types[b.NamedType].IsCompositeType() {
		return true
	}
	return a.NamedType == b.NamedType
}

// mergeDocument makes a small document where the same few response keys meet
// again and again under several types, and which is valid otherwise.
func mergeDocument(rng *rand.Rand) string {
	var b strings.Builder
	fragments := 1 + rng.IntN(3)
	types := []string{"Pet", "Dog", "Cat", "Being", "Loud", "Fish"}
	conditions := make([]string, fragments)
	for i := range conditions {
		conditions[i] = types[rng.IntN(4)]
	}
	b.WriteString("query($f:Filter){pet{")
	mergeSet(&b, rng, "Pet", conditions, 0, 3)
	b.WriteString("} u1:pet(filter:$f){id}}")
	for i, on := range conditions {
		fmt.Fprintf(&b, "fragment F%d on %s{", i, on)
		mergeSet(&b, rng, on, conditions, i+1, 2)
		b.WriteString("}")
	}
	return b.String()
}

func mergeSet(b *strings.Builder, rng *rand.Rand, on string, conditions []string, from, depth int) {
	leaves := map[string][]string{
		"Pet": {"name", "id", "tags", "name(short:true)", "__typename"}, "Being": {"name", "id"},
		"Dog":  {"name", "volume", "rank", "weight", "noise(of:SMALL)", "noise(of:LARGE)", "__typename"},
		"Cat":  {"name", "volume", "rank", "weight", "noise(of:SMALL)"},
		"Loud": {"volume", "noise(of:SMALL)", "noise"}, "Fish": {"name", "fins"}, "Human": {"name", "id"},
	}
	composites := map[string]map[string]string{
		"Pet": {"mate": "Pet", "owner": "Human", "parent": "Being"}, "Being": {"parent": "Being"},
		"Dog": {"mate": "Dog", "owner": "Human", "parent": "Dog"}, "Cat": {"mate": "Cat", "parent": "Cat"},
		"Fish": {"mate": "Pet"}, "Human": {"parent": "Human"},
	}
	alias := func() string {
		if rng.IntN(3) == 0 {
			return ""
		}
		return string("ab"[rng.IntN(2)]) + ":"
	}
	overlap := map[string][]string{
		"Pet": {"Dog", "Cat", "Fish", "Pet", "Being", "Loud"}, "Being": {"Dog", "Cat", "Pet", "Human"}, "Dog": {"Dog", "Pet", "Loud"},
		"Cat": {"Cat", "Pet"}, "Loud": {"Dog", "Cat", "Pet"}, "Fish": {"Fish"}, "Human": {"Human"},
	}
	for range 1 + rng.IntN(3) {
		switch k := rng.IntN(6); {
		case k < 2 || depth == 0:
			list := leaves[on]
			b.WriteString(alias() + list[rng.IntN(len(list))] + " ")
		case k < 4 && len(composites[on]) > 0:
			names := make([]string, 0, 3)
			for name := range composites[on] {
				names = append(names, name)
			}
			slices.Sort(names)
			name := names[rng.IntN(len(names))]
			b.WriteString(alias() + name + "{")
			mergeSet(b, rng, composites[on][name], conditions, from, depth-1)
			b.WriteString("}")
		case k < 5:
			next := overlap[on][rng.IntN(len(overlap[on]))]
			b.WriteString("...on " + next + "{")
			mergeSet(b, rng, next, conditions, from, depth-1)
			b.WriteString("}")
		default:
			for i := from; i < len(conditions); i++ {
				if slices.Contains(overlap[on], conditions[i]) {
					fmt.Fprintf(b, "...F%d ", i)
				}
			}
			b.WriteString("__typename ")
		}
	}
}

// checkMerging compares the verdict on field merging with the specification's
// algorithm and reports which it was.
func checkMerging(t *testing.T, s *Schema, document string) (merged, compared bool) {
	t.Helper()
	_, err := s.Compile(document, "", wide)
	var invalid *ValidationError
	if err != nil && (!errors.As(err, &invalid) || invalid.Rule != "OverlappingFieldsCanBeMerged") {
		return false, false
	}
	doc, parseErr := parser.ParseQuery(&ast.Source{Input: document})
	if parseErr != nil {
		t.Fatal(parseErr)
	}
	// Without rules gqlparser only fills in the definitions.
	if errs := validator.ValidateWithRules(s.ast, doc, rules.NewRules()); len(errs) > 0 {
		t.Fatal(errs)
	}
	want := true
	for _, op := range doc.Operations {
		want = want && setMerges(s, collectSet(s, op.SelectionSet, s.Root(op.Operation), nil))
	}
	if want != (err == nil) {
		t.Errorf("merging: want %v, got %v for\n%s", want, err, document)
	}
	return err == nil, true
}

// TestMerging holds the linear merge check against the specification's and, for
// what these agree to refuse, gqlparser's.
func TestMerging(t *testing.T) {
	s := loadKennel(t).schema
	rng := rand.New(rand.NewPCG(1, 1))
	accepted, refused, stricter := 0, 0, 0
	for range 5_000 {
		document := mergeDocument(rng)
		merged, compared := checkMerging(t, s, document)
		switch {
		case !compared:
			continue
		case merged:
			accepted++
		default:
			refused++
		}
		if errs := gqlparserMerging(t, s, document); len(errs) == 0 && !merged {
			t.Errorf("gqlparser merges, we do not:\n%s", document)
		} else if len(errs) > 0 && merged {
			// gqlparser compares the types of meta fields too.
			stricter++
			if !strings.Contains(document, "__typename") {
				t.Errorf("gqlparser does not merge, we do: %v\n%s", errs, document)
			}
		}
	}
	t.Logf("%d accepted, %d refused, gqlparser alone refuses %d", accepted, refused, stricter)
	if accepted < 200 || refused < 200 {
		t.Errorf("%d accepted, %d refused: the generator is lopsided", accepted, refused)
	}
}

func gqlparserMerging(t *testing.T, s *Schema, document string) gqlerror.List {
	t.Helper()
	doc, err := parser.ParseQuery(&ast.Source{Input: document})
	if err != nil {
		t.Fatal(err)
	}
	return validator.ValidateWithRules(s.ast, doc, rules.NewRules(rules.OverlappingFieldsCanBeMergedRule))
}

// FuzzMerging drives the generator of TestMerging by the fuzzer's bytes.
func FuzzMerging(f *testing.F) {
	s := loadKennel(f).schema
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		rng := rand.New(rand.NewPCG(a, b))
		for range 20 {
			checkMerging(t, s, mergeDocument(rng))
		}
	})
}

// TestNarrowingBudget reaches fragments under 2^12 sets of object types: past
// the budget each selection set has one use, under a superset of all of them.
func TestNarrowingBudget(t *testing.T) {
	s := mustLoad(t, latticeSDL(20))
	chain := func(n int) string {
		var b strings.Builder
		b.WriteString("{all{...F0}}")
		for i := range n {
			fmt.Fprintf(&b, "fragment F%d on All{n%[1]d:name ...F%[2]d ...on But%[1]d{...F%[2]d}}", i, i+1)
		}
		fmt.Fprintf(&b, "fragment F%d on All{id}", n)
		return b.String()
	}
	narrow, err := s.Compile(chain(5), "", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if want := 1 + 1 + 2 + 4 + 8 + 16 + 32; len(narrow.Uses) != want {
		t.Errorf("%d uses, want %d", len(narrow.Uses), want)
	}
	checkExpansion(t, narrow, rand.New(rand.NewPCG(1, 1)))
	plain, err := s.Compile(chain(12), "", Limits{Walk: 3000, Aliases: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	all := s.Possible("All")
	for i := range plain.Uses {
		if u := &plain.Uses[i]; u.Parent.Name == "All" && !u.Objects.Equal(all) {
			t.Errorf("%v has %d object types", plain.Path(i), u.Objects.Len())
		}
	}
	if want := 1 + 12 + 1; len(plain.Uses) != want {
		t.Errorf("%d uses, want %d", len(plain.Uses), want)
	}
}
