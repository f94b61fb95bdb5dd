package firewall

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// PrintTable writes the matrix for people: a row for each operation, a column
// for each persona, and below them why what is refused is refused.
func (m *Matrix) PrintTable(w io.Writer, failures []MatrixFailure) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(append([]string{"operation", "client", "cost", "worst"}, m.Personas...), "\t"))
	for i := range m.Operations {
		o := &m.Operations[i]
		row := []string{o.Label(), o.Client, fmt.Sprint(o.Cost), fmt.Sprint(o.WorstCost)}
		for _, c := range o.Cells {
			mark := c.Verdict
			if len(o.Refusals) > 0 {
				mark = VerdictRefused
			}
			row = append(row, mark)
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i := range m.Operations {
		o := &m.Operations[i]
		for j := range o.Refusals {
			if _, err := fmt.Fprintf(w, "%s: %s: whoever asks: %s\n", o.Place(), o.Label(), &o.Refusals[j]); err != nil {
				return err
			}
		}
		for _, c := range o.Cells {
			for j := 0; j < len(c.Refusals) && len(o.Refusals) == 0; j++ {
				if _, err := fmt.Fprintf(w, "%s: %s: %s: %s: %s\n", o.Place(), o.Label(), c.Persona, c.Verdict, &c.Refusals[j]); err != nil {
					return err
				}
			}
		}
	}
	for _, f := range failures {
		if _, err := fmt.Fprintf(w, "FAIL %s%s: %s\n", f.Operation.Label(), forPersona(f.Persona), f.Reason); err != nil {
			return err
		}
	}
	return nil
}

func forPersona(name string) string {
	if name == "" {
		return ""
	}
	return " for " + name
}

// matrixJSON is the JSON form: the matrix and what must not be.
type matrixJSON struct {
	*Matrix
	Failures []failureJSON `json:"failures"`
}

type failureJSON struct {
	Operation string `json:"operation"`
	ID        string `json:"id"`
	Client    string `json:"client,omitempty"`
	Persona   string `json:"persona,omitempty"`
	Code      string `json:"code"`
	Reason    string `json:"reason"`
}

// PrintJSON writes the matrix and its failures as one JSON object.
func (m *Matrix) PrintJSON(w io.Writer, failures []MatrixFailure) error {
	out := matrixJSON{m, []failureJSON{}}
	for _, f := range failures {
		out.Failures = append(out.Failures, failureJSON{f.Operation.Name, f.Operation.ID, f.Operation.Client, f.Persona, f.Code, f.Reason})
	}
	return encodeJSON(w, out)
}

func encodeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// PrintSARIF writes SARIF 2.1.0: an error for each failure, and a note for each
// other refusal, at the place of registration.
func (m *Matrix) PrintSARIF(w io.Writer, failures []MatrixFailure) error {
	results := []sarifResult{}
	rules := map[string]bool{}
	ruleList := []sarifRule{}
	add := func(o *MatrixOperation, level, code, message string) {
		if !rules[code] {
			rules[code] = true
			ruleList = append(ruleList, sarifRule{ID: code})
		}
		results = append(results, sarifResult{RuleID: code, Level: level, Message: sarifText{message}, Locations: []sarifLocation{{sarifPhysical{
			sarifArtifact{o.File}, sarifRegion{max(o.Line, 1), max(o.Column, 1)}}}}})
	}
	failed := map[string]bool{}
	for _, f := range failures {
		failed[f.Operation.ID+"\x00"+f.Operation.Client+"\x00"+f.Persona] = true
		add(f.Operation, "error", f.Code, "operation "+f.Operation.Label()+forPersona(f.Persona)+" is refused: "+f.Reason)
	}
	for i := range m.Operations {
		o := &m.Operations[i]
		for _, c := range o.Cells {
			if len(o.Refusals) > 0 || len(c.Refusals) == 0 || failed[o.ID+"\x00"+o.Client+"\x00"+c.Persona] {
				continue
			}
			add(o, "note", c.Refusals[0].Code, "operation "+o.Label()+forPersona(c.Persona)+": "+c.Verdict+": "+c.Refusals[0].String())
		}
	}
	return encodeJSON(w, sarifLog{
		Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0",
		Runs: []sarifRun{{Tool: sarifTool{sarifDriver{"graphward operations check", ruleList}}, Results: results}},
	})
}

// The parts of SARIF 2.1.0 that are written (sections 3.13 to 3.30).
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name  string      `json:"name"`
		Rules []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID string `json:"id"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		Line   int `json:"startLine"`
		Column int `json:"startColumn"`
	}
)

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	File    string        `xml:"file,attr"`
	Line    int           `xml:"line,attr"`
	Failure *junitFailure `xml:"failure"`
	Skipped *junitSkipped `xml:"skipped"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
}

type junitSkipped struct {
	Message string `xml:"message,attr"`
}

// PrintJUnit writes a test suite for what holds whoever asks and one for each
// persona, with a test case for each operation: failed when it must pass and does
// not, skipped when the persona is refused and need not pass.
func (m *Matrix) PrintJUnit(w io.Writer, failures []MatrixFailure) error {
	failed := map[string]*MatrixFailure{}
	for i := range failures {
		f := &failures[i]
		failed[f.Operation.ID+"\x00"+f.Operation.Client+"\x00"+f.Persona] = f
	}
	out := junitSuites{}
	for n, name := range append([]string{""}, m.Personas...) {
		s := junitSuite{Name: name}
		if n == 0 {
			s.Name = "whoever asks"
		}
		for i := range m.Operations {
			o := &m.Operations[i]
			c := junitCase{Name: o.Label(), Class: s.Name, File: o.File, Line: o.Line}
			f := failed[o.ID+"\x00"+o.Client+"\x00"+name]
			switch {
			case f != nil:
				c.Failure = &junitFailure{f.Reason, f.Code}
				s.Failures++
			case n > 0 && o.Cells[n-1].Verdict != VerdictAllowed:
				c.Skipped = &junitSkipped{o.Cells[n-1].Verdict}
				if r := o.Cells[n-1].Refusals; len(r) > 0 {
					c.Skipped.Message += ": " + r[0].String()
				}
				s.Skipped++
			}
			s.Cases = append(s.Cases, c)
		}
		s.Tests = len(s.Cases)
		out.Tests += s.Tests
		out.Failures += s.Failures
		out.Suites = append(out.Suites, s)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
