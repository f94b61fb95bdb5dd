package budget

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// universalOptions reads o.URL. Its errors never show the URL, which may hold a password.
func universalOptions(o RedisOptions) (*redis.UniversalOptions, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, errors.New("budget store: the URL cannot be parsed; want redis://host:port/db")
	}
	options := &redis.UniversalOptions{
		Username: cmp.Or(o.Username, u.User.Username()),
		Protocol: 2,
		// One retry for a connection that the server had closed; a call is safe to send twice (see lua/spend.lua).
		MaxRetries:            1,
		MinRetryBackoff:       -1,
		MaxRetryBackoff:       -1,
		ContextTimeoutEnabled: true,
		DialTimeout:           o.Timeout,
		DialerRetries:         1,
		ReadTimeout:           o.Timeout,
		WriteTimeout:          o.Timeout,
		PoolTimeout:           o.Timeout,
		PoolSize:              o.PoolSize,
		PipelinePoolSize:      -1,
		ReadBufferSize:        4096,
		WriteBufferSize:       4096,
		DisableIdentity:       true,
		FailingTimeoutSeconds: 1,

		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	password, _ := u.User.Password()
	options.Password = cmp.Or(o.Password, password)
	switch u.Scheme {
	case "redis":
		options.TLSConfig = o.TLS
	case "rediss":
		options.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}
		if o.TLS != nil {
			options.TLSConfig = o.TLS
		}
	default:
		return nil, fmt.Errorf("budget store: scheme %q is not known; want redis:// or rediss://", u.Scheme)
	}
	options.Addrs = []string{net.JoinHostPort(cmp.Or(u.Hostname(), "localhost"), cmp.Or(u.Port(), "6379"))}
	if db := strings.Trim(u.Path, "/"); db != "" {
		if options.DB, err = strconv.Atoi(db); err != nil || options.DB < 0 {
			return nil, fmt.Errorf("budget store: database %q is not a number", db)
		}
	}
	if err := universalParameters(options, u.Query()); err != nil {
		return nil, err
	}
	return options, nil
}

func universalParameters(options *redis.UniversalOptions, query url.Values) error {
	for _, name := range slices.Sorted(maps.Keys(query)) {
		values := query[name]
		switch name {
		case "addr":
			options.Addrs = append(options.Addrs, values...)
		case "cluster":
			cluster, err := strconv.ParseBool(values[0])
			if err != nil {
				return fmt.Errorf("budget store: cluster=%q is neither true nor false", values[0])
			}
			options.IsClusterMode = cluster
		case "master_name":
			options.MasterName = values[0]
		default:
			return fmt.Errorf("budget store: parameter %q is not known; want cluster, addr or master_name", name)
		}
	}
	switch {
	case options.IsClusterMode && options.MasterName != "":
		return errors.New("budget store: cluster and master_name exclude each other")
	case options.IsClusterMode && options.DB != 0:
		return errors.New("budget store: a cluster has no numbered databases")
	case len(options.Addrs) > 1 && !options.IsClusterMode && options.MasterName == "":
		return errors.New("budget store: several addresses need cluster=true or master_name")
	}
	return nil
}
