package persisted

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// Compose makes one document of each operation: its text, then those of the
// fragments that it reaches, in order of first use, a blank line between. The
// id is the SHA-256 of the text, as Apollo's tools make it. Documents are sorted by
// name and id; the same document found twice is one.
//
// A fragment that is missing or defined twice in different ways is a problem of
// each operation that reaches it, and such an operation is left out.
func Compose(definitions []Definition) ([]Document, []Problem) {
	c := composer{fragments: map[string]*Definition{}, clashes: map[string]*Definition{}}
	for i := range definitions {
		d := &definitions[i]
		if d.Kind != "fragment" {
			continue
		}
		if old := c.fragments[d.Name]; old != nil && old.Text != d.Text {
			c.clashes[d.Name] = d
			continue
		}
		c.fragments[d.Name] = d
	}
	var documents []Document
	for i := range definitions {
		if d := &definitions[i]; d.Kind != "fragment" {
			if text, ok := c.compose(d); ok {
				sum := sha256.Sum256([]byte(text))
				documents = append(documents, Document{ID: hex.EncodeToString(sum[:]), Name: d.Name, Kind: d.Kind, Text: text,
					File: d.File, Line: d.Line, Column: d.Column})
			}
		}
	}
	slices.SortStableFunc(documents, func(a, b Document) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	documents = slices.CompactFunc(documents, func(a, b Document) bool { return a.ID == b.ID })
	return documents, c.problems
}

type composer struct {
	fragments map[string]*Definition
	clashes   map[string]*Definition // a second definition of a name
	problems  []Problem
}

func (c *composer) compose(op *Definition) (text string, ok bool) {
	ok = true
	out := []byte(op.Text)
	reached := map[string]bool{}
	stack := slices.Clone(op.Spreads)
	slices.Reverse(stack)
	for len(stack) > 0 {
		name := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if reached[name] {
			continue
		}
		reached[name] = true
		f, clash := c.fragments[name], c.clashes[name]
		message := ""
		switch {
		case f == nil:
			message = fmt.Sprintf("no fragment %s is defined in any source", name)
		case clash != nil:
			message = fmt.Sprintf("the fragment %s is defined in different ways, at %s:%d:%d and %s:%d:%d", name, f.File, f.Line, f.Column, clash.File, clash.Line, clash.Column)
		}
		if message != "" {
			c.problems = append(c.problems, Problem{op.File, op.Line, op.Column, op.Name, message})
			ok = false
			continue
		}
		out = append(append(out, "\n\n"...), f.Text...)
		for _, next := range slices.Backward(f.Spreads) {
			stack = append(stack, next)
		}
	}
	return string(out), ok
}

// AppendManifest appends the documents as an Apollo persisted query manifest,
// version 1, in their order.
func AppendManifest(dst []byte, documents []Document) []byte {
	quote := func(name, value string) {
		dst = append(append(append(dst, `"`...), name...), `": `...)
		dst, _ = jsontext.AppendQuote(dst, value)
	}
	dst = append(dst, "{\n  \"format\": \""+apolloFormat+"\",\n  \"version\": 1,\n  \"operations\": ["...)
	for i, d := range documents {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, "\n    {\n      "...)
		quote("id", d.ID)
		dst = append(dst, ",\n      "...)
		quote("name", d.Name)
		dst = append(dst, ",\n      "...)
		quote("type", d.Kind)
		dst = append(dst, ",\n      "...)
		quote("body", d.Text)
		if d.Client != "" {
			dst = append(dst, ",\n      "...)
			quote("clientName", d.Client)
		}
		dst = append(dst, "\n    }"...)
	}
	if len(documents) > 0 {
		dst = append(dst, "\n  "...)
	}
	return append(dst, "]\n}\n"...)
}

// AppendMap appends the documents as a map from id to text, as relay-compiler
// and graphql-codegen write it, sorted by id. Names, kinds and clients have no
// place in it.
func AppendMap(dst []byte, documents []Document) []byte {
	sorted := slices.SortedFunc(slices.Values(documents), func(a, b Document) int { return cmp.Compare(a.ID, b.ID) })
	dst = append(dst, '{')
	for i, d := range sorted {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, "\n  "...)
		dst, _ = jsontext.AppendQuote(dst, d.ID)
		dst = append(dst, ": "...)
		dst, _ = jsontext.AppendQuote(dst, d.Text)
	}
	if len(sorted) > 0 {
		dst = append(dst, '\n')
	}
	return append(dst, "}\n"...)
}
