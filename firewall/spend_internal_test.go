package firewall

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/graphward/graphward/cost"
	"github.com/graphward/graphward/cost/budget"
)

// spender is a firewall with budgets alone, and one call of a caller who has a key of his own.
type spender struct {
	f         *Firewall
	g         *generation
	ip, payer *holder
	m         memory
	v         verdict
}

func newSpender(l budget.Ledger) *spender {
	c := DefaultConfig()
	minute := func(amount float64) budget.Window { return budget.Window{Amount: amount, Per: time.Minute} }
	c.Budgets.Tiers = map[string]TierConfig{"default": {Requests: minute(1 << 40), Cost: minute(1 << 40), InFlight: 50}}
	return &spender{
		f:     &Firewall{ledger: l},
		g:     &generation{config: c},
		ip:    newHolder(budget.KindIP, "", "", netip.MustParseAddr("192.0.2.1")),
		payer: newHolder(budget.KindSubject, "https://issuer.example", "alice", netip.Addr{}),
		v:     verdict{tier: "default", estimate: cost.Estimate{Total: 40}, plan: &plan{}},
	}
}

// request spends and settles what a warm request does.
func (s *spender) request(ctx context.Context, fail func(...any)) {
	held, x := &s.m.admission, &s.m.exchange
	held.ledger = s.f.ledger
	if err := held.toAddress(ctx, s.g, s.ip, 1); err != nil {
		fail(err)
	}
	if err := held.move(ctx, s.g, s.payer, "default", 1, s.ip); err != nil {
		fail(err)
	}
	if err := s.f.charge(ctx, s.g, &x.held, &s.v, s.payer, s.ip.addr); err != nil {
		fail(err)
	}
	s.f.settle(ctx, &x.held, 10, held)
	held.release(ctx)
}

// TestSpendsAllocateNothing is of the memory ledger; others may keep what they are given.
func TestSpendsAllocateNothing(t *testing.T) {
	ledger := budget.NewMemory(budget.MemoryOptions{})
	s := newSpender(ledger)
	if n := testing.AllocsPerRun(100, func() { s.request(t.Context(), t.Fatal) }); n != 0 {
		t.Errorf("%v allocations for a request's budgets, want none", n)
	}
	if n := ledger.Stats().Reservations; n != 0 {
		t.Errorf("%d reservations are open after the requests", n)
	}
	for _, want := range []struct {
		key  string
		used float64
	}{{s.payer.cost, 1010}, {s.payer.requests, 101}, {s.payer.inFlight, 0}, {s.ip.requests, 0}, {s.ip.inFlight, 0}} {
		w := budget.Window{Amount: 1 << 40, Per: time.Minute}
		if want.key == s.payer.inFlight || want.key == s.ip.inFlight {
			w = budget.Window{Amount: 50}
		}
		b, err := ledger.Balance(t.Context(), want.key, w)
		if used := w.Amount - b.Remaining; err != nil || used != want.used {
			t.Errorf("%s: %v used (%v), want %v", want.key, used, err, want.used)
		}
	}
}

// keeper is another ledger and looks later at what it was given.
type keeper struct {
	budget.Ledger
	given [][]budget.Charge
	then  []string // the first key of each
}

func (k *keeper) Spend(ctx context.Context, charges []budget.Charge) (budget.Receipt, error) {
	k.given, k.then = append(k.given, charges), append(k.then, charges[0].Key)
	return k.Ledger.Spend(ctx, charges)
}

// TestChargesAreKept: a breaker tells its store of a settlement when the request is long over, and its memory used by another.
func TestChargesAreKept(t *testing.T) {
	k := &keeper{Ledger: budget.NewMemory(budget.MemoryOptions{})}
	s := newSpender(k)
	for _, name := range []string{"alice", "bob"} {
		s.payer = newHolder(budget.KindSubject, "https://issuer.example", name, netip.Addr{})
		s.request(t.Context(), t.Fatal)
	}
	for i, charges := range k.given {
		if now := charges[0].Key; now != k.then[i] {
			t.Errorf("spend %d was of %s and now says %s", i, k.then[i], now)
		}
	}
}

// BenchmarkSpends is all that one request of an identified caller asks of the ledger.
func BenchmarkSpends(b *testing.B) {
	s := newSpender(budget.NewMemory(budget.MemoryOptions{}))
	b.ReportAllocs()
	for b.Loop() {
		s.request(b.Context(), b.Fatal)
	}
}

// What is used up and only reported, slots or requests, spares nobody the other one.
func TestReportedChargeSparesNoOther(t *testing.T) {
	for _, reported := range []string{"CONCURRENCY_LIMIT", "BUDGET_EXCEEDED"} {
		t.Run(reported, func(t *testing.T) {
			ledger := budget.NewMemory(budget.MemoryOptions{})
			s := newSpender(ledger)
			requests := budget.Window{Amount: 2, Per: time.Hour}
			slots := budget.Window{Amount: 2}
			s.g.config.Modes = map[string]Mode{reported: Report}
			s.g.config.Budgets.Tiers = map[string]TierConfig{"default": {Requests: requests, InFlight: 2}}
			use := budget.Charge{Key: s.payer.inFlight, Window: slots, Amount: 1}
			if reported == "BUDGET_EXCEEDED" {
				use = budget.Charge{Key: s.payer.requests, Window: requests, Amount: 1, Final: true}
			}
			for range 2 {
				if _, err := ledger.Spend(t.Context(), []budget.Charge{use}); err != nil {
					t.Fatal(err)
				}
			}
			var codes []string
			var held [3]admission
			for i := range held {
				held[i].ledger = ledger
				if err := held[i].toAddress(t.Context(), s.g, s.ip, 1); err != nil {
					t.Fatal(err)
				}
				code := ""
				if e, ok := errors.AsType[*budget.ExceededError](held[i].move(t.Context(), s.g, s.payer, "default", 1, s.ip)); ok {
					code = exceededCode(e)
				}
				codes = append(codes, code)
			}
			other := "BUDGET_EXCEEDED"
			if reported == other {
				other = "CONCURRENCY_LIMIT"
			}
			if want := []string{reported, reported, other}; !slices.Equal(codes, want) {
				t.Errorf("the requests met %q, want %q", codes, want)
			}
		})
	}
}
