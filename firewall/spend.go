package firewall

import (
	"context"
	"net/netip"
	"time"

	"github.com/graphward/graphward/cost/budget"
	"github.com/graphward/graphward/schema"
)

// admission is what a request holds while it runs: its slots, and requests
// that are not yet final.
type admission struct {
	ledger  budget.Ledger
	receipt budget.Receipt
}

// release gives slots back. Requests that were counted stay counted. It
// outlives the request's context, because the client may be gone; what the
// ledger cannot be told expires by itself.
func (a admission) release(ctx context.Context) {
	if a.ledger == nil || len(a.receipt.Charges) == 0 {
		return
	}
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), settleTime)
		defer cancel()
	}
	_ = a.ledger.Settle(ctx, a.receipt, nil)
}

// settleTime bounds what is still to be settled after a request.
const settleTime = 2 * time.Second

// admitIP counts requests against the address before anything dear: what is
// refused on the way to an identity (401, bad JSON, unknown ids) stays counted
// there, so that guessing is never free. moveTo gives it back for a caller who
// is counted under a key of its own.
func (g *generation) admitIP(ctx context.Context, l budget.Ledger, ip *holder, calls int) (admission, error) {
	return g.admit(ctx, l, ip, "default", calls, false)
}

// moveTo admits the caller under its own key and tier, and takes the requests
// off the address. An anonymous caller whose key is the address stays there.
func (g *generation) moveTo(ctx context.Context, l budget.Ledger, from admission, to *holder, tier string, calls int, ip *holder) (admission, error) {
	if to.name == ip.name && tier == "default" {
		return from, nil
	}
	if from.ledger != nil && len(from.receipt.Charges) > 0 {
		if err := budget.Cancel(ctx, from.ledger, from.receipt); err != nil {
			return admission{}, err
		}
	}
	return g.admit(ctx, l, to, tier, calls, true)
}

func (g *generation) admit(ctx context.Context, l budget.Ledger, of *holder, tier string, calls int, final bool) (admission, error) {
	t, ok := g.config.Budgets.Tiers[tier]
	if !ok {
		return admission{}, nil
	}
	charges := new([2]budget.Charge) // the receipt keeps it
	n := 0
	if t.Requests.Amount > 0 {
		charges[n] = budget.Charge{Key: of.requests, Window: t.Requests, Amount: float64(calls), Final: final}
		n++
	}
	if t.InFlight > 0 {
		charges[n] = budget.Charge{Key: of.inFlight, Window: budget.Window{Amount: float64(t.InFlight)}, Amount: 1}
		n++
	}
	if n == 0 {
		return admission{}, nil
	}
	receipt, err := l.Spend(ctx, charges[:n:n])
	if err != nil {
		return admission{}, err
	}
	return admission{l, receipt}, nil
}

// charge reserves a call's cost and counts the operations and root fields that
// have budgets of their own. The first charge of the receipt is the cost when
// the tier limits it.
func (f *Firewall) charge(ctx context.Context, g *generation, v *verdict, of *holder, ip netip.Addr) (budget.Receipt, error) {
	b := &g.config.Budgets
	charges := make([]budget.Charge, 0, 1)
	if t, ok := b.Tiers[v.tier]; ok && t.Cost.Amount > 0 {
		key := of.cost
		if v.apart {
			key = budget.Key(of.name, "cost", "unregistered")
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
	if len(charges) == 0 {
		return budget.Receipt{}, nil
	}
	return f.ledger.Spend(ctx, charges)
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
func (f *Firewall) settle(ctx context.Context, r budget.Receipt, actual float64) {
	if len(r.Charges) == 0 {
		return
	}
	if _, local := f.ledger.(*budget.Memory); !local { // which waits for nobody
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), settleTime)
		defer cancel()
	}
	var amounts []float64
	if actual >= 0 {
		amounts = make([]float64, len(r.Charges))
		for i, c := range r.Charges {
			amounts[i] = c.Amount
			if !c.Final {
				amounts[i] = actual
			}
		}
	}
	if err := f.ledger.Settle(ctx, r, amounts); err != nil {
		f.metrics.settleFailed.Inc()
		f.log.Warn().Err(err).Msg("a reservation could not be settled; it expires by itself")
	}
}
