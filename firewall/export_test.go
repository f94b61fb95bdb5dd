package firewall

import "time"

// WithCertificateCheck looks at certificate files more often than once a second.
func WithCertificateCheck(every time.Duration) Option {
	return func(o *options) { o.checkEvery = every }
}
