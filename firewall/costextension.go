package firewall

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/graphward/graphward/cost/budget"
)

// costStatus is what a client that may know (responses.explain) is told about
// price and budget, in extensions.cost.
type costStatus struct {
	requested, max float64
	actual         float64
	settled        bool // actual is known
	// balance and window are the cost budget's after this call; nil without one.
	balance *budget.Balance
	window  budget.Window
}

// remaining is the budget's, corrected by what the answer cost less.
func (c *costStatus) remaining() float64 {
	left := c.balance.Remaining
	if c.settled {
		left = min(c.balance.Limit, left+c.requested-c.actual)
	}
	return max(0, left)
}

// append writes the object {requested, actual, max, remaining, throttleStatus}.
func (c *costStatus) append(dst []byte) []byte {
	dst = appendNumber(append(dst, `{"requested":`...), c.requested)
	if c.settled {
		dst = appendNumber(append(dst, `,"actual":`...), c.actual)
	}
	dst = appendNumber(append(dst, `,"max":`...), c.max)
	if c.balance != nil {
		dst = appendNumber(append(dst, `,"remaining":`...), c.remaining())
		dst = appendNumber(append(dst, `,"throttleStatus":{"maximumAvailable":`...), c.balance.Limit)
		dst = appendNumber(append(dst, `,"currentlyAvailable":`...), c.remaining())
		dst = appendNumber(append(dst, `,"restoreRate":`...), c.window.Amount/c.window.Per.Seconds())
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

func appendNumber(dst []byte, v float64) []byte { return strconv.AppendFloat(dst, v, 'f', -1, 64) }

// costStatus is nil where clients are not told.
func (x *exchange) costStatus(v *verdict) *costStatus {
	if !x.g.config.Responses.Explain || !v.measured {
		return nil
	}
	c := &costStatus{requested: v.estimate.Total, max: v.maxCost}
	if x.open != nil && x.open.Cost.Settled {
		c.actual, c.settled = x.open.Cost.Actual, true
	}
	for i := range x.held.receipt.Balances {
		if w := x.held.receipt.Charges[i].Window; !x.held.receipt.Charges[i].Final && !w.Slots() {
			c.balance, c.window = &x.held.receipt.Balances[i], w
		}
	}
	return c
}

// rateHeaders shows the budgets that a call was charged to, those of its request
// last; upstream's own RateLimit fields stay beside them (PROTOCOLS.md).
func (x *exchange) rateHeaders(h http.Header) {
	if !x.g.config.Responses.Explain {
		return
	}
	var items []budget.Item
	for _, receipt := range []*budget.Receipt{&x.held.receipt, &x.memory.admission.purse.receipt} {
		for i := range receipt.Balances {
			if item, ok := receipt.Item(i, itemName(receipt.Charges[i].Key)); ok {
				items = append(items, item)
			}
		}
	}
	if len(items) > 0 {
		h["Ratelimit-Policy"] = append(h["Ratelimit-Policy"], budget.RateLimitPolicy(items...))
		h["Ratelimit"] = append(h["Ratelimit"], budget.RateLimit(items...))
	}
}

// withExtension puts a member into the answer's extensions, at their end; every
// other byte stays. A body whose extensions are no object is left alone.
func withExtension(body []byte, name string, value []byte) ([]byte, bool) {
	member := append(strconv.AppendQuote(nil, name), ':')
	member = append(member, value...)
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return body, false
	}
	members := 0
	for d.PeekKind() == '"' {
		key, err := d.ReadToken()
		if err != nil {
			return body, false
		}
		found := key.String() == "extensions"
		v, err := d.ReadValue()
		if err != nil {
			return body, false
		}
		if members++; !found {
			continue
		}
		if v.Kind() != '{' {
			return body, false
		}
		end := int(d.InputOffset()) - 1
		empty := len(bytes.TrimSpace(v[1:len(v)-1])) == 0
		return splice(body, end, member, !empty), true
	}
	if d.PeekKind() != '}' {
		return body, false
	}
	if _, err := d.ReadToken(); err != nil {
		return body, false
	}
	wrapped := append(append([]byte(`"extensions":{`), member...), '}')
	return splice(body, int(d.InputOffset())-1, wrapped, members > 0), true
}

func splice(body []byte, at int, member []byte, comma bool) []byte {
	out := make([]byte, 0, len(body)+len(member)+1)
	out = append(out, body[:at]...)
	if comma {
		out = append(out, ',')
	}
	return append(append(out, member...), body[at:]...)
}
