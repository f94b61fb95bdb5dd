package cost

import (
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/graphward/graphward/schema"
)

// Model is a schema with prices: every weight, list size and rule that an
// operation can need, looked up once. It is immutable and safe for concurrent
// use.
type Model struct {
	schema  *schema.Schema
	options Options
	profile Profile
	algebra algebra
	digest  [32]byte

	// objects holds the fields of each object type, by its index in Objects.
	objects []map[string]*fieldSpec
	// interfaces holds the fields of each interface with their variants.
	interfaces map[string]map[string][]variant
	// bounds holds, for each of these fields, specs whose sum no variant exceeds.
	bounds map[string]map[string][]*fieldSpec
	// outputs holds every output type.
	outputs map[string]*outputType
	// directives holds the weighted arguments of executable directives.
	directives map[string][]*inputSpec
}

// outputType is a named output type. id is unique within the model.
type outputType struct {
	id         int32
	name       string
	composite  bool
	abstract   bool
	connection bool // a type named ...Connection with a list field edges or nodes
	weight     float64
	mixed      bool // abstract, and its object types weigh differently
	possible   schema.TypeSet
	whole      []schema.TypeSet // possible as one region; none when it is empty
}

// fieldSpec is the price of one field of one object type.
type fieldSpec struct {
	coordinate string
	name       string
	returns    *outputType
	// class is equal for fields that cannot be told apart by price; kind for those
	// that differ in no more than call and items.
	class, kind int32
	// call is paid once per parent, before arguments and directives.
	call float64
	// itemA and itemB are paid once per list member, by component.
	itemA, itemB float64
	// byType says that the item's weight is that of the type.
	byType bool
	// explicit is the weight that the field itself was given, for responses
	// that hold a null (apollo); 0 when it has none.
	explicit float64
	list     bool
	// scale multiplies the size: the inner dimensions of a list of lists.
	scale float64
	args  []*inputSpec
	// priced are the args whose use can cost anything.
	priced []*inputSpec
	size   *listSpec
	// page marks edges and nodes of a connection.
	page bool
	// flat marks a mutation whose call covers the objects below it.
	flat bool
	// countNodes adds the connection's size to component b.
	countNodes bool
}

// listSpec is @listSize, resolved.
type listSpec struct {
	slicing []slicingPath
	assumed float64 // none when unknown
	sized   [][]string
	require bool
}

type slicingPath struct {
	text string
	arg  *inputSpec
	path []string // below the argument
}

// none is a size that nothing gives.
const none = -1

// variant is a set of object types on which an interface's field costs the same.
type variant struct {
	spec  *fieldSpec
	types schema.TypeSet
}

// NewModel prices the schema under the options. The error is a *ModelError that
// lists every problem.
func NewModel(s *schema.Schema, o Options) (*Model, error) {
	b := &modelBuilder{
		Model: &Model{
			schema: s, options: o,
			interfaces: map[string]map[string][]variant{},
			bounds:     map[string]map[string][]*fieldSpec{},
			outputs:    map[string]*outputType{},
			directives: map[string][]*inputSpec{},
		},
		names:   directiveNames(s.AST().SchemaDirectives),
		inputs:  map[string]*inputType{},
		classes: map[string]int32{},
		owners:  map[string]string{},
	}
	b.resolveOptions()
	if len(b.problems) == 0 {
		b.readWeights()
		b.buildInputs()
		b.buildOutputs()
		b.buildFields()
		b.buildInterfaces()
	}
	if len(b.problems) > 0 {
		sort.Slice(b.problems, func(i, j int) bool {
			p, q := b.problems[i], b.problems[j]
			return p.Key < q.Key || p.Key == q.Key && p.Message < q.Message
		})
		return nil, &ModelError{Problems: slices.Compact(b.problems)}
	}
	b.digest = b.computeDigest()
	return b.Model, nil
}

// Profile returns the profile that the model was built with.
func (m *Model) Profile() Profile { return m.profile }

// Max returns the limit that the profile itself puts on Total (shopify: 1,000),
// or 0 when it has none.
func (m *Model) Max() float64 { return m.algebra.max }

// Digest identifies the model's meaning in cache keys: equal digests price every
// operation alike.
func (m *Model) Digest() [32]byte { return m.digest }

// modelBuilder holds what NewModel needs and a Model does not.
type modelBuilder struct {
	*Model
	names    costNames
	problems []Problem
	// weights of the options and of the schema's directives, by coordinate.
	configured, annotated map[string]float64
	inputs                map[string]*inputType
	classes               map[string]int32
	// owners maps a coordinate of the options to the key it was read from.
	owners map[string]string
}

func (b *modelBuilder) problem(key, message string) {
	b.problems = append(b.problems, Problem{Key: key, Message: message})
}

// weight returns the first weight that is set for one of the coordinates: the
// options go before the schema.
func (b *modelBuilder) weight(coordinates ...string) (float64, bool) {
	for _, of := range []map[string]float64{b.configured, b.annotated} {
		for _, c := range coordinates {
			if w, ok := of[c]; ok {
				return w, true
			}
		}
	}
	return 0, false
}

func (b *modelBuilder) buildOutputs() {
	types := b.schema.AST().Types
	for _, name := range sortedKeys(types) {
		def := types[name]
		if !def.IsLeafType() && !def.IsCompositeType() {
			continue
		}
		t := &outputType{id: int32(len(b.outputs)), name: name, composite: def.IsCompositeType(), abstract: def.IsAbstractType()}
		if t.composite {
			if t.possible = b.schema.Possible(name); !t.possible.Empty() {
				t.whole = []schema.TypeSet{t.possible}
			}
			t.weight = 1
			t.connection = isConnection(def)
		}
		if w, ok := b.weight(name); ok && !t.abstract {
			t.weight = w
		}
		b.outputs[name] = t
	}
	objects := b.schema.Objects()
	for _, t := range b.outputs {
		if !t.abstract || t.possible.Empty() {
			continue
		}
		t.weight = math.Inf(-1)
		for i := range t.possible.All {
			w := b.outputs[objects[i].Name].weight
			t.mixed = t.mixed || !math.IsInf(t.weight, -1) && w != t.weight
			t.weight = max(t.weight, w)
		}
	}
}

func isConnection(def *ast.Definition) bool {
	return strings.HasSuffix(def.Name, "Connection") && len(sizedByName(def)) > 0
}

// sizedByName returns the fields that hold a connection's page.
func sizedByName(def *ast.Definition) []string {
	var names []string
	for _, name := range []string{"edges", "nodes"} {
		if f := def.Fields.ForName(name); f != nil && f.Type.Elem != nil {
			names = append(names, name)
		}
	}
	return names
}

func (b *modelBuilder) buildFields() {
	b.objects = make([]map[string]*fieldSpec, len(b.schema.Objects()))
	for i, def := range b.schema.Objects() {
		fields := make(map[string]*fieldSpec, len(def.Fields))
		for _, f := range def.Fields {
			if !strings.HasPrefix(f.Name, "__") {
				fields[f.Name] = b.fieldSpec(def, f)
			}
		}
		b.objects[i] = fields
	}
}

// inherited lists the coordinates that may describe field f of def: its own,
// then those of the interfaces that def implements.
func (b *modelBuilder) inherited(def *ast.Definition, f *ast.FieldDefinition) []string {
	out := []string{def.Name + "." + f.Name}
	for _, name := range def.Interfaces {
		if i := b.schema.AST().Types[name]; i != nil && i.Fields.ForName(f.Name) != nil {
			out = append(out, name+"."+f.Name)
		}
	}
	return out
}

func (b *modelBuilder) fieldSpec(def *ast.Definition, f *ast.FieldDefinition) *fieldSpec {
	coordinates := b.inherited(def, f)
	spec := &fieldSpec{
		coordinate: coordinates[0], name: f.Name, returns: b.outputs[f.Type.Name()],
		list: f.Type.Elem != nil && !b.algebra.simple, scale: 1, page: isPage(def, f.Name),
	}
	for _, a := range f.Arguments {
		arg := b.argumentSpec(coordinates, a)
		spec.args = append(spec.args, arg)
		if b.prices(arg) {
			spec.priced = append(spec.priced, arg)
		}
	}
	if spec.list && b.algebra.inner {
		for t := f.Type.Elem; t.Elem != nil; t = t.Elem {
			spec.scale *= b.algebra.listSize
		}
	}
	if !b.algebra.simple {
		spec.size = b.listSpec(f, spec, coordinates)
	}
	b.priceField(spec, def, coordinates)
	spec.class, spec.kind = b.classOf(spec, f)
	return spec
}

// priceField fills in the profile's weights.
func (b *modelBuilder) priceField(spec *fieldSpec, def *ast.Definition, coordinates []string) {
	t, alg := spec.returns, b.algebra
	own, explicit := b.weight(coordinates...)
	if explicit {
		spec.explicit = own
	}
	standard := 0.0
	if t.composite {
		standard = 1
	}
	switch {
	case alg.ibm:
		spec.call, spec.itemB, spec.byType = standard, t.weight, true
		if explicit {
			spec.call = own
		}
	case alg.apollo:
		spec.itemA, spec.byType = t.weight, !explicit
		if explicit {
			spec.itemA = own
		}
	case alg.github:
		if t.connection && !spec.list || spec.list && t.composite && !spec.page {
			spec.call = 1
		}
		spec.countNodes = t.connection && !spec.list && spec.size != nil
		if spec.list && t.composite && !spec.page {
			spec.itemB = 1
		}
	case alg.shopify:
		b.priceShopify(spec, def, own, explicit)
	case alg.simple:
		spec.call = 1
		if explicit {
			spec.call = own
		}
	}
}

func isPage(def *ast.Definition, field string) bool {
	return isConnection(def) && (field == "edges" || field == "nodes")
}

// priceShopify applies https://shopify.dev/docs/api/usage/rate-limits: an object
// costs 1, a connection 2 plus its items; edges and pageInfo are free. The 10 for
// a mutation cover the objects of its payload, but no connection in it.
func (b *modelBuilder) priceShopify(spec *fieldSpec, def *ast.Definition, own float64, explicit bool) {
	mutation := b.schema.AST().Mutation
	switch {
	case mutation != nil && def.Name == mutation.Name:
		spec.call, spec.flat = 10, true
		if explicit {
			spec.call = own
		}
	case explicit:
		spec.itemA = own
	case spec.returns.connection && !spec.list:
		spec.call = 2
	case isConnection(def) && (spec.name == "edges" || spec.name == "pageInfo"):
	default:
		spec.itemA, spec.byType = spec.returns.weight, true
	}
}

// classOf interns what a price depends on, so that the fields of an interface's
// object types are told apart only where a price can be.
func (b *modelBuilder) classOf(spec *fieldSpec, f *ast.FieldDefinition) (class, kind int32) {
	e := newEncoder()
	e.text(spec.name)
	e.text(spec.returns.name)
	e.floats(spec.scale)
	e.flags(spec.list, spec.page, spec.flat, spec.byType, spec.countNodes, spec.size != nil)
	for i, a := range f.Arguments {
		e.text(a.Name)
		e.text(a.Type.String())
		e.text(a.DefaultValue.String())
		e.floats(spec.args[i].own)
		e.flags(spec.args[i].explicit)
	}
	if s := spec.size; s != nil {
		e.floats(s.assumed)
		e.flags(s.require)
		for _, p := range s.slicing {
			e.text(p.text)
		}
		for _, p := range s.sized {
			e.text(strings.Join(p, "."))
		}
	}
	kind = b.classID(e)
	e.floats(spec.call, spec.itemA, spec.itemB, spec.explicit)
	return b.classID(e), kind
}

func (b *modelBuilder) classID(e *encoder) int32 {
	key := string(e.bytes)
	id, ok := b.classes[key]
	if !ok {
		id = int32(len(b.classes))
		b.classes[key] = id
	}
	return id
}

// buildInterfaces groups the object types of each interface, field by field.
func (b *modelBuilder) buildInterfaces() {
	for name, def := range b.schema.AST().Types {
		if def.Kind != ast.Interface {
			continue
		}
		fields := make(map[string][]variant, len(def.Fields))
		for _, f := range def.Fields {
			fields[f.Name] = b.variants(b.schema.Possible(name), f.Name)
		}
		b.interfaces[name] = fields
		b.bounds[name] = make(map[string][]*fieldSpec, len(fields))
		for field, variants := range fields {
			b.bounds[name][field] = dearest(variants)
		}
	}
}

// dearest returns for each kind of variant one that costs as much as each of
// them at least.
func dearest(variants []variant) []*fieldSpec {
	if len(variants) == 1 {
		return []*fieldSpec{variants[0].spec}
	}
	var out []*fieldSpec
	at := map[int32]int{}
	for _, v := range variants {
		i, ok := at[v.spec.kind]
		if !ok {
			clone := *v.spec
			at[v.spec.kind] = len(out)
			out = append(out, &clone)
			continue
		}
		s := out[i]
		s.call, s.itemA, s.itemB = max(s.call, v.spec.call), max(s.itemA, v.spec.itemA), max(s.itemB, v.spec.itemB)
	}
	return out
}

func (b *modelBuilder) variants(possible schema.TypeSet, field string) []variant {
	var out []variant
	at := map[int32]int{}
	for i := range possible.All {
		spec := b.objects[i][field]
		if spec == nil {
			continue
		}
		n, ok := at[spec.class]
		if !ok {
			n = len(out)
			at[spec.class] = n
			out = append(out, variant{spec: spec, types: make(schema.TypeSet, len(possible))})
		}
		out[n].types[i>>6] |= 1 << (uint(i) & 63)
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
