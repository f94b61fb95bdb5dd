package configfile

import (
	"errors"
	"slices"

	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/policy"
	"github.com/graphward/graphward/schema"
	"github.com/graphward/graphward/schema/persisted"
)

// Problems turns the error of firewall.New or Reload into located problems, in
// the order in which they were found. What is wrong in a schema, a policy or a
// manifest keeps its own file; what is wrong in the configuration gets the place
// of its key.
func (f *File) Problems(err error) []Problem {
	seen := map[Problem]bool{}
	return slices.DeleteFunc(f.problems(err), func(p Problem) bool {
		again := seen[p]
		seen[p] = true
		return again
	})
}

func (f *File) problems(err error) []Problem {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []Problem
		for _, e := range joined.Unwrap() {
			out = append(out, f.problems(e)...)
		}
		return out
	}
	var (
		file      *Error
		config    *firewall.ConfigError
		ident     *identity.ConfigError
		schemaErr *schema.LoadError
		policyErr *policy.LoadError
		manifest  *persisted.LoadError
		out       []Problem
	)
	switch {
	case errors.As(err, &file):
		return file.Problems
	case errors.As(err, &config):
		for _, p := range config.Problems {
			out = append(out, f.problem(p))
		}
	case errors.As(err, &ident):
		for _, p := range ident.Problems {
			out = append(out, f.problem(firewall.Problem{Path: "identity." + p.Path, Message: p.Message}))
		}
	case errors.As(err, &schemaErr):
		for _, p := range schemaErr.Problems {
			out = append(out, Problem{p.File, p.Line, p.Column, p.Message})
		}
	case errors.As(err, &policyErr):
		for _, p := range policyErr.Problems {
			out = append(out, Problem{p.File, p.Line, p.Column, p.Message})
		}
	case errors.As(err, &manifest):
		for _, p := range manifest.Problems {
			message := p.Message
			if p.Entry != "" {
				message = "entry " + p.Entry + ": " + message
			}
			out = append(out, Problem{p.File, p.Line, p.Column, message})
		}
	default:
		out = append(out, Problem{File: f.Path, Message: err.Error()})
	}
	return out
}
