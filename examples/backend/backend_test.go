package backend_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
	"go.uber.org/goleak"

	"github.com/graphward/graphward/examples/backend"
	"github.com/graphward/graphward/examples/backend/graph"
	"github.com/graphward/graphward/examples/backend/shop"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// post sends one operation as the subject whose token the firewall would have verified.
func post(t *testing.T, server http.Handler, subject, query string) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/graphql", strings.NewReader(string(body)))
	r.Header.Set("Content-Type", "application/json")
	if subject != "" {
		r.Header.Set("Authorization", "Bearer e30."+base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"`+subject+`"}`))+".none")
	}
	w := httptest.NewRecorder()
	server.ServeHTTP(w, r)
	return w.Body.String()
}

func TestAnswers(t *testing.T) {
	tests := []struct{ name, subject, query, want string }{
		{"nobody", "", `{me{id}}`, `{"data":{"me":null}}`},
		{"caller", "user-3", `{me{id name role}}`, `{"data":{"me":{"id":"user-3","name":"Cleo Marin","role":"CUSTOMER"}}}`},
		{"money keeps its decimals", "", `{order(id:"order-2"){total lines{price quantity}}}`,
			`{"data":{"order":{"total":142.20,"lines":[{"price":42.40,"quantity":1},{"price":49.90,"quantity":2}]}}}`},
		{"integers past 2^53", "", `{product(id:"product-1"){attributes}}`,
			`{"data":{"product":{"attributes":{"barcode":9007199254740993,"width_cm":40.50,"tags":["oak","\u003cnew\u003e"]}}}}`},
		{"page", "", `{products(first:1,after:"cHJvZHVjdC0y"){edges{node{id}}pageInfo{hasNextPage hasPreviousPage endCursor}totalCount}}`,
			`{"data":{"products":{"edges":[{"node":{"id":"product-1"}}],"pageInfo":{"hasNextPage":true,"hasPreviousPage":true,"endCursor":"cHJvZHVjdC0x"},"totalCount":36}}}`},
		{"interface", "", `{node(id:"note-1"){__typename ... on InternalNote{about{id}}}}`,
			`{"data":{"node":{"__typename":"InternalNote","about":{"id":"user-3"}}}}`},
		{"nothing", "", `{nodes(ids:["order-99","what"]){id}}`, `{"data":{"nodes":[null,null]}}`},
		{"union", "", `{search(text:"LIVING WELL, PART 3",first:1){__typename ... on Post{id author{name}}}}`,
			`{"data":{"search":[{"__typename":"Post","id":"post-3","author":{"name":"Cleo Marin"}}]}}`},
		{"filter", "", `{products(filter:{price:{max:20},or:[{name:"lamp"}],not:{name:"birch"}}){edges{node{name}}}}`,
			`{"data":{"products":{"edges":[{"node":{"name":"Amber Lamp"}}]}}}`},
		{"mass assignment", "user-3", `mutation{updateProfile(input:{role:ADMIN}){role}}`, `{"data":{"updateProfile":{"role":"ADMIN"}}}`},
		{"price by the caller", "user-3", `mutation{placeOrder(input:{lines:[{productId:"product-1"}],discount:{percent:99}}){id total}}`,
			`{"data":{"placeOrder":{"id":"order-25","total":0.19}}}`},
		{"deletes for anybody", "", `mutation{deleteUser(id:"user-1")}`, `{"data":{"deleteUser":"user-1"}}`},
		{"unknown", "", `mutation{cancelOrder(id:"x"){id}}`, `{"errors":[{"message":"nothing has the id \"x\"","path":["cancelOrder"],"locations":[{"line":1,"column":10}]}],"data":null}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, post(t, backend.New(), tt.subject, tt.query)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What the firewall has to stop: each of these answers holds a secret or more than anybody asked for.
func TestUndefended(t *testing.T) {
	for name, query := range map[string]string{
		"field":             `{user(id:"user-1"){passwordHash}}`,
		"list":              `{users(first:12){edges{node{ssn}}}}`,
		"node":              `{node(id:"user-4"){... on User{ssn}}}`,
		"union":             `{search(text:"ada"){... on User{passwordHash}}}`,
		"through relations": `{order(id:"order-1"){customer{followers{notes{text}}}}}`,
		"payment":           `{order(id:"order-3"){paymentToken}}`,
		"notes":             `{internalNotes{text}}`,
		"error":             `{diagnostics}`,
		"error of a field":  `{product(id:"product-1"){supplierStatus}}`,
		"error of login":    `mutation{login(email:"user-1@shop.example",password:"x"){token}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if got := post(t, backend.New(), "", query); !strings.Contains(got, shop.Planted) {
				t.Errorf("no planted secret in %s", got)
			}
		})
	}
	if got := post(t, backend.New(), "", `{products(first:-1){edges{cursor}}}`); strings.Count(got, "cursor") != 36 {
		t.Errorf("a negative page size gave %d products, want all 36", strings.Count(got, "cursor"))
	}
	if got := post(t, backend.New(), "", `{__schema{queryType{name}}nonsense}`); !strings.Contains(got, "nonsense") {
		t.Errorf("the error does not repeat the query: %s", got)
	}
}

func TestSubscription(t *testing.T) {
	server := httptest.NewServer(backend.New())
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, strings.NewReader(`{"query":"subscription{countdown(to:2)}"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "text/event-stream")
	w, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	defer func() { _ = w.Body.Close() }()
	var data []string
	for lines := bufio.NewScanner(w.Body); lines.Scan(); {
		if event, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			data = append(data, event)
		}
	}
	if diff := cmp.Diff([]string{`{"data":{"countdown":1}}`, `{"data":{"countdown":2}}`}, data); diff != "" {
		t.Error(diff)
	}
}

// The race detector looks on.
func TestConcurrentChanges(t *testing.T) {
	server := backend.New()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				post(t, server, "user-3", `mutation{createPost(input:{title:"a",text:"b"}){id} updateProfile(input:{bio:"c"}){bio}}`)
				post(t, server, "user-3", `{me{bio posts(first:3){edges{node{comments{author{name}}}}}} users{edges{node{role}}}}`)
			}
		})
	}
	all.Wait()
	if got := post(t, server, "", `{posts(first:0){totalCount}}`); got != `{"data":{"posts":{"totalCount":190}}}` {
		t.Errorf("30 posts and 160 more are %s", got)
	}
}

func TestSDL(t *testing.T) {
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema.graphql", Input: backend.SDL})
	if err != nil {
		t.Fatal(err)
	}
	// The coordinates that the documentation's policies name.
	for _, coordinate := range []string{
		"Query.me", "Query.user", "Query.products", "Mutation.deleteUser", "User.email", "User.phone", "User.ownerId", "User.posts",
		"ProfileInput.role",
	} {
		typeName, field, _ := strings.Cut(coordinate, ".")
		if def := schema.Types[typeName]; def == nil || def.Fields.ForName(field) == nil {
			t.Errorf("no %s", coordinate)
		}
	}
	var known int
	for _, def := range schema.Types {
		if !def.BuiltIn {
			known++
		}
	}
	if known < 25 {
		t.Errorf("%d types, want at least 25", known)
	}
}

func TestGeneratedFromThisSchema(t *testing.T) {
	text := func(schema *ast.Schema) string {
		var b strings.Builder
		formatter.NewFormatter(&b).FormatSchema(schema)
		return b.String()
	}
	want := text(gqlparser.MustLoadSchema(&ast.Source{Name: "schema.graphql", Input: backend.SDL}))
	if diff := cmp.Diff(want, text(graph.NewExecutableSchema(graph.Config{}).Schema())); diff != "" {
		t.Errorf("run `go generate ./examples/backend`: %s", diff)
	}
}
