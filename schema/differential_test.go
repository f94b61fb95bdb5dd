//go:build differential

package schema

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestDifferential compares the verdict of Compile with graphql-js 16's
// (testdata/differential/judge.mjs, run by node) on the corpora, the kennel
// and mutations of both. What we accept graphql-js must accept too, in the form
// that is forwarded as well. It fails where node or the npm package is missing:
//
//	npm ci --prefix schema/testdata/differential
//	go test -tags differential -run Differential ./schema
//
// GRAPHWARD_MUTATIONS sets how many mutations are made, GRAPHWARD_SEED which.
func TestDifferential(t *testing.T) {
	mutations := environment(t, "GRAPHWARD_MUTATIONS", 24_000)
	seed := environment(t, "GRAPHWARD_SEED", 1)
	all := append([]corpus{loadKennel(t)}, loadCorpora(t)...)
	var files []string
	for _, c := range all {
		files = append(files, c.file)
	}
	judge := startJudge(t, files)
	stats := map[string]int{}
	check := func(i int, text string) {
		t.Helper()
		compareVerdicts(t, all[i], text, func(text string) string { return judge(i, text) }, stats)
	}
	for i, c := range all {
		for _, o := range c.operations {
			check(i, o.Query)
		}
	}
	stats["originals"] = stats["total"]
	for i, c := range all {
		m := newMutator(c.schema, uint64(seed+i))
		share := mutations / 4
		if c.name == "kennel" {
			share = mutations - 2*share
		}
		for k := range share {
			text := c.operations[k%len(c.operations)].Query
			for len(text) > 6000 {
				text = pick(m, c.operations).Query
			}
			check(i, m.mutate(text))
		}
	}
	t.Logf("%v", stats)
	if stats["total"]-stats["originals"] < mutations*9/10 {
		t.Errorf("only %d mutations were compared", stats["total"]-stats["originals"])
	}
}

// TestDifferentialKnown lists the differences that are meant, each with its
// reason. Each document is a case where graphql-js says the other thing.
func TestDifferentialKnown(t *testing.T) {
	kennel := loadKennel(t)
	const bare = "type Query { a: Int }"
	file := filepath.Join(t.TempDir(), "bare.graphql")
	if err := os.WriteFile(file, []byte(bare), 0o600); err != nil {
		t.Fatal(err)
	}
	schemas := []*Schema{kennel.schema, mustLoad(t, bare)}
	judge := startJudge(t, []string{kennel.file, file})
	for _, c := range []struct {
		reason, document string
		accepted         bool // by us
	}{
		{"a root type that the schema lacks: graphql-js refuses it only when it executes the operation",
			`mutation { a }`, false},
		{"a Float literal beyond the range of a double: graphql-js makes it Infinity",
			`{ scalars(date: 1, float: 1e999) }`, false},
		{"a nullable variable in a oneOf input object: graphql-js 16 overlooks it where the object's type is non-null",
			`query ($x: ID) { pickNow(by: {id: $x}) { id } }`, false},
		{"a byte order mark past the start: lexers differ", "{ dog \ufeff { name } }", false},
		{"a block string and a plain one of the same value are one literal: both are forwarded as plain strings",
			`{ dog { friends(filter: {name: "a"}) { id } friends(filter: {name: """a"""}) { id } } }`, true},
		{"graphql-js stops comparing fields after 500,000 steps and refuses the document",
			"{ dog { " + strings.Repeat("name ", 1900) + "} }", true},
	} {
		schema := 0
		if strings.HasPrefix(c.document, "mutation") {
			schema = 1
		}
		op, err := schemas[schema].Compile(c.document, "", Limits{})
		theirs := judge(schema, c.document)
		if (err == nil) != c.accepted || (theirs == "") == c.accepted {
			t.Errorf("%s: ours %v, theirs %q", c.reason, err, theirs)
		}
		if err == nil && strings.Contains(c.reason, "string") {
			if verdict := judge(0, op.Text); verdict != "" {
				t.Errorf("%s: the canonical text is refused: %s", c.reason, verdict)
			}
		}
	}
}

func environment(t *testing.T, name string, unset int) int {
	text := os.Getenv(name)
	if text == "" {
		return unset
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func startJudge(t *testing.T, files []string) func(schema int, text string) string {
	t.Helper()
	dir := filepath.Join("testdata", "differential")
	var args []string
	for _, f := range files {
		abs, err := filepath.Abs(f)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, abs)
	}
	cmd := exec.Command("node", append([]string{"judge.mjs"}, args...)...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("node is needed: %v", err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the judge: %v", err)
		}
	})
	answers := bufio.NewReader(out)
	return func(schema int, text string) string {
		line, err := json.Marshal(map[string]any{"schema": schema, "text": text})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write(append(line, '\n')); err != nil {
			t.Fatalf("the judge is gone (npm ci --prefix %s?): %v", dir, err)
		}
		answer, err := answers.ReadString('\n')
		if err != nil {
			t.Fatalf("the judge is gone (npm ci --prefix %s?): %v", dir, err)
		}
		var verdict string
		if err := json.Unmarshal([]byte(answer), &verdict); err != nil {
			t.Fatal(err)
		}
		return verdict
	}
}

// compareVerdicts holds our verdict on one document against graphql-js's.
func compareVerdicts(t *testing.T, c corpus, text string, judge func(string) string, stats map[string]int) {
	t.Helper()
	op, err := c.schema.Compile(text, "", Limits{})
	var limit *LimitError
	if errors.As(err, &limit) {
		stats["limited"]++
		return
	}
	var name *OperationNameError
	if errors.As(err, &name) {
		err = nil
	}
	theirs := judge(text)
	stats["total"]++
	switch {
	case err == nil && theirs == "":
		stats["accepted"]++
		if op != nil && op.Text != text {
			if verdict := judge(op.Text); verdict != "" {
				t.Errorf("%s: the canonical text is refused: %s\n%s\n%s", c.name, verdict, text, op.Text)
			}
		}
	case err != nil && theirs != "":
		stats["refused"]++
	default:
		if reason := acceptedDifference(err, theirs); reason != "" {
			stats[reason]++
			return
		}
		t.Errorf("%s: ours %v, theirs %q\n%s", c.name, err, theirs, text)
	}
}

// acceptedDifference names the known reasons to differ from graphql-js.
func acceptedDifference(ours error, theirs string) string {
	var invalid *ValidationError
	switch {
	case errors.As(ours, &invalid) && invalid.Rule == "KnownOperationTypes":
		// graphql-js 16 refuses it only on execution.
		return "root type that the schema lacks"
	case ours != nil && theirs == "" && strings.Contains(ours.Error(), "U+FEFF"):
		// Lexers differ about a byte order mark inside a document.
		return "byte order mark past the start"
	}
	return ""
}
