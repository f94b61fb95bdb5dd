package configfile

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/graphward/graphward/cost"
	"github.com/graphward/graphward/firewall"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Each *.bad.yaml begins with the problems that it has, one a line, as
// "# want LINE:COLUMN: TEXT"; TEXT begins the message.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for line := range strings.Lines(string(text)) {
				if w, ok := strings.CutPrefix(line, "# want "); ok {
					want = append(want, strings.TrimSpace(w))
				}
			}
			_, loadErr := Load(file)
			if loadErr == nil {
				t.Fatal("it was taken")
			}
			got := strings.Split(loadErr.Error(), "\n")
			for i, line := range got {
				got[i] = strings.TrimPrefix(line, file+":")
				if i < len(want) && strings.HasPrefix(got[i], want[i]) {
					got[i] = want[i]
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	t.Setenv("GRAPHWARD_TEST_PORT", "4321")
	f, err := Parse("/etc/graphward/graphward.yaml", []byte(`
listen: 127.0.0.1:${GRAPHWARD_TEST_PORT}
tls: off
cors: upstream
upstream: {url: "http://127.0.0.1:4000/graphql", timeout: 250ms, max_response: 1MiB, headers: {set: {x-price: "5$$"}}}
schema: {files: [schema.graphql, /abs/other.graphql]}
identity: {anonymous: allow}
operations: {adhoc: deny}
policy: {allow_all: true}
cost: {max: 7, default_list_size: 3, negative_size: fallback, page_size: {max: 50}}
budgets: {tiers: {default: {cost: 20000/1m, requests: 600/1m, in_flight: 50}}}
modes: {COST_LIMIT: report}
`))
	if err != nil {
		t.Fatal(err)
	}
	c := f.Config
	for what, pair := range map[string][2]any{
		"listen":       {c.Listen, "127.0.0.1:4321"},
		"tls":          {c.TLS.Mode, "off"},
		"cors":         {c.CORS.Upstream, true},
		"timeout":      {c.Upstream.Timeout.Std(), 250 * time.Millisecond},
		"max_response": {c.Upstream.MaxResponse, firewall.Size(1 << 20)},
		"dollar":       {c.Upstream.Headers.Set["x-price"].Reveal(), "5$"},
		"relative":     {c.Schema.Files[0], "/etc/graphward/schema.graphql"},
		"absolute":     {c.Schema.Files[1], "/abs/other.graphql"},
		"default":      {c.Limits.Depth, 15},
		"page min":     {*c.Cost.PageSize.Min, 1},
		"page max":     {*c.Cost.PageSize.Max, 50},
		"list size":    {*c.Cost.DefaultListSize, firewall.ListSize(3)},
		"negative":     {c.Cost.NegativeSize, cost.NegativeFallback},
		"slicing":      {c.Cost.RequireOneSlicingArgument, "refuse"},
		"window":       {c.Budgets.Tiers["default"].Cost.Amount, 20000.0},
		"mode":         {c.Modes["COST_LIMIT"], firewall.Report},
	} {
		if diff := cmp.Diff(pair[1], pair[0]); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
}

// A file that is replaced, as editors and ConfigMaps do, is seen; one beside it
// is not.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "graphward.yaml")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(name, "a")
	ctx, stop := context.WithCancel(t.Context())
	changed := make(chan struct{}, 10)
	done := make(chan error, 1)
	var asked atomic.Int32
	go func() {
		done <- Watch(ctx, func() []string {
			asked.Add(1)
			return []string{name}
		}, func() { changed <- struct{}{} })
	}()
	const patience = time.Minute
	// The sources are asked for once before the watch is made, and then at each event that it sees.
	for deadline := time.Now().Add(patience); asked.Load() < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing is watched")
		}
		write(filepath.Join(dir, "other"), "b")
	}
	write(filepath.Join(dir, "new"), "b")
	if err := os.Rename(filepath.Join(dir, "new"), name); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	case <-time.After(patience):
		t.Error("the change was not seen")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(changed) > 0 {
		t.Error("one change was told twice")
	}
}

// A folder that was replaced as a whole is watched on, and so is the target of a link.
func TestWatchFollows(t *testing.T) {
	for _, c := range []struct {
		name  string
		begin func(dir string) error // makes dir/policies
		next  func(dir string) error // changes what is there to "second"
	}{
		{"replaced", func(dir string) error {
			return os.Mkdir(filepath.Join(dir, "policies"), 0o755)
		}, func(dir string) error {
			return errors.Join(os.RemoveAll(filepath.Join(dir, "policies")), os.Mkdir(filepath.Join(dir, "policies"), 0o755),
				os.WriteFile(filepath.Join(dir, "policies", "p.rego"), []byte("second"), 0o644))
		}},
		{"link", func(dir string) error {
			return errors.Join(os.MkdirAll(filepath.Join(dir, "elsewhere", "real"), 0o755),
				os.Symlink(filepath.Join("elsewhere", "real"), filepath.Join(dir, "policies")))
		}, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "elsewhere", "real", "p.rego"), []byte("second"), 0o644)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := c.begin(dir); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "policies", "p.rego")
			ctx, stop := context.WithCancel(t.Context())
			seen, done := make(chan string, 100), make(chan error, 1)
			var asked atomic.Int32
			go func() {
				done <- Watch(ctx, func() []string {
					asked.Add(1)
					return []string{filepath.Join(dir, "policies")}
				}, func() {
					text, _ := os.ReadFile(file)
					seen <- string(text)
				})
			}()
			const patience = time.Minute
			for deadline := time.Now().Add(patience); asked.Load() < 2; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("nothing is watched")
				}
				if err := os.WriteFile(filepath.Join(dir, "other"), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			await := func(text string) {
				t.Helper()
				timer := time.NewTimer(patience)
				defer timer.Stop()
				for {
					select {
					case got := <-seen:
						if got == text {
							return
						}
					case <-timer.C:
						t.Fatalf("%q was not seen", text)
					}
				}
			}
			if err := c.next(dir); err != nil {
				t.Fatal(err)
			}
			await("second")
			if err := os.WriteFile(file, []byte("third"), 0o644); err != nil {
				t.Fatal(err)
			}
			await("third")
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
