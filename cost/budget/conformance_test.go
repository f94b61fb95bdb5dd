package budget

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// ledgerUnderTest is what every ledger of a store offers.
type ledgerUnderTest interface {
	Ledger
	Inspector
	io.Closer
}

// TestConformance runs testdata/ledger against each ledger.
func TestConformance(t *testing.T) {
	files, err := filepath.Glob("testdata/ledger/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	var scenarios []*scenario
	for _, file := range files {
		scenarios = append(scenarios, readScenario(t, file))
	}
	run := func(name string, each func(*testing.T, *scenario)) {
		t.Run(name, func(t *testing.T) {
			for _, s := range scenarios {
				t.Run(s.name, func(t *testing.T) { each(t, s) })
			}
		})
	}
	run("memory", func(t *testing.T, s *scenario) {
		synctest.Test(t, func(t *testing.T) {
			s.run(t, NewMemory(MemoryOptions{Lease: s.lease}), "", time.Sleep)
		})
	})
	mini := func(t *testing.T, s *scenario, of func(*Redis) ledgerUnderTest) {
		server := miniredis.RunT(t)
		now := time.Unix(1_700_000_000, 0)
		server.SetTime(now)
		s.run(t, of(mustRedis(t, RedisOptions{URL: "redis://" + server.Addr(), Lease: s.lease, Timeout: patience})), "", func(d time.Duration) {
			now = now.Add(d)
			server.SetTime(now)
			server.FastForward(d)
		})
	}
	run("miniredis", func(t *testing.T, s *scenario) { mini(t, s, func(r *Redis) ledgerUnderTest { return r }) })
	run("breaker", func(t *testing.T, s *scenario) {
		mini(t, s, func(r *Redis) ledgerUnderTest { return behindBreaker(t, r) })
	})
	binary := redisBinary(t)
	if binary == "" {
		return
	}
	single := startRedis(t, binary)
	run("redis", func(t *testing.T, s *scenario) {
		s.run(t, mustRedis(t, RedisOptions{URL: single.url(), Lease: s.lease, Timeout: patience}), s.name+":", time.Sleep)
	})
	node := startCluster(t, binary)
	run("cluster", func(t *testing.T, s *scenario) {
		s.run(t, mustRedis(t, RedisOptions{URL: "redis://" + node.addr() + "?cluster=true", Lease: s.lease, Timeout: patience}), s.name+":", time.Sleep)
	})
}

func mustRedis(t testing.TB, o RedisOptions) *Redis {
	t.Helper()
	r, err := NewRedis(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// breakerOver is a Breaker with what its store offers beside.
type breakerOver struct {
	*Breaker
	Inspector
}

func behindBreaker(t *testing.T, r *Redis) ledgerUnderTest {
	t.Helper()
	b, err := NewBreaker(r, BreakerOptions{Probe: r.Probe})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLedger(t, b) })
	return breakerOver{b, r}
}

// scenario is one file of testdata/ledger; its README says how to read it.
type scenario struct {
	name  string
	lease time.Duration
	steps []step
}

type step struct {
	line int
	verb string
	args []string
	want []string // after ->; nil = success
}

func readScenario(t *testing.T, file string) *scenario {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &scenario{name: strings.TrimSuffix(filepath.Base(file), ".txt"), lease: time.Minute}
	for i, line := range strings.Split(string(text), "\n") {
		call, want, expects := strings.Cut(line, "->")
		words := strings.Fields(call)
		if len(words) == 0 {
			continue
		}
		st := step{line: i + 1, verb: words[0], args: words[1:]}
		if expects {
			st.want = strings.Fields(want)
		}
		if st.verb == "lease" {
			s.lease = mustDuration(t, st.args[0])
			continue
		}
		s.steps = append(s.steps, st)
	}
	return s
}

func mustDuration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustFloat(t *testing.T, text string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// player runs a scenario. A ledger whose clock is real drains for as long as the calls take; behind says for how long.
type player struct {
	t        *testing.T
	ledger   ledgerUnderTest
	prefix   string
	start    time.Time
	waited   time.Duration
	wait     func(time.Duration)
	receipts map[string]Receipt
	fastest  float64 // units a nanosecond of any window so far
}

// punctual is how far behind its waits a scenario on a real clock may fall and still hold: less than any of its windows and leases.
const punctual = 100 * time.Millisecond

// run plays the scenario. Where the machine held it up so that windows and leases ended which it takes to last, it says nothing and is
// played again, on other buckets.
func (s *scenario) run(t *testing.T, ledger ledgerUnderTest, prefix string, wait func(time.Duration)) {
	for plays := 1; ; plays++ {
		p := &player{t: t, ledger: ledger, prefix: fmt.Sprint(prefix, plays, ":"), start: time.Now(), wait: wait, receipts: map[string]Receipt{}}
		problem := ""
		for _, st := range s.steps {
			if problem = p.play(st); problem != "" {
				problem = fmt.Sprintf("line %d: %s %s: %s", st.line, st.verb, strings.Join(st.args, " "), problem)
				break
			}
		}
		if problem == "" {
			return
		}
		if p.behind() < punctual || plays == 20 {
			t.Fatal(problem)
		}
		t.Logf("played again, %v behind: %s", p.behind(), problem)
	}
}

// behind is how much longer than its waits the scenario has taken.
func (p *player) behind() time.Duration { return time.Since(p.start) - p.waited }

func (p *player) play(st step) string {
	ctx := p.t.Context()
	switch st.verb {
	case "wait":
		d := mustDuration(p.t, st.args[0])
		p.wait(d)
		if time.Since(p.start) >= p.waited+d { // not where only the server's clock was set
			p.waited += d
		}
		return ""
	case "spend", "move":
		args := st.args[1:]
		if st.verb == "move" {
			args = args[1:]
		}
		var charges []Charge
		for _, arg := range args {
			charges = append(charges, p.charge(arg))
		}
		var receipt Receipt
		var err error
		if st.verb == "spend" {
			receipt, err = p.ledger.Spend(ctx, charges)
		} else {
			err = Move(ctx, p.ledger, p.receipts[st.args[1]], &receipt, charges)
		}
		if st.want[0] != "ok" {
			return p.refused(charges, err, st.want)
		}
		if err != nil {
			return err.Error()
		}
		p.receipts[st.args[0]] = receipt
		if len(st.want)-1 != len(receipt.Balances) {
			return fmt.Sprintf("%d balances", len(receipt.Balances))
		}
		for i, b := range receipt.Balances {
			if problem := p.near("remaining of "+charges[i].Key, b.Remaining, mustFloat(p.t, st.want[i+1]), charges[i].Window); problem != "" {
				return problem
			}
		}
		return ""
	case "settle":
		var actual []float64
		if len(st.args) < 2 || st.args[1] != "keep" {
			actual = []float64{}
			for _, arg := range st.args[1:] {
				actual = append(actual, mustFloat(p.t, arg))
			}
		}
		err := p.ledger.Settle(ctx, p.receipts[st.args[0]], actual)
		if st.want != nil {
			return p.refused(nil, err, st.want)
		}
		return text(err)
	case "balance":
		key, window := p.bucket(st.args[0])
		b, err := p.ledger.Balance(ctx, key, window)
		if err != nil {
			return err.Error()
		}
		return p.state(b, false, 0, window, st.want)
	case "reset":
		return text(p.ledger.Reset(ctx, p.prefix+st.args[0]))
	}
	return "not a verb"
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// bucket reads KEY=WINDOW.
func (p *player) bucket(arg string) (string, Window) {
	key, window, ok := strings.Cut(arg, "=")
	if !ok {
		p.t.Fatalf("%q is not KEY=WINDOW", arg)
	}
	if slots, err := strconv.ParseFloat(window, 64); err == nil {
		return p.prefix + key, Window{Amount: slots}
	}
	w, err := ParseWindow(strings.ReplaceAll(window, "_", " "))
	if err != nil {
		p.t.Fatal(err)
	}
	p.fastest = max(p.fastest, w.Amount/float64(w.Per))
	return p.prefix + key, w
}

// charge reads KEY=WINDOW:AMOUNT.
func (p *player) charge(arg string) Charge {
	at := strings.LastIndexByte(arg, ':')
	amount, final := strings.CutSuffix(arg[at+1:], "!")
	key, window := p.bucket(arg[:at])
	return Charge{Key: key, Window: window, Amount: mustFloat(p.t, amount), Final: final}
}

// refused checks an error against "exceeded …" or "charge …".
func (p *player) refused(charges []Charge, err error, want []string) string {
	if err == nil {
		return "was not refused"
	}
	if want[0] == "charge" {
		var mistake *ChargeError
		if !errors.As(err, &mistake) || mistake.Reason != strings.Join(want[1:], " ") {
			return err.Error()
		}
		return ""
	}
	var e *ExceededError
	if want[0] != "exceeded" || !errors.As(err, &e) {
		return err.Error()
	}
	if e.Key != p.prefix+want[1] || charges[e.Index].Key != e.Key || charges[e.Index].Amount != e.Requested || charges[e.Index].Window != e.Window {
		return fmt.Sprintf("refused by charge %d, %q: %v", e.Index, e.Key, err)
	}
	return p.state(Balance{Limit: e.Limit, Remaining: e.Remaining, Debt: e.Debt, Reset: e.Reset}, e.Never, e.RetryAfter, e.Window, want[2:])
}

// state checks name=value words.
func (p *player) state(b Balance, never bool, retry time.Duration, w Window, want []string) string {
	wantNever, wantDebt := false, 0.0
	for _, word := range want {
		name, value, _ := strings.Cut(word, "=")
		problem := ""
		switch name {
		case "never":
			wantNever = true
		case "remaining":
			problem = p.near(name, b.Remaining, mustFloat(p.t, value), w)
		case "debt":
			wantDebt = mustFloat(p.t, value)
		case "retry":
			problem = p.nearTime(name, retry, mustDuration(p.t, value))
		case "reset":
			problem = p.nearTime(name, b.Reset, mustDuration(p.t, value))
		default:
			problem = "is not known: " + word
		}
		if problem != "" {
			return problem
		}
	}
	if never != wantNever {
		return fmt.Sprintf("never is %v", never)
	}
	if b.Limit != w.capacity() {
		return fmt.Sprintf("limit %g, want %g", b.Limit, w.capacity())
	}
	return p.near("debt", -b.Debt, -wantDebt, w)
}

// near allows for what has drained beyond the scenario's waits.
func (p *player) near(name string, got, want float64, w Window) string {
	drained := 0.0
	if w.Per > 0 {
		drained = p.fastest * float64(p.behind())
	}
	if slack := 1e-9 * math.Max(1, math.Abs(want)); got < want-slack || got > want+drained+slack {
		return fmt.Sprintf("%s %g, want %g to %g", name, got, want, want+drained)
	}
	return ""
}

func (p *player) nearTime(name string, got, want time.Duration) string {
	const slack = time.Microsecond
	if least := max(0, want-p.behind()); cmp.Compare(got, least-slack) < 0 || got > want+slack {
		return fmt.Sprintf("%s %v, want %v to %v", name, got, least, want)
	}
	return ""
}
