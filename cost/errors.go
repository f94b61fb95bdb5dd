package cost

import (
	"fmt"
	"strconv"
	"strings"
)

// Problem is one thing wrong with the options or with the directives of the
// schema. Key is the option's key below "cost", such as "weights.User.postz",
// or "schema: User.posts @listSize" for a directive.
type Problem struct {
	Key     string
	Message string
}

func (p Problem) String() string { return p.Key + ": " + p.Message }

// ModelError lists every problem that NewModel found, sorted by key.
type ModelError struct{ Problems []Problem }

func (e *ModelError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// PageSizeError is a slicing value outside Options.PageSize, or a missing one
// where one is required.
type PageSizeError struct {
	// Coordinate is the field, "User.posts"; Argument its slicing argument, or
	// all of them joined by "|" when none was given.
	Coordinate, Argument string
	// Got is the value: an integer, "null", or "nothing" when it was missing.
	Got string
	// Min and Max are the bounds; nil where there is none.
	Min, Max *int
}

func (e *PageSizeError) Error() string {
	want := "a page size"
	switch {
	case e.Min != nil && e.Max != nil:
		want = fmt.Sprintf("a page size from %d to %d", *e.Min, *e.Max)
	case e.Max != nil:
		want = fmt.Sprintf("a page size of at most %d", *e.Max)
	case e.Min != nil:
		want = fmt.Sprintf("a page size of at least %d", *e.Min)
	}
	return fmt.Sprintf("%s needs %s in %s, got %s", e.Coordinate, want, e.Argument, e.Got)
}

// UnboundedError is a list that nothing sizes, under a profile that refuses it.
type UnboundedError struct{ Coordinate string }

func (e *UnboundedError) Error() string {
	return e.Coordinate + " returns a list whose size nothing bounds"
}

// SlicingError is a field whose @listSize requires exactly one slicing value.
type SlicingError struct {
	Coordinate string
	Arguments  []string // the slicing arguments that the field has
	Present    int      // how many of them had a value
}

func (e *SlicingError) Error() string {
	return fmt.Sprintf("%s needs exactly one of %s, got %d", e.Coordinate, strings.Join(e.Arguments, ", "), e.Present)
}

// NegativeSizeError is a slicing value below zero.
type NegativeSizeError struct {
	Coordinate, Argument string
	Got                  float64
}

func (e *NegativeSizeError) Error() string {
	return fmt.Sprintf("%s: %s is %s, a size cannot be negative", e.Coordinate, e.Argument,
		strconv.FormatFloat(e.Got, 'f', -1, 64))
}

// NodeLimitError is an operation that can return more nodes than its profile
// admits (github). The Estimate returned beside it is complete.
type NodeLimitError struct{ Nodes, Max float64 }

func (e *NodeLimitError) Error() string {
	return fmt.Sprintf("the operation can return %.0f nodes, the limit is %.0f", e.Nodes, e.Max)
}

// ResponseError is a response body from which no cost can be read. Offset
// counts bytes from its beginning.
type ResponseError struct {
	Offset  int
	Message string
}

func (e *ResponseError) Error() string { return fmt.Sprintf("offset %d: %s", e.Offset, e.Message) }

// ApproximateError is returned by Actual for a program that was too large to
// be compiled exactly: settle at the estimate.
type ApproximateError struct{ Operation string }

func (e *ApproximateError) Error() string {
	return "operation " + strconv.Quote(e.Operation) + " is priced approximately; its responses are not measured"
}
