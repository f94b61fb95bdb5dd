package persisted

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
)

// Index remembers canonical forms by the SHA-256 of the text, so that a start
// need not parse every document again. Publishing writes it; it depends on no
// order and no file name, and an entry that is not in it is computed. It is
// immutable.
type Index struct {
	records []byte // sorted: 32 bytes SHA-256 of the text, 32 bytes canonical form
	// fan[p] is the number of records whose hash begins with less than the 16
	// bits p: a search then stays within a page.
	fan [1<<16 + 1]uint32
}

const (
	indexMagic  = "graphward persisted index 1\n"
	recordSize  = 2 * sha256.Size
	maxIndexLen = 20_000_000
)

// IndexError is an index that cannot be used.
type IndexError struct {
	Reason string
}

func (e *IndexError) Error() string { return "persisted index: " + e.Reason }

// WriteIndex writes the canonical forms of the set's documents. rule identifies
// what computed them (schema and version of the canonical form): ReadIndex
// demands the same.
func (s *Set) WriteIndex(w io.Writer, rule [32]byte) error {
	records := make([]byte, 0, recordSize*len(s.entries))
	for n := range s.entries {
		e := &s.entries[n]
		if s.digests == nil || e.alias || !e.matchable || s.raise(uint32(n)) != (Raise{}) {
			continue
		}
		sum := sha256.Sum256(s.bytes(e.text))
		records = append(append(records, sum[:]...), s.digests[n][:]...)
	}
	records = sortRecords(records)
	head := append([]byte(indexMagic), rule[:]...)
	head = binary.LittleEndian.AppendUint64(head, uint64(len(records)/recordSize))
	h := sha256.New()
	h.Write(head)
	h.Write(records)
	for _, part := range [][]byte{head, records, h.Sum(nil)} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// sortRecords sorts by the texts' hashes and drops repetitions.
func sortRecords(records []byte) []byte {
	at := func(i int) []byte { return records[i*recordSize : (i+1)*recordSize] }
	order := make([]uint32, len(records)/recordSize)
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int { return bytes.Compare(at(int(a)), at(int(b))) })
	sorted := make([]byte, 0, len(records))
	for _, i := range order {
		r := at(int(i))
		if n := len(sorted); n > 0 && bytes.Equal(sorted[n-recordSize:], r) {
			continue
		}
		sorted = append(sorted, r...)
	}
	return sorted
}

// ReadIndex reads what WriteIndex wrote and verifies it: its checksum, its
// order, and that the same rule computed it. The error is an *[IndexError] or r's.
func ReadIndex(r io.Reader, rule [32]byte) (*Index, error) {
	h := sha256.New()
	in := io.TeeReader(r, h)
	head := make([]byte, len(indexMagic)+32+8)
	if err := readFull(in, head); err != nil {
		return nil, err
	}
	if string(head[:len(indexMagic)]) != indexMagic {
		return nil, &IndexError{"it is not an index of this version"}
	}
	if [32]byte(head[len(indexMagic):]) != rule {
		return nil, &IndexError{"it was made for another schema or by another version"}
	}
	n := binary.LittleEndian.Uint64(head[len(indexMagic)+32:])
	if n > maxIndexLen {
		return nil, &IndexError{fmt.Sprintf("it claims %d records", n)}
	}
	// Grown as the bytes come: the count is only a claim so far.
	var records bytes.Buffer
	if _, err := io.CopyN(&records, in, int64(n)*recordSize); err != nil {
		return nil, short(err)
	}
	want := h.Sum(nil)
	sum := make([]byte, sha256.Size)
	if err := readFull(r, sum); err != nil {
		return nil, err
	}
	if !bytes.Equal(sum, want) {
		return nil, &IndexError{"its checksum is wrong"}
	}
	x := &Index{records: records.Bytes()}
	for i := 1; i < x.len(); i++ {
		if bytes.Compare(x.key(i-1), x.key(i)) >= 0 {
			return nil, &IndexError{"its records are out of order"}
		}
	}
	at := 0
	for p := range x.fan {
		for at < x.len() && int(binary.BigEndian.Uint16(x.key(at))) < p {
			at++
		}
		x.fan[p] = uint32(at)
	}
	return x, nil
}

func readFull(r io.Reader, p []byte) error {
	_, err := io.ReadFull(r, p)
	return short(err)
}

func short(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return &IndexError{"it ends early"}
	}
	return err
}

func (x *Index) len() int { return len(x.records) / recordSize }

func (x *Index) key(i int) []byte { return x.records[i*recordSize : i*recordSize+sha256.Size] }

// find returns the canonical form of the text with this SHA-256.
func (x *Index) find(sum [32]byte) (form [32]byte, ok bool) {
	if x == nil {
		return form, false
	}
	p := binary.BigEndian.Uint16(sum[:])
	from := int(x.fan[p])
	i := from + sort.Search(int(x.fan[int(p)+1])-from, func(i int) bool { return bytes.Compare(x.key(from+i), sum[:]) >= 0 })
	if i == x.len() || !bytes.Equal(x.key(i), sum[:]) {
		return form, false
	}
	return [32]byte(x.records[i*recordSize+sha256.Size:]), true
}
