package audit

import "sync"

const (
	queueRecords = 8192
	queueBytes   = 16 << 20
	batchBytes   = 64 << 10
)

// batch is a run of lines that are written by one call.
type batch struct {
	text    []byte
	sent    int // bytes of text that the output took
	records uint64

	next *batch // in a queue
}

// release gives b back, unless an unusual record made it large.
func (b *batch) release() {
	if cap(b.text) == batchBytes {
		*b = batch{text: b.text[:0]}
		batches.Put(b)
	}
}

// batches are empty ones with room for batchBytes. What a burst needed is
// collected after it.
var batches = sync.Pool{New: func() any { return &batch{text: make([]byte, 0, batchBytes)} }}

// queue holds lines until the writer is done with them, in batches as they
// will be written. Its zero value is empty. It is not safe for concurrent use.
type queue struct {
	head, tail *batch
	records    uint64 // not done, at most queueRecords
	bytes      int    // of their text, at most queueBytes
}

// add copies line, which ends with a line break, and reports whether there was
// room.
func (q *queue) add(line []byte) bool {
	if q.records >= queueRecords || q.bytes+len(line) > queueBytes {
		return false
	}
	b := q.tail
	if b == nil || len(b.text)+len(line) > cap(b.text) {
		b = q.extend(len(line))
	}
	b.text = append(b.text, line...)
	b.records++
	q.records++
	q.bytes += len(line)
	return true
}

// full reports that no record has room.
func (q *queue) full() bool { return q.records >= queueRecords || q.bytes >= queueBytes }

// extend adds an empty batch that has room for size bytes.
func (q *queue) extend(size int) *batch {
	var b *batch
	if size <= batchBytes {
		b = batches.Get().(*batch)
	} else {
		b = &batch{text: make([]byte, 0, size)}
	}
	if q.tail == nil {
		q.head = b
	} else {
		q.tail.next = b
	}
	q.tail = b
	return b
}

// take removes the oldest batch: one that others follow, which is full, or, if
// all is set, the last. It returns nil when there is none. The batch counts
// until done.
func (q *queue) take(all bool) *batch {
	b := q.head
	if b == nil || b == q.tail && !all {
		return nil
	}
	if q.head = b.next; q.head == nil {
		q.tail = nil
	}
	b.next = nil
	return b
}

// done makes room in the place of b, which was taken and is written or lost.
func (q *queue) done(b *batch) {
	q.records -= b.records
	q.bytes -= len(b.text)
}
