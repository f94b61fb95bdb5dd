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

// text returns the value of a literal's inside, which jsonscan has read. A nil
// Texts remembers nothing.
func (t *Texts) text(inside []byte) string {
	if t == nil || len(inside) > maxKeptText {
		return unescape(inside)
	}
	sum := maphash.Bytes(t.seed, inside)
	place := &t.places[sum%textPlaces]
	if known := place.text.Load(); known != nil && known.literal == string(inside) {
		return known.text
	}
	text := unescape(inside)
	if print := uint32(sum>>32) | 1; place.asked.Swap(print) == print {
		place.text.Store(&knownText{string(inside), strings.Clone(text)})
	}
	return text
}

func unescape(inside []byte) string {
	text := jsonscan.AppendUnescaped(make([]byte, 0, len(inside)), inside)
	return unsafe.String(unsafe.SliceData(text), len(text))
}
