package firewall

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"
	"golang.org/x/sync/singleflight"

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

// plans caches compiled operations and plans. Keys are digests of everything
// that the value depends on; the value holds its key because ristretto keeps
// none (two keys may share a hash).
type plans struct {
	compiled, plans *digestCache
	flight          singleflight.Group
	hits, misses    atomic.Uint64
}

// digestCache is a ristretto cache that compares the whole digest on a hit.
type digestCache struct {
	cache *ristretto.Cache[uint64, cached]
	seen  doorkeeper
}

// doorkeeper remembers about the last 65,536 keys, four bytes of each. A key
// takes the place of another that shares its place, and at one in four billion
// is mistaken for it.
type doorkeeper [1 << 16]atomic.Uint32

// again reports whether key was asked for before, and remembers it.
func (d *doorkeeper) again(key [32]byte) bool {
	print := binary.LittleEndian.Uint32(key[8:]) | 1 // the zero print marks an empty place
	return d[binary.LittleEndian.Uint16(key[12:])].Swap(print) == print
}

type cached struct {
	key   [32]byte
	value any
}

func newDigestCache(maxBytes int64) (*digestCache, error) {
	c, err := ristretto.NewCache(&ristretto.Config[uint64, cached]{
		NumCounters: max(1024, maxBytes/1024), MaxCost: maxBytes, BufferItems: 64, IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, err
	}
	return &digestCache{cache: c}, nil
}

func (c *digestCache) get(key [32]byte) (any, bool) {
	v, ok := c.cache.Get(binary.LittleEndian.Uint64(key[:]))
	if !ok || v.key != key {
		return nil, false
	}
	return v.value, true
}

// set keeps a value whose key it was given once before: what never comes again,
// such as a flood of documents that differ in a name, costs neither memory nor
// what keeping it costs. The price is that each document is compiled twice.
func (c *digestCache) set(key [32]byte, value any, bytes int64) {
	if !c.seen.again(key) {
		return
	}
	c.cache.Set(binary.LittleEndian.Uint64(key[:]), cached{key, value}, bytes)
}

// newPlans makes the two caches, which share limits.plan_cache: an operation is
// held by both, and counted in both.
func newPlans(maxBytes int64) (*plans, error) {
	a, err := newDigestCache(maxBytes / 2)
	if err != nil {
		return nil, err
	}
	b, err := newDigestCache(maxBytes / 2)
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

// documentKey is the digest of a document and operation name under a
// generation's key. Lengths are hashed, so that no pair runs into another.
func documentKey(generation [32]byte, document, name string) [32]byte {
	var stack [2048]byte
	buf := append(stack[:0], generation[:]...)
	buf = binary.LittleEndian.AppendUint64(buf, uint64(len(document)))
	buf = append(buf, document...)
	buf = append(buf, name...)
	return sha256.Sum256(buf)
}

// plan returns the plan of a document: from the cache, or compiled once for
// all who ask at the same time. Failures are not cached.
func (p *plans) plan(g *generation, document, name string) (*plan, error) {
	key := documentKey(g.planKey, document, name)
	if v, ok := p.plans.get(key); ok {
		p.hits.Add(1)
		return v.(*plan), nil
	}
	p.misses.Add(1)
	v, err, _ := p.flight.Do(string(key[:]), func() (any, error) {
		return p.build(g, key, document, name)
	})
	if err != nil {
		return nil, err
	}
	return v.(*plan), nil
}

func (p *plans) build(g *generation, key [32]byte, document, name string) (*plan, error) {
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
	p.plans.set(key, built, planBytes(c.op))
	return built, nil
}

// tolerated prices an operation that PAGE_SIZE would refuse but whose mode lets
// through: cost.max and budgets hold all the same. What cannot be priced even
// so is as dear as can be, and not measured.
func tolerated(lenient *cost.Program, vars *schema.Variables) (e cost.Estimate, measured bool) {
	e, err := lenient.Estimate(vars)
	if err != nil && e == (cost.Estimate{}) {
		return cost.Estimate{Total: cost.Saturation, Saturated: true}, false
	}
	return e, true
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
	key := documentKey(g.parseKey, document, name)
	if v, ok := p.compiled.get(key); ok {
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
	p.compiled.set(key, c, planBytes(op))
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
