package identity

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

const (
	maxClientName    = 128
	maxClientVersion = 64
)

// clientRule decides what client headers count for.
type clientRule struct {
	headers []clientHeader
	public  map[string]bool
}

type clientHeader struct{ name, version string }

func newClientRule(c *Config) clientRule {
	names := c.ClientHeaders
	if names == nil {
		names = DefaultClientHeaders()
	}
	rule := clientRule{public: make(map[string]bool, len(c.PublicClients))}
	for _, name := range names {
		h := clientHeader{name: canonical(name)}
		if stem, found := strings.CutSuffix(h.name, "-Name"); found {
			h.version = stem + "-Version"
		}
		rule.headers = append(rule.headers, h)
	}
	for _, name := range c.PublicClients {
		rule.public[name] = true
	}
	return rule
}

// apply returns id with the client that the headers name, as far as they
// may. It never changes id, which is shared.
func (rule *clientRule) apply(id *Identity, header http.Header) (*Identity, error) {
	var named string
	var err error
	for i := range rule.headers {
		if named, err = agree(header, rule.headers[i].name, named, maxClientName); err != nil {
			return nil, err
		}
	}
	client := id.Client
	switch {
	case named == "":
	case client.ID == "" && rule.public[named]:
		client = Client{ID: named, Name: named}
	case client.ID != "" && client.ID != named:
		return nil, errors.New("the client header contradicts the credential's client")
	}
	if client.ID == "" {
		return id, nil
	}
	for i := range rule.headers {
		if rule.headers[i].version == "" {
			continue
		}
		if client.Version, err = agree(header, rule.headers[i].version, client.Version, maxClientVersion); err != nil {
			return nil, err
		}
	}
	if client == id.Client {
		return id, nil
	}
	shown := *id
	shown.Client = client
	return &shown, nil
}

// agree returns the value of a header, or sofar when it is absent or empty. It
// refuses a repeated header and a value that differs from sofar.
func agree(header http.Header, key, sofar string, limit int) (string, error) {
	values := header[key]
	switch {
	case len(values) > 1:
		return "", fmt.Errorf("header %s is repeated", key)
	case len(values) == 0 || values[0] == "":
		return sofar, nil
	case !printable(values[0], limit):
		return "", fmt.Errorf("header %s is not 1 to %d printable ASCII characters", key, limit)
	case sofar != "" && sofar != values[0]:
		return "", fmt.Errorf("header %s contradicts another client header", key)
	}
	return values[0], nil
}

func validClientName(name string) bool { return printable(name, maxClientName) }

func printable(text string, limit int) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] >= 0x7f {
			return false
		}
	}
	return text != "" && len(text) <= limit
}
