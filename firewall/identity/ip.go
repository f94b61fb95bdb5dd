package identity

import (
	"net/http"
	"net/netip"
	"strings"
)

// ClientIP returns the address of the client that sent r: the peer of the
// connection or, as far as the peer is one of the trusted proxies, the
// right-most X-Forwarded-For entry that no trusted proxy's address holds.
// Entries to the left of it are what the client may have written itself and
// are not read. An entry that is no address ends the walk at the proxy that
// reported it. IPv4-mapped addresses are returned as IPv4 and zones are
// dropped. The result is the zero Addr when r.RemoteAddr has no address, as
// with a Unix socket.
func ClientIP(r *http.Request, trusted []netip.Prefix) netip.Addr {
	client, ok := parseHop(r.RemoteAddr)
	if !ok || !contains(trusted, client) {
		return client
	}
	headers := r.Header["X-Forwarded-For"]
	for i := len(headers) - 1; i >= 0; i-- {
		for rest, more := headers[i], true; more; {
			var entry string
			comma := strings.LastIndexByte(rest, ',')
			entry, more = rest[comma+1:], comma >= 0
			if more {
				rest = rest[:comma]
			}
			hop, ok := parseHop(strings.Trim(entry, " \t"))
			if !ok {
				return client
			}
			client = hop
			if !contains(trusted, client) {
				return client
			}
		}
	}
	return client
}

// parseHop reads an address with or without a port, as RemoteAddr and the
// X-Forwarded-For of several proxies have it.
func parseHop(text string) (netip.Addr, bool) {
	if addr, rest, ok := cutIPv4(text); ok && validPort(rest) {
		return addr, true
	}
	return parseAnyHop(text)
}

// parseAnyHop is parseHop for whatever it may be.
func parseAnyHop(text string) (netip.Addr, bool) {
	if withPort(text) { // which ParseAddr would refuse with an error made for it
		both, err := netip.ParseAddrPort(text)
		return both.Addr().Unmap().WithZone(""), err == nil
	}
	bare := text
	if n := len(text); n > 2 && text[0] == '[' && text[n-1] == ']' {
		bare = text[1 : n-1]
	}
	addr, err := netip.ParseAddr(bare)
	return addr.Unmap().WithZone(""), err == nil
}

// cutIPv4 reads an IPv4 address at the beginning of text, where it is written as
// it usually is: four numbers, none with more digits than it needs.
func cutIPv4(text string) (addr netip.Addr, rest string, ok bool) {
	var ip [4]byte
	at := 0
	for i := range ip {
		if i > 0 {
			if at == len(text) || text[at] != '.' {
				return netip.Addr{}, "", false
			}
			at++
		}
		begin, n := at, 0
		for at < len(text) && at < begin+3 && '0' <= text[at] && text[at] <= '9' {
			n = n*10 + int(text[at]-'0')
			at++
		}
		if at == begin || n > 255 || text[begin] == '0' && at > begin+1 {
			return netip.Addr{}, "", false
		}
		ip[i] = byte(n)
	}
	return netip.AddrFrom4(ip), text[at:], true
}

// validPort reports whether text is empty, or a colon and a port as it is
// usually written.
func validPort(text string) bool {
	if text == "" {
		return true
	}
	n := 0
	for i := 1; i < len(text); i++ {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
		n = n*10 + int(text[i]-'0')
	}
	return text[0] == ':' && 2 <= len(text) && len(text) <= 6 && n <= 65535
}

// withPort reports whether text can be an address with a port and cannot be one
// without: IPv6 alone has at least two colons, and with a port has brackets.
func withPort(text string) bool {
	if text != "" && text[0] == '[' {
		return text[len(text)-1] != ']'
	}
	return strings.Count(text, ":") == 1
}

func contains(list []netip.Prefix, addr netip.Addr) bool {
	for _, prefix := range list {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}
