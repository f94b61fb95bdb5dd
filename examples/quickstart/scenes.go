package quickstart

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// Scene is one request that shows something, and the answer that it gets. Run in their order the scenes hold as often as one likes,
// with at most a minute's wait for the last.
type Scene struct {
	// Title says what is tried, in a few words.
	Title string
	// Shows says what the answer comes from.
	Shows string
	// As names one of People; empty sends no token.
	As string
	// Client goes into the header graphql-client-name; empty leaves it out.
	Client string
	// Body is the JSON sent. It has no single quote, so that a shell takes it as it is.
	Body string
	// Times is how often the request is sent in a row; 0 is once.
	Times int
	// Status and Code are the last answer's; a Code of "" means no refusal.
	Status int
	Code   string
	// Rule is the head of the policy's rule that refuses; empty where no rule does.
	Rule string
	// Holds is a text that the last answer has; empty says nothing.
	Holds string
}

// Scenes are what `graphward demo` prints.
var Scenes = []Scene{
	{
		Title: "A registered operation by its id, from anybody", Shows: "operations/web.json lists it for the client web",
		Client: "web", Body: `{"documentId":"sha256:fd55caa7af431d35d428d987f067d3efee671a452d4bffdc8adb3147c2c2cf7f","variables":{"first":2}}`,
		Status: 200, Holds: `"name":"Amber Lamp","price":19.90`,
	},
	{
		Title: "A customer's own query", Shows: "`adhoc` lets signed-in callers write their own, within operations.unregistered",
		As: "customer", Body: `{"query":"{ me { name joined } }"}`,
		Status: 200, Holds: `"me":{"name":"Cleo Marin","joined":"2024-03-01T09:00:00Z"}`,
	},
	{
		Title: "A denied field", Shows: "what a product costs the shop is for staff",
		As: "customer", Body: `{"query":"{ product(id: \"product-1\") { name costPrice } }"}`,
		Status: 403, Code: "FORBIDDEN", Rule: "allow.Product.costPrice",
	},
	{
		Title: "The same field for an administrator", Shows: "the same rule, another token",
		As: "admin", Body: `{"query":"{ product(id: \"product-1\") { name costPrice } }"}`,
		Status: 200, Holds: `"costPrice":7.96`,
	},
	{
		Title: "Somebody else's account", Shows: "a rule on the argument, and the policy's own code",
		As: "customer", Client: "web",
		Body:   `{"documentId":"sha256:352bb1eeceeb648e5f76910c0c405226796df48f291f84c9fe729388cee56907","variables":{"id":"user-4"}}`,
		Status: 403, Code: "NOT_YOU", Rule: "allow.Query.user",
	},
	{
		Title: "A secret by another way", Shows: "rules belong to the field, whichever way leads there, and this one is for nobody",
		As: "admin", Body: `{"query":"{ node(id: \"user-3\") { ... on User { hash: passwordHash } } }"}`,
		Status: 403, Code: "FORBIDDEN", Rule: "allow.User.passwordHash",
	},
	{
		Title: "A form with one field more", Shows: "a rule on an input field, in a variable as well",
		As: "customer", Body: `{"query":"mutation($in: ProfileInput!) { updateProfile(input: $in) { name } }","variables":{"in":{"bio":"Hello","role":"ADMIN"}}}`,
		Status: 403, Code: "FORBIDDEN", Rule: "allow_input.ProfileInput.role",
	},
	{
		Title: "Too deep", Shows: "limits.depth, before anything is priced or asked",
		As: "customer", Body: `{"query":"` + followers(14) + `"}`,
		Status: 400, Code: "DEPTH_LIMIT",
	},
	{
		Title: "Too costly", Shows: "100 products with 50 reviews each, priced before the backend sees them",
		As:     "customer",
		Body:   `{"query":"{ products(first: 100) { edges { node { reviews(first: 50) { author { name } } } } } }"}`,
		Status: 400, Code: "COST_LIMIT",
	},
	{
		Title: "Too large a page", Shows: "cost.page_size",
		As: "customer", Body: `{"query":"{ posts(first: 1000000) { totalCount } }"}`,
		Status: 400, Code: "PAGE_SIZE",
	},
	{
		Title: "An unknown id", Shows: "no manifest lists it",
		As: "customer", Body: `{"documentId":"sha256:` + strings.Repeat("0", 64) + `"}`,
		Status: 404, Code: "PERSISTED_QUERY_NOT_FOUND",
	},
	{
		Title: "A stranger's own query", Shows: "without a token only registered operations count",
		Body:   `{"query":"{ products { totalCount } }"}`,
		Status: 403, Code: "OPERATION_NOT_ALLOWED",
	},
	{
		Title: "Introspection", Shows: "the rule `introspection` is for administrators",
		As: "customer", Body: `{"query":"{ __schema { types { name } } }"}`,
		Status: 403, Code: "INTROSPECTION_DISABLED",
	},
	{
		Title: "The backend's own error", Shows: "its message holds a password and a stack; responses.errors masks it",
		As: "admin", Body: `{"query":"{ diagnostics }"}`,
		Status: 200, Holds: `"errors"`,
	},
	{
		Title: "Over budget", Shows: "the trial plan pays for four of these a minute; Retry-After says when the next one may come",
		As: "trial", Client: "web", Times: 12,
		Body:   `{"documentId":"sha256:fd55caa7af431d35d428d987f067d3efee671a452d4bffdc8adb3147c2c2cf7f"}`,
		Status: 429, Code: "BUDGET_EXCEEDED",
	},
}

func followers(depth int) string {
	return "{ me " + strings.Repeat("{ followers(first: 1) ", depth) + "{ name }" + strings.Repeat(" }", depth) + " }"
}

const accept = "application/graphql-response+json"

// Curl returns the scene as a command line for a POSIX shell, to the firewall's GraphQL URL. token is that of the person whom
// As names and does not count where there is none. The line prints each answer's body and its status.
func (s Scene) Curl(url, token string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "curl -s -w '  HTTP %%{http_code}\\n' '%s' -H 'content-type: application/json' -H 'accept: %s'", url, accept)
	if s.As != "" {
		fmt.Fprintf(&b, " -H 'authorization: Bearer %s'", token)
	}
	if s.Client != "" {
		fmt.Fprintf(&b, " -H 'graphql-client-name: %s'", s.Client)
	}
	fmt.Fprintf(&b, " -d '%s'", s.Body)
	if s.Times < 2 {
		return b.String()
	}
	return fmt.Sprintf("for i in $(seq %d); do %s; done", s.Times, b.String())
}

// Request returns what [Scene.Curl] sends, once.
func (s Scene) Request(ctx context.Context, url, token string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(s.Body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", accept)
	if s.As != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if s.Client != "" {
		r.Header.Set("Graphql-Client-Name", s.Client)
	}
	return r, nil
}
