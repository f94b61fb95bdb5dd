package firewall

import (
	"context"
	"crypto/sha256"

	"github.com/graphward/graphward/policy"
)

// remoteSources are digests of what a generation was built from and no file
// shows; zero where there is none.
type remoteSources struct{ schema, bundle [32]byte }

func bundleDigest(b *policy.Bundle) [32]byte {
	if b == nil {
		return [32]byte{}
	}
	return sha256.Sum256(b.Content)
}

// Refresh asks the sources that are not files (schema.introspect, policy.bundle.url)
// and reloads when one has changed. A source that does not answer leaves the
// generation in service and is recorded like a bad reload.
func (f *Firewall) Refresh(ctx context.Context) error {
	g := f.current.Load()
	now, err := f.remoteNow(ctx, g.config)
	if err != nil {
		f.RefuseReload(err)
		return err
	}
	if now == g.remote {
		return nil
	}
	return f.Reload(ctx, g.config)
}

func (f *Firewall) remoteNow(ctx context.Context, c *Config) (now remoteSources, err error) {
	if c.Schema.Introspect {
		result, err := f.options.introspected(ctx, c)
		if err != nil {
			return now, err
		}
		now.schema = sha256.Sum256(result)
	}
	b, err := f.options.bundles.bundle(ctx, &c.Policy.Bundle)
	now.bundle = bundleDigest(b)
	return now, err
}
