package budget

import (
	"errors"
	"io"
	"testing"
	"time"
)

func TestErrorTexts(t *testing.T) {
	minute := Window{Amount: 60, Per: time.Minute}
	for _, test := range []struct {
		err  error
		want string
	}{
		{&ExceededError{Key: "k", Window: minute, Requested: 20, RetryAfter: 10 * time.Second, Limit: 60, Remaining: 10},
			`budget 60/1m of "k" exceeded: 20 requested, 10 of 60 left, retry after 10s`},
		{&ExceededError{Key: "k", Window: minute, Requested: 61, Limit: 60, Remaining: 10, Never: true},
			`budget 60/1m of "k" exceeded: 61 requested, 10 of 60 left, which can never be admitted`},
		{&ExceededError{Key: "k", Window: Window{Amount: 2}, Requested: 1, RetryAfter: time.Second, Limit: 2},
			`slots 2 of "k" exceeded: 1 requested, 0 of 2 left, retry after 1s`},
		{&ChargeError{Index: 2, Key: "k", Reason: "the key is wrong"}, `charge 2 ("k"): the key is wrong`},
		{&CapacityError{What: "buckets", Max: 9}, "the ledger holds its maximum of 9 live buckets"},
		{&StoreError{Op: "spend", Err: io.EOF}, "budget store: spend: EOF"},
		{&WindowError{Text: "x", Reason: "it is odd"}, `"x" is not a budget window: it is odd (want AMOUNT/DURATION, as in "20000/1m" or "20000/1m burst 5000")`},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("%T: %s\nwant: %s", test.err, got, test.want)
		}
	}
	if !errors.Is(&StoreError{Op: "spend", Err: io.EOF}, io.EOF) {
		t.Error("a StoreError hides its cause")
	}
}

func TestWindowsThatNoLedgerTakes(t *testing.T) {
	for _, test := range []struct {
		window Window
		want   string
	}{
		{Window{}, ""},
		{Window{Amount: 1}, ""},
		{Window{Amount: -1}, "the window's amount is not between 0 and 2^53"},
		{Window{Amount: 1 << 54}, "the window's amount is not between 0 and 2^53"},
		{Window{Per: time.Second}, "the window's amount is 0"},
		{Window{Amount: 1, Per: time.Microsecond}, "the window's duration is not between 1ms and 366 days"},
		{Window{Amount: 1, Per: -time.Second}, "the window's duration is not between 1ms and 366 days"},
		{Window{Amount: 1, Per: 367 * 24 * time.Hour}, "the window's duration is not between 1ms and 366 days"},
		{Window{Amount: 1, Per: time.Second, Burst: -1}, "the window's burst is not between 0 and 2^53"},
	} {
		ledger := NewMemory(MemoryOptions{})
		_, err := ledger.Spend(t.Context(), []Charge{{Key: "k", Window: test.window}})
		var mistake *ChargeError
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%#v: %v", test.window, err)
		case test.want != "" && (!errors.As(err, &mistake) || mistake.Reason != test.want):
			t.Errorf("%#v: %v, want %s", test.window, err, test.want)
		}
	}
	if _, err := NewMemory(MemoryOptions{}).Spend(t.Context(), []Charge{{Window: Window{Amount: 1}}}); !errors.As(err, new(*ChargeError)) {
		t.Errorf("an empty key: %v", err)
	}
}
