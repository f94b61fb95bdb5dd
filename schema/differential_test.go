//go:build differential

package schema

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
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
		for k := range mutations / len(all) {
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
		io.Copy(io.Discard, out)
		cmd.Wait()
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
