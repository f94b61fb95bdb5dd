package policy

// Subject is who asks: the input.subject of rules. Empty strings mean "there
// is none", which rules see as an absent path, never as "" or null; nil slices
// and maps are empty collections. Nulls inside Claims are dropped, so that
// comparing two absent things grants nothing.
//
// A Subject may be shared between goroutines as long as nobody changes it.
type Subject struct {
	// Authenticated is true when a credential was presented and verified.
	Authenticated bool `json:"authenticated"`
	// ID is the subject's identifier, such as a token's sub. Absent for an anonymous subject.
	ID string `json:"id,omitempty"`
	// Issuer is who vouches for ID.
	Issuer string `json:"issuer,omitempty"`
	// Roles are the subject's roles; never omitted.
	Roles []string `json:"roles"`
	// Scopes are the scopes granted to the client; never omitted.
	Scopes []string `json:"scopes"`
	// Claims are the credential's claims as decoded from JSON (numbers as
	// json.Number or any Go number); never omitted.
	Claims map[string]any `json:"claims"`
	// Client is the application that asks.
	Client Client `json:"client"`
	// Method is how the subject was identified: anonymous, jwt, api_key, certificate or introspection.
	Method string `json:"method,omitempty"`
}

// Client is the application that a subject uses: input.subject.client.
type Client struct {
	// ID is the verified client identifier.
	ID string `json:"id,omitempty"`
	// Name is the client's name; not verified unless the config says so.
	Name string `json:"name,omitempty"`
	// Version is the client's version as it claims.
	Version string `json:"version,omitempty"`
}

// Request is how the operation came in: input.request.
type Request struct {
	// Method is the HTTP method.
	Method string `json:"method,omitempty"`
	// Path is the URL path.
	Path string `json:"path,omitempty"`
	// IP is the client's address without a port, after trusted proxies.
	IP string `json:"ip,omitempty"`
	// Headers holds the allow-listed headers by lower-case name; never omitted.
	Headers map[string]string `json:"headers"`
	// Protocol is http, ws or sse.
	Protocol string `json:"protocol,omitempty"`
}

// OperationFacts are the facts about an operation that depend on more than
// its text. The rest of input.operation comes from the compiled operation.
type OperationFacts struct {
	// Registered is true when a manifest lists the operation.
	Registered bool
	// Cost is the estimated cost of this request.
	Cost float64
}

// operationInput documents input.operation; only the schema generator reads it.
type operationInput struct {
	// Kind is query, mutation or subscription.
	Kind string `json:"kind" enum:"query,mutation,subscription"`
	// Name is the operation's name; absent when it has none.
	Name string `json:"name,omitempty"`
	// Hash is the SHA-256 of the canonical operation, in lower-case hex.
	Hash string `json:"hash"`
	// Registered is true when a manifest lists the operation.
	Registered bool `json:"registered"`
	// Cost is the estimated cost of this request.
	Cost float64 `json:"cost"`
	// Depth is the operation's depth.
	Depth int `json:"depth"`
}

// inputDocument documents input as a whole; input.schema.json is generated
// from it. It is never built: rules get only the paths that they read.
type inputDocument struct {
	Subject   Subject        `json:"subject"`
	Request   Request        `json:"request"`
	Operation operationInput `json:"operation"`
	// Args holds the field's arguments after coercion, with the schema's
	// defaults applied; an argument without a value is absent. Never omitted.
	Args map[string]any `json:"args"`
	// Value is the argument's or input field's value, in allow_argument and allow_input.
	Value any `json:"value,omitempty"`
	// Parent is the object that holds the field.
	Parent map[string]any `json:"parent,omitempty"`
}
