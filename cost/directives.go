package cost

import (
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/vektah/gqlparser/v2/ast"
)

// costNames are the names under which a schema applies the two directives.
type costNames struct{ cost, listSize map[string]bool }

// directiveNames reads the @link applications of a federated schema
// (https://specs.apollo.dev/link/v1.0): the cost feature may be imported under
// another name or stay behind its namespace. Without a @link the names are
// cost and listSize.
func directiveNames(applied ast.DirectiveList) costNames {
	names := costNames{cost: map[string]bool{"cost": true}, listSize: map[string]bool{"listSize": true}}
	for _, link := range applied {
		if link.Name != "link" && link.Name != "core" {
			continue
		}
		url := stringArgument(link, "url")
		if url == "" {
			url = stringArgument(link, "feature")
		}
		feature := featureName(url)
		if feature != "cost" && feature != "federation" {
			continue
		}
		namespace := feature
		if as := stringArgument(link, "as"); as != "" {
			namespace = as
		}
		names.cost[namespace+"__cost"] = true
		names.listSize[namespace+"__listSize"] = true
		if feature == "cost" && namespace != feature {
			delete(names.cost, "cost")
			names.cost[namespace] = true
		}
		names.imports(link.Arguments.ForName("import"))
	}
	return names
}

func (n costNames) imports(list *ast.Argument) {
	if list == nil || list.Value == nil {
		return
	}
	for _, item := range list.Value.Children {
		name, as := item.Value.Raw, item.Value.Raw
		if item.Value.Kind == ast.ObjectValue {
			name, as = rawMember(item.Value, "name"), rawMember(item.Value, "as")
			if as == "" {
				as = name
			}
		}
		as = strings.TrimPrefix(as, "@")
		switch name {
		case "@cost":
			if as != "cost" {
				delete(n.cost, "cost")
			}
			n.cost[as] = true
		case "@listSize":
			if as != "listSize" {
				delete(n.listSize, "listSize")
			}
			n.listSize[as] = true
		}
	}
}

// featureName is the name of a specification in its URL: "cost" in
// https://specs.apollo.dev/cost/v0.1.
func featureName(url string) string {
	parts := strings.Split(strings.TrimRight(url, "/"), "/")
	if n := len(parts); n >= 2 && strings.HasPrefix(parts[n-1], "v") {
		return parts[n-2]
	}
	return parts[len(parts)-1]
}

func stringArgument(d *ast.Directive, name string) string {
	if a := d.Arguments.ForName(name); a != nil && a.Value != nil {
		return a.Value.Raw
	}
	return ""
}

func rawMember(v *ast.Value, name string) string {
	if m := v.Children.ForName(name); m != nil {
		return m.Raw
	}
	return ""
}

// resolveOptions checks the options that need no schema.
func (b *modelBuilder) resolveOptions() {
	o := b.options
	b.profile = o.Profile
	if b.profile == "" {
		b.profile = Default
	}
	alg, ok := algebraOf(b.profile)
	if !ok {
		names := make([]string, 0, 7)
		for _, p := range Profiles() {
			names = append(names, string(p))
		}
		b.problem("profile", fmt.Sprintf("%q is not one of %s", o.Profile, strings.Join(names, ", ")))
	}
	switch size := o.DefaultListSize; {
	case size != nil && o.NoDefaultListSize:
		b.problem("default_list_size", "is both set and none")
	case size != nil && *size < 0:
		b.problem("default_list_size", fmt.Sprintf("is %d, a size cannot be negative", *size))
	case size != nil:
		alg.listSize, alg.refuse = float64(*size), false
	case o.NoDefaultListSize:
		alg.listSize = math.Inf(1)
	}
	alg.pageSize = o.PageSize.over(alg.pageSize)
	if p := o.PageSize; p.Min != nil && p.Max != nil && *p.Min > *p.Max {
		b.problem("page_size", fmt.Sprintf("min %d is above max %d", *p.Min, *p.Max))
	}
	if p := o.PageSize.Max; p != nil && *p < 0 {
		b.problem("page_size.max", fmt.Sprintf("is %d, a size cannot be negative", *p))
	}
	if n := o.NegativeSize; n != "" && n != NegativeRefuse && n != NegativeFallback {
		b.problem("negative_size", fmt.Sprintf("%q is not one of %s, %s", n, NegativeRefuse, NegativeFallback))
	}
	b.algebra = alg
}

// readWeights fills configured and annotated.
func (b *modelBuilder) readWeights() {
	b.configured, b.annotated = map[string]float64{}, map[string]float64{}
	for _, key := range sortedKeys(b.options.Weights) {
		w := b.options.Weights[key]
		if math.IsNaN(w) || math.IsInf(w, 0) {
			b.problem("weights."+key, "is not a finite number")
			continue
		}
		if message := b.checkCoordinate(key); message != "" {
			b.problem("weights."+key, message)
			continue
		}
		b.configured[key] = w
	}
	for _, key := range sortedKeys(b.options.ListSizes) {
		b.checkListKey(key)
	}
	b.readAnnotations()
}

func (b *modelBuilder) readAnnotations() {
	types := b.schema.AST().Types
	for _, name := range sortedKeys(types) {
		def := types[name]
		b.annotate(name, def.Directives)
		for _, f := range def.Fields {
			b.annotate(name+"."+f.Name, f.Directives)
			for _, a := range f.Arguments {
				b.annotate(name+"."+f.Name+"("+a.Name+":)", a.Directives)
			}
		}
	}
	for name, d := range b.schema.AST().Directives {
		for _, a := range d.Arguments {
			b.annotate("@"+name+"("+a.Name+":)", a.Directives)
		}
	}
}

// annotate reads the @cost of one element of the schema.
func (b *modelBuilder) annotate(coordinate string, applied ast.DirectiveList) {
	for _, d := range applied {
		if !b.names.cost[d.Name] {
			continue
		}
		arg := d.Arguments.ForName("weight")
		if arg == nil || arg.Value == nil {
			continue // another directive of that name
		}
		w, err := strconv.ParseFloat(strings.TrimSpace(arg.Value.Raw), 64)
		if err != nil || math.IsNaN(w) || math.IsInf(w, 0) {
			b.problem("schema: "+coordinate+" @"+d.Name, fmt.Sprintf("weight %q is not a finite number", arg.Value.Raw))
			continue
		}
		b.annotated[coordinate] = w
	}
}

// checkCoordinate says what is wrong with a coordinate of Options.Weights; ""
// when nothing is.
func (b *modelBuilder) checkCoordinate(key string) string {
	if strings.HasPrefix(key, "@") {
		return b.checkDirectiveCoordinate(key)
	}
	typeName, rest, hasField := strings.Cut(key, ".")
	def := b.schema.AST().Types[typeName]
	if def == nil {
		return "the schema has no type " + strconv.Quote(typeName) + nearest(typeName, sortedKeys(b.schema.AST().Types))
	}
	if !hasField {
		if def.IsAbstractType() {
			return typeName + " is abstract and weighs what its object types do: " + strings.Join(b.objectNames(typeName), ", ")
		}
		return ""
	}
	field, argument, hasArgument := strings.Cut(rest, "(")
	f := def.Fields.ForName(field)
	if f == nil {
		return typeName + " has no field " + strconv.Quote(field) + nearest(field, fieldNames(def))
	}
	if !hasArgument {
		return ""
	}
	name, closed := strings.CutSuffix(argument, ":)")
	if !closed {
		return "an argument is written " + typeName + "." + field + "(name:)"
	}
	if f.Arguments.ForName(name) == nil {
		return typeName + "." + field + " has no argument " + strconv.Quote(name) + nearest(name, argumentNames(f.Arguments))
	}
	return ""
}

func (b *modelBuilder) checkDirectiveCoordinate(key string) string {
	name, argument, _ := strings.Cut(key[1:], "(")
	d := b.schema.AST().Directives[name]
	if d == nil {
		return "the schema has no directive " + strconv.Quote(name) + nearest(name, sortedKeys(b.schema.AST().Directives))
	}
	arg, closed := strings.CutSuffix(argument, ":)")
	if !closed {
		return "a directive's argument is written @" + name + "(argument:)"
	}
	if d.Arguments.ForName(arg) == nil {
		return "@" + name + " has no argument " + strconv.Quote(arg) + nearest(arg, argumentNames(d.Arguments))
	}
	return ""
}

func (b *modelBuilder) objectNames(abstract string) []string {
	var names []string
	for i := range b.schema.Possible(abstract).All {
		names = append(names, b.schema.Objects()[i].Name)
	}
	return names
}

func (b *modelBuilder) checkListKey(key string) {
	typeName, field, ok := strings.Cut(key, ".")
	if !ok {
		b.problem("list_sizes."+key, "is not of the form Type.field")
		return
	}
	if message := b.checkCoordinate(key); message != "" {
		b.problem("list_sizes."+key, message)
		return
	}
	def := b.schema.AST().Types[typeName]
	if def.Kind != ast.Object && def.Kind != ast.Interface || strings.Contains(field, "(") {
		b.problem("list_sizes."+key, "is not a field of an object type or interface")
	}
}

func fieldNames(def *ast.Definition) []string {
	names := make([]string, len(def.Fields))
	for i, f := range def.Fields {
		names[i] = f.Name
	}
	return names
}

func argumentNames(args ast.ArgumentDefinitionList) []string {
	names := make([]string, len(args))
	for i, a := range args {
		names[i] = a.Name
	}
	return names
}

// nearest returns "; did you mean ..." with up to three names close to name.
func nearest(name string, among []string) string {
	type candidate struct {
		name     string
		distance int
	}
	var near []candidate
	for _, n := range among {
		if d := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(n)); d <= len(name)/3+1 {
			near = append(near, candidate{n, d})
		}
	}
	if len(near) == 0 {
		return ""
	}
	sort.SliceStable(near, func(i, j int) bool { return near[i].distance < near[j].distance })
	names := make([]string, min(3, len(near)))
	for i := range names {
		names[i] = near[i].name
	}
	return "; did you mean " + strings.Join(names, ", ") + "?"
}
