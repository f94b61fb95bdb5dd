package budget

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseWindow(t *testing.T) {
	for _, test := range []struct {
		text   string
		want   Window
		reason string // of the refusal
		canon  string // String of the result when not text
	}{
		{text: "20000/1m", want: Window{Amount: 20000, Per: time.Minute}},
		{text: "20000/1m burst 5000", want: Window{Amount: 20000, Per: time.Minute, Burst: 5000}},
		{text: "600/m", want: Window{Amount: 600, Per: time.Minute}, canon: "600/1m"},
		{text: "1/1d", want: Window{Amount: 1, Per: 24 * time.Hour}, canon: "1/24h"},
		{text: "1/366d", want: Window{Amount: 1, Per: 366 * 24 * time.Hour}, canon: "1/8784h"},
		{text: "0.5/1h30m", want: Window{Amount: 0.5, Per: 90 * time.Minute}},
		{text: "10/1h0m1s", want: Window{Amount: 10, Per: time.Hour + time.Second}},
		{text: "10/1500ms", want: Window{Amount: 10, Per: 1500 * time.Millisecond}, canon: "10/1.5s"},
		{text: "  7/1s   burst   9 ", want: Window{Amount: 7, Per: time.Second, Burst: 9}, canon: "7/1s burst 9"},
		{text: "", reason: "it is empty"},
		{text: " ", reason: "it is empty"},
		{text: "20000", reason: "there is no / between amount and duration"},
		{text: "/1m", reason: `amount "" is missing`},
		{text: "20000/", reason: `duration "" is missing`},
		{text: "-5/1m", reason: `amount "-5" is not a plain decimal number`},
		{text: "0/1m", reason: `amount "0" must be above 0`},
		{text: "1e3/1m", reason: `amount "1e3" is not a plain decimal number`},
		{text: "NaN/1m", reason: `amount "NaN" is not a plain decimal number`},
		{text: "Inf/1m", reason: `amount "Inf" is not a plain decimal number`},
		{text: "0x10/1m", reason: `amount "0x10" is not a plain decimal number`},
		{text: "1_000/1m", reason: `amount "1_000" is not a plain decimal number`},
		{text: "./1m", reason: `amount "." is not a plain decimal number`},
		{text: "9007199254740993000/1m", reason: `amount "9007199254740993000" is above 2^53`},
		{text: "5/60", reason: `duration "60" is not a duration such as "1s", "5m", "1h" or "1d"`},
		{text: "5/1 m", reason: `duration "1" is not a duration such as "1s", "5m", "1h" or "1d"`},
		{text: "5/-1m", reason: `duration "-1m" is below 1ms`},
		{text: "5/0s", reason: `duration "0s" is below 1ms`},
		{text: "5/1us", reason: `duration "1us" is below 1ms`},
		{text: "5/1.5d", reason: `duration "1.5d" is not a whole number of days`},
		{text: "5/367d", reason: `duration "367d" is above 366 days`},
		{text: "5/9999h", reason: `duration "9999h" is above 366 days`},
		{text: "5/minute", reason: `duration "minute" is not a duration such as "1s", "5m", "1h" or "1d"`},
		{text: "5/1m brust 3", reason: `"brust" after the duration is not known`},
		{text: "5/1m burst", reason: "burst has no amount"},
		{text: "5/1m burst 0", reason: `burst "0" must be above 0`},
		{text: "5/1m burst 3 more", reason: `"more" after the burst is not known`},
	} {
		t.Run(test.text, func(t *testing.T) {
			got, err := ParseWindow(test.text)
			if test.reason != "" {
				var problem *WindowError
				if !errors.As(err, &problem) {
					t.Fatalf("got %v, %v; want a WindowError", got, err)
				}
				if diff := cmp.Diff(&WindowError{Text: test.text, Reason: test.reason}, problem); diff != "" {
					t.Fatal(diff)
				}
				kept := Window{Amount: 1, Per: time.Second}
				if kept.UnmarshalText([]byte(test.text)) == nil || kept != (Window{Amount: 1, Per: time.Second}) {
					t.Errorf("UnmarshalText changed the window to %v", kept)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Fatal(diff)
			}
			canon := test.canon
			if canon == "" {
				canon = test.text
			}
			if got.String() != canon {
				t.Errorf("String() = %q, want %q", got.String(), canon)
			}
		})
	}
}

func TestWindowTextRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWindow(t)
		text, err := w.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back Window
		if err := back.UnmarshalText(text); err != nil || back != w {
			t.Fatalf("%#v -> %s -> %#v, %v", w, text, back, err)
		}
	})
}

func TestWindowOfSlots(t *testing.T) {
	w := Window{Amount: 50}
	if !w.Slots() || w.String() != "50" || w.problem() != "" {
		t.Errorf("%#v: slots %v, text %q, problem %q", w, w.Slots(), w, w.problem())
	}
}
