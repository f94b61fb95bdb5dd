package identity

import (
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestClientIP(t *testing.T) {
	for name, test := range map[string]struct {
		peer    string
		trusted string
		headers []string // X-Forwarded-For, one each
		want    string
	}{
		"no proxy":                           {"192.0.2.1:99", "", nil, "192.0.2.1"},
		"a client's own header":              {"192.0.2.1:99", "", []string{"10.0.0.1"}, "192.0.2.1"},
		"a client's header, others trusted":  {"192.0.2.1:99", "10.0.0.0/8", []string{"10.0.0.1"}, "192.0.2.1"},
		"behind a proxy":                     {"10.0.0.1:99", "10.0.0.0/8", []string{"192.0.2.1"}, "192.0.2.1"},
		"behind a proxy without header":      {"10.0.0.1:99", "10.0.0.0/8", nil, "10.0.0.1"},
		"a client in front of its own lie":   {"10.0.0.1:99", "10.0.0.0/8", []string{"1.1.1.1, 192.0.2.1"}, "192.0.2.1"},
		"a lie in a header of its own":       {"10.0.0.1:99", "10.0.0.0/8", []string{"1.1.1.1", "192.0.2.1"}, "192.0.2.1"},
		"two proxies":                        {"10.0.0.1:99", "10.0.0.0/8", []string{"192.0.2.1,10.0.0.2"}, "192.0.2.1"},
		"a lie that names a proxy":           {"10.0.0.1:99", "10.0.0.0/8", []string{"10.0.0.9, 192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		"only proxies":                       {"10.0.0.1:99", "10.0.0.0/8", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		"no address":                         {"10.0.0.1:99", "10.0.0.0/8", []string{"1.1.1.1, unknown"}, "10.0.0.1"},
		"no address further left":            {"10.0.0.1:99", "10.0.0.0/8", []string{"x, 192.0.2.1"}, "192.0.2.1"},
		"no address between proxies":         {"10.0.0.1:99", "10.0.0.0/8", []string{"1.1.1.1, x, 10.0.0.2"}, "10.0.0.2"},
		"an empty entry":                     {"10.0.0.1:99", "10.0.0.0/8", []string{"1.1.1.1,,"}, "10.0.0.1"},
		"with a port":                        {"10.0.0.1:99", "10.0.0.0/8", []string{"192.0.2.1:1234"}, "192.0.2.1"},
		"IPv6":                               {"[2001:db8::1]:99", "", nil, "2001:db8::1"},
		"IPv6 behind a proxy":                {"[2001:db8::1]:99", "2001:db8::1", []string{"2001:db8::2"}, "2001:db8::2"},
		"IPv6 with port":                     {"[2001:db8::1]:99", "2001:db8::/64", []string{"[2001:db9::2]:7"}, "2001:db9::2"},
		"IPv6 in brackets":                   {"[2001:db8::1]:99", "2001:db8::/64", []string{"[2001:db9::2]"}, "2001:db9::2"},
		"IPv6 with half a bracket":           {"[2001:db8::1]:99", "2001:db8::/64", []string{"[2001:db9::2"}, "2001:db8::1"},
		"IPv4 in IPv6, the peer":             {"[::ffff:10.0.0.1]:99", "10.0.0.1", []string{"192.0.2.1"}, "192.0.2.1"},
		"IPv4 in IPv6, the entry":            {"10.0.0.1:99", "10.0.0.1", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		"IPv4 in IPv6, in the list":          {"10.0.0.1:99", "::ffff:10.0.0.1", []string{"192.0.2.1"}, "192.0.2.1"},
		"a zone":                             {"[fe80::1%eth0]:99", "fe80::/10", []string{"192.0.2.1"}, "192.0.2.1"},
		"a Unix socket":                      {"@", "10.0.0.0/8", []string{"192.0.2.1"}, "invalid IP"},
		"long, all of it the client's":       {"10.0.0.1:99", "10.0.0.0/8", []string{strings.Repeat("10.0.0.7,", 3000) + "192.0.2.1"}, "192.0.2.1"},
		"tabs and blanks":                    {"10.0.0.1:99", "10.0.0.0/8", []string{" \t192.0.2.1 \t"}, "192.0.2.1"},
		"octal is no address":                {"10.0.0.1:99", "10.0.0.0/8", []string{"0300.0.2.1"}, "10.0.0.1"},
		"the range's end is not in the next": {"10.1.0.0:99", "10.0.0.0/16", []string{"192.0.2.1"}, "10.1.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			r := request()
			r.RemoteAddr = test.peer
			for _, value := range test.headers {
				r.Header.Add("X-Forwarded-For", value)
			}
			c := Config{Anonymous: Allow}
			if test.trusted != "" {
				c.TrustedProxies = []string{test.trusted}
			}
			if p := c.Validate(); len(p) != 0 {
				t.Fatal(p)
			}
			if got := ClientIP(r, c.Proxies()).String(); got != test.want {
				t.Errorf("got %s, not %s", got, test.want)
			}
		})
	}
}

// The quick way reads what the other reads, and alike.
func TestParseHop(t *testing.T) {
	part := rapid.OneOf(rapid.SampledFrom([]string{".", ":", "1", "0", "00", "255", "256", "[", "]", "%", "::1", "+", "-", "10.0.0.1", ":80", ":65535", ":65536", ":000080", "192.168.0."}),
		rapid.Map(rapid.IntRange(0, 300), strconv.Itoa))
	quick := 0
	check := func(t interface{ Fatalf(string, ...any) }, text string) {
		if addr, rest, ok := cutIPv4(text); ok && validPort(rest) {
			quick++
			if want, known := parseAnyHop(text); !known || addr != want {
				t.Fatalf("%q is %s, want %s, %t", text, addr, want, known)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) { check(t, strings.Join(rapid.SliceOfN(part, 1, 9).Draw(t, "parts"), "")) })
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.SliceOfN(rapid.Map(rapid.IntRange(0, 260), strconv.Itoa), 4, 4).Draw(t, "numbers")
		check(t, strings.Join(numbers, ".")+rapid.SampledFrom([]string{"", ":", ":0", ":40000", ":70000", ":1x", "x"}).Draw(t, "port"))
	})
	if quick < 20 {
		t.Errorf("the quick way was taken %d times", quick)
	}
}

func BenchmarkClientIP(b *testing.B) {
	r := request("X-Forwarded-For", "192.0.2.1, 10.0.0.2")
	r.RemoteAddr = "10.0.0.1:99"
	c := Config{TrustedProxies: []string{"10.0.0.0/8"}}
	trusted := c.Proxies()
	b.ReportAllocs()
	for b.Loop() {
		ClientIP(r, trusted)
	}
}
