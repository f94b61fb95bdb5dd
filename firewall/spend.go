package firewall

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/graphward/graphward/cost/budget"
	"github.com/graphward/graphward/schema"
)

// purse is a receipt with room for what it is usually of. A ledger other than
// budget.Memory may keep what it was given beyond the request, to tell its
// store later: it is given memory of its own.
type purse struct {
	receipt  budget.Receipt
	charges  [2]budget.Charge
	balances [2]budget.Balance
	amounts  [2]float64
}

// room is where the charges of the next spend are put together.
func (p *purse) room(l budget.Ledger) []budget.Charge { return roomIn(&p.charges, l) }

func roomIn(own *[2]budget.Charge, l budget.Ledger) []budget.Charge {
	if _, ok := l.(*budget.Memory); ok {
		return own[:0]
	}
	return make([]budget.Charge, 0, 2)
}

// spend spends charges; what p held before is settled. No charges hold nothing.
func (p *purse) spend(ctx context.Context, l budget.Ledger, charges []budget.Charge) error {
	p.receipt = budget.Receipt{Balances: p.balances[:0]}
	if len(charges) == 0 {
		return nil
	}
	if err := budget.Reserve(ctx, l, &p.receipt, charges); err != nil {
		p.receipt = budget.Receipt{}
		return err
	}
	return nil
}

// move gives back what p held and spends charges; of an error p holds nothing.
// The charges are not in p's room.
func (p *purse) move(ctx context.Context, l budget.Ledger, charges []budget.Charge) error {
	if len(p.receipt.Charges) == 0 {
		return p.spend(ctx, l, charges)
	}
	var err error
	if len(charges) == 0 {
		err = budget.Cancel(ctx, l, p.receipt)
	} else if err = budget.Move(ctx, l, p.receipt, &p.receipt, charges); err == nil {
		return nil
	}
	p.receipt = budget.Receipt{}
	return err
}

// admission is what a request holds while it runs: its slots, and requests
// that are not yet final. The zero admission holds nothing.
type admission struct {
	ledger budget.Ledger
	purse  purse
	moved  [2]budget.Charge // room for what is held after a move
}

// release gives slots back. Requests that were counted stay counted. It
// outlives the request's context, because the client may be gone; what the
// ledger cannot be told expires by itself.
func (a *admission) release(ctx context.Context) {
	if len(a.purse.receipt.Charges) == 0 {
		return
	}
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), settleTime)
		defer cancel()
	}
	_ = a.ledger.Settle(ctx, a.purse.receipt, nil)
	a.purse.receipt = budget.Receipt{}
}

// settleTime bounds what is still to be settled after a request.
const settleTime = 2 * time.Second

// toAddress counts requests against the address before anything dear: what is
// refused on the way to an identity (401, bad JSON, unknown ids) stays counted
// there, so that guessing is never free. move gives it back for a caller who
// is counted under a key of its own.
func (a *admission) toAddress(ctx context.Context, g *generation, ip *holder, calls int) error {
	charges := g.admission(a.purse.room(a.ledger), ip, "default", calls, false)
	return a.apart(ctx, g, charges, a.purse.spend(ctx, a.ledger, charges))
}

// ask is toAddress that counts nothing: for a caller who is identified already,
// and whom move would take off the address at once.
func (a *admission) ask(ctx context.Context, l *budget.Memory, g *generation, ip *holder, calls int) error {
	charges := g.admission(a.purse.room(a.ledger), ip, "default", calls, false)
	err := l.Ask(ctx, charges)
	if other := otherCharge(g, charges, err); other != nil {
		if otherErr := l.Ask(ctx, other); otherErr != nil {
			return otherErr
		}
	}
	return err
}

// move admits the caller under its own key and tier, and takes the requests
// off the address; a store is told of both at once. An anonymous caller whose
// key is the address stays there.
func (a *admission) move(ctx context.Context, g *generation, to *holder, tier string, calls int, ip *holder) error {
	if to.name == ip.name && tier == "default" {
		return nil
	}
	charges := g.admission(roomIn(&a.moved, a.ledger), to, tier, calls, true)
	return a.apart(ctx, g, charges, a.purse.move(ctx, a.ledger, charges))
}

// admission appends what a tier charges for being admitted.
func (g *generation) admission(charges []budget.Charge, of *holder, tier string, calls int, final bool) []budget.Charge {
	t, ok := g.config.Budgets.Tiers[tier]
	if !ok {
		return charges
	}
	if t.Requests.Amount > 0 {
		charges = append(charges, budget.Charge{Key: of.requests, Window: t.Requests, Amount: float64(calls), Final: final})
	}
	if t.InFlight > 0 {
		charges = append(charges, budget.Charge{Key: of.inFlight, Window: budget.Window{Amount: float64(t.InFlight)}, Amount: 1})
	}
	return charges
}

// apart spends the other one of a request's two charges where the mode of what is
// used up lets the request through: else who exceeds the one would spend nothing
// of the other.
func (a *admission) apart(ctx context.Context, g *generation, charges []budget.Charge, err error) error {
	if other := otherCharge(g, charges, err); other != nil {
		if otherErr := a.purse.spend(ctx, a.ledger, other); otherErr != nil {
			return otherErr
		}
	}
	return err
}

// otherCharge is the one of a request's two charges that err, which refuses them,
// is not about, where the mode of what is used up lets the request through; nil
// elsewhere.
func otherCharge(g *generation, charges []budget.Charge, err error) []budget.Charge {
	if err == nil || len(charges) != 2 {
		return nil
	}
	e, ok := errors.AsType[*budget.ExceededError](err)
	switch {
	case !ok || g.mode(exceededCode(e)) == Enforce:
		return nil
	case e.Window.Slots():
		return charges[:1]
	}
	return charges[1:]
}

// charge reserves a call's cost and counts the operations and root fields that
// have budgets of their own. The first charge of the receipt is the cost when
// the tier limits it.
func (f *Firewall) charge(ctx context.Context, g *generation, p *purse, v *verdict, of *holder, ip netip.Addr) error {
	b := &g.config.Budgets
	charges := p.room(f.ledger)
	if t, ok := b.Tiers[v.tier]; ok && t.Cost.Amount > 0 {
		key := of.cost
		if v.apart {
			key = of.unregistered
		}
		charges = append(charges, budget.Charge{Key: key, Window: t.Cost, Amount: v.estimate.Total})
	}
	if e := v.document.entry; e != nil {
		if w, ok := b.Overrides.Operations[v.plan.op.Name]; ok {
			charges = append(charges, budget.Charge{Key: budget.Key(of.name, "operation", v.plan.op.Name), Window: w, Amount: 1, Final: true})
		}
	}
	for coordinate, n := range rootUses(v.plan.op, v.variables, b.Overrides.RootFields) {
		charges = append(charges, budget.Charge{
			Key: budget.Key(ipHolder(ip), "field", coordinate), Window: b.Overrides.RootFields[coordinate],
			Amount: float64(n), Final: true,
		})
	}
	return p.spend(ctx, f.ledger, charges)
}

// rootUses counts the live uses of the root fields that have a budget; each
// alias is one use.
func rootUses(op *schema.Operation, vars *schema.Variables, budgets map[string]budget.Window) map[string]int {
	if len(budgets) == 0 {
		return nil
	}
	var counts map[string]int
	live := op.Live(vars, nil)
	for i := range op.Uses {
		u := &op.Uses[i]
		if u.Up >= 0 || !live[u.Cond] {
			continue
		}
		if _, ok := budgets[u.Coordinate()]; ok {
			if counts == nil {
				counts = make(map[string]int, 1)
			}
			counts[u.Coordinate()]++
		}
	}
	return counts
}

// settle ends a reservation. actual is the priced answer, negative when the
// estimate stands: a client that leaves early has caused the work all the same.
// It outlives the request's context, because the client may be gone.
// The admission, unless it is nil, is released with it: a store is told of both
// at once.
func (f *Firewall) settle(ctx context.Context, p *purse, actual float64, a *admission) {
	if len(p.receipt.Charges) == 0 {
		return
	}
	var err error
	if _, local := f.ledger.(*budget.Memory); local { // which waits for nobody
		err = f.ledger.Settle(ctx, p.receipt, p.actual(actual))
	} else {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
		defer cancel()
		all := []budget.Settlement{{Receipt: p.receipt, Actual: p.actual(actual)}}
		if a != nil && len(a.purse.receipt.Charges) > 0 {
			all = append(all, budget.Settlement{Receipt: a.purse.receipt})
			a.purse.receipt = budget.Receipt{}
		}
		err = budget.SettleAll(bounded, f.ledger, all)
	}
	if err != nil {
		f.metrics.settleFailed.Inc()
		f.log.Warn().Err(err).Msg("a reservation could not be settled; it expires by itself")
	}
}

// actual is what a receipt is settled at: the cost alone is corrected.
func (p *purse) actual(cost float64) []float64 {
	if cost < 0 {
		return nil
	}
	amounts := p.amounts[:0]
	for i := range p.receipt.Charges {
		amount := cost
		if c := &p.receipt.Charges[i]; c.Final {
			amount = c.Amount
		}
		amounts = append(amounts, amount)
	}
	return amounts
}
