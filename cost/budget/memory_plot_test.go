package budget

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// TestTablesMove fills tables until they lie in plots, and lets their buckets become idle until they do so no more.
func TestTablesMove(t *testing.T) {
	const clients = 120_000
	synctest.Test(t, func(t *testing.T) {
		ledger := NewMemory(MemoryOptions{})
		window := Window{Amount: 1000, Per: time.Second}
		spend := func(key string, amount float64) {
			t.Helper()
			if _, err := ledger.Spend(t.Context(), []Charge{{Key: key, Window: window, Amount: amount, Final: true}}); err != nil {
				t.Fatal(err)
			}
		}
		amount := func(i int) float64 { return float64(1 + i%999) }
		for i := range clients {
			spend(strconv.Itoa(i), amount(i))
		}
		if n := ledger.plots.bytes(); n == 0 {
			t.Fatalf("%d clients fill no plot", clients)
		}
		for i := range clients {
			b, err := ledger.Balance(t.Context(), strconv.Itoa(i), window)
			if err != nil || b.Remaining != window.Amount-amount(i) {
				t.Fatalf("client %d has %v left (%v), want %v", i, b.Remaining, err, window.Amount-amount(i))
			}
		}
		for i := range clients {
			if i%1000 == 0 {
				time.Sleep(2 * time.Second)
			}
			spend("later "+strconv.Itoa(i), 1)
		}
		stats := ledger.Stats()
		if n := ledger.plots.bytes(); n != 0 || stats.Bytes > 1<<20 {
			t.Errorf("%d bytes of tables, %d of them in plots, for %d buckets after the crowd has gone", stats.Bytes, n, stats.Buckets)
		}
	})
}

// TestPlotsGiveBack takes tables of several lengths, also the same twice, and leaves them.
func TestPlotsGiveBack(t *testing.T) {
	var p plots
	a, b := p.take(3, plotted), p.take(255, 2*plotted)
	for _, table := range [][]entry{a, b} {
		for i := range table {
			table[i].high = 1
		}
	}
	if neighbour := p.take(4, plotted); !neighbour[0].free() || !neighbour[plotted-1].free() {
		t.Error("a table begins with its neighbour's entries")
	} else {
		p.leave(neighbour)
	}
	if got, want := p.bytes(), int64(3*4<<20); got != want {
		t.Errorf("%d bytes in plots, want %d", got, want)
	}
	kept := p.take(5, plotted)
	p.leave(a)
	if again := p.take(3, plotted); !again[0].free() {
		t.Error("a table that was left is not free when it is taken again")
	} else {
		p.leave(again)
	}
	p.leave(kept)
	p.leave(b)
	if got := p.bytes(); got != 0 {
		t.Errorf("%d bytes in plots that nobody uses", got)
	}
}
