package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/graphward/graphward/cost"
	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/schema"
)

// priced is what `explain --schema --json` prints: the parts of an explanation
// that need neither policy nor identity.
type priced struct {
	Operation *firewall.ExplainedOperation `json:"operation,omitempty"`
	Shape     *firewall.ExplainedShape     `json:"shape,omitempty"`
	Cost      *cost.Report                 `json:"cost,omitempty"`
	Error     string                       `json:"error,omitempty"`
}

// model loads the schema and the cost model of the flags.
func (e *explainCommand) model() (*schema.Schema, *cost.Model, error) {
	s, err := schema.LoadFiles(e.Schema)
	if err != nil {
		return nil, nil, err
	}
	o := cost.Options{Profile: cost.Profile(e.Profile)}
	switch e.DefaultListSize {
	case "":
	case "none":
		o.NoDefaultListSize = true
	default:
		n, err := strconv.Atoi(e.DefaultListSize)
		if err != nil || n < 0 {
			return nil, nil, fmt.Errorf("--default-list-size %q is neither a number nor none", e.DefaultListSize)
		}
		o.DefaultListSize = &n
	}
	m, err := cost.NewModel(s, o)
	return s, m, err
}

// price prices one operation, and its response where there is one.
func (e *explainCommand) price(c *console) error {
	s, m, err := e.model()
	if err != nil {
		return &exitError{exitFailed, err.Error()}
	}
	q, err := e.request()
	if err != nil {
		return &exitError{exitFailed, "graphward explain: " + err.Error()}
	}
	response, err := textOrFile(e.Response)
	if err != nil {
		return &exitError{exitFailed, "graphward explain: --response: " + err.Error()}
	}
	out := priceOne(s, m, q.Query, q.OperationName, q.Variables, []byte(response))
	if e.JSON {
		err = printJSON(c, out)
	} else {
		err = out.print(c.out)
	}
	if err == nil && out.Error != "" {
		return &exitError{code: exitRefused}
	}
	return err
}

// openLimits lets pricing look at what the firewall would refuse for its shape.
var openLimits = schema.Limits{Document: 4 << 20, Tokens: 200_000, Depth: 1 << 20, Aliases: 1 << 30, RootFields: 1 << 30,
	Directives: 1 << 30, Fragments: 10_000, ValueDepth: 200, ListItems: 1 << 20, Walk: 10_000_000}

func priceOne(s *schema.Schema, m *cost.Model, query, name string, variables, response []byte) (out priced) {
	op, err := s.Compile(query, name, openLimits)
	if err != nil {
		return priced{Error: err.Error()}
	}
	operation, shape := firewall.ExplainShape(op)
	out.Operation, out.Shape = &operation, &shape
	vars, err := op.Coerce(variables, openLimits)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	p, err := m.Compile(op)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	var limit *float64
	if most := m.Max(); most > 0 {
		limit = &most
	}
	report, err := p.Report(vars, limit)
	if err != nil {
		out.Error = err.Error()
	}
	if report.Total != nil {
		out.Cost = &report
		if limit != nil && *report.Total > *limit && out.Error == "" {
			out.Error = fmt.Sprintf("the operation costs %.6g, the profile's limit is %.6g", *report.Total, *limit)
		}
	}
	if len(response) > 0 && out.Cost != nil {
		actual, err := p.Actual(bytes.NewReader(response), vars)
		if err != nil {
			out.Error = "the response cannot be priced: " + err.Error()
			return out
		}
		r := m.Report(actual)
		out.Cost.Actual = &r
	}
	return out
}

// print writes the price for people: each field with its count, its own cost
// and its share.
func (p priced) print(w io.Writer) error {
	b := &strings.Builder{}
	if p.Cost != nil {
		firewall.PrintCost(b, p.Cost)
	}
	if p.Error != "" {
		fmt.Fprintf(b, "error: %s\n", p.Error)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// batchLine is one line of --batch.
type batchLine struct {
	Query         string          `json:"query"`
	OperationName string          `json:"operationName"`
	Operation     string          `json:"operation"` // the same, as the flag spells it
	Variables     json.RawMessage `json:"variables"`
	Response      json.RawMessage `json:"response"`
}

// maxBatchLine bounds a line of --batch.
const maxBatchLine = 64 << 20

// priceBatch prices each line of a file; a line that has no price has `error`
// in its place, and the order is the file's.
func (e *explainCommand) priceBatch(c *console) error {
	s, m, err := e.model()
	if err != nil {
		return &exitError{exitFailed, err.Error()}
	}
	in := io.Reader(os.Stdin)
	if e.Batch != "-" {
		f, err := os.Open(strings.TrimPrefix(e.Batch, "@"))
		if err != nil {
			return &exitError{exitFailed, err.Error()}
		}
		defer f.Close()
		in = f
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxBatchLine)
	out := json.NewEncoder(c.out)
	out.SetEscapeHTML(false)
	refused := false
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var line batchLine
		result := priced{}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			result.Error = "the line is not a JSON object: " + err.Error()
		} else {
			result = priceOne(s, m, line.Query, cmp.Or(line.OperationName, line.Operation), line.Variables, line.Response)
		}
		refused = refused || result.Error != ""
		if err := out.Encode(result); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return &exitError{exitFailed, "graphward explain: " + err.Error()}
	}
	if refused {
		return &exitError{code: exitRefused}
	}
	return nil
}
