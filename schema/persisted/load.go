package persisted

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
	"unsafe"
)

// Source is one manifest: a file in one of the formats, or a folder of
// .graphql and .gql files. The format is detected.
type Source struct {
	Path string
	// Content is a JSON manifest that was fetched; Path is then only its name in
	// problems. Nil: Path is read.
	Content []byte
	// Client is the only client that may use the documents; empty shares them,
	// except those to which an Apollo manifest gives a clientName.
	Client string
	// Version is the only version of that client that may; empty: all.
	Version string
	// Raise lifts limits for every document that does not raise its own.
	Raise Raise
	// Index is used for this source in place of [Options].Index.
	Index *Index
}

// Options says how to load.
type Options struct {
	// Canonical returns the canonical form of a document with one operation, as
	// schema.CanonicalForm does; it is called from several goroutines at once.
	// A document for which it fails is a bad entry. Documents with several
	// operations are not given to it: they are found by id only. Nil means that
	// nothing is found by its text.
	Canonical func(text string) ([32]byte, error)
	// Accept judges a document, for example against the schema and its limits;
	// its error makes the document a bad entry. It is called from several
	// goroutines at once; it must not keep the document. Nil accepts all.
	Accept func(*Document) error
	// Index spares the calls of Canonical and Accept for the texts that it lists;
	// nil for none. A few of its answers are computed all the same, and one that
	// differs fails the load. Documents that raise limits are always judged.
	Index *Index
	// SkipBad leaves bad entries out and lists them in [Set.Problems] instead
	// of failing. Files that cannot be read at all always fail.
	SkipBad bool
	// MaxDocuments bounds the number of documents over all sources; 0 is 10
	// million.
	MaxDocuments int
}

// Problem is a bad entry, or a manifest that cannot be read.
type Problem struct {
	File         string
	Line, Column int    // 1-based, in bytes; 0 when the whole file is meant
	Entry        string // the document's id or name; may be empty
	Message      string
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	if p.Entry != "" {
		fmt.Fprintf(&b, ": entry %q", p.Entry)
	}
	return b.String() + ": " + p.Message
}

// LoadError lists everything that is wrong, at most [MaxProblems] of it.
type LoadError struct {
	Problems []Problem
}

// MaxProblems bounds how many problems are collected.
const MaxProblems = 1000

func (e *LoadError) Error() string {
	if len(e.Problems) == 1 {
		return e.Problems[0].String()
	}
	return fmt.Sprintf("%s (and %d more)", e.Problems[0], len(e.Problems)-1)
}

// Load reads the sources in order. Entries of one client with the same id must
// have the same text. The error is an *[LoadError], or ctx's.
func Load(ctx context.Context, sources []Source, o Options) (*Set, error) {
	l := newLoader(ctx, o)
	for _, src := range sources {
		if err := l.source(src); err != nil {
			return nil, err
		}
	}
	return l.build()
}

func newLoader(ctx context.Context, o Options) *loader {
	if o.MaxDocuments <= 0 {
		o.MaxDocuments = 10_000_000
	}
	return &loader{ctx: ctx, options: o, set: &Set{
		seed: maphash.MakeSeed(), clients: []Client{{}}, byClient: map[Client]uint16{}, raises: map[uint32]Raise{},
	}}
}

// build turns what was added into a set.
func (l *loader) build() (*Set, error) {
	l.index()
	if err := l.canonicalize(); err != nil {
		return nil, err
	}
	if l.fatal || len(l.problems) > 0 && !l.options.SkipBad {
		sortProblems(l.problems)
		return nil, &LoadError{l.problems}
	}
	l.finish()
	return l.set, nil
}

type loader struct {
	ctx      context.Context
	options  Options
	set      *Set
	problems []Problem
	fatal    bool
	file     uint16
	from     *Source    // of what is being read
	indexes  []*Index   // by file
	bad      []bool     // by entry
	sums     [][32]byte // by entry: SHA-256 of the text
}

func sortProblems(all []Problem) {
	slices.SortStableFunc(all, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

func (l *loader) problem(p Problem) {
	if len(l.problems) < MaxProblems {
		l.problems = append(l.problems, p)
	}
}

// broken reports a file that cannot be read at all.
func (l *loader) broken(p Problem) {
	l.fatal = true
	l.problem(p)
}

// source loads one source; the error is ctx's.
func (l *loader) source(src Source) error {
	l.from = &src
	if src.Content != nil {
		return l.manifest(src.Path, bytes.NewReader(src.Content))
	}
	info, err := os.Stat(src.Path)
	if err != nil {
		l.broken(Problem{File: src.Path, Message: reason(err)})
		return nil
	}
	if info.IsDir() {
		return l.folder(src.Path)
	}
	if isGraphQL(src.Path) {
		l.graphql(src.Path)
		return l.ctx.Err()
	}
	f, err := os.Open(src.Path)
	if err != nil {
		l.broken(Problem{File: src.Path, Message: reason(err)})
		return nil
	}
	defer f.Close()
	return l.manifest(src.Path, f)
}

// reason leaves out the path, which the problem names already.
func reason(err error) string {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err.Error()
	}
	return err.Error()
}

func isGraphQL(path string) bool {
	ext := strings.ToLower(filepath.Ext(path))
	return ext == ".graphql" || ext == ".gql"
}

func (l *loader) folder(root string) error {
	before := len(l.set.entries)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			l.broken(Problem{File: path, Message: reason(err)})
			return nil
		}
		if !d.IsDir() && isGraphQL(path) {
			l.graphql(path)
		}
		return l.ctx.Err()
	})
	if err == nil && len(l.set.entries) == before && len(l.problems) == 0 {
		l.broken(Problem{File: root, Message: "the folder has no .graphql or .gql file"})
	}
	return err
}

// maxFile bounds one .graphql file; a document limit is far below it.
const maxFile = 16 << 20

// graphql loads one file as one document, under its stem and its SHA-256.
func (l *loader) graphql(path string) {
	f, err := os.Open(path)
	if err != nil {
		l.broken(Problem{File: path, Message: reason(err)})
		return
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		l.broken(Problem{File: path, Message: reason(err)})
		return
	}
	l.oneDocument(path, text)
}

// oneDocument adds a .graphql file's text.
func (l *loader) oneDocument(path string, text []byte) {
	if !l.open(path) {
		return
	}
	stem := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	r := record{id: stem, client: l.from.Client, text: text, line: 1, column: 1}
	if !l.add(&r) {
		return
	}
	sum := sha256.Sum256(text)
	n := len(l.set.entries) - 1
	alias := l.set.entries[n]
	alias.alias = true
	alias.id = l.set.keep([]byte(hex.EncodeToString(sum[:])))
	l.set.entries = append(l.set.entries, alias)
	l.bad = append(l.bad, false)
}

// open makes path the file of the entries to come.
func (l *loader) open(path string) bool {
	if len(l.set.files) > math.MaxUint16 {
		l.broken(Problem{File: path, Message: "more than 65,536 files"})
		return false
	}
	l.file = uint16(len(l.set.files))
	l.set.files = append(l.set.files, path)
	l.set.lifted = append(l.set.lifted, l.from.Raise)
	l.indexes = append(l.indexes, cmp.Or(l.from.Index, l.options.Index))
	return true
}

// record is an entry as read. text may point into a buffer.
type record struct {
	id, client, name, kind string
	text                   []byte
	line, column           int
	raise                  Raise
}

// MaxIDLength bounds a document's id, in bytes: no request can name a longer one.
const MaxIDLength = 256

// add checks a record and keeps it; false when it was bad.
func (l *loader) add(r *record) bool {
	bad := func(message string) bool {
		l.problem(Problem{l.set.files[l.file], r.line, r.column, cmp.Or(r.id, r.name), message})
		return false
	}
	o := outlineOf(unsafe.String(unsafe.SliceData(r.text), len(r.text)))
	switch {
	case r.id == "":
		return bad("the id is missing")
	case !requestable(r.id):
		return bad("the id cannot be requested: ids are 1 to 256 printable ASCII characters without spaces")
	case !utf8.Valid(r.text):
		return bad("the text is not UTF-8")
	case len(r.text) > maxFile:
		return bad("the text is too long")
	case o.operations == 0:
		return bad("the text has no operation")
	case r.name != "" && o.operations == 1 && r.name != o.name:
		return bad(fmt.Sprintf("the name is %q and the text's operation is %q", r.name, o.name))
	case r.kind != "" && o.operations == 1 && r.kind != o.kind.String():
		return bad(fmt.Sprintf("the type is %q and the text's operation is a %s", r.kind, o.kind))
	case len(o.name) > math.MaxUint16:
		return bad("the operation's name is too long")
	case len(l.set.entries) >= l.options.MaxDocuments:
		l.fatal = true
		return bad(fmt.Sprintf("more than %d documents", l.options.MaxDocuments))
	}
	client, ok := l.clientIndex(Client{r.client, l.from.Version})
	if !ok {
		return bad("more than 65,536 clients")
	}
	if r.raise != (Raise{}) {
		l.set.raises[uint32(len(l.set.entries))] = r.raise
	}
	l.set.entries = append(l.set.entries, entry{
		id: l.set.keep([]byte(normal(r.id))), text: l.set.keep(r.text),
		name: uint32(o.nameAt), nameLen: uint16(len(o.name)), kind: o.kind,
		line: clip(r.line), column: clip(r.column), client: client, file: l.file,
		matchable: o.operations == 1,
	})
	l.bad = append(l.bad, false)
	return true
}

func clip(n int) uint32 { return uint32(min(n, math.MaxUint32)) }

func requestable(id string) bool {
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return len(id) <= MaxIDLength
}

func (l *loader) clientIndex(client Client) (uint16, bool) {
	if client.Name == "" {
		return 0, true
	}
	if i, ok := l.set.byClient[client]; ok {
		return i, true
	}
	if len(l.set.clients) > math.MaxUint16 {
		return 0, false
	}
	i := uint16(len(l.set.clients))
	l.set.clients = append(l.set.clients, Client{strings.Clone(client.Name), strings.Clone(client.Version)})
	l.set.byClient[l.set.clients[i]] = i
	return i, true
}

// index puts every entry under its id. A second entry with the same id is
// dropped when it has the same text and bad otherwise; so is the first one
// then, for nobody can say which is meant.
func (l *loader) index() {
	s := l.set
	s.ids.reserve(len(s.entries))
	for n := range s.entries {
		e := &s.entries[n]
		id := s.str(e.id)
		old, found := s.findID(e.client, id)
		if !found {
			s.ids.put(s.hashID(e.client, id), uint32(n))
			continue
		}
		l.bad[n] = true
		if s.str(s.entries[old].text) != s.str(e.text) {
			l.bad[old] = true
			l.entryProblem(uint32(n), "the id is also that of another text, at "+s.document(old).Source())
		}
	}
}

func (l *loader) entryProblem(n uint32, message string) {
	e := &l.set.entries[n]
	l.problem(Problem{l.set.files[e.file], int(e.line), int(e.column), l.set.str(e.id), message})
}

// canonicalize fills the sums and digests and judges the documents, in parallel.
func (l *loader) canonicalize() error {
	s := l.set
	l.sums = make([][32]byte, len(s.entries))
	if l.options.Canonical != nil {
		s.digests = make([][32]byte, len(s.entries))
	}
	failures := make([][]failure, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for w := range failures {
		wg.Go(func() { failures[w] = l.canonicalPart(w, len(failures)) })
	}
	wg.Wait()
	if err := l.ctx.Err(); err != nil {
		return err
	}
	for _, part := range failures {
		for _, f := range part {
			l.bad[f.entry] = true
			if _, ok := errors.AsType[*IndexError](f.err); ok {
				l.fatal = true
			}
			l.entryProblem(f.entry, "the document is not acceptable: "+f.err.Error())
		}
	}
	return nil
}

type failure struct {
	entry uint32
	err   error
}

// canonicalPart handles every stride-th entry from first on.
func (l *loader) canonicalPart(first, stride int) (failures []failure) {
	s := l.set
	for n := first; n < len(s.entries); n += stride {
		e := &s.entries[n]
		if l.bad[n] || e.alias || l.ctx.Err() != nil {
			continue
		}
		l.sums[n] = sha256.Sum256(s.bytes(e.text))
		if err := l.judge(uint32(n), e); err != nil {
			failures = append(failures, failure{uint32(n), err})
		}
	}
	return failures
}

// judge finds an entry's canonical form and asks Accept about it, unless the
// index vouches for it.
func (l *loader) judge(n uint32, e *entry) error {
	vouched := false
	if l.options.Canonical != nil && e.matchable {
		form, indexed, err := l.form(int(n), e)
		if err != nil {
			return err
		}
		l.set.digests[n], vouched = form, indexed
	}
	if l.options.Accept == nil || vouched && l.set.raise(n) == (Raise{}) {
		return nil
	}
	return l.options.Accept(l.set.document(n))
}

// sampled is how many entries there are to one whose indexed form is computed again.
const sampled = 1009

// form returns an entry's canonical form, and whether it was taken from the index.
func (l *loader) form(n int, e *entry) (form [32]byte, indexed bool, err error) {
	text, index := l.set.str(e.text), l.indexes[e.file]
	if index == nil {
		form, err = l.options.Canonical(text)
		return form, false, err
	}
	known, found := index.find(l.sums[n])
	if found && n%sampled != 0 {
		return known, true, nil
	}
	form, err = l.options.Canonical(text)
	if err == nil && found && form != known {
		err = &IndexError{"it gives another canonical form than the document has"}
	}
	return form, false, err
}

// finish removes the bad entries and builds the final indexes.
func (l *loader) finish() {
	s := l.set
	kept := 0
	whole := len(s.entries)
	for n := range s.entries {
		if l.bad[n] {
			delete(s.raises, uint32(n))
			continue
		}
		if s.entries[n].alias && (n == 0 || l.bad[n-1]) {
			continue
		}
		s.entries[kept] = s.entries[n]
		if r, ok := s.raises[uint32(n)]; ok && kept != n {
			s.raises[uint32(kept)] = r
			delete(s.raises, uint32(n))
		}
		if s.digests != nil {
			s.digests[kept] = s.digests[n]
		}
		l.sums[kept] = l.sums[n]
		kept++
	}
	s.entries = s.entries[:kept]
	if s.digests != nil {
		s.digests = s.digests[:kept]
		s.forms.reserve(kept)
	}
	again := kept < whole // else they stand as index put them
	if again {
		s.ids.reserve(kept)
	}
	for n := range s.entries {
		e := &s.entries[n]
		if again {
			s.ids.put(s.hashID(e.client, s.str(e.id)), uint32(n))
		}
		if e.alias {
			continue
		}
		s.unique++
		if s.digests == nil || !e.matchable {
			continue
		}
		if _, found := s.findForm(e.client, s.digests[n]); !found {
			s.forms.put(s.hashForm(e.client, s.digests[n]), uint32(n))
		}
	}
	sortProblems(l.problems)
	s.problems = l.problems
	s.seal(l.sums)
}

// FromMap builds a set from ids and texts in memory, for tests and embedding.
// Each document's Source is memory:1:1.
func FromMap(client string, documents map[string]string, o Options) (*Set, error) {
	l := newLoader(context.Background(), o)
	l.from = &Source{Client: client}
	l.open("memory")
	for _, id := range slices.Sorted(maps.Keys(documents)) {
		l.add(&record{id: id, client: client, text: []byte(documents[id]), line: 1, column: 1})
	}
	return l.build()
}
