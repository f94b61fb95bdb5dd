package persisted

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/maphash"
	"iter"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"
)

// Document is one registered document. Its strings share the set's memory.
//
// Whoever finds one may share it with others who did, and must not change it.
type Document struct {
	// ID is the id as registered, without a sha256: prefix.
	ID string
	// Client and Version are the only client, and its only version, that may use
	// the document; empty when all may.
	Client, Version string
	// Name and Kind are the operation's; Name is empty for an anonymous
	// operation, and both are when the document has several operations.
	Name string
	Kind string
	Text string
	// File, Line and Column say where the document was registered; Line and
	// Column are 1-based, in bytes.
	File         string
	Line, Column int
	// Raise lifts limits for this document.
	Raise Raise
	// Number is the document's own within its set, below [Set.Numbers].
	Number int
}

// Raise lifts limits for one document: where a field is not zero and above the
// firewall's own limit, it holds in its place. Counts are as the limits' own;
// Cost is in cost units.
type Raise struct {
	Depth, Aliases, RootFields, Directives int
	Cost                                   float64
}

// Client is who asks, or who may ask: a name and perhaps a version of it.
// Without a name the version says nothing.
type Client struct{ Name, Version string }

// Source returns the place of registration as file:line:column.
func (d *Document) Source() string {
	return d.File + ":" + strconv.Itoa(d.Line) + ":" + strconv.Itoa(d.Column)
}

// Store finds registered documents. Both methods look among the documents of
// the client's version first, then among the client's and then among the shared
// ones; what belongs to another client or version is unknown. They are safe for
// concurrent use.
type Store interface {
	// Lookup finds a document by its id.
	Lookup(client Client, id string) (*Document, bool)
	// Match finds a document by its canonical form (schema.CanonicalForm).
	Match(client Client, canonical [32]byte) (*Document, bool)
}

var _ Store = (*Set)(nil)

// Set is a loaded, immutable set of documents. A nil Set has none.
//
// It is made for millions of entries: texts and ids lie in few large chunks,
// an entry is a fixed-size record, and the two indexes are open-addressing tables of
// record numbers.
type Set struct {
	seed     maphash.Seed
	chunks   [][]byte
	entries  []entry
	clients  []Client // index 0 is zero: the shared documents
	files    []string
	byClient map[Client]uint16
	lifted   []Raise          // by file
	raises   map[uint32]Raise // by entry, of those that have their own
	ids      table
	forms    table
	digests  [][32]byte // by entry; empty when no canonical form was asked for
	sum      [32]byte
	problems []Problem
	unique   int
	recent   recent
}

// recent are the documents that were found last, each in a place by its number:
// a document is made when it is found, and most are found again and again.
type recent [256]atomic.Pointer[found]

type found struct {
	entry    uint32
	document Document
}

func (r *recent) get(s *Set, n uint32) *Document {
	place := &r[n%uint32(len(r))]
	if f := place.Load(); f != nil && f.entry == n {
		return &f.document
	}
	f := &found{n, *s.document(n)}
	place.Store(f)
	return &f.document
}

// entry is a document or, with alias set, a second id of one.
type entry struct {
	id, text     span
	name         uint32 // offset of the name in text
	line, column uint32
	client, file uint16
	nameLen      uint16
	kind         kind
	alias        bool
	matchable    bool
}

// span is a piece of a chunk.
type span struct {
	chunk, offset, length uint32
}

type kind uint8

const (
	unknown kind = iota
	query
	mutation
	subscription
)

func (k kind) String() string { return [...]string{"", "query", "mutation", "subscription"}[k] }

func kindOf(word string) kind {
	switch word {
	case "query":
		return query
	case "mutation":
		return mutation
	case "subscription":
		return subscription
	}
	return unknown
}

// table is an open-addressing hash table of entry numbers plus one. Its length
// is a power of two and at most half of it is used.
type table []uint32

func (t *table) reserve(n int) {
	size := 16
	for size < 2*n {
		size *= 2
	}
	*t = make(table, size)
}

// find returns the first entry on the hash's probe path that eq accepts.
func (t table) find(hash uint64, eq func(entry uint32) bool) (uint32, bool) {
	if len(t) == 0 {
		return 0, false
	}
	mask := uint64(len(t) - 1)
	for i := hash & mask; t[i] != 0; i = (i + 1) & mask {
		if eq(t[i] - 1) {
			return t[i] - 1, true
		}
	}
	return 0, false
}

func (t table) put(hash uint64, entry uint32) {
	mask := uint64(len(t) - 1)
	i := hash & mask
	for t[i] != 0 {
		i = (i + 1) & mask
	}
	t[i] = entry + 1
}

// chunkSize is how much text is set aside at once.
const chunkSize = 4 << 20

// keep copies text into the set's memory.
func (s *Set) keep(text []byte) span {
	last := len(s.chunks) - 1
	if last < 0 || cap(s.chunks[last])-len(s.chunks[last]) < len(text) {
		s.chunks = append(s.chunks, make([]byte, 0, max(chunkSize, len(text))))
		last++
	}
	at := span{uint32(last), uint32(len(s.chunks[last])), uint32(len(text))}
	s.chunks[last] = append(s.chunks[last], text...)
	return at
}

func (s *Set) str(at span) string {
	if at.length == 0 {
		return ""
	}
	return unsafe.String(&s.chunks[at.chunk][at.offset], int(at.length))
}

func (s *Set) bytes(at span) []byte {
	if at.length == 0 {
		return nil
	}
	return s.chunks[at.chunk][at.offset : at.offset+at.length]
}

// normal removes a sha256: prefix from the form that the specification defines.
func normal(id string) string {
	const prefix = "sha256:"
	if len(id) == len(prefix)+64 && strings.HasPrefix(id, prefix) && strings.Trim(id[len(prefix):], "0123456789abcdef") == "" {
		return id[len(prefix):]
	}
	return id
}

func (s *Set) hashID(client uint16, id string) uint64 {
	return maphash.String(s.seed, id) + uint64(client)*0x9e3779b97f4a7c15
}

func (s *Set) hashForm(client uint16, form [32]byte) uint64 {
	return binary.LittleEndian.Uint64(form[:8]) + uint64(client)*0x9e3779b97f4a7c15
}

func (s *Set) findID(client uint16, id string) (uint32, bool) {
	return s.ids.find(s.hashID(client, id), func(n uint32) bool {
		e := &s.entries[n]
		return e.client == client && s.str(e.id) == id
	})
}

func (s *Set) findForm(client uint16, form [32]byte) (uint32, bool) {
	return s.forms.find(s.hashForm(client, form), func(n uint32) bool {
		return s.entries[n].client == client && s.digests[n] == form
	})
}

// Lookup implements [Store].
func (s *Set) Lookup(client Client, id string) (*Document, bool) {
	if s == nil {
		return nil, false
	}
	id = normal(id)
	return s.first(client, func(c uint16) (uint32, bool) { return s.findID(c, id) })
}

// Match implements [Store].
func (s *Set) Match(client Client, canonical [32]byte) (*Document, bool) {
	if s == nil {
		return nil, false
	}
	return s.first(client, func(c uint16) (uint32, bool) { return s.findForm(c, canonical) })
}

func (s *Set) first(client Client, find func(uint16) (uint32, bool)) (*Document, bool) {
	if client.Name != "" && len(s.byClient) > 0 {
		for _, who := range [...]Client{client, {Name: client.Name}} {
			c, ok := s.byClient[who]
			if !ok {
				continue
			}
			if n, ok := find(c); ok {
				return s.recent.get(s, n), true
			}
		}
	}
	n, ok := find(0)
	if !ok {
		return nil, false
	}
	return s.recent.get(s, n), true
}

func (s *Set) document(n uint32) *Document {
	e := &s.entries[n]
	text := s.str(e.text)
	number := int(n)
	if e.alias { // it follows its document
		number--
	}
	return &Document{
		Number:  number,
		ID:      s.str(e.id),
		Client:  s.clients[e.client].Name,
		Version: s.clients[e.client].Version,
		Name:    text[e.name : e.name+uint32(e.nameLen)],
		Kind:    e.kind.String(),
		Text:    text,
		File:    s.files[e.file],
		Line:    int(e.line),
		Column:  int(e.column),
		Raise:   s.raise(n),
	}
}

func (s *Set) raise(n uint32) Raise {
	if r, ok := s.raises[n]; ok {
		return r
	}
	return s.lifted[s.entries[n].file]
}

// Highest returns for each limit the highest that any document is raised to.
func (s *Set) Highest() Raise {
	var top Raise
	if s == nil {
		return top
	}
	for _, r := range s.lifted {
		top.lift(r)
	}
	for _, r := range s.raises {
		top.lift(r)
	}
	return top
}

func (r *Raise) lift(by Raise) {
	r.Depth = max(r.Depth, by.Depth)
	r.Aliases = max(r.Aliases, by.Aliases)
	r.RootFields = max(r.RootFields, by.RootFields)
	r.Directives = max(r.Directives, by.Directives)
	r.Cost = max(r.Cost, by.Cost)
}

// Len returns the number of documents.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return s.unique
}

// Numbers is what every [Document].Number is below.
func (s *Set) Numbers() int {
	if s == nil {
		return 0
	}
	return len(s.entries)
}

// All yields every document once, in the order of registration.
func (s *Set) All() iter.Seq[*Document] {
	return func(yield func(*Document) bool) {
		if s == nil {
			return
		}
		for n := range s.entries {
			if !s.entries[n].alias && !yield(s.document(uint32(n))) {
				return
			}
		}
	}
}

// Digest identifies the set's content in cache keys: SHA-256 over clients, ids,
// the texts' own SHA-256 and raised limits in order. That of a nil Set is zero.
func (s *Set) Digest() [32]byte {
	if s == nil {
		return [32]byte{}
	}
	return s.sum
}

// Problems returns what was left out under [Options].SkipBad. Read only.
func (s *Set) Problems() []Problem {
	if s == nil {
		return nil
	}
	return s.problems
}

// Bytes returns the memory that the set holds, the heap's rounding apart.
func (s *Set) Bytes() int {
	if s == nil {
		return 0
	}
	n := len(s.entries)*int(unsafe.Sizeof(entry{})) + 4*(len(s.ids)+len(s.forms)) + 32*len(s.digests)
	for _, c := range s.chunks {
		n += cap(c)
	}
	return n
}

// seal computes the digest of what was added, whose texts have these sums.
func (s *Set) seal(sums [][32]byte) {
	h := sha256.New()
	for n := range s.entries {
		e := &s.entries[n]
		writeSized(h, s.clients[e.client].Name)
		writeSized(h, s.clients[e.client].Version)
		if r := s.raise(uint32(n)); r != (Raise{}) {
			writeSized(h, fmt.Sprintf("%+v", r))
		}
		writeSized(h, s.str(e.id))
		if e.alias { // it follows its document
			n--
		}
		h.Write(sums[n][:])
	}
	h.Sum(s.sum[:0])
}

func writeSized(h hash.Hash, text string) {
	var size [8]byte
	binary.LittleEndian.PutUint64(size[:], uint64(len(text)))
	h.Write(size[:])
	h.Write(unsafe.Slice(unsafe.StringData(text), len(text)))
}
