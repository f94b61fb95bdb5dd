package firewall

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/graphward/graphward/cost"
	"github.com/graphward/graphward/cost/budget"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/identity"
)

// Config is the whole configuration of a firewall, as graphward.yaml spells it
// (DESIGN.md section 6). The zero Config is not valid: start from
// [DefaultConfig]. Field comments are the reference manual: configfile prints
// them into reference.md and schema.json.
type Config struct {
	// Address that serves clients. A public address without TLS needs `tls: off` said aloud.
	Listen string `yaml:"listen"`
	// The one path that is served; anything else is 404.
	Path       string           `yaml:"path"`
	Admin      AdminConfig      `yaml:"admin"`
	TLS        TLSConfig        `yaml:"tls"`
	Timeouts   TimeoutsConfig   `yaml:"timeouts"`
	Upstream   UpstreamConfig   `yaml:"upstream"`
	Schema     SchemaConfig     `yaml:"schema"`
	Policy     PolicyConfig     `yaml:"policy"`
	Operations OperationsConfig `yaml:"operations"`
	Limits     LimitsConfig     `yaml:"limits"`
	Cost       CostConfig       `yaml:"cost"`
	Budgets    BudgetsConfig    `yaml:"budgets"`
	Identity   identity.Config  `yaml:"identity"`
	CSRF       CSRFConfig       `yaml:"csrf"`
	CORS       CORSConfig       `yaml:"cors"`
	// What a refusal code does: enforce (default), report (let through and record) or off. Only the codes
	// that the README's table marks R take report and off.
	Modes     map[string]Mode `yaml:"modes"`
	Responses ResponsesConfig `yaml:"responses"`
	Audit     audit.Config    `yaml:"audit"`
	// Serve without any policy: every field of the schema is allowed to everyone. Cannot stand beside policy.paths.
	AllowAll bool `yaml:"allow_all"`
}

// AdminConfig is the listener for operators; it never shares the data listener.
type AdminConfig struct {
	// Address of /healthz, /readyz and /metrics; empty: no admin listener.
	Listen string `yaml:"listen"`
	// File whose content is the bearer token that /metrics needs; required when the address is not loopback.
	TokenFile string `yaml:"token_file"`
}

// TLSConfig is the data listener's transport security.
type TLSConfig struct {
	// off or on. On an address that is not loopback, off must be written.
	Mode string `yaml:"mode"`
	// PEM certificate chain; read again when it changes.
	CertFile string `yaml:"cert_file"`
	// PEM private key.
	KeyFile string `yaml:"key_file"`
	// PEM certificates that client certificates must chain to; read again when it changes.
	ClientCAFile string `yaml:"client_ca_file"`
	// off, optional or required. With optional a certificate that is shown must hold all the same.
	ClientAuth string `yaml:"client_auth"`
	// Certificate, key and client CAs from a SPIFFE Workload API in place of files.
	SPIFFE *SPIFFEConfig `yaml:"spiffe,omitempty"`
}

// TimeoutsConfig bounds the time that a client may take.
type TimeoutsConfig struct {
	// For a request's header section.
	Header Duration `yaml:"header"`
	// For a request's body.
	Body Duration `yaml:"body"`
	// For a connection between two requests.
	Idle Duration `yaml:"idle"`
	// For the client to take each 64 KiB of an answer; then the connection is cut.
	Write Duration `yaml:"write"`
	// For a place among limits.in_flight, where limits.queue lets a request wait; then it is OVERLOADED. It counts towards the body's time.
	Queue Duration `yaml:"queue"`
	// For requests in flight after SIGTERM.
	Drain Duration `yaml:"drain"`
}

// HealthConfig says when an address of upstream.urls is out of service. Failures are no connection, no answer or a
// broken one, and the statuses 502, 503 and 504; those of requests and of checks count together.
type HealthConfig struct {
	// How often each address is asked `{ __typename }`; 0 for never.
	Interval Duration `yaml:"interval"`
	// From a check's beginning to the end of its answer.
	Timeout Duration `yaml:"timeout"`
	// Failures in a row that take an address out of service, unless it is the last one.
	Failures int `yaml:"failures"`
	// How long for; twice as long each time that it fails again.
	Eject Duration `yaml:"eject"`
	// And at most so long.
	MaxEject Duration `yaml:"max_eject"`
}

// UpstreamConfig is the GraphQL server behind the firewall.
type UpstreamConfig struct {
	// Its GraphQL endpoint, http or https.
	URL string `yaml:"url"`
	// Several endpoints of the same server, in place of url; http all, or https all.
	URLs []string `yaml:"urls"`
	// How urls are chosen: least_in_flight or round_robin.
	Balance string `yaml:"balance"`
	// When one of urls is taken out of service.
	Health HealthConfig `yaml:"health"`
	// From forwarding a request to the header section of its answer, and again for each 64 KiB of its body.
	Timeout Duration `yaml:"timeout"`
	// Largest answer; a longer one is UPSTREAM_ERROR.
	MaxResponse Size              `yaml:"max_response"`
	TLS         UpstreamTLSConfig `yaml:"tls"`
	Headers     HeaderConfig      `yaml:"headers"`
	// Tells the upstream who was identified.
	Identity ForwardIdentityConfig `yaml:"identity"`
	// Members of the request's extensions that are forwarded; others are dropped.
	Extensions []string `yaml:"extensions"`
}

// UpstreamTLSConfig is for an https upstream with a CA or a client certificate of its own. Files are read again when they change;
// requests then take new connections.
type UpstreamTLSConfig struct {
	// PEM certificates that the upstream's must chain to; empty: the system's.
	CAFile string `yaml:"ca_file"`
	// Name in the upstream's certificate, where it is not the URL's host.
	ServerName string `yaml:"server_name"`
	// PEM client certificate.
	CertFile string `yaml:"cert_file"`
	// PEM private key of the client certificate.
	KeyFile string `yaml:"key_file"`
	// Certificates of both sides from a SPIFFE Workload API in place of files; names are then not looked at, SPIFFE IDs are.
	SPIFFE *SPIFFEConfig `yaml:"spiffe,omitempty"`
}

// HeaderConfig changes the headers of forwarded requests.
type HeaderConfig struct {
	// Headers to set, in place of the client's. Their values are never printed.
	Set map[string]identity.Secret `yaml:"set"`
	// Headers to drop.
	Remove []string `yaml:"remove"`
}

// SchemaConfig says where the schema comes from.
type SchemaConfig struct {
	// SDL files or folders, or an introspection result (.json).
	Files []string `yaml:"files"`
	// Ask the upstream by introspection at start.
	Introspect bool `yaml:"introspect"`
	// Ask again this often; 0: never.
	Refresh Duration `yaml:"refresh"`
}

// PolicyConfig says who may do what.
type PolicyConfig struct {
	// Rego files or folders.
	Paths []string `yaml:"paths"`
	// JSON or YAML files or folders, read as `data`.
	Data []string `yaml:"data"`
	// An OPA bundle in place of paths, or beside them.
	Bundle BundleConfig `yaml:"bundle"`
	// For the policy's evaluation in one request.
	Timeout Duration `yaml:"timeout"`
	// reject: a denied field refuses the operation. filter: it is cut out and answered by null and an error.
	OnDeny string `yaml:"on_deny"`
	// The same for a mutation's root fields, with on_deny: filter. By default a denied one refuses the whole mutation before
	// any of it runs.
	OnDenyMutation string `yaml:"on_deny_mutation"`
	// refuse or accept a rule that reads a non-null field of input.parent: where the upstream fails to give that field, the
	// object itself becomes null.
	ParentNonNull string `yaml:"parent_non_null"`
	// File with the key of mask.hash, at least 16 bytes.
	MaskKeyFile string `yaml:"mask_key_file"`
	// Request headers that the policy may read as input.request.headers.
	Headers []string `yaml:"headers"`
	// The same as the top-level allow_all.
	AllowAll bool `yaml:"allow_all"`
}

// BundleConfig is an OPA bundle source.
type BundleConfig struct {
	// Tarball on disk.
	File string `yaml:"file"`
	// Tarball by HTTP(S).
	URL string `yaml:"url"`
	// How often the URL is asked.
	Poll Duration `yaml:"poll"`
	// File with the PEM public key that the bundle must be signed with; empty: signatures are not looked at.
	Signing string `yaml:"signing"`
	// Signature algorithm; default RS256.
	Algorithm string `yaml:"algorithm"`
	// Name of the key; the signature's own is then not read.
	KeyID string `yaml:"key_id"`
	// Scope that the signature must state.
	Scope string `yaml:"scope"`
}

// OperationsConfig says which operations are known.
type OperationsConfig struct {
	// Persisted-operation manifests.
	Manifests []ManifestConfig `yaml:"manifests"`
	// Operations that no manifest lists: allow, deny or policy (its rule adhoc decides). Default deny when there is a
	// manifest, else it must be set.
	Adhoc        string             `yaml:"adhoc"`
	Unregistered UnregisteredConfig `yaml:"unregistered"`
	// When registered documents are judged against the schema. first_use: when a client sends one, and only limits at load.
	// ahead: all at load, where one that the schema refuses then stops the start. Either way a plan is made, and kept in
	// limits.plan_cache, at an operation's first use: about a millisecond, once.
	Compile string `yaml:"compile"`
	// What a bad entry of a manifest does at load: fatal, or skip, which leaves it out with a warning.
	BadEntries string `yaml:"bad_entries"`
	// Automatic persisted queries. They never satisfy an allowlist.
	APQ bool `yaml:"apq"`
}

// ManifestConfig is one manifest: an Apollo manifest, a map from id to text, or a folder.
type ManifestConfig struct {
	// File or folder; its format is detected. It is watched.
	File string `yaml:"file"`
	// In place of file: HTTP(S) URL of a manifest, asked again every poll (with its ETag).
	URL string `yaml:"url"`
	// In place of file: redis://host:port/db that `graphward operations publish` wrote to, asked again every poll.
	Redis string `yaml:"redis"`
	// With redis: the name that it was published under.
	Name string `yaml:"name"`
	// Index that publishing wrote, a file or with url a URL. Default for a file: FILE.index, when it is there.
	Index string `yaml:"index"`
	// With url: file whose content is sent as a bearer token.
	TokenFile string `yaml:"token_file"`
	// How often url or redis is asked, at least 1s. Default 1m, with redis 10s.
	Poll Duration `yaml:"poll"`
	// Largest manifest that url or redis may give. Default 64MiB.
	MaxSize Size `yaml:"max_size"`
	// Client that it belongs to; empty: all.
	Client string `yaml:"client"`
	// Version of that client that it belongs to; empty: all.
	Version string `yaml:"version"`
	// Limits that its documents may break, above those of limits; 0: limits. An entry of an Apollo manifest can say its own in a
	// member limits.
	Limits ShapeLimits `yaml:"limits"`
	// Cost that its documents may have, above cost.max.
	Cost ManifestCost `yaml:"cost"`
}

// ManifestCost is the cost limit of registered documents.
type ManifestCost struct {
	// Largest cost; 0: cost.max.
	Max float64 `yaml:"max"`
}

// UnregisteredConfig gives operations that no manifest lists limits of their own.
type UnregisteredConfig struct {
	// Tier of budgets.tiers.
	Tier string `yaml:"tier"`
	// Lower limits.
	Limits ShapeLimits `yaml:"limits"`
	// Lower cost limit.
	Cost UnregisteredCost `yaml:"cost"`
}

// UnregisteredCost is the cost limit of operations that no manifest lists.
type UnregisteredCost struct {
	// Largest cost; 0: cost.max.
	Max float64 `yaml:"max"`
}

// LimitsConfig bounds what is read and parsed. These are ceilings; a tier can only lower them.
type LimitsConfig struct {
	// Request body.
	Body Size `yaml:"body"`
	// GraphQL document.
	Document Size `yaml:"document"`
	// Lexical tokens of the document.
	Tokens      int `yaml:"tokens"`
	ShapeLimits `yaml:",inline"`
	// Fragment definitions of the document; operations too.
	Fragments int `yaml:"fragments"`
	// Nesting of an input value.
	ValueDepth int `yaml:"value_depth"`
	// Items of one input list.
	ListItems int `yaml:"list_items"`
	// Operations of one batch.
	Batch int `yaml:"batch"`
	// Request URL.
	URL Size `yaml:"url"`
	// Header section.
	Headers Size `yaml:"headers"`
	// Connections held at once. Further ones take the place of those idle for longest, else wait in the kernel's queue.
	Connections int `yaml:"connections"`
	// Of these, held for one IPv4 address or IPv6 /64 at once; of further ones its idle ones make room, else they are closed. 0: any number.
	// identity.trusted_proxies are exempt; leave it 0 behind a load balancer that is not one of them.
	ConnectionsPerAddress int `yaml:"connections_per_address"`
	// Memory for compiled operations, about; what does not fit is compiled again.
	PlanCache Size `yaml:"plan_cache"`
	// Requests served at once; further ones wait in the queue, or are OVERLOADED at once. Where callers can be identified, the last eighth is for those who are.
	InFlight int `yaml:"in_flight"`
	// Requests that wait for a place among those, first come first served, for timeouts.queue at most; 0: none does.
	Queue int `yaml:"queue"`
}

// ShapeLimits are the limits on an operation's shape, which a tier may lower. 0: the ceiling of limits.
type ShapeLimits struct {
	// Nesting of fields and inline fragments.
	Depth int `yaml:"depth"`
	// Aliased fields, fragments expanded.
	Aliases int `yaml:"aliases"`
	// Selections on the root type, fragments expanded.
	RootFields int `yaml:"root_fields"`
	// Directives, fragments expanded.
	Directives int `yaml:"directives"`
}

// CostConfig is the cost model (COST.md).
type CostConfig struct {
	// Largest estimated cost of one request.
	Max float64 `yaml:"max"`
	// Lower limits by operation kind, such as {mutation: 500}.
	MaxByKind map[string]float64 `yaml:"max_by_kind"`
	// default, ibm, apollo, github, shopify, shopify_log or simple.
	Profile cost.Profile `yaml:"profile"`
	// Length of a list that nothing sizes, or none: infinite, or refused where the profile refuses. Not set: the profile's own.
	DefaultListSize *ListSize `yaml:"default_list_size"`
	// A negative page size such as first: -1: refuse (PAGE_SIZE), or fallback, which prices the list as if it had not been given.
	NegativeSize cost.NegativeSize `yaml:"negative_size"`
	// Another number of slicing arguments than the one that @listSize asks for: refuse (PAGE_SIZE) or ignore.
	RequireOneSlicingArgument string `yaml:"require_one_slicing_argument"`
	// Weights by coordinate (User.posts) or type (User).
	Weights map[string]float64 `yaml:"weights"`
	// List sizes by field coordinate, for schemas without @listSize.
	ListSizes map[string]cost.ListSize `yaml:"list_sizes"`
	// Bounds of slicing arguments (first, last, limit, take).
	PageSize cost.PageSize `yaml:"page_size"`
	// Price the answer too and settle budgets to it: off or on.
	Actual string `yaml:"actual"`
	// A larger answer settles at its estimate.
	ActualMaxBytes Size `yaml:"actual_max_bytes"`
}

// BudgetsConfig bounds what a client spends over time.
type BudgetsConfig struct {
	// memory, or redis://host:port/db. A password in it is never printed.
	Store StoreURL `yaml:"store"`
	// Take slices of a budget ahead, so that most operations ask the store nothing: off or on. Up to a twentieth of each
	// budget may then be admitted twice for each firewall; see cost/budget.
	Lease string `yaml:"lease"`
	// Longest wait for the store.
	Timeout Duration `yaml:"timeout"`
	// Whose budget: the first of these that is present. A client's name only selects the tier.
	Key []string `yaml:"key"`
	// When the store fails: deny, allow or local.
	OnStoreFailure string                `yaml:"on_store_failure"`
	Tiers          map[string]TierConfig `yaml:"tiers"`
	Overrides      OverridesConfig       `yaml:"overrides"`
}

// TierConfig is what one tier may spend.
type TierConfig struct {
	// Cost per time, such as 20000/1m: no interval of a minute has more. With `20000/1m burst 5000` it is 5000 at once, and
	// 20000 a minute besides, evenly.
	Cost budget.Window `yaml:"cost"`
	// Requests per time, such as 600/1m, likewise.
	Requests budget.Window `yaml:"requests"`
	// Requests at once.
	InFlight int `yaml:"in_flight"`
	// Lower limits of shape.
	Limits ShapeLimits `yaml:"limits"`
	// Lower cost limit; 0: cost.max.
	MaxCost float64 `yaml:"max_cost"`
}

// OverridesConfig replaces the tier's budget.
type OverridesConfig struct {
	// Tier by client name; wins over the policy's tier.
	Clients map[string]string `yaml:"clients"`
	// Requests by name of a registered operation.
	Operations map[string]budget.Window `yaml:"operations"`
	// Uses of a root field, counted with aliases, such as `Mutation.login: 5/1m`; per IP address.
	RootFields map[string]budget.Window `yaml:"root_fields"`
}

// CSRFConfig is the rule of DESIGN.md section 6.
type CSRFConfig struct {
	// A request with one of these headers is no simple request, so a browser has asked first.
	Headers []string `yaml:"headers"`
}

// CORSConfig answers preflights; zero: no cross-origin access.
type CORSConfig struct {
	// Exact origins.
	Origins []string `yaml:"origins"`
	// Request headers that a page may send, besides Content-Type.
	Headers []string `yaml:"headers"`
	// Cookies and authorization may be sent.
	Credentials bool `yaml:"credentials"`
	// How long a preflight is kept.
	MaxAge Duration `yaml:"max_age"`
	// Set by `cors: upstream`: preflights pass through.
	Upstream bool `yaml:"-"`
}

// ResponsesConfig says what clients see.
type ResponsesConfig struct {
	// The upstream's error messages: mask or pass.
	Errors string `yaml:"errors"`
	// Codes whose messages pass in spite of mask.
	KeepCodes  []string         `yaml:"keep_codes"`
	Extensions ExtensionsConfig `yaml:"extensions"`
	Headers    RemoveConfig     `yaml:"headers"`
	// "Did you mean" in error messages: strip or pass.
	Suggestions string `yaml:"suggestions"`
	// Status of a refusal to a client that takes application/json alone: ok (200) or code.
	LegacyStatus string `yaml:"legacy_status"`
	// Answer a field that is denied beforehand exactly as one that does not exist; with on_deny: filter too it refuses the operation. Records and explain tell them apart.
	HideDenied bool `yaml:"hide_denied"`
	// check: an answer whose data does not fit the operation is UPSTREAM_ERROR. off: only what leads to a guarded field is looked at.
	Shape string `yaml:"shape"`
	// Tell clients cost, limits and the reason of a refusal.
	Explain bool `yaml:"explain"`
}

// ExtensionsConfig changes the answer's extensions.
type ExtensionsConfig struct {
	// Members to remove.
	Remove []string `yaml:"remove"`
	// Members that pass beside denied and masked fields too. All others are left
	// out there: a trace may hold what a field has.
	Keep []string `yaml:"keep"`
}

// RemoveConfig names headers to remove.
type RemoveConfig struct {
	// Names.
	Remove []string `yaml:"remove"`
}

// UnmarshalYAML reads the mapping, or `tls: off` and `tls: on`.
func (t *TLSConfig) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		t.Mode = n.Value
		return nil
	}
	type plain TLSConfig
	return n.Load((*plain)(t))
}

// UnmarshalYAML reads the mapping, or `cors: upstream`.
func (c *CORSConfig) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Value == "upstream" {
		c.Upstream = true
		return nil
	}
	type plain CORSConfig
	return n.Load((*plain)(c))
}

// Mode is what a refusal code does.
type Mode string

// The modes. The zero Mode enforces.
const (
	Enforce Mode = "enforce"
	Report  Mode = "report"
	Off     Mode = "off"
)

// Duration is a time.Duration written as "250ms", "10s", "5m".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a duration: write a number with its unit, such as 250ms, 10s or 5m", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Std is the time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Size is a number of bytes written as "256KiB", "8MiB" or plain "4096".
type Size int64

var sizeUnits = []struct {
	suffix string
	bytes  float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	str, factor := strings.TrimSpace(string(text)), 1.0
	for _, u := range sizeUnits {
		if n, ok := strings.CutSuffix(str, u.suffix); ok {
			str, factor = strings.TrimSpace(n), u.bytes
			break
		}
	}
	v, err := strconv.ParseFloat(str, 64)
	if err != nil || v < 0 || v*factor > math.MaxInt64/2 || v*factor != math.Trunc(v*factor) {
		return fmt.Errorf("%q is not a size: write bytes with a unit, such as 4096, 256KiB or 8MiB", text)
	}
	*s = Size(v * factor)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Size) String() string {
	switch {
	case s >= 1<<20 && s%(1<<20) == 0:
		return strconv.FormatInt(int64(s>>20), 10) + "MiB"
	case s >= 1<<10 && s%(1<<10) == 0:
		return strconv.FormatInt(int64(s>>10), 10) + "KiB"
	}
	return strconv.FormatInt(int64(s), 10)
}

// ListSize is the length of a list, written as a number or as "none".
type ListSize int

// NoListSize is "none": nothing is assumed of the list.
const NoListSize ListSize = -1

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *ListSize) UnmarshalText(text []byte) error {
	if string(text) == "none" {
		*s = NoListSize
		return nil
	}
	n, err := strconv.ParseInt(string(text), 10, 32)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is neither a number of 0 or more nor none", text)
	}
	*s = ListSize(n)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (s ListSize) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s ListSize) String() string {
	if s < 0 {
		return "none"
	}
	return strconv.Itoa(int(s))
}

// DefaultConfig returns the defaults of DESIGN.md section 6: the safe ones.
// What has no safe default (operations.adhoc, identity.anonymous, upstream,
// schema, policy) is left empty and must be set.
func DefaultConfig() *Config {
	return &Config{
		Listen:   "127.0.0.1:8080",
		Path:     "/graphql",
		TLS:      TLSConfig{ClientAuth: "off"},
		Timeouts: TimeoutsConfig{Header: Duration(5 * time.Second), Body: Duration(10 * time.Second), Idle: Duration(120 * time.Second), Write: Duration(30 * time.Second), Queue: Duration(time.Second), Drain: Duration(20 * time.Second)},
		Upstream: UpstreamConfig{Timeout: Duration(30 * time.Second), MaxResponse: 8 << 20, Balance: balanceLeastInFlight,
			Health: HealthConfig{Interval: Duration(5 * time.Second), Timeout: Duration(2 * time.Second), Failures: 3,
				Eject: Duration(5 * time.Second), MaxEject: Duration(2 * time.Minute)}},
		Policy: PolicyConfig{Timeout: Duration(50 * time.Millisecond), OnDeny: "reject", OnDenyMutation: "reject", ParentNonNull: "refuse"},
		Limits: LimitsConfig{
			Body: 256 << 10, Document: 64 << 10, Tokens: 4000,
			ShapeLimits: ShapeLimits{Depth: 15, Aliases: 60, RootFields: 20, Directives: 50},
			Fragments:   100, ValueDepth: 8, ListItems: 500, Batch: 1, URL: 8 << 10, Headers: 32 << 10, Connections: 10000, PlanCache: 128 << 20, InFlight: 4000,
		},
		Operations: OperationsConfig{Compile: CompileFirstUse, BadEntries: BadFatal},
		Cost:       CostConfig{Max: 5000, Profile: "default", NegativeSize: cost.NegativeRefuse, RequireOneSlicingArgument: "refuse", PageSize: cost.PageSize{Min: ptr(1), Max: ptr(100)}, Actual: "off", ActualMaxBytes: 256 << 10},
		Budgets:    BudgetsConfig{Store: "memory", Key: []string{"subject", "api_key", "certificate", "ip"}, OnStoreFailure: "deny", Lease: "off", Timeout: Duration(100 * time.Millisecond)},
		CSRF: CSRFConfig{Headers: []string{"x-apollo-operation-name", "apollo-require-preflight", "graphql-preflight",
			"graphql-require-preflight", "x-graphql-yoga-csrf"}},
		CORS:      CORSConfig{MaxAge: Duration(time.Hour)},
		Responses: ResponsesConfig{Errors: "mask", KeepCodes: []string{"BAD_USER_INPUT"}, Suggestions: "strip", LegacyStatus: "ok", Shape: "off"},
	}
}

func ptr[T any](v T) *T { return &v }
