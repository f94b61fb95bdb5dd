package firewall

import (
	"time"

	"github.com/graphward/graphward/cost/budget"
)

// openLedger opens budgets.store. A shared store stands behind a breaker, which
// follows on_store_failure while it does not answer.
func (f *Firewall) openLedger(b *BudgetsConfig) error {
	if b.Store == "memory" {
		m := budget.NewMemory(budget.MemoryOptions{})
		f.ledger = m
		f.closers = append(f.closers, m.Close)
		return nil
	}
	store, err := budget.NewRedis(budget.RedisOptions{URL: b.Store.Reveal(), Timeout: b.Timeout.Std()})
	if err != nil {
		return &ConfigError{[]Problem{{"budgets.store", err.Error()}}}
	}
	f.store = store
	f.closers = append(f.closers, store.Close)
	f.breaker, err = budget.NewBreaker(store, budget.BreakerOptions{
		Mode: budget.FailureMode(b.OnStoreFailure), Probe: store.Probe, OnChange: f.storeChanged,
	})
	if err != nil {
		return &ConfigError{[]Problem{{"budgets.on_store_failure", err.Error()}}}
	}
	f.closers = append(f.closers, f.breaker.Close)
	f.metrics.budgetStore(f.breaker)
	f.ledger = f.breaker
	if b.Lease == "on" {
		leasing := budget.NewLeasing(f.breaker, budget.LeasingOptions{})
		f.ledger = leasing
		f.closers = append(f.closers, leasing.Close)
	}
	return nil
}

func (f *Firewall) storeChanged(s budget.BreakerState) {
	event := f.log.Info()
	if s.Phase == budget.Open {
		event = f.log.Error().Err(s.Err)
	}
	event.Str("breaker", string(s.Phase)).Str("on_store_failure", string(s.Mode)).Int("pending", s.Pending).Msg("the budget store's state has changed")
}

// budgetState is what /readyz says of the budget store.
type budgetState struct {
	Store string `json:"store"` // memory, or the breaker's phase
	Mode  string `json:"on_store_failure,omitempty"`
	// Since is when the phase began.
	Since time.Time `json:"since,omitzero"`
	// Error is the store's last failure, also when it answers again.
	Error string `json:"error,omitempty"`
	// Pending are settlements that the store is still to be told, Lost those
	// that it never will be.
	Pending int    `json:"pending"`
	Lost    uint64 `json:"lost,omitzero"`
}

func (f *Firewall) budgetState() budgetState {
	if f.breaker == nil {
		return budgetState{Store: "memory"}
	}
	s := f.breaker.State()
	out := budgetState{Store: "redis: " + string(s.Phase), Mode: string(s.Mode), Since: s.Since.UTC(), Pending: s.Pending, Lost: s.Lost}
	if s.Err != nil {
		out.Error = s.Err.Error()
	}
	return out
}
