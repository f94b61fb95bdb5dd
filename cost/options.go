package cost

import "math"

// Profile names one way of pricing. All profiles share the traversal.
type Profile string

// The profiles and what their total means.
const (
	// Default is IBM's model with heuristics for schemas without directives:
	// connections are sized by first/last, lists by first/last/limit/take.
	// Total is field cost + type cost.
	Default Profile = "default"
	// IBM follows the draft alone: directives only, an unsized list is infinite.
	// Total is field cost + type cost.
	IBM Profile = "ibm"
	// Apollo is the router's demand control: one score.
	Apollo Profile = "apollo"
	// GitHub counts requests and nodes of connections; Total is points, the
	// requests divided by 100, rounded, at least 1.
	GitHub Profile = "github"
	// Shopify charges 1 for an object and 2 + size x item for a connection.
	Shopify Profile = "shopify"
	// ShopifyLog is Shopify with the size replaced by floor(2 ln(max(2, size))).
	ShopifyLog Profile = "shopify_log"
	// Simple counts collected fields; lists count once.
	Simple Profile = "simple"
)

// Profiles lists every profile, in the order of the documentation.
func Profiles() []Profile {
	return []Profile{Default, IBM, Apollo, GitHub, Shopify, ShopifyLog, Simple}
}

// Limits of the arithmetic and of the profiles.
const (
	// Saturation is the largest number that is ever reported: 2^53-1.
	Saturation = 1<<53 - 1
	// DefaultListSize is the size of an unsized list in the default and apollo
	// profiles when the options name none.
	DefaultListSize = 10
	// GitHubMaxNodes is the number of nodes past which GitHub refuses a call.
	GitHubMaxNodes = 500_000
	// ShopifyMax is the cost past which Shopify refuses a single query.
	ShopifyMax = 1000
)

// NegativeSize says what a negative slicing value such as first: -1 does.
type NegativeSize string

const (
	// NegativeRefuse, the default, refuses the operation with *NegativeSizeError.
	NegativeRefuse NegativeSize = "refuse"
	// NegativeFallback prices the list as if the value had not been given.
	NegativeFallback NegativeSize = "fallback"
)

// Options configures a [Model]. The zero value is the default profile with its
// own defaults.
type Options struct {
	// Profile is one of Profiles(); empty means Default.
	Profile Profile
	// DefaultListSize is the size of a list that nothing sizes. Nil means the
	// profile's own: 10 for default and apollo, infinite for ibm, refused with
	// *UnboundedError for github and the Shopify profiles, ignored by simple.
	DefaultListSize *int
	// NoDefaultListSize removes the default ("none"): such lists are infinite,
	// or refused where the profile refuses. It excludes DefaultListSize.
	NoDefaultListSize bool
	// Weights override the schema's directives. Keys are schema coordinates:
	// "Type", "Type.field", "Type.field(arg:)", "Input.field", "@directive(arg:)".
	// A field of an interface stands for the field of every object type that
	// implements it and has no entry of its own.
	Weights map[string]float64
	// ListSizes override @listSize; keys are "Type.field", interfaces as above.
	ListSizes map[string]ListSize
	// PageSize bounds the integer slicing values of a field (its first, last ...).
	PageSize PageSize
	// NegativeSize is NegativeRefuse when empty.
	NegativeSize NegativeSize
	// IgnoreRequireOne prices a field although the number of slicing values
	// differs from one and its @listSize asks for exactly one.
	IgnoreRequireOne bool
}

// ListSize says how long the list of a field can be, as @listSize does. The
// zero ListSize sizes nothing.
type ListSize struct {
	// Slicing names arguments whose value is the size: an Int, or a list, which
	// counts its length. "input.first" reaches into an input object.
	Slicing []string `yaml:"slicing,omitempty" json:"slicing,omitempty"`
	// Assumed is the size when no slicing value is present; nil when unknown.
	Assumed *int `yaml:"assumed,omitempty" json:"assumed,omitempty"`
	// SizedFields names the lists below the field that have the size instead of
	// the field itself: direct children, or deeper ones as "a.b".
	SizedFields []string `yaml:"sized_fields,omitempty" json:"sized_fields,omitempty"`
	// RequireOne refuses the field unless exactly one slicing value is present.
	RequireOne bool `yaml:"require_one,omitempty" json:"require_one,omitempty"`
}

// PageSize bounds the slicing values of every field that has slicing arguments.
// What it leaves out is the profile's own rule: 1 to 100 and required for
// github, nothing for the others.
type PageSize struct {
	// Min and Max are inclusive; nil means no bound.
	Min *int `yaml:"min,omitempty" json:"min,omitempty"`
	Max *int `yaml:"max,omitempty" json:"max,omitempty"`
	// Required refuses a field whose slicing arguments are all missing or null.
	Required bool `yaml:"required,omitempty" json:"required,omitempty"`
}

// over completes p with the profile's own rule.
func (p PageSize) over(own PageSize) PageSize {
	if p.Min == nil {
		p.Min = own.Min
	}
	if p.Max == nil {
		p.Max = own.Max
	}
	p.Required = p.Required || own.Required
	return p
}

// algebra is the arithmetic of a profile. A priced response key costs
//
//	a = max(0, call + max(0, n*(itemA + child.a)))
//	b = max(0, size + max(0, n*(itemB + child.b)))
//
// where call is paid once per parent, the items once per list member, and size
// (the length of a connection) only where countNodes says so.
type algebra struct {
	ibm       bool // two components: field and type; inputs and directives priced by IBM's rules
	apollo    bool // one score; inputs priced by the router's rules
	github    bool
	shopify   bool
	logSize   bool // shopify_log
	simple    bool // every key is one; list sizes are ignored
	heuristic bool // connections and page arguments are recognised by name
	refuse    bool // an unsized list is refused unless a default size is set
	inner     bool // inner list dimensions count too
	listSize  float64
	pageSize  PageSize
	max       float64 // the profile's own limit on Total; 0 when it has none
}

func algebraOf(p Profile) (algebra, bool) {
	one, hundred := 1, 100
	switch p {
	case Default:
		return algebra{ibm: true, heuristic: true, inner: true, listSize: DefaultListSize}, true
	case IBM:
		return algebra{ibm: true, listSize: math.Inf(1)}, true
	case Apollo:
		return algebra{apollo: true, listSize: DefaultListSize}, true
	case GitHub:
		return algebra{github: true, heuristic: true, refuse: true, listSize: math.Inf(1),
			pageSize: PageSize{Min: &one, Max: &hundred, Required: true}}, true
	case Shopify:
		return algebra{shopify: true, heuristic: true, refuse: true, listSize: math.Inf(1), max: ShopifyMax}, true
	case ShopifyLog:
		return algebra{shopify: true, logSize: true, heuristic: true, refuse: true, listSize: math.Inf(1), max: ShopifyMax}, true
	case Simple:
		return algebra{simple: true, listSize: 1}, true
	}
	return algebra{}, false
}
