package firewall

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Server is a firewall on its listeners.
type Server struct {
	f     *Firewall
	data  *http.Server
	admin *http.Server // nil without an admin listener

	dataListener, adminListener net.Listener
	drain                       time.Duration
}

// Listen opens the listeners of the firewall's configuration. Addresses with
// port 0 get a free port; see Addr.
func (f *Firewall) Listen() (*Server, error) { return f.ListenContext(context.Background()) }

// ListenContext is Listen that waits for the SPIFFE Workload API no longer than
// ctx; it has no meaning for the server that it returns.
func (f *Firewall) ListenContext(ctx context.Context) (*Server, error) {
	c := f.current.Load().config
	s := &Server{f: f, drain: c.Timeouts.Drain.Std()}
	quiet := stdlog.New(serverLog{f}, "", 0)
	s.data = &http.Server{
		Handler: http.HandlerFunc(f.boundResets), ConnContext: withConnection, ConnState: track, ReadHeaderTimeout: c.Timeouts.Header.Std(), IdleTimeout: c.Timeouts.Idle.Std(),
		// limits.headers is checked again when the request is decoded; the
		// server's own bound adds the request line.
		MaxHeaderBytes: int(c.Limits.Headers) + int(c.Limits.URL), ErrorLog: quiet,
		HTTP2: http2Limits(),
	}
	config, release, err := f.serverTLS(ctx, &c.TLS)
	if err != nil {
		return nil, err
	}
	s.data.TLSConfig, f.closers = config, append(f.closers, release)
	if s.dataListener, err = net.Listen("tcp", c.Listen); err != nil {
		return nil, &ConfigError{[]Problem{{"listen", unopened(c.Listen, err)}}}
	}
	limited := limitListener(s.dataListener, c.Limits.Connections, c.Timeouts.Write.Std())
	limited.perAddress, limited.exempt, limited.refused = c.Limits.ConnectionsPerAddress, f.trusts, f.metrics.connectionsRefused.Inc
	s.dataListener = limited
	if c.Admin.Listen == "" {
		return s, nil
	}
	handler, err := f.AdminHandler()
	if err == nil {
		s.adminListener, err = net.Listen("tcp", c.Admin.Listen)
		if err != nil {
			err = &ConfigError{[]Problem{{"admin.listen", unopened(c.Admin.Listen, err)}}}
		}
	}
	if err != nil {
		_ = s.dataListener.Close()
		return nil, err
	}
	s.admin = &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10, ErrorLog: quiet}
	return s, nil
}

// unopened says why an address cannot be listened on.
func unopened(address string, err error) string {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = e.Err
	}
	return fmt.Sprintf("%s cannot be opened: %v", address, err)
}

// trusts reports whether an address is one of identity.trusted_proxies, which
// bring the connections of many.
func (f *Firewall) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(f.current.Load().trusted, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// http2Limits bound what one HTTP/2 connection may make the server hold. The
// rest is net/http's: a reset stream keeps its place until its handler is done,
// and over four times as many that wait end the connection; see also
// boundResets. A header block ends it beyond twice MaxHeaderBytes (CVE-2023-45288), 10,000
// answers to SETTINGS and PING that nobody reads do too (CVE-2019-9512, 9515).
func http2Limits() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams: 250,
		// The smallest that RFC 9113 section 4.2 allows: each connection holds a
		// buffer as large as its largest frame.
		MaxReadFrameSize: 16 << 10,
		// Bodies that no handler has read yet.
		MaxReceiveBufferPerStream:     256 << 10,
		MaxReceiveBufferPerConnection: 1 << 20,
		MaxDecoderHeaderTableSize:     4096,
	}
}

// Addr is the data listener's address.
func (s *Server) Addr() net.Addr { return s.dataListener.Addr() }

// AdminAddr is the admin listener's address, nil without one.
func (s *Server) AdminAddr() net.Addr {
	if s.adminListener == nil {
		return nil
	}
	return s.adminListener.Addr()
}

// Serve serves until ctx is done, then drains: /readyz turns 503, no new
// connection is taken, requests in flight get timeouts.drain to end. It returns
// nil after a clean drain.
func (s *Server) Serve(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	serve := func(srv *http.Server, l net.Listener) {
		group.Go(func() error {
			var err error
			if srv.TLSConfig != nil {
				err = srv.ServeTLS(l, "", "")
			} else {
				err = srv.Serve(l)
			}
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return err
		})
	}
	serve(s.data, s.dataListener)
	if s.admin != nil {
		serve(s.admin, s.adminListener)
	}
	group.Go(func() error {
		<-groupCtx.Done()
		s.f.draining.Store(true)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.drain)
		defer cancel()
		err := s.data.Shutdown(ctx)
		if err != nil {
			err = fmt.Errorf("requests were still in flight after timeouts.drain: %w", errors.Join(err, s.data.Close()))
		}
		if s.admin != nil {
			err = errors.Join(err, s.admin.Shutdown(ctx))
		}
		return err
	})
	return group.Wait()
}

// serverLog passes net/http's own messages on, without the noise of scanners.
type serverLog struct{ f *Firewall }

func (l serverLog) Write(p []byte) (int, error) {
	l.f.log.Debug().Msg(strings.TrimSpace(string(p)))
	return len(p), nil
}
