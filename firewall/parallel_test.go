package firewall_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// One document, other variables, operation names and subjects at the same time:
// each answer is that request's own (CVE-2024-32971, CVE-2025-27097,
// CVE-2025-31485, Cosmo #2824: caches that gave one caller another's).
func TestParallelVerdicts(t *testing.T) {
	base, err := readDir("testdata/base")
	if err != nil {
		t.Fatal(err)
	}
	base["graphward.yaml"] = withTokens(base["graphward.yaml"])
	e := newEnvironment(t, base, inProcess)
	c := &testCase{files: map[string]string{}}
	e.upstream.prepare(t, c)
	const document = `query A($id: ID!, $s: Boolean!) { user(id: $id) { name } secret @skip(if: $s) } query B { secret }`
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	tokens := [8]string{}
	for i := range tokens {
		tokens[i] = bearer(fmt.Sprintf(`{"sub":"%d","roles":[]}`, i))
	}
	var group sync.WaitGroup
	for worker := range 16 {
		group.Go(func() {
			for i := range 100 {
				subject, id, skip, name := (worker+i)%8, (worker*3+i*5)%8, i%3 != 0, "A"
				want := ""
				switch {
				case i%7 == 0:
					name, want = "B", "FORBIDDEN"
				case !skip:
					want = "FORBIDDEN" // Query.secret comes before Query.user
				case subject != id:
					want = "NOT_YOU"
				}
				body := fmt.Sprintf(`{"query":%q,"operationName":%q,"variables":{"id":"%d","s":%t}}`, document, name, id, skip)
				if name == "B" {
					body = fmt.Sprintf(`{"query":%q,"operationName":"B"}`, document)
				}
				if got := refusalOf(t, client, e.url, tokens[subject], body); got != want {
					t.Errorf("subject %d, %s: got %q, want %q", subject, body, got, want)
				}
			}
		})
	}
	group.Wait()
}

// refusalOf returns the code of the refusal, "" for an answer of upstream's.
func refusalOf(t *testing.T, client *http.Client, address, token, body string) string {
	r, err := http.NewRequest(http.MethodPost, "http://"+address+"/graphql", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return "-"
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := client.Do(r)
	if err != nil {
		t.Error(err)
		return "-"
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return codeOf(text)
}
