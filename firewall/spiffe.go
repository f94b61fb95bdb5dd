package firewall

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// SPIFFEConfig takes certificates and trust bundles from a SPIFFE Workload API,
// such as a SPIRE agent's, in place of files. They are renewed as it renews them.
type SPIFFEConfig struct {
	// Address of the Workload API: unix:///run/spire/agent.sock, or tcp://127.0.0.1:8081.
	Socket string `yaml:"socket"`
	// Every workload of this trust domain is accepted as the other side; use either this or ids.
	TrustDomain string `yaml:"trust_domain,omitempty"`
	// SPIFFE IDs that are accepted as the other side, such as spiffe://example.org/shop.
	IDs []string `yaml:"ids,omitempty"`
}

// spiffeStart bounds the wait for the first certificate from the Workload API.
const spiffeStart = 10 * time.Second

// validate checks the block at path; peers says whether the other side shows a
// certificate, so that somebody must be named.
func (c *SPIFFEConfig) validate(v *validation, path string, peers bool) {
	if c.Socket == "" {
		v.add(path+".socket", "is needed: the Workload API's address, such as unix:///run/spire/agent.sock")
	} else if err := workloadapi.ValidateAddress(c.Socket); err != nil {
		v.add(path+".socket", "%v", err)
	}
	if c.TrustDomain != "" && len(c.IDs) > 0 {
		v.add(path+".trust_domain", "cannot stand beside ids: they would allow less than it says")
	}
	if peers && c.TrustDomain == "" && len(c.IDs) == 0 {
		v.add(path, "needs trust_domain or ids: without them every workload would be accepted")
	}
	if c.TrustDomain != "" {
		if _, err := spiffeid.TrustDomainFromString(c.TrustDomain); err != nil {
			v.add(path+".trust_domain", "%q: %v", c.TrustDomain, err)
		}
	}
	for i, id := range c.IDs {
		if _, err := spiffeid.FromString(id); err != nil {
			v.add(fmt.Sprintf("%s.ids[%d]", path, i), "%q: %v", id, err)
		}
	}
}

// authorizer accepts whom the config names. Without names, which validate
// refuses, it accepts nobody.
func (c *SPIFFEConfig) authorizer() tlsconfig.Authorizer {
	var ids []spiffeid.ID
	for _, text := range c.IDs {
		if id, err := spiffeid.FromString(text); err == nil {
			ids = append(ids, id)
		}
	}
	domain, err := spiffeid.TrustDomainFromString(c.TrustDomain)
	return tlsconfig.AdaptMatcher(func(id spiffeid.ID) error {
		if slices.Contains(ids, id) || (c.TrustDomain != "" && err == nil && id.MemberOf(domain)) {
			return nil
		}
		return fmt.Errorf("%s is not one of those that the config accepts", id)
	})
}

// open connects to the Workload API and waits for the first certificate. The
// caller closes the source.
func (c *SPIFFEConfig) open(ctx context.Context, path string, log zerolog.Logger) (*workloadapi.X509Source, error) {
	ctx, cancel := context.WithTimeout(ctx, spiffeStart)
	defer cancel()
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(
		workloadapi.WithAddr(c.Socket), workloadapi.WithLogger(spiffeLog{log.With().Str("key", path).Logger()})))
	if err != nil {
		return nil, &ConfigError{[]Problem{{path + ".socket", fmt.Sprintf("the Workload API at %s gave no certificate: %v", c.Socket, err)}}}
	}
	return source, nil
}

// spiffeLog passes go-spiffe's messages on.
type spiffeLog struct{ log zerolog.Logger }

func (l spiffeLog) Debugf(format string, args ...any) { l.log.Debug().Msgf(format, args...) }
func (l spiffeLog) Infof(format string, args ...any)  { l.log.Info().Msgf(format, args...) }
func (l spiffeLog) Warnf(format string, args ...any)  { l.log.Warn().Msgf(format, args...) }
func (l spiffeLog) Errorf(format string, args ...any) { l.log.Error().Msgf(format, args...) }
