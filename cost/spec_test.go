package cost

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/graphward/graphward/schema"
)

// specFile is one file of cost/testdata: cases that share a schema and options.
type specFile struct {
	About   string
	Schema  string
	Options specOptions
	Cases   []specCase
}

type specOptions struct {
	Profile         Profile
	DefaultListSize *int                `yaml:"default_list_size"`
	None            bool                `yaml:"no_default_list_size"`
	Weights         map[string]float64  `yaml:"weights"`
	ListSizes       map[string]ListSize `yaml:"list_sizes"`
	PageSize        PageSize            `yaml:"page_size"`
	NegativeSize    NegativeSize        `yaml:"negative_size"`
	IgnoreOne       bool                `yaml:"ignore_require_one"`
}

func (o specOptions) options() Options {
	return Options{Profile: o.Profile, DefaultListSize: o.DefaultListSize, NoDefaultListSize: o.None, Weights: o.Weights,
		ListSizes: o.ListSizes, PageSize: o.PageSize, NegativeSize: o.NegativeSize, IgnoreRequireOne: o.IgnoreOne}
}

// specCase prices one query. Want and Actual name the numbers that the source
// states; Error is the error's type and message.
type specCase struct {
	Name      string
	Source    string // where the number is stated, or why it must be so
	Schema    string
	Options   *specOptions
	Query     string
	Operation string
	Variables string
	Want      map[string]float64
	Flags     []string // saturated, approximate
	ByField   []string `yaml:"by_field"` // "path coordinate count cost"
	Error     string
	Refused   string // by schema.Compile: the error's type
	Response  string
	Actual    map[string]float64
}

func TestSpecifications(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var f specFile
			if err := yaml.Load(text, &f, yaml.WithKnownFields()); err != nil {
				t.Fatal(err)
			}
			for _, c := range f.Cases {
				t.Run(c.Name, func(t *testing.T) { c.run(t, f) })
			}
		})
	}
}

func (c specCase) run(t *testing.T, f specFile) {
	if c.Source == "" {
		t.Error("a case needs its source or reasoning")
	}
	sdl, options := f.Schema, f.Options
	if c.Schema != "" {
		sdl = c.Schema
	}
	if c.Options != nil {
		options = *c.Options
	}
	s := loadSchema(t, sdl)
	m, err := NewModel(s, options.options())
	if err != nil {
		t.Fatal(err)
	}
	op, err := s.Compile(c.Query, c.Operation, openLimits)
	if c.Refused != "" {
		if got := typeName(err); got != c.Refused {
			t.Errorf("Compile refused with %s (%v), want %s", got, err, c.Refused)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	vars, err := op.Coerce([]byte(c.Variables), openLimits)
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.Compile(op)
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Estimate(vars)
	if message := describe(err); message != c.Error {
		t.Fatalf("error %q, want %q", message, c.Error)
	}
	compareNumbers(t, "estimate", got, c.Want)
	checkFlags(t, got, c.Flags)
	checkInvariants(t, p, vars, got, err)
	if c.ByField != nil {
		compareBreakdown(t, p.Breakdown(vars), c.ByField)
	}
	if c.Actual != nil {
		actual, err := p.Actual(strings.NewReader(c.Response), vars)
		if err != nil {
			t.Fatal(err)
		}
		compareNumbers(t, "actual", actual, c.Actual)
	}
}

func loadSchema(t testing.TB, sdl string) *schema.Schema {
	t.Helper()
	s, err := schema.Load(schema.Source{Name: "case.graphql", Text: sdl})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func typeName(err error) string {
	if err == nil {
		return ""
	}
	return strings.TrimPrefix(reflect.TypeOf(err).String(), "*")
}

func describe(err error) string {
	if err == nil {
		return ""
	}
	return strings.TrimPrefix(typeName(err), "cost.") + ": " + err.Error()
}

func numbers(e Estimate) map[string]float64 {
	return map[string]float64{"total": e.Total, "field": e.Field, "type": e.Type,
		"nodes": e.Nodes, "points": e.Points, "score": e.Score}
}

func compareNumbers(t *testing.T, what string, got Estimate, want map[string]float64) {
	t.Helper()
	for name, w := range want {
		if g, ok := numbers(got)[name]; !ok || g != w {
			t.Errorf("%s %s is %v, want %v (%+v)", what, name, g, w, got)
		}
	}
}

func checkFlags(t *testing.T, got Estimate, want []string) {
	t.Helper()
	flags := []string{}
	if got.Saturated {
		flags = append(flags, "saturated")
	}
	if got.Approximate {
		flags = append(flags, "approximate")
	}
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, flags); diff != "" {
		t.Errorf("flags (-want +got):\n%s", diff)
	}
}

// reporter is what *testing.T and *rapid.T share.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
}

// checkInvariants holds for every estimate: finite, not negative, bounded, the
// breakdown sums to the total, and the JSON report can be written.
func checkInvariants(t reporter, p *Program, vars *schema.Variables, e Estimate, err error) {
	t.Helper()
	for name, v := range numbers(e) {
		if math.IsNaN(v) || v < 0 || v > Saturation {
			t.Errorf("%s is %v", name, v)
		}
	}
	var limit *NodeLimitError
	if err != nil && !errors.As(err, &limit) {
		return
	}
	sum := 0.0
	for _, f := range p.Breakdown(vars) {
		sum += f.Cost
		if math.IsNaN(f.Cost) || math.IsInf(f.Cost, 0) {
			t.Errorf("%v costs %v", f.Path, f.Cost)
		}
	}
	if math.Abs(sum-e.Total) > 1e-6*max(1, e.Total) {
		t.Errorf("the breakdown sums to %v, the total is %v", sum, e.Total)
	}
	r, _ := p.Report(vars, nil)
	if _, err := json.Marshal(r); err != nil {
		t.Errorf("%v", err)
	}
}

func compareBreakdown(t *testing.T, got []FieldCost, want []string) {
	t.Helper()
	lines := []string{}
	for _, f := range got {
		path := strings.Join(f.Path, ".")
		if path == "" {
			path = "-"
		}
		lines = append(lines, strings.Join([]string{path, f.Coordinate, number(f.Count), number(f.Cost)}, " "))
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("breakdown (-want +got):\n%s", diff)
	}
}

func number(v float64) string {
	text, _ := json.Marshal(v)
	return string(text)
}
