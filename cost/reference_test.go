package cost

import (
	"math"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/schema"
)

// reference prices an operation by the definition: it walks the AST with
// concrete variables, enumerates every object type, collects fields for each
// apart and shares nothing with the program but the schema. It is exponential
// where documents are.
type reference struct {
	schema  *schema.Schema
	op      *schema.Operation
	vars    *schema.Variables
	profile Profile
	size    float64 // of an unsized list; infinite when there is none
	refuse  bool
	failed  bool // some live field refuses to be priced
}

type refPrice struct{ a, b float64 }

// refSized is a size handed down: path "edges" or "results.page".
type refSized map[string]float64

func newReference(op *schema.Operation, vars *schema.Variables, profile Profile, size float64) *reference {
	refuse := (profile == GitHub || profile == Shopify || profile == ShopifyLog) && math.IsInf(size, 1)
	return &reference{schema: op.Schema, op: op, vars: vars, profile: profile, size: size, refuse: refuse}
}

func (r *reference) ibm() bool { return r.profile == Default || r.profile == IBM }

func (r *reference) shopify() bool { return r.profile == Shopify || r.profile == ShopifyLog }

// total returns the two components with what the operation itself costs.
func (r *reference) total() refPrice {
	root := rootType(r.schema, r.op.Kind)
	p := r.scope([]ast.SelectionSet{r.op.Definition.SelectionSet}, root, nil, false)
	if r.ibm() {
		p.b = max(0, p.b+r.typeWeight(root))
	}
	if r.profile == Apollo && r.op.Kind == ast.Mutation {
		p.a += 10
	}
	return p
}

func (r *reference) objects(name string) []*ast.Definition {
	def := r.schema.AST().Types[name]
	if def.Kind == ast.Object {
		return []*ast.Definition{def}
	}
	return r.schema.AST().PossibleTypes[name]
}

type refGroup struct {
	key    string
	fields []*ast.Field
}

func (r *reference) scope(sets []ast.SelectionSet, typeName string, sized refSized, flat bool) refPrice {
	var best refPrice
	for _, object := range r.objects(typeName) {
		var sum refPrice
		for _, g := range r.collect(sets, object) {
			if g.key == "__typename" {
				continue
			}
			p := r.group(g, object, sized, flat)
			sum.a += p.a
			sum.b += p.b
		}
		best.a, best.b = max(best.a, sum.a), max(best.b, sum.b)
	}
	return best
}

func (r *reference) collect(sets []ast.SelectionSet, object *ast.Definition) []refGroup {
	var out []refGroup
	visited := map[string]bool{}
	var walk func(set ast.SelectionSet)
	applies := func(condition string) bool {
		if condition == "" || condition == object.Name {
			return true
		}
		for _, d := range r.schema.AST().PossibleTypes[condition] {
			if d.Name == object.Name {
				return true
			}
		}
		return false
	}
	walk = func(set ast.SelectionSet) {
		for _, s := range set {
			switch s := s.(type) {
			case *ast.Field:
				if !r.live(s.Directives) {
					continue
				}
				found := false
				for i := range out {
					if out[i].key == s.Alias {
						out[i].fields = append(out[i].fields, s)
						found = true
					}
				}
				if !found {
					out = append(out, refGroup{s.Alias, []*ast.Field{s}})
				}
			case *ast.InlineFragment:
				if r.live(s.Directives) && applies(s.TypeCondition) {
					walk(s.SelectionSet)
				}
			case *ast.FragmentSpread:
				if r.live(s.Directives) && applies(s.Definition.TypeCondition) && !visited[s.Name] {
					visited[s.Name] = true
					walk(s.Definition.SelectionSet)
				}
			}
		}
	}
	for _, set := range sets {
		walk(set)
	}
	return out
}

func (r *reference) live(directives ast.DirectiveList) bool {
	for _, d := range directives {
		if d.Name != "skip" && d.Name != "include" {
			continue
		}
		v := r.value(d.Arguments.ForName("if").Value)
		if (v.Text == "true") != (d.Name == "include") {
			return false
		}
	}
	return true
}

// value resolves a literal with its variables; defaults of input fields are
// filled in by the callers that know the type.
func (r *reference) value(v *ast.Value) schema.Value {
	switch v.Kind {
	case ast.Variable:
		for i := range r.op.Variables {
			if r.op.Variables[i].Name == v.Raw {
				return r.vars.Values[i]
			}
		}
		return schema.Value{}
	case ast.NullValue:
		return schema.Value{Kind: schema.Null}
	case ast.IntValue:
		return schema.Value{Kind: schema.Int, Text: v.Raw}
	case ast.BooleanValue:
		return schema.Value{Kind: schema.Bool, Text: v.Raw}
	case ast.ListValue:
		out := schema.Value{Kind: schema.List}
		for _, item := range v.Children {
			e := r.value(item.Value)
			if e.Kind == schema.Absent {
				e.Kind = schema.Null
			}
			out.Items = append(out.Items, e)
		}
		return out
	case ast.ObjectValue:
		out := schema.Value{Kind: schema.Object}
		for _, m := range v.Children {
			if e := r.value(m.Value); e.Kind != schema.Absent {
				out.Members = append(out.Members, schema.Member{Name: m.Name, Value: e})
			}
		}
		return out
	}
	return schema.Value{Kind: schema.String, Text: v.Raw}
}

// input resolves an input of type t, with defaults at every depth.
func (r *reference) input(literal, fallback *ast.Value, t *ast.Type) schema.Value {
	v := schema.Value{}
	if literal != nil {
		v = r.value(literal)
	}
	if v.Kind == schema.Absent && fallback != nil {
		v = r.value(fallback)
	}
	return r.complete(v, t)
}

func (r *reference) complete(v schema.Value, t *ast.Type) schema.Value {
	if t.Elem != nil {
		switch v.Kind {
		case schema.Absent, schema.Null:
			return v
		case schema.List:
			out := schema.Value{Kind: schema.List}
			for _, item := range v.Items {
				out.Items = append(out.Items, r.complete(item, t.Elem))
			}
			return out
		}
		return schema.Value{Kind: schema.List, Items: []schema.Value{r.complete(v, t.Elem)}}
	}
	def := r.schema.AST().Types[t.Name()]
	if v.Kind != schema.Object || def.Kind != ast.InputObject {
		return v
	}
	out := schema.Value{Kind: schema.Object}
	for _, f := range def.Fields {
		m, ok := v.Member(f.Name)
		if !ok && f.DefaultValue != nil {
			m, ok = r.value(f.DefaultValue), true
		}
		if ok {
			out.Members = append(out.Members, schema.Member{Name: f.Name, Value: r.complete(m, f.Type)})
		}
	}
	return out
}

func refWeight(directives ast.DirectiveList) (float64, bool) {
	d := directives.ForName("cost")
	if d == nil {
		return 0, false
	}
	w, err := strconv.ParseFloat(d.Arguments.ForName("weight").Value.Raw, 64)
	if err != nil {
		panic(err)
	}
	return w, true
}

func (r *reference) typeWeight(name string) float64 {
	def := r.schema.AST().Types[name]
	if def.IsAbstractType() {
		best := math.Inf(-1)
		for _, o := range r.schema.AST().PossibleTypes[name] {
			best = max(best, r.typeWeight(o.Name))
		}
		return best
	}
	if w, ok := refWeight(def.Directives); ok {
		return w
	}
	if def.IsLeafType() {
		return 0
	}
	return 1
}

// inputCost is IBM's: own weight once, input fields recursively.
func (r *reference) inputCost(v schema.Value, t *ast.Type, directives ast.DirectiveList) float64 {
	if v.Kind == schema.Absent {
		return 0
	}
	def := r.schema.AST().Types[t.Name()]
	own, ok := refWeight(directives)
	if !ok && def.Kind == ast.InputObject {
		own = 1
	}
	return own + r.contents(v, def)
}

func (r *reference) contents(v schema.Value, def *ast.Definition) float64 {
	sum := 0.0
	for _, item := range v.Items {
		sum += r.contents(item, def)
	}
	if def.Kind == ast.InputObject {
		for _, m := range v.Members {
			f := def.Fields.ForName(m.Name)
			sum += r.inputCost(m.Value, f.Type, f.Directives)
		}
	}
	return sum
}

// routerCost is Apollo Router's.
func (r *reference) routerCost(v schema.Value, t *ast.Type, directives ast.DirectiveList) float64 {
	def := r.schema.AST().Types[t.Name()]
	own, explicit := refWeight(directives)
	switch {
	case v.Kind == schema.Absent || v.Kind == schema.Null:
		return 0
	case v.Kind == schema.List:
		for _, item := range v.Items {
			own += r.routerCost(item, t, directives)
		}
	case v.Kind == schema.Object && def.Kind == ast.InputObject:
		if !explicit {
			own = 1
		}
		for _, m := range v.Members {
			f := def.Fields.ForName(m.Name)
			own += r.routerCost(m.Value, f.Type, f.Directives)
		}
	}
	return own
}

func (r *reference) arguments(f *ast.Field, def *ast.FieldDefinition) (ibm, router float64) {
	for _, a := range def.Arguments {
		v := r.argument(f, a)
		ibm += r.inputCost(v, a.Type, a.Directives)
		router += r.routerCost(v, a.Type, a.Directives)
	}
	return ibm, router
}

func (r *reference) argument(f *ast.Field, a *ast.ArgumentDefinition) schema.Value {
	var literal *ast.Value
	if given := f.Arguments.ForName(a.Name); given != nil {
		literal = given.Value
	}
	return r.input(literal, a.DefaultValue, a.Type)
}

func refConnection(def *ast.Definition) bool {
	if !strings.HasSuffix(def.Name, "Connection") {
		return false
	}
	for _, name := range []string{"edges", "nodes"} {
		if f := def.Fields.ForName(name); f != nil && f.Type.Elem != nil {
			return true
		}
	}
	return false
}

// expected is what @listSize, or the convention of page arguments, says of a
// field: the size, -1 when it says nothing, and the names of the sized fields.
func (r *reference) expected(f *ast.Field, def *ast.FieldDefinition, parent *ast.Definition) (size float64, sized []string, has bool) {
	size = -1
	d := def.Directives.ForName("listSize")
	returns := r.schema.AST().Types[def.Type.Name()]
	var slicing []string
	assumed := -1.0
	switch {
	case d != nil:
		for _, a := range d.Arguments {
			switch a.Name {
			case "assumedSize":
				assumed, _ = strconv.ParseFloat(a.Value.Raw, 64)
			case "slicingArguments":
				slicing = refStrings(a.Value)
			case "sizedFields":
				sized = refStrings(a.Value)
			}
		}
	case r.profile == IBM || r.profile == Apollo:
		return -1, nil, false
	case def.Type.Elem != nil && !(refConnection(parent) && (def.Name == "edges" || def.Name == "nodes")):
		slicing = []string{"first", "last", "limit", "take"}
	case def.Type.Elem == nil && refConnection(returns):
		slicing = []string{"first", "last"}
		sized = []string{"edges", "nodes"}
	default:
		return -1, nil, false
	}
	has = false
	for _, name := range slicing {
		a := def.Arguments.ForName(name)
		if a == nil {
			continue
		}
		has = true
		v := r.argument(f, a)
		n := -1.0
		if v.Kind == schema.Int {
			n, _ = strconv.ParseFloat(v.Text, 64)
			if n < 0 {
				r.failed = true
			}
			if r.profile == GitHub && (n < 1 || n > 100) {
				r.failed = true
			}
		} else if v.Kind == schema.List {
			n = float64(len(v.Items))
		}
		size = max(size, n)
	}
	if has && r.profile == GitHub && size < 0 {
		r.failed = true
	}
	if size < 0 {
		size = assumed
	}
	if d != nil {
		has = true
	}
	if !has {
		return -1, nil, false
	}
	return size, sized, has
}

func refStrings(v *ast.Value) []string {
	var out []string
	for _, c := range v.Children {
		out = append(out, c.Value.Raw)
	}
	return out
}

// group prices one response key for one object type.
func (r *reference) group(g refGroup, object *ast.Definition, sized refSized, flat bool) refPrice {
	def := object.Fields.ForName(g.fields[0].Name)
	s := r.shape(g, object, sized, flat)
	var child refPrice
	if r.schema.AST().Types[def.Type.Name()].IsCompositeType() {
		child = r.scope(g.sets(), def.Type.Name(), s.down, s.flatBelow)
	}
	return r.price(g, object, def, s, child)
}

func (g refGroup) sets() []ast.SelectionSet {
	var sets []ast.SelectionSet
	for _, f := range g.fields {
		sets = append(sets, f.SelectionSet)
	}
	return sets
}

// shape is what does not depend on the selections below the field.
func (r *reference) shape(g refGroup, object *ast.Definition, sized refSized, flat bool) refShape {
	f := g.fields[0]
	def := object.Fields.ForName(f.Name)
	returns := r.schema.AST().Types[def.Type.Name()]
	s := refShape{n: 1, expected: -1, bounded: true, flat: flat, down: refSized{}}
	var sizedNames []string
	if r.profile != Simple {
		s.expected, sizedNames, s.has = r.expected(f, def, object)
	}
	if s.expected >= 0 {
		for _, name := range sizedNames {
			s.down[name] = max(s.down[name], s.expected)
		}
	}
	for path, n := range sized {
		if rest, ok := strings.CutPrefix(path, f.Name+"."); ok {
			s.down[rest] = max(s.down[rest], n)
		}
	}
	s.mutation = r.shopify() && r.schema.AST().Mutation != nil && object.Name == r.schema.AST().Mutation.Name
	s.flatBelow = (flat || s.mutation) && !(refConnection(returns) && def.Type.Elem == nil)
	if def.Type.Elem == nil || r.profile == Simple {
		return s
	}
	inherited, ok := sized[f.Name]
	switch {
	case ok:
		s.n, s.handed = inherited, true
	case s.expected >= 0 && len(sizedNames) == 0:
		s.n = s.expected
	default:
		s.n, s.bounded = r.size, false
	}
	if r.profile == Default {
		for t := def.Type.Elem; t.Elem != nil; t = t.Elem {
			s.n = refTimes(s.n, r.size)
		}
	}
	return s
}

type refShape struct {
	n, expected                  float64
	has, bounded, flat, mutation bool
	down                         refSized
	flatBelow, handed            bool
}

func refTimes(n, v float64) float64 {
	if n == 0 || v == 0 {
		return 0
	}
	return n * v
}

func (r *reference) price(g refGroup, object *ast.Definition, def *ast.FieldDefinition, s refShape, child refPrice) refPrice {
	f := g.fields[0]
	returns := r.schema.AST().Types[def.Type.Name()]
	list := def.Type.Elem != nil
	page := refConnection(object) && (f.Name == "edges" || f.Name == "nodes")
	connection := refConnection(returns) && !list
	weight, explicit := refWeight(def.Directives)
	ibm, router := r.arguments(f, def)
	typeWeight := r.typeWeight(returns.Name)
	var call, itemA, itemB, nodes float64
	n := s.n
	switch {
	case r.ibm():
		call = 0
		if returns.IsCompositeType() {
			call = 1
		}
		if explicit {
			call = weight
		}
		call = max(0, call+ibm+r.directives(g))
		itemB = typeWeight
	case r.profile == Apollo:
		call, itemA = router, typeWeight
		if explicit {
			itemA = weight
		}
	case r.profile == GitHub:
		if connection || list && returns.IsCompositeType() && !page {
			call = 1
		}
		if connection && s.has {
			nodes = max(0, s.expected)
		}
		if page && !s.handed {
			nodes = n
		}
		if list && returns.IsCompositeType() && !page {
			itemB = 1
		}
	case r.shopify():
		switch {
		case s.mutation:
			call = 10
			if explicit {
				call = weight
			}
		case explicit:
			itemA = weight
		case connection:
			call = 2
		case refConnection(object) && (f.Name == "edges" || f.Name == "pageInfo"):
		case !s.flat:
			itemA = typeWeight
		}
		if page && r.profile == ShopifyLog && !math.IsInf(n, 1) {
			n = math.Floor(2 * math.Log(max(2, n)))
		}
	case r.profile == Simple:
		call, n = 1, 1
		if explicit {
			call = weight
		}
	}
	if r.refuse && !s.bounded && (itemA+child.a > 0 || itemB+child.b > 0) {
		r.failed = true
	}
	return refPrice{max(0, call+max(0, refTimes(n, itemA+child.a))), max(0, nodes+max(0, refTimes(n, itemB+child.b)))}
}

// directives is the dearest occurrence's weighted directives.
func (r *reference) directives(g refGroup) float64 {
	best := math.Inf(-1)
	for _, f := range g.fields {
		sum := 0.0
		for _, d := range f.Directives {
			for _, a := range r.schema.AST().Directives[d.Name].Arguments {
				var literal *ast.Value
				if given := d.Arguments.ForName(a.Name); given != nil {
					literal = given.Value
				}
				sum += r.inputCost(r.input(literal, a.DefaultValue, a.Type), a.Type, a.Directives)
			}
		}
		best = max(best, sum)
	}
	return best
}
