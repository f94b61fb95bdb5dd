package firewall

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"weak"

	"github.com/dgraph-io/ristretto/v2"

	"github.com/graphward/graphward/cost"
	"github.com/graphward/graphward/firewall/gqlhttp"
	"github.com/graphward/graphward/policy"
	"github.com/graphward/graphward/schema"
)

// plan is all that is known of a document before its variables and its caller:
// the compiled operation, its cost program, its policy binding and the bytes
// that are forwarded. Immutable; shared by requests.
type plan struct {
	op      *schema.Operation
	program *cost.Program
	lenient *cost.Program   // of generation.lenient; nil without one
	binding *policy.Binding // nil under allow_all
	// form is the canonical digest that manifests are matched by; formed is
	// false for a document that cannot match (more than one operation).
	form   [32]byte
	formed bool
	// prefix is the upstream body up to the variables.
	prefix []byte
	hash   string // of the canonical text, hexadecimal
	// substitutes are what is forwarded where guards change the document.
	substitutes substitutes
	// known are the views of the schema under which the document is valid.
	known knownTo
}

// compiled is the part of a plan that depends on schema and limits alone, so
// that a policy reload keeps it.
type compiled struct {
	op     *schema.Operation
	form   [32]byte
	formed bool
	prefix []byte
}

// plans caches compiled operations and plans.
type plans struct {
	compiled, plans *documentCache
	flight          flight
	hits, misses    atomic.Uint64
}

// documentKey is all that a cached value depends on: the digest of a
// generation's part, the document and the operation's name.
type documentKey struct {
	generation     [32]byte
	document, name string
}

// documentCache is a ristretto cache of what is made of documents. Its hash is
// keyed, so that nobody can choose documents that share a place; ristretto
// keeps no key, so the value does, and a hit compares it whole.
type documentCache struct {
	cache *ristretto.Cache[uint64, cached]
	seed  maphash.Seed
	seen  doorkeeper
}

// doorkeeper remembers about the last 65,536 keys, four bytes of each. A key
// takes the place of another that shares its place, and at one in four billion
// is mistaken for it.
type doorkeeper [1 << 16]atomic.Uint32

// again reports whether a key of this hash was asked for before, and remembers it.
func (d *doorkeeper) again(hash uint64) bool {
	print := uint32(hash>>32) | 1 // the zero print marks an empty place
	return d[uint16(hash)].Swap(print) == print
}

type cached struct {
	key   *documentKey
	value any
}

func newDocumentCache(maxBytes int64) (*documentCache, error) {
	c, err := ristretto.NewCache(&ristretto.Config[uint64, cached]{
		NumCounters: max(1024, maxBytes/1024), MaxCost: maxBytes, BufferItems: 64, IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, err
	}
	return &documentCache{cache: c, seed: maphash.MakeSeed()}, nil
}

// hash is 64 bits of a key; get tells apart the keys that share them.
func (c *documentCache) hash(k *documentKey) uint64 {
	return binary.LittleEndian.Uint64(k.generation[:]) ^ bits.RotateLeft64(maphash.String(c.seed, k.name), 32) ^ maphash.String(c.seed, k.document)
}

func (c *documentCache) get(hash uint64, k *documentKey) (any, bool) {
	v, ok := c.cache.Get(hash)
	if !ok || *v.key != *k {
		return nil, false
	}
	return v.value, true
}

// set keeps a value whose key it was given once before: what never comes again,
// such as a flood of documents that differ in a name, costs neither memory nor
// what keeping it costs. The price is that each document is compiled twice.
func (c *documentCache) set(hash uint64, k *documentKey, value any, bytes int64) {
	if !c.seen.again(hash) {
		return
	}
	kept := *k
	c.cache.Set(hash, cached{&kept, value}, bytes+int64(len(k.document)))
}

// newPlans makes the two caches, which share limits.plan_cache: an operation is
// held by both, and counted in both.
func newPlans(maxBytes int64) (*plans, error) {
	a, err := newDocumentCache(maxBytes / 2)
	if err != nil {
		return nil, err
	}
	b, err := newDocumentCache(maxBytes / 2)
	if err != nil {
		a.cache.Close()
		return nil, err
	}
	return &plans{compiled: a, plans: b}, nil
}

func (p *plans) close() {
	p.compiled.cache.Close()
	p.plans.cache.Close()
}

// noted is the plan that the cache last gave for a remembered text. It is not
// kept for this: what the cache lets go is gone.
type noted struct {
	generation [32]byte
	name       string
	plan       weak.Pointer[plan]
}

// known is plan, which it asks unless the text has a note of the answer. One time
// in recounted it asks all the same, so that the cache knows what is used.
func (p *plans) known(g *generation, doc *document, name string) (*plan, error) {
	if doc.known == nil {
		return p.plan(g, doc.text, name)
	}
	var before *plan
	if note, ok := doc.known.Note.Load().(*noted); ok && note.generation == g.planKey && note.name == name {
		before = note.plan.Value()
	}
	if before != nil && rand.Uint32()%recounted != 0 {
		p.hits.Add(1)
		return before, nil
	}
	found, err := p.plan(g, doc.text, name)
	if err == nil && found != before {
		doc.known.Note.Store(&noted{g.planKey, name, weak.Make(found)})
	}
	return found, err
}

const recounted = 16

// plan returns the plan of a document: from the cache, or compiled once for
// all who ask at the same time. Failures are not cached.
func (p *plans) plan(g *generation, document, name string) (*plan, error) {
	key := documentKey{g.planKey, document, name}
	hash := p.plans.hash(&key)
	if v, ok := p.plans.get(hash, &key); ok {
		p.hits.Add(1)
		return v.(*plan), nil
	}
	p.misses.Add(1)
	return p.missed(g, hash, key)
}

// missed is plan for a document that is not kept. Its key is a copy, which flies
// while plan's stays on the stack.
func (p *plans) missed(g *generation, hash uint64, key documentKey) (*plan, error) {
	return p.flight.do(hash, &key, func() (*plan, error) {
		built, err := p.build(g, key.document, key.name)
		if err == nil {
			p.plans.set(hash, &key, built, planBytes(built.op))
		}
		return built, err
	})
}

// build makes a plan that is not kept.
func (p *plans) build(g *generation, document, name string) (*plan, error) {
	c, err := p.compile(g, document, name)
	if err != nil {
		return nil, err
	}
	built := &plan{op: c.op, form: c.form, formed: c.formed, prefix: c.prefix, hash: hexDigest(c.op.Hash)}
	if built.program, err = g.model.Compile(c.op); err != nil {
		return nil, err
	}
	if g.lenient != nil {
		if built.lenient, err = g.lenient.Compile(c.op); err != nil {
			return nil, err
		}
	}
	if g.policy != nil {
		if built.binding, err = g.policy.Bind(c.op); err != nil {
			return nil, err
		}
	}
	return built, nil
}

// tolerated prices an operation that PAGE_SIZE would refuse but whose mode lets
// through: cost.max and budgets hold all the same. What cannot be priced even
// so is as dear as can be, and not measured. The error is *cost.NodeLimitError,
// which stands beside a price.
func tolerated(lenient *cost.Program, vars *schema.Variables) (e cost.Estimate, measured bool, err error) {
	e, err = lenient.Estimate(vars)
	if err != nil && e == (cost.Estimate{}) {
		return cost.Estimate{Total: cost.Saturation, Saturated: true}, false, nil
	}
	return e, true, err
}

// report prices each field, without the rules of PAGE_SIZE where these refuse;
// nil when there is no price even so.
func (p *plan) report(vars *schema.Variables, maxCost float64) *cost.Report {
	for _, program := range []*cost.Program{p.program, p.lenient} {
		if program == nil {
			continue
		}
		// With an error there is a price all the same where only its size is refused.
		if r, _ := program.Report(vars, &maxCost); r.Total != nil {
			return &r
		}
	}
	return nil
}

func (p *plans) compile(g *generation, document, name string) (*compiled, error) {
	key := documentKey{g.parseKey, document, name}
	hash := p.compiled.hash(&key)
	if v, ok := p.compiled.get(hash, &key); ok {
		return v.(*compiled), nil
	}
	op, err := g.schema.Compile(document, name, g.compile)
	if err != nil {
		return nil, err
	}
	if err := reservedKey(op); err != nil {
		return nil, err
	}
	c := &compiled{op: op, prefix: gqlhttp.AppendPrefix(make([]byte, 0, len(op.Text)+len(op.Name)+64), op.Text, op.Name)}
	c.form, c.formed = op.CanonicalForm()
	p.compiled.set(hash, &key, c, planBytes(op))
	return c, nil
}

// reservedPrefix begins the response keys that are ours alone (DESIGN.md
// section 5): what stands under one must never have been chosen by a client.
const reservedPrefix = "graphward_"

func reservedKey(op *schema.Operation) error {
	if !strings.Contains(op.Text, reservedPrefix) {
		return nil
	}
	for i := range op.Uses {
		if f := op.Uses[i].Field; strings.HasPrefix(f.Alias, reservedPrefix) {
			return &callError{code: "GRAPHQL_VALIDATION_FAILED", message: "A response key may not begin with " + reservedPrefix, detail: "response key " + f.Alias}
		}
	}
	return nil
}

// planBytes is what a cached operation holds, with its program, its binding and
// the upstream body's beginning.
func planBytes(op *schema.Operation) int64 {
	return int64(op.Size() + op.Size()/2 + 2*len(op.Text) + 1024)
}
