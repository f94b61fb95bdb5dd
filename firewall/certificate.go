package firewall

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// certificateCheck is how often certificate files are looked at, at most.
const certificateCheck = time.Second

// material is what TLS makes of files that may be replaced while it serves.
// Whoever asks for it looks at the files, at most once in each interval; what
// does not load leaves the old in service, is reported once and tried again.
// Files should be replaced by renaming: of two that belong together the torn
// state between them is then the only one that can be read, and it does not load.
type material struct {
	files  []string
	read   func() (*tls.Config, error)
	every  time.Duration
	report func(error) // nil error: the new one serves

	current atomic.Pointer[tls.Config]

	mu      sync.Mutex // held by the one who looks at the files
	looked  time.Time
	served  []fileState // what current was made of
	refused []fileState // what was last reported
}

type fileState struct {
	modified time.Time
	size     int64
}

// open reads the files for the first time.
func (m *material) open() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	// States are taken before reading: a change in between is seen next time.
	states := m.states()
	c, err := m.read()
	if err != nil {
		return err
	}
	m.current.Store(c)
	m.served, m.looked = states, time.Now()
	return nil
}

func (m *material) states() []fileState {
	out := make([]fileState, len(m.files))
	for i, name := range m.files {
		if info, err := os.Stat(name); err == nil {
			out[i] = fileState{info.ModTime(), info.Size()}
		}
	}
	return out
}

// get returns what serves now. It never waits for another's look at the files.
func (m *material) get() *tls.Config {
	if m.mu.TryLock() {
		m.look(time.Now())
		m.mu.Unlock()
	}
	return m.current.Load()
}

// look reports whether something new serves.
func (m *material) look(now time.Time) bool {
	if now.Sub(m.looked) < m.every {
		return false
	}
	m.looked = now
	states := m.states()
	if slices.Equal(states, m.served) {
		return false
	}
	c, err := m.read()
	if err != nil {
		if !slices.Equal(states, m.refused) {
			m.refused = states
			m.report(err)
		}
		return false
	}
	m.current.Store(c)
	m.served, m.refused = states, nil
	m.report(nil)
	return true
}

// watch looks at the files until stop is closed, and calls changed when
// something new serves.
func (m *material) watch(stop <-chan struct{}, changed func()) {
	tick := time.NewTicker(m.every)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			m.mu.Lock()
			fresh := m.look(time.Now())
			m.mu.Unlock()
			if fresh {
				changed()
			}
		}
	}
}

// reporter tells the operator of key's files.
func (f *Firewall) reporter(key string) func(error) {
	return func(err error) {
		if err != nil {
			f.metrics.certificates.WithLabelValues(key, "failure").Inc()
			f.log.Error().Err(err).Str("key", key).Msg("the changed certificate files do not load; the old ones keep serving")
			return
		}
		f.metrics.certificates.WithLabelValues(key, "success").Inc()
		f.log.Info().Str("key", key).Msg("changed certificate files serve")
	}
}

// readPair reads a certificate chain and its key; path is the config key of the
// certificate.
func readPair(path, cert, key string) ([]tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, &ConfigError{[]Problem{{path, err.Error()}}}
	}
	return []tls.Certificate{pair}, nil
}

// readPool reads certificates to trust; path is the config key of the file.
func readPool(path, file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, &ConfigError{[]Problem{{path, err.Error()}}}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, &ConfigError{[]Problem{{path, fmt.Sprintf("%s holds no PEM certificate", file)}}}
	}
	return pool, nil
}
