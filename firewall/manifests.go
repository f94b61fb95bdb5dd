package firewall

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/graphward/graphward/schema"
	"github.com/graphward/graphward/schema/persisted"
	"github.com/graphward/graphward/schema/persisted/redisstore"
)

// Values of operations.compile and operations.bad_entries.
const (
	CompileFirstUse = "first_use"
	CompileAhead    = "ahead"
	BadFatal        = "fatal"
	BadSkip         = "skip"
)

const (
	defaultManifestSize = 64 << 20
	defaultURLPoll      = time.Minute
	defaultRedisPoll    = 10 * time.Second
	fetchTimeout        = time.Minute
)

// minPoll keeps a fleet from asking its store without pause.
var minPoll = time.Second

// backgroundSize is how many bytes of manifest files, without an index that
// vouches for them, may delay the start; more are loaded while the firewall
// answers that it is not ready.
var backgroundSize int64 = 16 << 20

// remote says that the manifest is fetched.
func (m *ManifestConfig) remote() bool { return m.URL != "" || m.Redis != "" }

func (m *ManifestConfig) maxSize() int64 {
	if m.MaxSize > 0 {
		return int64(m.MaxSize)
	}
	return defaultManifestSize
}

func (m *ManifestConfig) poll() time.Duration {
	switch {
	case m.Poll > 0:
		return m.Poll.Std()
	case m.Redis != "":
		return defaultRedisPoll
	}
	return defaultURLPoll
}

// shown is place without a password.
func (m *ManifestConfig) shown() string {
	u, err := url.Parse(m.URL + m.Redis)
	if err != nil {
		return "(not a URL)"
	}
	return strings.TrimSpace(u.Redacted() + " " + m.Name)
}

// place is where a remote manifest comes from.
func (m *ManifestConfig) place() string {
	if m.Redis != "" {
		return m.Redis + " " + m.Name
	}
	return m.URL
}

func (m *ManifestConfig) raise() persisted.Raise {
	l := m.Limits
	return persisted.Raise{Depth: l.Depth, Aliases: l.Aliases, RootFields: l.RootFields, Directives: l.Directives, Cost: m.Cost.Max}
}

func (l ShapeLimits) raised(r persisted.Raise) ShapeLimits {
	return ShapeLimits{max(l.Depth, r.Depth), max(l.Aliases, r.Aliases), max(l.RootFields, r.RootFields), max(l.Directives, r.Directives)}
}

// fetched is one version of a remote manifest.
type fetched struct {
	content, index []byte
	etag           string
	version        int64 // of Redis
	sum            [32]byte
}

// manifests fetches and keeps what outlives a generation: for each remote
// manifest the version that serves, so that a store that is down or a version
// that is bad changes nothing, and the last set with what it was built from.
type manifests struct {
	log    zerolog.Logger
	client http.Client

	mu     sync.Mutex // held while a generation is built, and while a poll fetches
	good   map[string]*fetched
	next   map[string]*fetched // on trial in the build under way, and in no other
	bad    map[string][32]byte // the last version that was refused
	stores map[string]*redisstore.Store
	last   *persisted.Set
	lastID [32]byte
	files  []os.FileInfo // of last

	stop  context.CancelFunc
	woken chan struct{}
	done  sync.WaitGroup
}

func newManifests(log zerolog.Logger) *manifests {
	return &manifests{
		log: log, good: map[string]*fetched{}, bad: map[string][32]byte{}, stores: map[string]*redisstore.Store{},
		client: http.Client{
			Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second, DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		stop: func() {}, woken: make(chan struct{}, 1),
	}
}

// loadManifests reads what operations.manifests names into g.store. Documents
// are matched by canonical form. One that breaks a limit that it does not raise
// is a bad entry; so is under compile: ahead one that the schema refuses.
func (g *generation) loadManifests(ctx context.Context, o *options) error {
	m, c := o.manifests, g.config
	if len(c.Operations.Manifests) == 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	h := sha256.New()
	rule := g.indexRule()
	fmt.Fprintf(h, "%x %v %v %v %v %v", rule, c.Operations, c.Cost, c.Modes, o.lenient, c.AllowAll)
	var sources []persisted.Source
	var problems []Problem
	var files []os.FileInfo
	waiting := int64(0)
	for i := range c.Operations.Manifests {
		mc := &c.Operations.Manifests[i]
		s := persisted.Source{Path: mc.File, Client: mc.Client, Version: mc.Version, Raise: mc.raise()}
		var err error
		key := fmt.Sprintf("operations.manifests[%d]", i)
		if mc.remote() {
			s.Path = mc.shown()
			if s.Content, s.Index, err = m.content(ctx, mc, rule); err != nil {
				problems = append(problems, Problem{key, "could not be fetched: " + err.Error()})
			}
			sum := sha256.Sum256(s.Content)
			h.Write(sum[:])
		} else {
			if s.Index, err = m.fileIndex(mc, rule); err != nil {
				problems = append(problems, Problem{key + ".index", err.Error()})
			}
			files = append(files, settled(mc.File))
		}
		if s.Index == nil && !o.lenient {
			waiting += size(&s)
		}
		sources = append(sources, s)
	}
	if problems != nil {
		return &ConfigError{problems}
	}
	id := [32]byte(h.Sum(nil))
	if m.last != nil && m.lastID == id && slices.EqualFunc(m.files, files, sameState) {
		g.store = m.last
		return nil
	}
	if o.background && waiting > backgroundSize {
		g.pending = true
		return nil
	}
	set, err := persisted.Load(ctx, sources, g.loadOptions(o.lenient))
	if err != nil {
		return err
	}
	for _, p := range set.Problems() {
		m.log.Warn().Str("entry", p.String()).Msg("a bad entry of a manifest is left out")
	}
	g.store, m.last, m.lastID, m.files = set, set, id, files
	return nil
}

func (g *generation) loadOptions(lenient bool) persisted.Options {
	c := g.config
	if lenient {
		return persisted.Options{SkipBad: c.Operations.BadEntries == BadSkip}
	}
	limits := c.Limits.compile()
	return persisted.Options{
		SkipBad:   c.Operations.BadEntries == BadSkip,
		Canonical: func(text string) ([32]byte, error) { return g.schema.CanonicalForm(text, limits) },
		Accept:    func(d *persisted.Document) error { return g.accept(d, c.Operations.Compile == CompileAhead) },
	}
}

// accept judges a registered document by what is known before anyone sends it.
// Not ahead, only a limit that it breaks counts: a schema that has lost a field
// which one old client still asks for must not keep the firewall from starting.
func (g *generation) accept(d *persisted.Document, ahead bool) error {
	op, err := g.schema.Compile(d.Text, "", g.open(g.config.Limits.compile(), d.Raise))
	if err != nil {
		if _, isLimit := errors.AsType[*schema.LimitError](err); isLimit || ahead && d.Kind != "" {
			return err
		}
		return nil
	}
	limits, maxCost := g.ceilings("", op.Kind, d)
	for _, err := range checkShape(op.Shape, limits) {
		if g.mode(refuse(StagePlan, err).Code) == Enforce {
			return err
		}
	}
	if len(op.Variables) > 0 || g.model == nil {
		return nil
	}
	program, err := g.model.Compile(op)
	if err != nil {
		return err
	}
	vars, err := op.Coerce(nil, g.config.Limits.compile())
	if err != nil {
		return err
	}
	// Without variables the estimate is the same for every request.
	estimate, err := program.Estimate(vars)
	if err == nil && estimate.Total > maxCost {
		err = &costError{estimate.Total, maxCost}
	}
	if err != nil && g.mode(refuse(StageMeasure, err).Code) == Enforce {
		return err
	}
	return nil
}

// leniently keeps documents that a limit or the schema refuses, to be judged one
// by one, and computes no canonical forms.
func leniently() Option { return func(o *options) { o.lenient = true } }

// again builds and swaps a generation from the configuration that serves, if
// the one that serves when its turn comes still needs it.
func (f *Firewall) again(ctx context.Context, needed func(*generation) bool) error {
	f.reload.Lock()
	defer f.reload.Unlock()
	g := f.current.Load()
	if !needed(g) {
		return nil
	}
	return f.swap(ctx, g.config)
}

// indexRule identifies what an index says of a text: its canonical form, and
// that it is valid under this schema and within these limits.
func (g *generation) indexRule() [32]byte {
	h := sha256.New()
	d := g.schema.Digest()
	fmt.Fprintf(h, "graphward operations 1\n%x\n%+v\n%v\n", d, g.config.Limits.compile(), g.config.Cost.Max)
	if g.model != nil {
		d = g.model.Digest()
		h.Write(d[:])
	}
	return [32]byte(h.Sum(nil))
}

// size is that of a manifest which is not spared by an index.
func size(s *persisted.Source) int64 {
	if s.Content != nil {
		return int64(len(s.Content))
	}
	if info, err := os.Stat(s.Path); err == nil && info.Mode().IsRegular() {
		return info.Size()
	}
	return 0
}

// fileGrain is more than the grain of any file system's clock.
const fileGrain = 2 * time.Second

// settled is a file's state; nil for one that was written just now, which could
// be written again without a change of its state, and for one that is not there:
// what is wrong with that is said by loading it.
func settled(path string) os.FileInfo {
	info, err := os.Stat(path)
	if err != nil || time.Since(info.ModTime()) < fileGrain {
		return nil
	}
	return info
}

// sameState says that a file has not changed; of a folder, whose files would each
// have to be asked, it is not known.
func sameState(a, b os.FileInfo) bool {
	return a != nil && b != nil && a.Mode().IsRegular() && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// fileIndex reads the index of a manifest file. One that is there by its name
// alone and does not fit is passed over: the documents are then judged anew.
func (m *manifests) fileIndex(mc *ManifestConfig, rule [32]byte) (*persisted.Index, error) {
	path := mc.Index
	if path == "" {
		path = mc.File + ".index"
	}
	f, err := os.Open(path)
	if err != nil {
		if mc.Index == "" && errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	defer f.Close()
	return m.index(f, path, rule)
}

func (m *manifests) index(r io.Reader, name string, rule [32]byte) (*persisted.Index, error) {
	index, err := persisted.ReadIndex(r, rule)
	if e := (*persisted.IndexError)(nil); errors.As(err, &e) {
		m.log.Warn().Str("index", name).Str("reason", e.Reason).Msg("the index is not used: every document is judged anew; publish again")
		return nil, nil
	}
	return index, err
}

// content returns the version of a remote manifest to build with: the one on
// trial, the one that serves, or at the first time one that is fetched now.
func (m *manifests) content(ctx context.Context, mc *ManifestConfig, rule [32]byte) ([]byte, *persisted.Index, error) {
	place := mc.place()
	v := m.next[place]
	if v == nil {
		v = m.good[place]
	}
	if v == nil {
		var err error
		if v, err = m.fetch(ctx, mc, nil); err != nil {
			return nil, nil, err
		}
		m.good[place] = v
	}
	if len(v.index) == 0 {
		return v.content, nil, nil
	}
	index, err := m.index(bytes.NewReader(v.index), place, rule)
	return v.content, index, err
}

// fetch returns the current version, or nil when it is the known one.
func (m *manifests) fetch(ctx context.Context, mc *ManifestConfig, known *fetched) (*fetched, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	if known == nil {
		known = &fetched{}
	}
	if mc.Redis != "" {
		return m.fetchRedis(ctx, mc, known)
	}
	out := &fetched{}
	var err error
	if out.content, out.etag, err = m.get(ctx, mc, mc.URL, known.etag); err != nil || out.content == nil {
		return nil, err
	}
	out.sum = sha256.Sum256(out.content)
	if out.sum == known.sum {
		return nil, nil
	}
	if mc.Index != "" {
		if out.index, _, err = m.get(ctx, mc, mc.Index, ""); err != nil {
			m.log.Warn().Err(err).Str("index", mc.Index).Msg("the index could not be fetched: every document is judged anew")
		}
	}
	return out, nil
}

func (m *manifests) fetchRedis(ctx context.Context, mc *ManifestConfig, known *fetched) (*fetched, error) {
	store := m.stores[mc.Redis]
	if store == nil {
		var err error
		if store, err = redisstore.Open(mc.Redis); err != nil {
			return nil, err
		}
		m.stores[mc.Redis] = store
	}
	v, err := store.Fetch(ctx, mc.Name, known.version, mc.maxSize())
	if err != nil || v == nil {
		return nil, err
	}
	return &fetched{content: v.Content, index: v.Index, version: v.Version, sum: sha256.Sum256(v.Content)}, nil
}

// get fetches a URL; nil content when its ETag is the known one.
func (m *manifests) get(ctx context.Context, mc *ManifestConfig, from, etag string) ([]byte, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, "", err
	}
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	if mc.TokenFile != "" {
		token, err := os.ReadFile(mc.TokenFile)
		if err != nil {
			return nil, "", err
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	res, err := m.client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusNotModified && etag != "":
		return nil, etag, nil
	case res.StatusCode != http.StatusOK:
		return nil, "", fmt.Errorf("%s answered %s", from, res.Status)
	}
	content, err := io.ReadAll(io.LimitReader(res.Body, mc.maxSize()+1))
	if err != nil {
		return nil, "", err
	}
	if int64(len(content)) > mc.maxSize() {
		return nil, "", fmt.Errorf("%s gives more than max_size, %v", from, Size(mc.maxSize()))
	}
	return content, res.Header.Get("Etag"), nil
}

// start loads what New left for later and follows remote manifests, until close.
func (m *manifests) start(f *Firewall) {
	var ctx context.Context
	ctx, m.stop = context.WithCancel(context.Background())
	m.done.Go(func() {
		if f.current.Load().pending {
			f.finish(ctx)
		}
		m.follow(ctx, f)
	})
}

func (m *manifests) close() {
	m.stop()
	m.done.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.stores {
		_ = s.Close()
	}
	clear(m.stores)
}

// wake tells follow of a new configuration.
func (m *manifests) wake() {
	select {
	case m.woken <- struct{}{}:
	default:
	}
}

// finish builds the first generation that serves. When it cannot be built the
// firewall stays unready, until a Reload succeeds.
func (f *Firewall) finish(ctx context.Context) {
	began := time.Now()
	f.log.Info().Msg("the manifests are being loaded; nothing is served before")
	if err := f.again(ctx, func(g *generation) bool { return g.pending }); err == nil {
		f.log.Info().Dur("took", time.Since(began)).Msg("the manifests are loaded")
	}
}

// follow polls every remote manifest of the current configuration.
func (m *manifests) follow(ctx context.Context, f *Firewall) {
	due := map[string]time.Time{}
	for {
		now := time.Now()
		wait := time.Hour
		changed := map[string]*fetched{}
		configs := f.current.Load().config.Operations.Manifests
		for i := range configs {
			mc := &configs[i]
			if !mc.remote() {
				continue
			}
			at, known := due[mc.place()]
			if !known {
				at = now.Add(jitter(mc.poll()))
			} else if !at.After(now) {
				if v := m.ask(ctx, mc); v != nil {
					changed[mc.place()] = v
				}
				at = now.Add(jitter(mc.poll()))
			}
			due[mc.place()] = at
			wait = min(wait, at.Sub(now))
		}
		if len(changed) > 0 {
			m.try(ctx, f, changed)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-m.woken:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// jitter keeps many firewalls from asking at once: within a tenth.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Int64N(int64(d)/10+1)) //nolint:gosec // nothing is guessed by it
}

// ask fetches what is new; nil when nothing is, or when it was refused before.
func (m *manifests) ask(ctx context.Context, mc *ManifestConfig) *fetched {
	m.mu.Lock()
	defer m.mu.Unlock()
	place := mc.place()
	v, err := m.fetch(ctx, mc, m.good[place])
	if err != nil {
		if ctx.Err() == nil {
			m.log.Error().Err(err).Str("manifest", mc.shown()).Msg("the manifest could not be fetched; the last one keeps serving")
		}
		return nil
	}
	if v == nil || m.bad[place] == v.sum {
		return nil
	}
	return v
}

// try builds a generation with new versions. What fails is not tried again. They
// are on trial while reload is held, so that no other reload is built from them.
func (m *manifests) try(ctx context.Context, f *Firewall, versions map[string]*fetched) {
	f.reload.Lock()
	defer f.reload.Unlock()
	m.mu.Lock()
	m.next = versions
	m.mu.Unlock()
	err := f.swap(ctx, f.current.Load().config)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next = nil
	for place, v := range versions {
		if err == nil {
			m.good[place] = v
			delete(m.bad, place)
		} else if ctx.Err() == nil {
			m.bad[place] = v.sum
		}
	}
}
