package gqlhttp

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestDecodeBatchOfOne(t *testing.T) {
	const hash = "599be276e3f6f67829977fdef114e16627a668a1ab4e70018d9ae2ab2dd2b1ad"
	r := httptest.NewRequest("POST", "/graphql", strings.NewReader(`[{"query":"{a}","variables":{"a":[1,{"b":2}]},"extensions":{"x":1,"w":2,"persistedQuery":{"version":1,"sha256Hash":"`+hash+`"},"y":{"z":1}}}]`))
	r.Header.Set("Content-Type", "application/json")
	m, err := Decode(httptest.NewRecorder(), r, Options{Extensions: []string{"x", "y"}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Release()
	c := m.Calls[0]
	if !m.Batch || c.Query != "{a}" || string(c.Variables) != `{"a":[1,{"b":2}]}` || string(c.Extensions) != `{"x":1,"y":{"z":1}}` || c.DocumentID != hash || !c.APQ() {
		t.Errorf("decoded %+v", c)
	}
}
