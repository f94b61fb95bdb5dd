package firewall_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/graphward/graphward/firewall"
)

// A handler of one's own, guarded in the same process.
func Example() {
	c := firewall.DefaultConfig()
	c.Schema.Files = []string{"testdata/base/schema.graphql"}
	c.Policy.Paths = []string{"testdata/base/policy.rego"}
	c.Policy.Timeout = firewall.Duration(10 * time.Second) // as tests should: the machine may be busy
	c.Operations.Adhoc, c.Identity.Anonymous, c.Audit.Output = "allow", "allow", "off"
	f, err := firewall.New(context.Background(), c, firewall.WithHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"data":{"posts":[]}}`)
	})))
	if err != nil {
		panic(err)
	}
	defer f.Close()
	for _, query := range []string{"{ posts { title } }", "{ secret }"} {
		r := httptest.NewRequest("POST", "/graphql", strings.NewReader(`{"query":"`+query+`"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/graphql-response+json")
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		fmt.Println(w.Code)
	}
	// Output:
	// 200
	// 403
}
