package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graphward/graphward/schema/persisted"
	"github.com/graphward/graphward/schema/persisted/redisstore"
)

// Publication is a manifest that was judged, with the index that lets firewalls
// start without judging it again.
type Publication struct {
	Documents      int
	Content, Index []byte
	Left           []persisted.Problem // bad entries, under bad_entries: skip
}

// PreparePublication judges every document of a manifest (a file in any format,
// or a folder) against the schema, limits and cost of c, as compile: ahead does,
// and makes its index. m's File is read; Client, Version, Limits and Cost are
// those that the firewalls' own configuration will name. What it holds is
// published as it is; a folder becomes an Apollo manifest. The error lists every
// problem.
func PreparePublication(ctx context.Context, c *Config, m ManifestConfig) (*Publication, error) {
	changed := *c
	changed.Operations.Manifests = []ManifestConfig{{File: m.File, Client: m.Client, Version: m.Version, Limits: m.Limits, Cost: m.Cost,
		Index: os.DevNull}} // an old index vouches for nothing here
	changed.Operations.Compile = CompileAhead
	if changed.Operations.Adhoc == "" {
		changed.Operations.Adhoc = "deny"
	}
	f, err := New(ctx, &changed, Offline())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	g := f.current.Load()
	p := &Publication{Documents: g.store.Len(), Left: g.store.Problems()}
	info, err := os.Stat(m.File)
	if err != nil {
		return nil, err
	}
	if ext := strings.ToLower(filepath.Ext(m.File)); info.IsDir() || ext == ".graphql" || ext == ".gql" {
		var documents []persisted.Document
		for d := range g.store.All() {
			documents = append(documents, *d)
		}
		slices.SortStableFunc(documents, func(a, b persisted.Document) int { return strings.Compare(a.ID, b.ID) })
		p.Content = persisted.AppendManifest(nil, documents)
	} else if p.Content, err = os.ReadFile(m.File); err != nil {
		return nil, err
	}
	var index bytes.Buffer
	if err := g.store.WriteIndex(&index, g.indexRule()); err != nil {
		return nil, err
	}
	p.Index = index.Bytes()
	return p, nil
}

// Publish writes the publication to a file, with its index beside it under the
// name TO.index, or to a Redis store under a name; it says where it went. A file
// is replaced in one step.
func (p *Publication) Publish(ctx context.Context, to, name string) (string, error) {
	if !strings.HasPrefix(to, "redis://") && !strings.HasPrefix(to, "rediss://") {
		// The index first: one that knows too much is harmless.
		if err := replaceFile(to+".index", p.Index); err != nil {
			return "", err
		}
		return to, replaceFile(to, p.Content)
	}
	store, err := redisstore.Open(to)
	if err != nil {
		return "", err
	}
	defer store.Close()
	version, err := store.Publish(ctx, name, p.Content, p.Index)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s version %d", name, version), nil
}

func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Chmod(f.Name(), 0o644); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
