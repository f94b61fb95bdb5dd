package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/graphward/graphward/examples/backend"
	"github.com/graphward/graphward/examples/quickstart"
	"github.com/graphward/graphward/firewall"
	"github.com/graphward/graphward/firewall/audit"
	"github.com/graphward/graphward/firewall/configfile"
)

type demoCommand struct {
	Listen string `help:"Address of the firewall; port 0 takes a free one." default:"127.0.0.1:8080"`
	Dir    string `help:"Keep the demo's configuration and policy here, to change and try; default: a temporary folder." placeholder:"DIR"`
	Audit  bool   `help:"Print the audit record of each request."`
}

// tokenLife is how long the printed tokens are good.
const tokenLife = 12 * time.Hour

func (d *demoCommand) Run(ctx context.Context, c *console) error {
	dir, cleanup, err := d.folder()
	if err != nil {
		return err
	}
	defer cleanup()
	issuer, err := quickstart.Lay(dir)
	if err != nil {
		return err
	}
	config := filepath.Join(dir, "graphward.yaml")
	file, err := configfile.Load(config)
	if err != nil {
		return notServed(err.Error())
	}
	server := &http.Server{Handler: backend.New(), ReadHeaderTimeout: 5 * time.Second}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer server.Close()
	adapt := d.adapt(listener.Addr().String())
	adapt(file.Config)
	f, err := firewall.New(ctx, file.Config)
	if err != nil {
		return notServed(lines(file.Problems(err)))
	}
	defer f.Close()
	guarded, err := f.Listen()
	if err != nil {
		return notServed(lines(file.Problems(err)))
	}
	if err := d.introduce(c, guarded, issuer, dir, listener.Addr().String()); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		return configfile.Watch(ctx, file.Sources, func() { reloadDemo(ctx, c, f, config, adapt) })
	})
	group.Go(func() error {
		defer server.Close()
		return guarded.Serve(ctx)
	})
	return group.Wait()
}

func (d *demoCommand) folder() (dir string, cleanup func(), err error) {
	if d.Dir != "" {
		dir, err = filepath.Abs(d.Dir)
		return dir, func() {}, err
	}
	dir, err = os.MkdirTemp("", "graphward-demo-")
	if err != nil {
		return "", nil, err
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil
}

// adapt puts the demo's own addresses in place of the file's.
func (d *demoCommand) adapt(upstream string) func(*firewall.Config) {
	return func(c *firewall.Config) {
		c.Listen = d.Listen
		c.Admin.Listen = ""
		c.Upstream.URL = "http://" + upstream + "/graphql"
		c.Responses.Explain = true
		c.Policy.Timeout = firewall.Duration(10 * time.Second) // the machine may be busy with other things
		c.Audit.Output = audit.Off
		if d.Audit {
			c.Audit.Output = audit.Stderr
		}
	}
}

func reloadDemo(ctx context.Context, c *console, f *firewall.Firewall, config string, adapt func(*firewall.Config)) {
	file, err := configfile.Load(config)
	if err != nil {
		fmt.Fprintln(c.err, err)
		return
	}
	adapt(file.Config)
	if err := f.Reload(ctx, file.Config); err != nil {
		fmt.Fprintln(c.err, lines(file.Problems(err)))
		return
	}
	fmt.Fprintln(c.out, "# the change is in force")
}

// introduce prints what runs and the requests to try.
func (d *demoCommand) introduce(c *console, server *firewall.Server, issuer *quickstart.Issuer, dir, upstream string) error {
	url := "http://" + server.Addr().String() + "/graphql"
	fmt.Fprintf(c.out, "# Graphward guards %s\n# in front of the example backend at http://%s/graphql\n# with the configuration in %s (a change there is in force at once).\n", url, upstream, dir)
	fmt.Fprintf(c.out, "# Paste these lines into another terminal. Tokens are good for %s. Ctrl-C ends the demo.\n", tokenLife)
	tokens := map[string]string{}
	for _, p := range quickstart.People {
		token, err := issuer.Token(p, time.Now(), tokenLife)
		if err != nil {
			return err
		}
		tokens[p.Name] = token
	}
	for _, s := range quickstart.Scenes {
		want := fmt.Sprintf("HTTP %d", s.Status)
		if s.Code != "" {
			want += ", code " + s.Code
		}
		if s.Rule != "" {
			want += ", rule " + s.Rule
		}
		if _, err := fmt.Fprintf(c.out, "\n# %s: %s\n#   -> %s\n%s\n", s.Title, s.Shows, want, s.Curl(url, tokens[s.As])); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(c.out)
	return err
}
