package schema

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
)

// MaxSource is the size in bytes that one schema source may have: SDL text or
// introspection result.
const MaxSource = 16 << 20

// Source is one text of schema definition language.
type Source struct {
	Name string // shown in problems; a file's path
	Text string
}

// Problem is one thing wrong with a schema.
type Problem struct {
	File         string
	Line, Column int // 1-based; 0 when unknown
	Message      string
}

func (p Problem) String() string {
	switch {
	case p.Line > 0:
		return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
	case p.File != "":
		return p.File + ": " + p.Message
	}
	return p.Message
}

// LoadError lists what is wrong with a schema, in the order of its sources.
type LoadError struct {
	Problems []Problem // at least one
}

func (e *LoadError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Load builds a schema from SDL texts, which are read as one document. The
// specified scalars, directives and introspection types are always there and
// cannot be redefined: definitions of them are dropped. Directives of the
// federation, link and cost families are known without a definition; every
// other that is applied must be defined.
//
// Each source may have up to MaxSource bytes. The error is a *LoadError that
// lists every unknown or repeated name, or else the first problem of any other
// kind.
func Load(sources ...Source) (*Schema, error) {
	doc := &ast.SchemaDocument{}
	digests := make([][32]byte, 0, len(sources))
	var problems []Problem
	for _, source := range sources {
		part, problem := parseSource(source)
		if problem != nil {
			problems = append(problems, *problem)
			continue
		}
		doc.Merge(part)
		digests = append(digests, sha256.Sum256([]byte("sdl\x00"+source.Text)))
	}
	if len(problems) > 0 {
		return nil, &LoadError{problems}
	}
	return build(doc, digests)
}

func parseSource(source Source) (*ast.SchemaDocument, *Problem) {
	if len(source.Text) > MaxSource {
		return nil, &Problem{File: source.Name, Message: fmt.Sprintf("larger than %d bytes", MaxSource)}
	}
	text, _, err := scan(source.Text, Limits{Document: MaxSource, Tokens: math.MaxInt})
	if err != nil {
		p := problemOf(err, source.Name)
		return nil, &p
	}
	doc, err := parser.ParseSchema(&ast.Source{Name: source.Name, Input: text})
	if err != nil {
		p := problemOf(err, source.Name)
		return nil, &p
	}
	return doc, nil
}

// build validates a document without the specified definitions and makes the
// schema of it.
func build(doc *ast.SchemaDocument, digests [][32]byte) (*Schema, error) {
	dropSpecified(doc)
	addKnownDirectives(doc)
	full := specified()
	full.Merge(doc)
	if problems := findProblems(full); len(problems) > 0 {
		return nil, &LoadError{problems}
	}
	validated, err := validator.ValidateSchemaDocument(full)
	if err != nil {
		return nil, &LoadError{[]Problem{problemOf(err, "")}}
	}
	if validated.Query == nil {
		return nil, &LoadError{[]Problem{{Message: "the schema has no query root type"}}}
	}
	slices.SortFunc(digests, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	h := sha256.New()
	for i := range digests {
		h.Write(digests[i][:])
	}
	s, problems := newSchema(validated, [32]byte(h.Sum(nil)))
	if len(problems) > 0 {
		sortProblems(problems)
		return nil, &LoadError{problems}
	}
	return s, nil
}

// LoadFiles builds a schema from files: SDL (.graphql, .graphqls, .gql), or one
// introspection result (.json) alone. A folder stands for the SDL files in it
// and below it, in the order of their paths. Errors are *LoadError, or from
// reading the files.
func LoadFiles(paths ...string) (*Schema, error) {
	files, err := schemaFiles(paths)
	if err != nil {
		return nil, err
	}
	var sources []Source
	for _, file := range files {
		text, err := readSource(file)
		if err != nil {
			return nil, err
		}
		if filepath.Ext(file) == ".json" {
			if len(files) > 1 {
				return nil, &LoadError{[]Problem{{File: file, Message: "an introspection result cannot be combined with other files"}}}
			}
			return FromIntrospection(file, text)
		}
		sources = append(sources, Source{Name: file, Text: string(text)})
	}
	return Load(sources...)
}

func schemaFiles(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		found := len(files)
		// WalkDir goes in lexical order.
		err = filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			if slices.Contains([]string{".graphql", ".graphqls", ".gql"}, filepath.Ext(file)) {
				files = append(files, file)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if len(files) == found {
			return nil, &LoadError{[]Problem{{File: path, Message: "no .graphql, .graphqls or .gql file in this folder"}}}
		}
	}
	if len(files) == 0 {
		return nil, &LoadError{[]Problem{{Message: "no schema file is named"}}}
	}
	return files, nil
}

// readSource reads no more than what Load would refuse anyway.
func readSource(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxSource+1))
}

func problemAt(pos *ast.Position, message string) Problem {
	p := Problem{Message: message}
	if pos != nil {
		p.Line, p.Column = pos.Line, pos.Column
		if pos.Src != nil {
			p.File = pos.Src.Name
		}
	}
	return p
}

// problemOf takes the place of an error of scan or of gqlparser.
func problemOf(err error, file string) Problem {
	p := Problem{File: file, Message: err.Error()}
	var parse *ParseError
	var limit *LimitError
	var list gqlerror.List
	var gql *gqlerror.Error
	switch {
	case errors.As(err, &parse):
		p.Line, p.Column, p.Message = parse.Line, parse.Column, parse.Message
	case errors.As(err, &limit):
		p.Line, p.Column = limit.Line, limit.Column
	case errors.As(err, &list) && len(list) > 0:
		return problemOf(list[0], file)
	case errors.As(err, &gql):
		p.Message = gql.Message
		if len(gql.Locations) > 0 {
			p.Line, p.Column = gql.Locations[0].Line, gql.Locations[0].Column
		}
		if name, ok := gql.Extensions["file"].(string); ok {
			p.File = name
		}
	}
	return p
}

func sortProblems(problems []Problem) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	})
}
