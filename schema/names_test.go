package schema

import (
	"strconv"
	"testing"
)

// Numbers are given in order and kept while the table grows, and a table that was
// emptied knows nothing of what it held.
func TestNames(t *testing.T) {
	var names Names
	for round := range 3 {
		count := 2000 / (round + 1)
		for again := range 2 {
			for i := range count {
				number, isNew := names.Number(strconv.Itoa(i * (round + 1)))
				if int(number) != i || isNew != (again == 0) {
					t.Fatalf("round %d: name %d has number %d, new: %v", round, i, number, isNew)
				}
			}
		}
		if names.Len() != count {
			t.Fatalf("%d names, want %d", names.Len(), count)
		}
		names.Reset()
		if names.Len() != 0 {
			t.Fatal("names left")
		}
	}
	names.round = 1<<32 - 1
	names.Number("a")
	names.Reset()
	if _, isNew := names.Number("a"); !isNew {
		t.Error("a name outlived the end of the rounds")
	}
	for i := range 2 * keptNames {
		names.Number(strconv.Itoa(i))
	}
	names.Reset()
	if names.slots != nil {
		t.Error("a large table is kept")
	}
	if number, isNew := names.Number("a"); number != 0 || !isNew {
		t.Errorf("number %d, new: %v", number, isNew)
	}
}
