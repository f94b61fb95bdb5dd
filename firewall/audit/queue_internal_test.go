package audit

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// The queue against a list of lines: order, bounds, the sizes of batches and
// what it takes for full.
func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var lines [][]byte
		var under []*batch // taken and not done
		queued, records := 0, 0
		take := func(all bool) bool {
			b := q.take(all)
			if b == nil {
				return false
			}
			if b.records == 0 || b.next != nil || b.sent != 0 {
				t.Fatalf("%d records, %d sent", b.records, b.sent)
			}
			want := bytes.Join(lines[:b.records], nil)
			if !bytes.Equal(b.text, want) {
				t.Fatalf("%d bytes are not the oldest %d lines", len(b.text), b.records)
			}
			if len(b.text) > batchBytes && b.records > 1 {
				t.Fatalf("%d records in %d bytes", b.records, len(b.text))
			}
			next := lines[b.records:]
			if !all && (len(next) == 0 || len(b.text)+len(next[0]) <= batchBytes) {
				t.Fatalf("a batch of %d bytes has room and is taken", len(b.text))
			}
			lines = next
			if rapid.Bool().Draw(t, "slow") {
				under = append(under, b)
				return true
			}
			q.done(b)
			queued, records = queued-len(b.text), records-int(b.records)
			b.release()
			return true
		}
		size := rapid.OneOf(rapid.IntRange(1, 2000), rapid.IntRange(1, 3*batchBytes), rapid.SampledFrom([]int{1, batchBytes - 1, batchBytes, batchBytes + 1, queueBytes}))
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				take(false)
			case 1:
				take(true)
			default:
				line := bytes.Repeat([]byte{byte('a' + len(lines)%26)}, size.Draw(t, "size"))
				room := records < queueRecords && queued+len(line) <= queueBytes
				if q.add(line) != room {
					t.Fatalf("a line of %d bytes behind %d of %d bytes: room is %v", len(line), len(lines), queued, room)
				}
				if room {
					lines, queued, records = append(lines, line), queued+len(line), records+1
				}
			}
			if q.bytes != queued || q.records != uint64(records) || q.full() != (queued == queueBytes) {
				t.Fatalf("%d records and %d bytes, not %d and %d; full: %v", q.records, q.bytes, records, queued, q.full())
			}
		}
		for take(true) {
		}
		for _, b := range under {
			q.done(b)
		}
		if len(lines) > 0 || q != (queue{}) {
			t.Fatalf("%d lines are left", len(lines))
		}
	})
}

func TestQueueRecords(t *testing.T) {
	var q queue
	for n := range queueRecords {
		if q.full() || !q.add([]byte("\n")) {
			t.Fatalf("full at %d", n)
		}
	}
	if !q.full() || q.add([]byte("\n")) {
		t.Error("no bound")
	}
	b := q.take(true)
	if !q.full() {
		t.Error("room before what was taken is written")
	}
	if q.done(b); q.full() || !q.add([]byte("\n")) {
		t.Error("no room in the place of what was written")
	}
}
