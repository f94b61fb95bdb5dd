package policy

import (
	"fmt"
	"slices"
	"strings"
)

// didYouMean returns `; did you mean "a" or "b"?` for the candidates nearest
// to name, or the empty string when none is near.
func didYouMean(name string, candidates []string) string {
	near := nearest(name, candidates)
	if len(near) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(near, " or ") + "?"
}

// nearest returns at most three candidates within an edit distance of a third
// of the name (at least 2), nearest first.
func nearest(name string, candidates []string) []string {
	type scored struct {
		name string
		d    int
	}
	limit := max(2, len(name)/3)
	var found []scored
	for _, c := range candidates {
		if d := distance(strings.ToLower(name), strings.ToLower(c), limit); d <= limit {
			found = append(found, scored{c, d})
		}
	}
	slices.SortFunc(found, func(a, b scored) int {
		if a.d != b.d {
			return a.d - b.d
		}
		return strings.Compare(a.name, b.name)
	})
	out := make([]string, 0, 3)
	for _, s := range found[:min(3, len(found))] {
		out = append(out, fmt.Sprintf("%q", s.name))
	}
	return out
}

// distance is the Levenshtein distance of a and b, or limit+1 when it is
// certainly more than limit.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d > limit || -d > limit {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		prev := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := prev
			if a[i] != b[j] {
				cost = 1 + min(prev, row[j], row[j+1])
			}
			prev, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
