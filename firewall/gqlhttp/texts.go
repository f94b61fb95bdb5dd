package gqlhttp

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/graphward/graphward/jsonscan"
)

// Texts remembers what document texts were written like in JSON, so that one
// that comes again is neither unescaped nor copied: clients send the same few
// documents. It holds at most 8 MiB. It is safe for concurrent use.
type Texts struct {
	seed   maphash.Seed
	places [textPlaces]textPlace
}

const (
	textPlaces = 1024
	// maxKeptText is the longest literal that is remembered, in bytes. Its text
	// is not longer.
	maxKeptText = 4 << 10
)

// textPlace goes to a literal that asks for it twice in a row, so that a flood
// of documents that never come again takes nobody's place.
type textPlace struct {
	asked atomic.Uint32
	text  atomic.Pointer[knownText]
}

type knownText struct{ literal, text string }

// NewTexts returns an empty memory.
func NewTexts() *Texts { return &Texts{seed: maphash.MakeSeed()} }

// find returns the value of a literal's inside that add was given before, and
// its hash for add. A nil Texts knows nothing.
func (t *Texts) find(inside []byte) (text string, sum uint64, known bool) {
	if t == nil || len(inside) > maxKeptText {
		return "", 0, false
	}
	sum = maphash.Bytes(t.seed, inside)
	if k := t.places[sum%textPlaces].text.Load(); k != nil && k.literal == string(inside) {
		return k.text, sum, true
	}
	return "", sum, false
}

// add returns the value of a literal's inside, which jsonscan has read, and
// may remember it. sum is the hash that find returned.
func (t *Texts) add(inside []byte, sum uint64) string {
	text := unescape(inside)
	if t == nil || len(inside) > maxKeptText {
		return text
	}
	place := &t.places[sum%textPlaces]
	if print := uint32(sum>>32) | 1; place.asked.Swap(print) == print {
		place.text.Store(&knownText{string(inside), strings.Clone(text)})
	}
	return text
}

func unescape(inside []byte) string {
	text := jsonscan.AppendUnescaped(make([]byte, 0, len(inside)), inside)
	return unsafe.String(unsafe.SliceData(text), len(text))
}
