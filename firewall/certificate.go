package firewall

import (
	"crypto/tls"
	"os"
	"sync"
	"time"
)

// certificateFile serves a certificate that may be replaced on disk. Files are
// looked at once a second at most, by the handshake that needs them; a pair
// that does not load leaves the old one in service.
type certificateFile struct {
	cert, key string

	mu       sync.Mutex
	pair     *tls.Certificate
	modified [2]time.Time
	checked  time.Time
}

const certificateCheck = time.Second

func (c *certificateFile) load() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return err
	}
	c.pair, c.modified = &pair, c.times()
	return nil
}

func (c *certificateFile) times() (t [2]time.Time) {
	for i, name := range [2]string{c.cert, c.key} {
		if info, err := os.Stat(name); err == nil {
			t[i] = info.ModTime()
		}
	}
	return t
}

func (c *certificateFile) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.checked) >= certificateCheck {
		c.checked = now
		if c.times() != c.modified {
			_ = c.load()
		}
	}
	return c.pair, nil
}
