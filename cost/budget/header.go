package budget

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Item is one budget as the RateLimit fields show it (draft-ietf-httpapi-ratelimit-headers-10).
type Item struct {
	// Name is the policy's name ("cost", "requests"); bytes that a structured-field string cannot hold (RFC 9651
	// section 3.3.3) are written as "_".
	Name   string
	Window Window
	// Remaining units, and the time after which there are more: when the bucket is full again, or, on a refusal, when
	// the call could be admitted, so that Retry-After is not earlier than "t". 0 leaves "t" out.
	Remaining float64
	Reset     time.Duration
}

// Item is charge i as a header shows it; false when the receipt has no balance for it, as when it is Unmetered.
func (r Receipt) Item(i int, name string) (Item, bool) {
	if i < 0 || i >= len(r.Balances) {
		return Item{}, false
	}
	b := r.Balances[i]
	return Item{Name: name, Window: r.Charges[i].Window, Remaining: b.Remaining, Reset: b.Reset}, true
}

// Item is the refusing bucket as a header shows it.
func (e *ExceededError) Item(name string) Item {
	return Item{Name: name, Window: e.Window, Remaining: e.Remaining, Reset: e.RetryAfter}
}

// RateLimitPolicy is the value of RateLimit-Policy, such as `"cost";q=20000;w=60`; "" for no items. q is the window's amount, w its
// length in seconds, left out when that is not whole; slots have `qu="concurrent-requests"` and no w.
func RateLimitPolicy(items ...Item) string {
	var b strings.Builder
	for _, item := range items {
		startItem(&b, item.Name)
		b.WriteString(";q=")
		b.WriteString(whole(item.Window.Amount))
		switch {
		case item.Window.Slots():
			b.WriteString(`;qu="concurrent-requests"`)
		case item.Window.Per%time.Second == 0:
			b.WriteString(";w=")
			b.WriteString(strconv.FormatInt(int64(item.Window.Per/time.Second), 10))
		}
	}
	return b.String()
}

// RateLimit is the value of RateLimit, such as `"cost";r=50;t=30`; "" for no items. r is rounded down and t up.
func RateLimit(items ...Item) string {
	var b strings.Builder
	for _, item := range items {
		startItem(&b, item.Name)
		b.WriteString(";r=")
		b.WriteString(whole(item.Remaining))
		if item.Reset > 0 {
			b.WriteString(";t=")
			b.WriteString(strconv.FormatInt(ceilSeconds(item.Reset), 10))
		}
	}
	return b.String()
}

func startItem(b *strings.Builder, name string) {
	if b.Len() > 0 {
		b.WriteString(", ")
	}
	b.WriteByte('"')
	for i := range len(name) {
		switch c := name[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < 0x20 || c > 0x7e:
			b.WriteByte('_')
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
}

// whole is a structured-field integer (RFC 9651 section 3.3.1: at most 15 digits), rounded down.
func whole(v float64) string {
	const most = 999_999_999_999_999
	return strconv.FormatInt(int64(math.Max(0, math.Min(math.Floor(v), most))), 10)
}

func ceilSeconds(d time.Duration) int64 {
	s := int64(d / time.Second)
	if d%time.Second > 0 {
		s++
	}
	return s
}
