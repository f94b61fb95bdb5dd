package firewall

import (
	"time"

	"github.com/graphward/graphward/schema/persisted"
)

// WithCertificateCheck looks at certificate files more often than once a second.
func WithCertificateCheck(every time.Duration) Option {
	return func(o *options) { o.checkEvery = every }
}

// SetBackgroundSize changes how much may delay a start; the function that it
// returns undoes it.
func SetBackgroundSize(n int64) (undo func()) {
	old := backgroundSize
	backgroundSize = n
	return func() { backgroundSize = old }
}

// SetMinPoll changes how often a store may be asked; the function that it
// returns undoes it.
func SetMinPoll(d time.Duration) (undo func()) {
	old := minPoll
	minPoll = d
	return func() { minPoll = old }
}

// Manifests is the set that serves.
func (f *Firewall) Manifests() *persisted.Set { return f.current.Load().store }
