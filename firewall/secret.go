package firewall

import (
	"fmt"
	"net/url"
	"strings"
)

// StoreURL names a budget store: "memory", or a redis URL whose password no
// way of printing or encoding shows. Compare it with ==; [StoreURL.Reveal] is
// the only way to all of it.
type StoreURL string

// Reveal returns the URL with its password.
func (s StoreURL) Reveal() string { return string(s) }

// String returns the URL without its user and query.
func (s StoreURL) String() string { return redactURL(string(s)) }

// GoString returns what String does.
func (s StoreURL) GoString() string { return s.String() }

// Format writes what String returns, for every verb.
func (s StoreURL) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalText returns what String does.
func (s StoreURL) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the text as it is.
func (s *StoreURL) UnmarshalText(text []byte) error {
	*s = StoreURL(text)
	return nil
}

// redactURL is a URL for people: without user, password and query, which may
// be secrets. Of what is no URL nothing before the last @ remains.
func redactURL(text string) string {
	if u, err := url.Parse(text); err == nil {
		if u.User != nil {
			u.User = url.User("redacted")
		}
		if u.RawQuery != "" {
			u.RawQuery = "redacted"
		}
		if u.Opaque == "" {
			return u.String()
		}
	}
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		return "redacted" + text[i:]
	}
	return text
}
