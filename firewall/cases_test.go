package firewall_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// A case is one file. The verdict is written by hand:
//
//	verdict   one line for each answer, or a single line for the last of several:
//	          "refused CODE STATUS", upstream untouched; "touched" behind it: upstream was asked once
//	          "forwarded STATUS", upstream asked once; "x2" behind it: twice, "x0": the firewall answered
//	          "batch STATUS CODE|ok …", one word for each element, upstream asked once for each ok
//	          "cut STATUS", upstream asked once, and the connection ended inside the answer
//	          "answered STATUS", net/http's own words, before there is a request to judge; upstream untouched
//	          "closed", the connection ended without an answer; "touched" as with refused
//	          "unserved", the configuration is refused at start; what follows must stand in the message
//	          "x5 " in front stands for five such lines
//	request   request line, headers, blank line, body; several are separated by a line "----"; "x5 " in front repeats one.
//	          Sent byte by byte as it stands over one connection; only Host and Content-Length are added where they lack
//	raw       in place of request, what is sent: lines are joined, Go's escapes (\r \n \x00) are read. A line "~300ms" waits,
//	          "~answer" waits for the next answer, "~begun" for its header section, "~asked" until upstream has been asked;
//	          "~eof" closes our side, "~gone" leaves
//	config, schema.graphql, policy.rego, manifest.json: in place of testdata/base's; "config+" lines are put in place of the base's
//	as        claims of the caller as JSON, sent as a signed token; without it the caller is anonymous. The request header
//	          "X-Test-Claims: JSON" does it for one request; text that is not JSON is sent as the token itself
//	answer    what upstream answers: status line, headers, blank line, body; answer.raw is like raw, and then upstream
//	          closes; answer.then is head (never answers), body (stalls) or endless (repeats the last
//	          4 KiB of the body)
//	response  lines "Header: value" that the last answer must have, "!Header" that it must not; after a blank line the exact body
//	upstream  JSON equal to the body that upstream got last; lines above it "Header: value" or "!Header"
//	audit     JSON members that the last record must have
//	lacks     texts, with space between them, that upstream says and no answer, header or record may have
//
// request, raw, answer and answer.raw are text/template texts with the
// functions of templateFuncs. Other sections whose name has no dot can be
// inserted by {{file "name"}}.
func TestCases(t *testing.T)   { runCases(t, "testdata/cases", inProcess) }
func TestAttacks(t *testing.T) { runCases(t, "testdata/attacks", inProcess) }
func TestBenign(t *testing.T)  { runCases(t, "testdata/benign", inProcess) }

// The same over the binary that is shipped.
func TestBinary(t *testing.T) {
	run := builtBinary(t)
	for _, dir := range []string{"cases", "attacks", "benign"} {
		t.Run(dir, func(t *testing.T) { runCases(t, "testdata/"+dir, run) })
	}
}

// testCase is a parsed file.
type testCase struct {
	name     string
	files    map[string]string
	verdicts []verdict
	// last: the single verdict is that of the last answer.
	last bool
	// setup are the files of the firewall's configuration.
	setup map[string]string
}

// verdict is one line of a verdict.
type verdict struct {
	word      string // refused, forwarded, batch, cut, answered, closed, unserved
	code      string
	status    int
	forwarded int
	elements  []string // batch: codes, "" for ok
	problem   string   // unserved: what the message says
}

// runCases serves the cases that have one configuration by one firewall, in
// order, and different configurations in parallel.
func runCases(t *testing.T, dir string, start driver) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in %s: %v", dir, err)
	}
	base, err := readDir("testdata/base")
	if err != nil {
		t.Fatal(err)
	}
	groups := map[string][]*testCase{}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c, err := newCase(strings.TrimSuffix(filepath.Base(file), ".txtar"), archive, base)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		groups[c.group()] = append(groups[c.group()], c)
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		cases := groups[key]
		if cases[0].verdicts[0].word == "unserved" {
			t.Run(cases[0].name, func(t *testing.T) {
				t.Parallel()
				cases[0].unserved(t, start)
			})
			continue
		}
		t.Run("like_"+cases[0].name, func(t *testing.T) {
			t.Parallel()
			e := newEnvironment(t, cases[0].setup, start)
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) { c.run(t, e) })
			}
		})
	}
}

func newCase(name string, archive *txtar.Archive, base map[string]string) (*testCase, error) {
	c := &testCase{name: name, files: map[string]string{}, setup: maps.Clone(base)}
	for _, f := range archive.Files {
		c.files[f.Name] = string(f.Data)
	}
	for name, text := range c.files {
		switch {
		case name == "config":
			c.setup["graphward.yaml"] = text
		case name == "config+":
			c.setup["graphward.yaml"] = merge(base["graphward.yaml"], text)
		case strings.Contains(name, ".") && !strings.HasPrefix(name, "answer."):
			c.setup[name] = text
		}
	}
	if c.claims() {
		c.setup["graphward.yaml"] = withTokens(c.setup["graphward.yaml"])
	}
	if err := c.readVerdicts(); err != nil {
		return nil, err
	}
	if c.verdicts[0].word != "unserved" && strings.TrimSpace(c.files["request"]+c.files["raw"]) == "" {
		return nil, fmt.Errorf("there is no request")
	}
	return c, nil
}

// claims: some caller of the case has a token.
func (c *testCase) claims() bool {
	_, as := c.files["as"]
	text := c.files["request"] + c.files["raw"]
	return as || strings.Contains(text, "X-Test-Claims") || strings.Contains(text, "{{token") || strings.Contains(text, "{{jwt") || strings.Contains(text, "{{forge")
}

// withTokens makes the configuration accept the tokens of sign.
func withTokens(config string) string {
	if strings.Contains(config, "jwt:") {
		return config
	}
	return strings.Replace(config, "identity: {", "identity: {jwt: [{issuer: "+testIssuer+", jwks_file: jwks.json, audiences: [graphward]}], ", 1)
}

// group names the firewall that a case needs. What counts over time needs one
// of its own.
func (c *testCase) group() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(c.setup)) {
		b.WriteString(name + "\x00" + c.setup[name] + "\x00")
	}
	config := c.setup["graphward.yaml"]
	if strings.Contains(config, "budgets:") || strings.Contains(config, "apq:") || strings.Contains(config, "timeout") || c.verdicts[0].word == "unserved" {
		b.WriteString(c.name)
	}
	return b.String()
}

// merge puts the keys of text in place of the base's.
func merge(base, text string) string {
	var out []string
	for line := range strings.Lines(base) {
		key, _, _ := strings.Cut(line, ":")
		if !strings.HasPrefix(text, key+":") && !strings.Contains(text, "\n"+key+":") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "") + text
}

func (c *testCase) readVerdicts() error {
	for line := range strings.Lines(c.files["verdict"]) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		n := 1
		if count, err := strconv.Atoi(strings.TrimPrefix(words[0], "x")); err == nil {
			n, words = count, words[1:]
		}
		v, err := parseVerdict(words)
		if err != nil {
			return fmt.Errorf("verdict %q: %w", line, err)
		}
		for range n {
			c.verdicts = append(c.verdicts, v)
		}
	}
	if len(c.verdicts) == 0 {
		return fmt.Errorf("there is no verdict")
	}
	requests, err := c.requests()
	if err != nil {
		return err
	}
	c.last = len(c.verdicts) == 1 && len(requests) > 1
	if requests != nil && !c.last && len(c.verdicts) != len(requests) {
		return fmt.Errorf("%d verdicts for %d requests", len(c.verdicts), len(requests))
	}
	return nil
}

func parseVerdict(words []string) (v verdict, err error) {
	v.word = words[0]
	want := map[string]int{"refused": 3, "forwarded": 2, "batch": 3, "cut": 2, "answered": 2, "closed": 1, "unserved": 2}[v.word]
	if want == 0 || len(words) < want {
		return v, fmt.Errorf("it is refused CODE STATUS, forwarded STATUS, batch STATUS CODE…, cut STATUS, answered STATUS, closed or unserved TEXT")
	}
	rest := words[want:]
	if slices.Equal(rest, []string{"touched"}) {
		v.forwarded, rest = 1, nil
	}
	switch v.word {
	case "refused":
		v.code = words[1]
		v.status, err = strconv.Atoi(words[2])
	case "forwarded":
		v.forwarded = 1
		v.status, err = strconv.Atoi(words[1])
		if len(rest) == 1 && err == nil {
			v.forwarded, err = strconv.Atoi(strings.TrimPrefix(rest[0], "x"))
			rest = nil
		}
	case "cut":
		v.forwarded = 1
		v.status, err = strconv.Atoi(words[1])
	case "answered":
		v.status, err = strconv.Atoi(words[1])
	case "unserved":
		v.problem, rest = strings.Join(words[1:], " "), nil
	case "batch":
		v.status, err = strconv.Atoi(words[1])
		for _, w := range words[2:] {
			if w == "ok" {
				v.forwarded++
				w = ""
			}
			v.elements = append(v.elements, w)
		}
		rest = nil
	}
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("what is %q", rest)
	}
	return v, err
}
