// Package graphward_test holds what is true of the repository as a whole.
package graphward_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/graphward/graphward"

// An arrow says which of our own packages a package and those below it may import; everything else is forbidden, for the reason
// that it gives. The longest From that is a package's path or stands above it counts. A To ending in /... takes what is below too.
type arrow struct {
	From string
	To   []string
	Why  string
}

// arrows is the picture in CONTRIBUTING.md.
var arrows = []arrow{
	{"cmd", []string{"..."}, ""},
	{"examples", []string{"..."}, ""},
	{"schema", []string{"jsonscan"}, "schema gives a document its meaning; it must stay usable, and testable, without prices, policies or HTTP"},
	{"schema/persisted", []string{"schema"}, "a manifest is documents with names; who may use them is the firewall's to say"},
	{"schema/persisted/redisstore", []string{"porttest"}, "a store of bytes by name and version; what they mean is its reader's to say"},
	{"cost", []string{"schema"}, "a price is arithmetic on an operation: whoever pays, and by what policy, must not change it"},
	{"cost/budget", []string{"porttest"}, "a ledger counts amounts under keys; it knows neither what they buy nor whose they are"},
	{"rego", nil, "the library is Rego text and two declarations: nothing to import"},
	{"policy", []string{"rego", "schema"}, "policy decides on facts handed to it (Subject, Request); knowing tokens, HTTP or prices would let OPA's weight and their changes in"},
	{"porttest", nil, "for tests alone"},
	{"ascii", nil, "a leaf: text is judged alike wherever most of it is plain"},
	{"jsonscan", []string{"ascii"}, "a leaf: JSON is read alike for HTTP and for variables"},
	{"firewall/gqlhttp", []string{"jsonscan"}, "a leaf: GraphQL over HTTP is a specification of its own, testable with bytes in and bytes out"},
	{"firewall/gqlws", nil, "a leaf: the subscription protocols are specifications of their own"},
	{"firewall/identity", []string{"firewall/identity/..."}, "a leaf: who is calling must not depend on what is asked for; firewall translates Identity to policy.Subject"},
	{"firewall/answer", []string{"schema", "firewall/gqlhttp"}, "an answer is rewritten by the operation's shape and by guards handed to it; who decides them, and how, is the firewall's"},
	{"firewall/socket", nil, "a leaf: system calls that never wait"},
	{"firewall/upstream", []string{"ascii", "firewall/socket"}, "a leaf: a client of HTTP/1.1, testable with bytes in and bytes out; what is sent and what becomes of the answer is the firewall's"},
	{"firewall/audit", []string{"ascii"}, "a leaf: a record holds plain values, so that no change of a decision's type changes the log's format"},
	{"firewall", []string{
		"firewall/answer", "firewall/gqlhttp", "firewall/gqlws", "firewall/identity", "firewall/audit", "firewall/socket", "firewall/upstream", "jsonscan", "policy", "cost", "cost/budget", "schema", "schema/persisted",
		"schema/persisted/redisstore",
	}, "the firewall is configured by Go values and embedded without YAML or commands; what stands on it imports it, never the reverse"},
	{"firewall/configfile", []string{"firewall", "firewall/identity", "firewall/audit", "cost/budget", "policy", "schema", "schema/persisted"},
		"configfile turns YAML into firewall.Config and says where in which file a problem stands (hence the loaders' errors); how a request is judged or priced is not its business"},
	{"firewall/console", []string{"firewall", "firewall/audit"}, "the console shows what the firewall reports, and can change nothing"},
	{"firewall/extauthz", []string{"firewall", "firewall/gqlhttp"}, "Envoy's protocol is another way into the same pipeline, not another pipeline"},
}

// An outsider is a package of others that only some of ours may import, or that some must not.
type outsider struct {
	// Path is the package, and what is below it.
	Path string
	// Only lists the places that may import it; Never those that must not. One of them is nil.
	Only, Never []string
	// Deeply forbids it among the dependencies of dependencies too; else only the import itself is. Without Deeply the
	// imports of tests count as well, save for net/http.
	Deeply bool
	Why    string
}

var outsiders = []outsider{
	{Path: "github.com/open-policy-agent/opa", Only: []string{"policy", "rego"},
		Why: "OPA is the heaviest dependency and the one whose behaviour we fence in: one package does"},
	{Path: "github.com/open-policy-agent/opa", Never: []string{"schema", "cost", "rego", "firewall/gqlhttp", "firewall/identity", "firewall/audit"}, Deeply: true,
		Why: "who uses one of these alone must not get a policy engine with it"},
	{Path: "net/http", Never: []string{"schema", "cost", "policy", "rego"},
		Why: "documents, prices and decisions are functions of their input: nothing there fetches or serves (a policy bundle's download is the caller's)"},
	{Path: "github.com/redis/go-redis", Only: []string{"cost/budget", "schema/persisted/redisstore"},
		Why: "one ledger and one store of manifests speak Redis; everything else speaks to them"},
	{Path: "github.com/99designs/gqlgen", Only: []string{"examples"},
		Why: "a GraphQL server is what we stand in front of, not what we are made of"},
	{Path: module + "/examples", Never: []string{"schema", "cost", "policy", "rego", "firewall"}, Deeply: true,
		Why: "the example backend is careless on purpose"},
	{Path: "github.com/stretchr/testify", Only: []string{},
		Why: "tests compare with go-cmp; an assertion library hides which value was wrong behind its own words"},
}

// listed is what `go list -json` says about one package, as far as it matters here.
type listed struct {
	ImportPath                               string
	Imports, TestImports, XTestImports, Deps []string
}

// under reports whether path is top or below it.
func under(path, top string) bool { return path == top || strings.HasPrefix(path, top+"/") }

func arrowFrom(path string) (found arrow, ok bool) {
	for _, a := range arrows {
		if under(path, a.From) && (!ok || len(a.From) > len(found.From)) {
			found, ok = a, true
		}
	}
	return found, ok
}

func (a arrow) allows(path string) bool {
	return slices.ContainsFunc(a.To, func(to string) bool {
		top, all := strings.CutSuffix(to, "...")
		if top = strings.TrimSuffix(top, "/"); all {
			return top == "" || under(path, top)
		}
		return path == to
	})
}

func (o outsider) allows(from string) bool {
	beside := func(top string) bool { return under(from, top) }
	if o.Never != nil {
		return !slices.ContainsFunc(o.Never, beside)
	}
	return slices.ContainsFunc(o.Only, beside)
}

// violations returns a line for each import that the picture forbids, and for each package that it does not show.
func violations(packages []listed) []string {
	var lines []string
	for _, p := range packages {
		path, ours := strings.CutPrefix(p.ImportPath, module+"/")
		if !ours {
			continue
		}
		a, ok := arrowFrom(path)
		if !ok {
			lines = append(lines, fmt.Sprintf("%s is not in the picture: add it to CONTRIBUTING.md and to arrows, or move it", path))
			continue
		}
		for _, imported := range p.Imports {
			if to, ours := strings.CutPrefix(imported, module+"/"); ours && !a.allows(to) {
				lines = append(lines, fmt.Sprintf("%s imports %s: %s", path, to, a.Why))
			}
		}
		for _, o := range outsiders {
			if o.allows(path) {
				continue
			}
			imports, verb := slices.Concat(p.Imports, p.TestImports, p.XTestImports), "imports"
			switch {
			case o.Deeply:
				imports, verb = p.Deps, "depends on"
			case o.Path == "net/http":
				imports = p.Imports // a test may well serve what it loads
			}
			for _, imported := range imports {
				if under(imported, o.Path) {
					lines = append(lines, fmt.Sprintf("%s %s %s: %s", path, verb, imported, o.Why))
				}
			}
		}
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

func TestImportsFollowThePicture(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports,Deps", "./...")
	out, err := list.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var packages []listed
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if !slices.ContainsFunc(packages, func(p listed) bool { return p.ImportPath == module+"/schema" }) {
		t.Fatalf("go list knows no package schema among %d", len(packages))
	}
	for _, line := range violations(packages) {
		t.Error(line)
	}
}

func TestViolationsAreSeen(t *testing.T) {
	our := func(path string, imports ...string) listed {
		for i, to := range imports {
			if !strings.Contains(strings.SplitN(to, "/", 2)[0], ".") && to != "net/http" {
				imports[i] = module + "/" + to
			}
		}
		return listed{ImportPath: module + "/" + path, Imports: imports, Deps: imports}
	}
	tests := []struct {
		name string
		p    listed
		want []string // what each line begins with
	}{
		{"down", our("policy", "schema", "rego", "github.com/open-policy-agent/opa/v1/ast"), nil},
		{"command", our("cmd/graphward", "firewall/configfile", "policy", "examples/quickstart", "net/http"), nil},
		{"inside a leaf", our("firewall/identity/identitytest", "firewall/identity"), nil},
		{"up", our("schema", "cost"), []string{"schema imports cost: "}},
		{"below a package is not the package", our("cost", "schema/persisted"), []string{"cost imports schema/persisted: "}},
		{"leaf to leaf", our("firewall/audit", "firewall/identity"), []string{"firewall/audit imports firewall/identity: "}},
		{"firewall to its user", our("firewall", "firewall/configfile"), []string{"firewall imports firewall/configfile: "}},
		{"OPA elsewhere", our("firewall", "github.com/open-policy-agent/opa/v1/rego"), []string{"firewall imports github.com/open-policy-agent/opa/v1/rego: "}},
		{"OPA in a test", listed{ImportPath: module + "/firewall", XTestImports: []string{"github.com/open-policy-agent/opa/v1/rego"}},
			[]string{"firewall imports github.com/open-policy-agent/opa/v1/rego: "}},
		{"OPA by a detour", listed{ImportPath: module + "/cost", Deps: []string{"github.com/open-policy-agent/opa/v1/ast"}},
			[]string{"cost depends on github.com/open-policy-agent/opa/v1/ast: "}},
		{"HTTP", our("cost/budget", "net/http"), []string{"cost/budget imports net/http: "}},
		{"HTTP in a test", listed{ImportPath: module + "/schema", TestImports: []string{"net/http"}}, nil},
		{"Redis", our("firewall", "github.com/redis/go-redis/v9"), []string{"firewall imports github.com/redis/go-redis/v9: "}},
		{"gqlgen", our("cmd/graphward", "github.com/99designs/gqlgen/graphql"), []string{"cmd/graphward imports github.com/99designs/gqlgen/graphql: "}},
		{"unknown", our("util"), []string{"util is not in the picture: "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for i, line := range violations([]listed{tt.p}) {
				if i < len(tt.want) && strings.HasPrefix(line, tt.want[i]) {
					line = tt.want[i]
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, a := range arrows {
		if a.Why == "" && !a.allows("anything") {
			t.Errorf("%s is restricted without a reason", a.From)
		}
	}
}
