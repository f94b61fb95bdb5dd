package policy

import (
	"fmt"
	"io"
	"strings"
)

// Coverage says which rule governs each field coordinate of the schema. Lists
// are sorted as Schema.Objects and each type's fields are.
type Coverage struct {
	// Explicit have a rule allow.Type.field.
	Explicit []string `json:"explicit"`
	// Wildcard have their type's, allow.Type["*"].
	Wildcard []string `json:"wildcard"`
	// Fallback have allow["*"]["*"] only.
	Fallback []string `json:"fallback"`
	// Granted can be granted by heads with variables only.
	Granted []string `json:"granted"`
	// Nothing have no rule: they are denied to everybody.
	Nothing []string `json:"nothing"`
}

// Coverage sorts every field coordinate of the schema by the rule that governs it.
func (e *Engine) Coverage() Coverage {
	var c Coverage
	for _, def := range e.schema.Objects() {
		if strings.HasPrefix(def.Name, "__") {
			continue
		}
		for _, f := range def.Fields {
			if strings.HasPrefix(f.Name, "__") {
				continue
			}
			at := coordinate{def.Name, f.Name}
			levels := e.allow.levels(at.typ, at.field)
			list := &c.Nothing
			if len(levels) > 0 {
				switch last := levels[len(levels)-1]; {
				case last.rule == nil:
					list = &c.Granted
				case last.at == at:
					list = &c.Explicit
				case last.at.typ == at.typ:
					list = &c.Wildcard
				default:
					list = &c.Fallback
				}
			}
			*list = append(*list, at.String())
		}
	}
	return c
}

// Write prints the coverage for people: the numbers, and what nothing governs.
func (c Coverage) Write(w io.Writer) error {
	total := len(c.Explicit) + len(c.Wildcard) + len(c.Fallback) + len(c.Granted) + len(c.Nothing)
	_, err := fmt.Fprintf(w, "coverage of %d coordinates: %d explicit, %d by a type's wildcard, %d by the fallback, %d by heads with variables, %d by nothing\n",
		total, len(c.Explicit), len(c.Wildcard), len(c.Fallback), len(c.Granted), len(c.Nothing))
	for _, at := range c.Nothing {
		if err == nil {
			_, err = fmt.Fprintf(w, "  nothing governs %s: denied\n", at)
		}
	}
	return err
}

// warnUncovered adds a warning that names the first coordinates without a rule.
func (e *Engine) warnUncovered(r *report) {
	nothing := e.Coverage().Nothing
	if len(nothing) == 0 {
		return
	}
	shown, more := nothing, ""
	if len(nothing) > 10 {
		shown, more = nothing[:10], ", …"
	}
	r.warnings = append(r.warnings, Problem{Message: fmt.Sprintf("%d coordinates have no rule and are denied: %s%s", len(nothing), strings.Join(shown, ", "), more)})
}
