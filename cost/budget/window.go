package budget

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	// maxAmount keeps amounts where float64 counts whole units exactly.
	maxAmount = 1 << 53
	maxPer    = 366 * 24 * time.Hour
	minPer    = time.Millisecond
)

// Window is a budget: at most Amount units in any interval of length Per. With a Burst it is another: that many units at
// once, and Amount each Per after it, so that one interval may have both (see the package's Arithmetic). The unit is the caller's: requests,
// points of cost, or, when Per is zero, slots held at the same time. The zero Window is a count of no slots and
// admits nothing.
type Window struct {
	Amount float64       // units each Per, or the number of slots; finite, above 0, at most 2^53
	Per    time.Duration // 0: Amount is a count of slots held until Settle; else 1ms to 366 days
	Burst  float64       // units that may be spent at once while Amount comes back evenly; 0 means no burst; not used with slots
}

// WindowError says why a text is not a window.
type WindowError struct {
	Text   string // the whole text that was given
	Reason string // what is wrong with it
}

func (e *WindowError) Error() string {
	return fmt.Sprintf(`%q is not a budget window: %s (want AMOUNT/DURATION, as in "20000/1m" or "20000/1m burst 5000")`, e.Text, e.Reason)
}

// ParseWindow reads "20000/1m", never more than 20000 in a minute, or "20000/1m burst 5000". The duration is Go's (time.ParseDuration) with "d" for
// 24 hours besides; a unit alone ("600/m") means one of it. Errors are *WindowError. Slots have no such text: they are a number.
func ParseWindow(text string) (Window, error) {
	fail := func(format string, args ...any) (Window, error) {
		return Window{}, &WindowError{Text: text, Reason: fmt.Sprintf(format, args...)}
	}
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return fail("it is empty")
	}
	amountText, perText, ok := strings.Cut(fields[0], "/")
	if !ok {
		return fail("there is no / between amount and duration")
	}
	var w Window
	var err error
	if w.Amount, err = parseAmount(amountText); err != nil {
		return fail("amount %q %v", amountText, err)
	}
	if w.Per, err = parsePer(perText); err != nil {
		return fail("duration %q %v", perText, err)
	}
	switch rest := fields[1:]; {
	case len(rest) == 0:
	case rest[0] != "burst":
		return fail("%q after the duration is not known", rest[0])
	case len(rest) == 1:
		return fail("burst has no amount")
	case len(rest) > 2:
		return fail("%q after the burst is not known", rest[2])
	default:
		if w.Burst, err = parseAmount(rest[1]); err != nil {
			return fail("burst %q %v", rest[1], err)
		}
	}
	return w, nil
}

type reason string

func (r reason) Error() string { return string(r) }

func parseAmount(text string) (float64, error) {
	if text == "" {
		return 0, reason("is missing")
	}
	for _, c := range text {
		if (c < '0' || c > '9') && c != '.' {
			return 0, reason("is not a plain decimal number")
		}
	}
	v, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil:
		return 0, reason("is not a plain decimal number")
	case v <= 0:
		return 0, reason("must be above 0")
	case v > maxAmount:
		return 0, reason("is above 2^53")
	}
	return v, nil
}

func parsePer(text string) (time.Duration, error) {
	if text == "" {
		return 0, reason("is missing")
	}
	number, unit := text, ""
	if i := strings.IndexFunc(text, func(r rune) bool { return r >= 'a' && r <= 'z' || r == 'µ' }); i >= 0 {
		number, unit = text[:i], text[i:]
	}
	if number == "" {
		number = "1"
	}
	var per time.Duration
	if unit == "d" {
		days, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return 0, reason("is not a whole number of days")
		}
		per = time.Duration(days) * 24 * time.Hour
	} else {
		var err error
		if per, err = time.ParseDuration(number + unit); err != nil {
			return 0, reason(`is not a duration such as "1s", "5m", "1h" or "1d"`)
		}
	}
	switch {
	case per < minPer:
		return 0, reason("is below 1ms")
	case per > maxPer:
		return 0, reason("is above 366 days")
	}
	return per, nil
}

// UnmarshalText is ParseWindow, for config decoders. The window is left alone on an error.
func (w *Window) UnmarshalText(text []byte) error {
	parsed, err := ParseWindow(string(text))
	if err == nil {
		*w = parsed
	}
	return err
}

// MarshalText writes what ParseWindow reads. A window of slots is written as its number alone.
func (w Window) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// String is the window's text; ParseWindow(w.String()) gives back a window of Per above zero.
func (w Window) String() string {
	amount := strconv.FormatFloat(w.Amount, 'f', -1, 64)
	if w.Per == 0 {
		return amount
	}
	text := amount + "/" + shortDuration(w.Per)
	if w.Burst > 0 {
		text += " burst " + strconv.FormatFloat(w.Burst, 'f', -1, 64)
	}
	return text
}

// shortDuration is Duration.String without its trailing zero parts: 1m0s is 1m.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = text[:len(text)-2]
	}
	if strings.HasSuffix(text, "h0m") {
		text = text[:len(text)-2]
	}
	return text
}

// Slots reports whether the window counts what is held at once rather than what is spent over time.
func (w Window) Slots() bool { return w.Per == 0 }

// capacity is the most that may be used at once.
func (w Window) capacity() float64 {
	if w.Per > 0 && w.Burst > 0 {
		return w.Burst
	}
	return w.Amount
}

// problem says why the window cannot be charged; "" when it can.
func (w Window) problem() string {
	switch {
	case !(w.Amount >= 0 && w.Amount <= maxAmount):
		return "the window's amount is not between 0 and 2^53"
	case w.Per == 0:
		return ""
	case w.Amount == 0:
		return "the window's amount is 0"
	case w.Per < minPer || w.Per > maxPer:
		return "the window's duration is not between 1ms and 366 days"
	case !(w.Burst >= 0 && w.Burst <= maxAmount):
		return "the window's burst is not between 0 and 2^53"
	}
	return ""
}

// finite reports that v is a number and not an infinity.
func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
