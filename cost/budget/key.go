package budget

import (
	"net/netip"
	"strings"
)

// Kind says what a key's holder is, so that a subject and an address of the same text are two holders.
type Kind string

// The kinds of holder. A client's name that is only claimed by a header is no Kind: it selects a tier, never a bucket.
const (
	KindSubject     Kind = "subject"     // parts: issuer, subject of a verified token
	KindAPIKey      Kind = "api_key"     // part: the key's id, never the key itself
	KindCertificate Kind = "certificate" // part: fingerprint or SPIFFE id
	KindIP          Kind = "ip"          // part: IPPrefix of the address
	KindClient      Kind = "client"      // part: an authenticated client's id
)

// Holder is who a budget belongs to: "{kind:part:part}". The braces are a Redis Cluster hash tag: all buckets of
// one holder lie in one slot. It is injective: other kinds or parts never give the same text, whatever bytes they hold,
// because every byte of kind and parts other than letters, digits and -._~/@ is percent-encoded. No normalisation is done:
// parts that differ in case, spaces or Unicode form are different holders, so only verified values may be passed.
func Holder(kind Kind, parts ...string) string {
	var b strings.Builder
	n := len(kind) + 2
	for _, part := range parts {
		n += 1 + len(part)
	}
	b.Grow(n + 16) // for what is escaped
	b.WriteByte('{')
	appendEscaped(&b, string(kind))
	for _, part := range parts {
		b.WriteByte(':')
		appendEscaped(&b, part)
	}
	b.WriteByte('}')
	return b.String()
}

// Key names one bucket of a holder, for Charge.Key: what is measured ("cost", "requests", "in_flight") and, for an override,
// of what ("operation", "GetUser"). It is injective over all four arguments, given a holder made by Holder.
func Key(holder, measure string, of ...string) string {
	var b strings.Builder
	b.Grow(len(holder) + len(measure) + 16)
	b.WriteString(holder)
	appendEscaped(&b, measure)
	for _, part := range of {
		b.WriteByte(':')
		appendEscaped(&b, part)
	}
	return b.String()
}

func appendEscaped(b *strings.Builder, s string) {
	const hex = "0123456789ABCDEF"
	plain := 0 // s[plain:i] needs no escaping
	for i := range len(s) {
		c := s[i]
		if unescaped[c] {
			continue
		}
		b.WriteString(s[plain:i])
		plain = i + 1
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	b.WriteString(s[plain:])
}

var unescaped = func() (t [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/@") {
		t[c] = true
	}
	return t
}()

// IPPrefix is the address as a budget's holder: an IPv4 address whole ("192.0.2.1/32"), an IPv6 address by its /64
// ("2001:db8::/64"), which is what one subscriber commonly has to himself. IPv4 in IPv6 counts as IPv4; zones are dropped. The zero Addr is "", a holder of its own.
func IPPrefix(addr netip.Addr) string {
	prefix := NetworkOf(addr)
	if !prefix.IsValid() {
		return ""
	}
	var text [64]byte
	return string(prefix.AppendTo(text[:0]))
}

// NetworkOf is what counts as one address: an IPv4 address, or an IPv6 /64, of
// which one host may use all. IPv4-mapped addresses count as IPv4, zones do not
// count; it is the zero Prefix for the zero Addr.
func NetworkOf(addr netip.Addr) netip.Prefix {
	if !addr.IsValid() {
		return netip.Prefix{}
	}
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.Prefix(bits) // bits fit a valid address
	return prefix
}
