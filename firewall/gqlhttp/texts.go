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
	text  atomic.Pointer[Text]
}

// Text is a document text that a [Texts] remembers. Immutable, but for Note.
type Text struct {
	literal, text string

	// Note is what its reader last made of the text, all of one type; nil
	// until then. It stays as long as the text, so what is large should be
	// held weakly.
	Note atomic.Value
}

// NewTexts returns an empty memory.
func NewTexts() *Texts { return &Texts{seed: maphash.MakeSeed()} }

// find returns the text of a literal's inside that add was given before, and
// its hash for add; nil where there is none. A nil Texts knows nothing.
func (t *Texts) find(inside []byte) (known *Text, sum uint64) {
	if t == nil || len(inside) > maxKeptText {
		return nil, 0
	}
	sum = maphash.Bytes(t.seed, inside)
	if k := t.places[sum%textPlaces].text.Load(); k != nil && k.literal == string(inside) {
		return k, sum
	}
	return nil, sum
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
		place.text.Store(&Text{literal: string(inside), text: strings.Clone(text)})
	}
	return text
}

func unescape(inside []byte) string {
	text := jsonscan.AppendUnescaped(make([]byte, 0, len(inside)), inside)
	return unsafe.String(unsafe.SliceData(text), len(text))
}
