package policy

import (
	"context"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	gql "github.com/vektah/gqlparser/v2/ast"
)

// classKind says what a class's answer depends on.
type classKind uint8

const (
	// classIdentity reads at most input.subject: one answer for each identity.
	classIdentity classKind = iota
	// classRequest reads the request, the operation or arguments too.
	classRequest
	// classObject reads the resolved object: it is decided on the answer.
	classObject
)

func (k classKind) String() string { return [...]string{"identity", "request", "object"}[k] }

// class is one document that OPA evaluates: all definitions of one head.
type class struct {
	id int
	// same is the class that is evaluated in place of this one, because its
	// definitions read the same; itself when there is none before it.
	same *class
	// position in the identity table, of identity classes.
	position int

	group  *group
	rule   Rule
	kind   classKind
	reads  *closure
	paths  []string // reads.paths, spelt out
	shape  shape
	impure bool // the answer must not be cached

	// constant is the value of a class that reads nothing and has no body; nil otherwise.
	constant *ast.Term

	// parents are the fields that a class of classObject reads, by the object
	// types that it governs; what follows is the analyser's about it.
	parents                  map[string][]ParentField
	single, scans, entangled bool
	opaque                   bool            // only OPA can decide it
	apart                    []ast.Body      // analyser.apart
	truths                   map[string]bool // parentTruths

	mu      sync.Mutex
	targets map[coordinate]*rego.PreparedEvalQuery // queryAt

	once     sync.Once
	prepared rego.PreparedEvalQuery
	err      error
}

func (g *group) rule() Rule {
	loc := g.loc()
	r := Rule{Head: g.head, File: loc.File, Line: loc.Row, Column: loc.Col}
	r.at = r.At()
	return r
}

// query prepares the class's query when it is first needed.
func (c *class) query(e *Engine) (*rego.PreparedEvalQuery, error) {
	c.once.Do(func() {
		c.prepared, c.err = e.prepare(ast.NewBody(ast.NewExpr(ast.NewTerm(entryRef(c.group.name)))))
	})
	return &c.prepared, c.err
}

// queryAt is the query for one coordinate: that of a head with variables asks
// for no other, whose failure would be no concern of this one.
func (c *class) queryAt(e *Engine, at coordinate) (*rego.PreparedEvalQuery, error) {
	if !c.group.vars {
		return c.query(e)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if q := c.targets[at]; q != nil {
		return q, nil
	}
	ref := append(entryRef(c.group.name), ast.StringTerm(at.typ), ast.StringTerm(at.field))
	q, err := e.prepare(ast.NewBody(ast.NewExpr(ast.NewTerm(ref))))
	if err != nil {
		return nil, err
	}
	if c.targets == nil {
		c.targets = map[coordinate]*rego.PreparedEvalQuery{}
	}
	c.targets[at] = &q
	return &q, nil
}

func (e *Engine) prepare(body ast.Body) (rego.PreparedEvalQuery, error) {
	return rego.New(
		rego.ParsedQuery(body),
		rego.Compiler(e.compiled.compiler),
		rego.Store(e.compiled.store),
		// Answers are compared as terms; JSON values are never made.
		rego.GenerateJSON(func(t *ast.Term, _ *rego.EvalContext) (any, error) { return t, nil }),
	).PrepareForEval(context.Background())
}

// level is one step of the lookup order: the rule of a head without
// variables, and the heads with variables that may match there.
type level struct {
	at   coordinate
	rule *class
	vars []*class
}

// classes yields the level's classes in the order in which they are asked.
func (lv *level) classes(yield func(*class) bool) {
	if lv.rule != nil && !yield(lv.rule) {
		return
	}
	for _, c := range lv.vars {
		if !yield(c) {
			return
		}
	}
}

// coordinate is Type.field; either may be "*".
type coordinate struct{ typ, field string }

func (c coordinate) String() string { return c.typ + "." + c.field }

// verdict is the way to the answer for one or more coordinates.
type verdict struct {
	levels []level
	// identity is true when every class is classIdentity; bit then indexes
	// the bitmap.
	identity bool
	bit      int
	// index counts the distinct verdicts of an engine.
	index int
	// object is true when some class is classObject; parents then has the
	// fields that those classes read, by the object types with this verdict.
	object  bool
	parents []ParentFields
	// readsSubject and readsRequest say what some class can read; impure, that
	// some class may answer otherwise when it is asked again.
	readsSubject, readsRequest, impure bool
}

// prepareQueries compiles the queries that decisions by the verdict will need,
// so that no request pays for it. Those of an identity verdict are asked together.
func (v *verdict) prepareQueries(e *Engine) error {
	for i := range v.levels {
		for c := range v.levels[i].classes {
			if err := c.prepareQuery(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// prepareQuery compiles the query of a class that is asked by itself.
func (c *class) prepareQuery(e *Engine) error {
	if c.kind == classIdentity && c.group.kind == entryAllow || c.constant != nil {
		return nil
	}
	if _, err := c.same.query(e); err != nil {
		return &EvalError{Rule: c.group.head, Err: err}
	}
	return nil
}

// lookup is the rule tree of one kind (allow or error).
type lookup struct {
	static map[coordinate]*class
	vars   []*class
}

// levels returns the steps for a coordinate. A level with a static rule ends
// the search; heads with variables never do.
func (l *lookup) levels(typ, field string) []level {
	if l.empty() {
		return nil
	}
	var out []level
	for _, at := range steps(typ, field) {
		lv := level{at: at, rule: l.static[at]}
		for _, c := range l.vars {
			if matches(c.group.match, at) {
				lv.vars = append(lv.vars, c)
			}
		}
		if lv.rule != nil || lv.vars != nil {
			out = append(out, lv)
		}
		if lv.rule != nil {
			break
		}
	}
	return out
}

// steps are where the rule of a coordinate is looked for, in order.
func steps(typ, field string) [3]coordinate {
	return [3]coordinate{{typ, field}, {typ, star}, {star, star}}
}

func matches(pattern []*string, at coordinate) bool {
	return (pattern[0] == nil || *pattern[0] == at.typ) && (pattern[1] == nil || *pattern[1] == at.field)
}

// resolveAll computes the verdict of every object field of the schema.
func (e *Engine) resolveAll(objects []*gql.Definition) {
	type key struct {
		rules [3]int
		at    coordinate // only where heads with variables can match
	}
	known := map[key]*verdict{}
	e.verdicts = make(map[string]map[string]*verdict, len(objects))
	e.coordinates = make([]*boundCoordinate, e.schema.FieldCount())
	e.fields = make([]map[string]*boundCoordinate, len(objects))
	for i, def := range objects {
		fields := make(map[string]*verdict, len(def.Fields))
		e.verdicts[def.Name] = fields
		e.fields[i] = make(map[string]*boundCoordinate, len(def.Fields))
		for _, f := range def.Fields {
			levels := e.allow.levels(def.Name, f.Name)
			k := key{rules: [3]int{-1, -1, -1}}
			identity := true
			bound := &boundCoordinate{coordinate: coordinate{def.Name, f.Name}, name: def.Name + "." + f.Name}
			var objects []*class
			for i, lv := range levels {
				for c := range lv.classes {
					identity = identity && c.kind == classIdentity
					if c.kind == classObject {
						objects = append(objects, c)
					}
				}
				if lv.rule != nil {
					k.rules[i], bound.rule = lv.rule.same.id, lv.rule
				}
				if len(lv.vars) > 0 {
					k.at = coordinate{def.Name, f.Name}
				}
			}
			v := known[k]
			if v == nil {
				v = &verdict{levels: levels, identity: identity, bit: -1, object: len(objects) > 0}
				if identity {
					v.bit = len(e.identity.verdicts)
					e.identity.verdicts = append(e.identity.verdicts, v)
				}
				for i := range levels {
					for c := range levels[i].classes {
						v.readsSubject = v.readsSubject || c.reads.paths.has("subject")
						v.readsRequest = v.readsRequest || c.reads.paths.has("request")
						v.impure = v.impure || c.impure
					}
				}
				v.index = len(e.distinct)
				e.distinct = append(e.distinct, v)
				known[k] = v
			}
			v.read(def, objects)
			fields[f.Name] = v
			bound.verdict, bound.varies = v, e.varies(def.Name, f.Name, v)
			e.fields[i][f.Name] = bound
			if index := e.schema.FieldIndex(def.Name, f.Name); index >= 0 {
				e.coordinates[index] = bound
			}
		}
	}
}
