package examples_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// While the store does not answer the configured mode is followed, which the log, /metrics and /readyz say; when it is back all goes on
// without a restart.
func TestBudgetStoreFailure(t *testing.T) {
	server := redisServer(t)
	if server == "" {
		return
	}
	for _, mode := range []string{"deny", "allow", "local"} {
		t.Run(mode, func(t *testing.T) {
			number, dir := port(t), t.TempDir()
			store := func() *exec.Cmd {
				cmd := exec.Command(server, "--port", number, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always")
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				return cmd
			}
			redis := store()
			t.Cleanup(func() {
				_ = redis.Process.Kill()
				_ = redis.Wait()
			})
			g := newGuard(t, answerA, `allow_all: true
operations: {adhoc: allow}
budgets: {store: "redis://127.0.0.1:`+number+`/0", timeout: 30s, on_store_failure: `+mode+`, tiers: {default: {requests: 4/1h}}}
`, nil)
			state := func(phase string) func() bool {
				return func() bool {
					body, _ := g.page("/readyz", adminToken)
					return strings.Contains(body, `"redis: `+phase+`"`) && strings.Contains(body, `"on_store_failure":"`+mode+`"`) && strings.Contains(body, `"since":"2`)
				}
			}
			failing := func(want string) {
				t.Helper()
				body, _ := g.page("/metrics", adminToken)
				if !strings.Contains(body, "\ngraphward_budget_store_failing "+want+"\n") {
					t.Errorf("graphward_budget_store_failing is not %s", want)
				}
				phase := map[string]string{"0": "closed", "1": "open"}[want]
				for _, line := range []string{`graphward_budget_store_state{state="` + phase + `"} 1`, `graphward_budget_store_state{state="recovering"} 0`, "graphward_budget_settlements_lost_total 0"} {
					if !strings.Contains(body, "\n"+line+"\n") {
						t.Errorf("/metrics is without %s", line)
					}
				}
			}
			// The server may still be starting, which the breaker then says.
			g.soon("the store answers", func() bool {
				_, status := g.page("/readyz", adminToken)
				return status == http.StatusOK && ping(number)
			})
			g.soon("the store is asked", state("closed"))
			g.want("{ a }", "", http.StatusOK)
			failing("0")

			_ = redis.Process.Signal(syscall.SIGKILL)
			_ = redis.Wait()
			for range 4 { // the breaker opens at the third failure
				g.ask("{ a }")
			}
			g.soon("the breaker is open", state("open"))
			failing("1")
			g.soon("the log says that the store fails", func() bool {
				return strings.Contains(g.log.String(), `"breaker":"open","on_store_failure":"`+mode+`"`)
			})
			if body, status := g.page("/readyz", adminToken); status != http.StatusOK || !strings.Contains(body, `"error":"budget store`) {
				t.Errorf("/readyz says %d %s", status, body)
			}
			if body, _ := g.page("/readyz", ""); strings.Contains(body, "redis") {
				t.Errorf("/readyz tells everybody: %s", body)
			}
			switch mode {
			case "deny":
				g.want("{ a }", "OVERLOADED", http.StatusServiceUnavailable)
			case "allow":
				for range 8 {
					g.want("{ a }", "", http.StatusOK)
				}
			case "local":
				forwarded := 0
				for range 12 {
					if code, _ := g.ask("{ a }"); code == "" {
						forwarded++
					}
				}
				if forwarded > 4 {
					t.Errorf("%d of 12 were forwarded while a process counts 4 by itself", forwarded)
				}
				g.want("{ a }", "BUDGET_EXCEEDED", http.StatusTooManyRequests)
			}

			redis = store()
			g.soon("the store answers again", func() bool { return ping(number) })
			since := time.Now()
			g.soon("the breaker is closed", state("closed"))
			t.Logf("closed %v after the store was back", time.Since(since).Round(time.Millisecond))
			failing("0")
			left := g.budgets("show", "127.0.0.1")["requests default"].Remaining
			if left > 3 {
				t.Errorf("%v of 4 requests are left, though one was counted before the store failed", left)
			}
			for range int(left) {
				g.want("{ a }", "", http.StatusOK)
			}
			g.want("{ a }", "BUDGET_EXCEEDED", http.StatusTooManyRequests)
		})
	}
}

// ping reports whether a Redis answers.
func ping(number string) bool {
	conn, err := net.DialTimeout("tcp", "127.0.0.1:"+number, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return false
	}
	answer := make([]byte, 5)
	_, err = io.ReadFull(conn, answer)
	return err == nil && string(answer) == "+PONG"
}

const overrides = `allow_all: true
operations: {adhoc: allow, manifests: [{file: manifest.json}]}
budgets:
  tiers: {default: {requests: 100/1h}, gold: {requests: 2/1h}}
  overrides: {clients: {mobile: gold}, operations: {Listed: 2/1h}, root_fields: {Mutation.login: 5/1m}}
`

// Overrides by client, by name of a registered operation and by root field; and the operator's look at them.
func TestBudgetOverrides(t *testing.T) {
	g := newGuard(t, answerA, overrides, map[string]string{"manifest.json": `{"listed": "query Listed { a }"}`})
	robot, alice := g.as("key-of-robot", ""), g.as("key-of-alice", "")

	for range 2 {
		robot.want("{ a }", "", http.StatusOK)
	}
	robot.want("{ a }", "BUDGET_EXCEEDED", http.StatusTooManyRequests)
	for range 4 { // a name that nobody proves is nobody's tier
		g.as("", "mobile").want("{ a }", "", http.StatusOK)
	}

	for range 2 {
		alice.want("query Listed { a }", "", http.StatusOK)
	}
	alice.want("query Listed { a }", "BUDGET_EXCEEDED", http.StatusTooManyRequests)
	alice.want("query Listed { a b }", "", http.StatusOK) // another operation of that name
	g.want("query Listed { a }", "", http.StatusOK)       // another caller

	g.want("mutation { a: login(name: \"a\") b: login(name: \"b\") c: login(name: \"c\") }", "", http.StatusOK)
	g.want("mutation { a: login(name: \"a\") b: login(name: \"b\") c: login(name: \"c\") }", "BUDGET_EXCEEDED", http.StatusTooManyRequests)
	alice.want("mutation { ...F } fragment F on Mutation { a: login(name: \"a\") b: login(name: \"b\") }", "", http.StatusOK)
	alice.want("mutation { login(name: \"a\") }", "BUDGET_EXCEEDED", http.StatusTooManyRequests)

	address := g.budgets("show", "127.0.0.1")
	if b := address["field:Mutation.login"]; b.Limit != 5 || b.Remaining != 0 || b.Window != "5/1m" {
		t.Errorf("127.0.0.1's logins: %+v", b)
	}
	mine := g.budgets("show", "alice")
	if b := mine["operation:Listed"]; b.Limit != 2 || b.Remaining != 0 {
		t.Errorf("alice's Listed: %+v", b)
	}
	if b, ok := mine["field:Mutation.login"]; ok {
		t.Errorf("logins are counted by address, yet alice is said to have %+v", b)
	}
	if b := g.budgets("show", "api_key:robot")["requests gold"]; b.Limit != 2 || b.Remaining != 0 {
		t.Errorf("the robot's requests: %+v", b)
	}

	if b := g.budgets("reset", "127.0.0.1")["field:Mutation.login"]; b.Remaining != 5 {
		t.Errorf("127.0.0.1's logins after their reset: %+v", b)
	}
	alice.want("mutation { login(name: \"a\") }", "", http.StatusOK)
	alice.want("query Listed { a }", "BUDGET_EXCEEDED", http.StatusTooManyRequests)
	g.budgets("reset", "subject:alice")
	alice.want("query Listed { a }", "", http.StatusOK)
	g.budgets("reset", "api_key:robot")
	robot.want("{ a }", "", http.StatusOK)

	for _, token := range []string{"", "another token altogether"} {
		if _, status := g.page("/budgets?client=alice", token); status != http.StatusUnauthorized {
			t.Errorf("/budgets with token %q is %d", token, status)
		}
	}
}

// While limits.in_flight is nearly reached, who is unknown is shed and who is known is not.
func TestOverloadShedsUnknownFirst(t *testing.T) {
	var inside atomic.Int32
	release := make(chan struct{})
	let := sync.OnceFunc(func() { close(release) })
	g := newGuard(t, func(w http.ResponseWriter, r *http.Request) {
		inside.Add(1)
		<-release
		answerA(w, r)
	}, "allow_all: true\noperations: {adhoc: allow}\nlimits: {in_flight: 16}\n", nil)
	t.Cleanup(let)
	done := make(chan string, 16)
	alice := g.as("key-of-alice", "")
	hold := func(of *guard) {
		go func() {
			code, _ := of.ask("{ a }")
			done <- code
		}()
	}
	for range 14 { // seven eighths are everybody's
		hold(g)
	}
	g.soon("14 are in flight", func() bool { return inside.Load() == 14 })
	g.want("{ a }", "OVERLOADED", http.StatusServiceUnavailable)
	for range 2 {
		hold(alice)
	}
	g.soon("16 are in flight", func() bool { return inside.Load() == 16 })
	alice.want("{ a }", "OVERLOADED", http.StatusServiceUnavailable)
	let()
	for range 16 {
		if code := <-done; code != "" {
			t.Errorf("one that was admitted was refused: %s", code)
		}
	}
	// A request is over for its sender a little before its place is free.
	g.soon("there is room again", func() bool {
		code, _ := g.ask("{ a }")
		return code == ""
	})
}

const tierConfig = `policy: {paths: [policy.rego], timeout: 1m}
operations: {adhoc: allow}
budgets: {tiers: {default: {requests: 2/1h}, gold: {requests: 4/1h}}}
`

// A tier that the configuration does not know is an error where the policy's text says it, and default with a warning where it is found
// only when it serves.
func TestBudgetUnknownTier(t *testing.T) {
	policy := func(tier string) map[string]string {
		return map[string]string{"policy.rego": "package graphward\n\nimport rego.v1\n\nallow[\"*\"][\"*\"] := true\n\n" + tier + "\n"}
	}
	g := newGuard(t, answerA, tierConfig, policy(`tier := sprintf("%s-tier", [input.subject.id]) if input.subject.id`))
	alice := g.as("key-of-alice", "")
	for range 2 {
		alice.want("{ a }", "", http.StatusOK)
	}
	alice.want("{ a }", "BUDGET_EXCEEDED", http.StatusTooManyRequests)
	const warning = "such callers get the default tier"
	g.soon("the log warns of the unknown tier", func() bool { return strings.Contains(g.log.String(), warning) })
	if text := g.log.String(); strings.Count(text, warning) != 1 || !strings.Contains(text, "alice-tier") {
		t.Errorf("the log does not warn once of the unknown tier:\n%s", text)
	}

	known := newGuard(t, answerA, tierConfig, policy(`tier := "gold" if input.subject.authenticated`))
	for range 4 {
		known.as("key-of-alice", "").want("{ a }", "", http.StatusOK)
	}
	known.as("key-of-alice", "").want("{ a }", "BUDGET_EXCEEDED", http.StatusTooManyRequests)

	check := exec.Command(known.path, "check", "--config", known.config)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("check: %v\n%s", err, out)
	}
	rewrite(t, known, `tier := "golden" if input.subject.authenticated`)
	out, err := exec.Command(known.path, "check", "--config", known.config).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "policy.rego:7:") || !strings.Contains(string(out), `no tier "golden"`) {
		t.Errorf("check of a literal unknown tier: %v\n%s", err, out)
	}
	if out, err := exec.Command(known.path, "serve", "--config", known.config).CombinedOutput(); err == nil || !strings.Contains(string(out), "golden") {
		t.Errorf("serve with a literal unknown tier: %v\n%s", err, out)
	}
}

func rewrite(t *testing.T, g *guard, tier string) {
	t.Helper()
	file := filepath.Join(filepath.Dir(g.config), "policy.rego")
	text := "package graphward\n\nimport rego.v1\n\nallow[\"*\"][\"*\"] := true\n\n" + tier + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
