package cost

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
)

// encoder builds injective keys: every part has a fixed length or its length
// before it.
type encoder struct{ bytes []byte }

func newEncoder() *encoder { return &encoder{} }

func (e *encoder) text(s string) {
	e.bytes = binary.AppendUvarint(e.bytes, uint64(len(s)))
	e.bytes = append(e.bytes, s...)
}

func (e *encoder) floats(values ...float64) {
	for _, v := range values {
		e.bytes = binary.LittleEndian.AppendUint64(e.bytes, math.Float64bits(v))
	}
}

func (e *encoder) flags(values ...bool) {
	for _, v := range values {
		if v {
			e.bytes = append(e.bytes, 1)
		} else {
			e.bytes = append(e.bytes, 0)
		}
	}
}

func (e *encoder) number(p *int) {
	if p == nil {
		e.bytes = append(e.bytes, 0)
		return
	}
	e.bytes = append(e.bytes, 1)
	e.bytes = binary.AppendVarint(e.bytes, int64(*p))
}

// revision changes when the same model would price an operation differently.
const revision = 1

func (m *Model) computeDigest() [32]byte {
	e := newEncoder()
	e.bytes = append(e.bytes, revision)
	d := m.schema.Digest()
	e.bytes = append(e.bytes, d[:]...)
	e.text(string(m.profile))
	e.floats(m.algebra.listSize)
	e.flags(m.algebra.refuse, m.options.IgnoreRequireOne)
	e.flags(m.options.NegativeSize == NegativeFallback)
	e.number(m.algebra.pageSize.Min)
	e.number(m.algebra.pageSize.Max)
	e.flags(m.algebra.pageSize.Required)
	for _, key := range sortedKeys(m.options.Weights) {
		e.text(key)
		e.floats(m.options.Weights[key])
	}
	e.text("list sizes")
	for _, key := range sortedKeys(m.options.ListSizes) {
		l := m.options.ListSizes[key]
		e.text(key)
		for _, names := range [][]string{l.Slicing, l.SizedFields} {
			e.bytes = binary.AppendUvarint(e.bytes, uint64(len(names)))
			for _, name := range names {
				e.text(name)
			}
		}
		e.number(l.Assumed)
		e.flags(l.RequireOne)
	}
	return sha256.Sum256(e.bytes)
}
