package identity

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
	"golang.org/x/crypto/argon2"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
)

const (
	maxAPIKey = 512 // bytes, as presented
	// A key that names no id is tried against every argon2id entry.
	maxSlowKeys = 16

	// Bounds on one argon2id computation (RFC 9106 section 4 recommends
	// 64 MiB and 3 passes where memory is scarce).
	maxArgonMemory  = 64 << 10 // KiB
	maxArgonPasses  = 10
	maxArgonThreads = 8
	// Bounds on all of them: what an unknown caller can make this host do.
	slowAtOnce = 2
	slowRate   = 10 // per second
	slowBurst  = 20

	slowCacheSize  = 4096
	failureMemory  = time.Minute
	verdictForever = 24 * time.Hour
)

// APIKey is one entry of the file of [APIKeysConfig], a YAML or JSON list.
// Exactly one of SHA256 and Argon2id is set.
type APIKey struct {
	// ID names the key in logs, audit records and budgets. Required, unique.
	ID string `yaml:"id"`

	// SHA256 is the lower- or upper-case hex SHA-256 of the key as it is
	// presented: for keys that are long and random.
	SHA256 string `yaml:"sha256,omitempty"`

	// Argon2id is the PHC string of the key as it is presented
	// (`$argon2id$v=19$m=65536,t=3,p=4$salt$hash`): for keys that a human
	// chose. At most 16 entries have one, since a presented key that does not
	// begin with its entry's ID and a dot is tried against all of them.
	Argon2id string `yaml:"argon2id,omitempty"`

	// Subject is the subject that the key stands for. Default: none.
	Subject string `yaml:"subject,omitempty"`

	// Client is the client that the key stands for. Default: none.
	Client string `yaml:"client,omitempty"`

	// Tier names a tier of the budgets. Default: by policy and client.
	Tier string `yaml:"tier,omitempty"`

	// Roles and Scopes are what the key grants.
	Roles  []string `yaml:"roles,omitempty"`
	Scopes []string `yaml:"scopes,omitempty"`

	// Expires is when the key ends, in RFC 3339 form or as a date, whose
	// beginning in UTC is meant. Absent: never.
	Expires string `yaml:"expires,omitempty"`
}

// apiKeys verifies API keys against a file.
type apiKeys struct {
	source  *source[apiKeySet]
	limiter *rate.Limiter
	slots   chan struct{}
}

// apiKeySet is the content of one version of the file. Its cache and the
// computations under way go with it, so that no verdict outlives the entry
// that it is of.
type apiKeySet struct {
	entries []*apiKey
	byHash  map[digest]*apiKey
	slow    []*apiKey
	cache   *cache
	flights singleflight.Group
}

type apiKey struct {
	id       string
	hash     digest
	argon    *argonHash
	identity *Identity
	expires  time.Time // zero: never
}

type argonHash struct {
	memory, passes uint32
	threads        uint8
	salt, hash     []byte
}

func newAPIKeys(path string, o *options) *apiKeys {
	k := &apiKeys{
		limiter: rate.NewLimiter(slowRate, slowBurst),
		slots:   make(chan struct{}, slowAtOnce),
	}
	k.source = &source[apiKeySet]{
		name:   path,
		every:  filePoll,
		load:   (&watchedFile{path: path}).load,
		parse:  func(document []byte, _ *apiKeySet) (*apiKeySet, error) { return parseAPIKeys(document) },
		count:  func(s *apiKeySet) (int, []string) { return len(s.entries), nil },
		report: o.report,
	}
	return k
}

var errUnknownKey = errors.New("the API key is unknown")

// authenticate verifies a presented key.
func (k *apiKeys) authenticate(ctx context.Context, presented string, now time.Time) (*Identity, error) {
	if len(presented) > maxAPIKey {
		return nil, fmt.Errorf("the API key is longer than %d bytes", maxAPIKey)
	}
	set := k.source.current.Load()
	of := digestOf(presented)
	if key := set.byHash[of]; key != nil && subtle.ConstantTimeCompare(key.hash[:], of[:]) == 1 {
		return key.result(now)
	}
	candidates := set.candidates(presented)
	if len(candidates) == 0 {
		return nil, errUnknownKey
	}
	known := set.cache.get(of, now)
	if known == nil {
		var err error
		if known, err = k.verifySlow(ctx, set, candidates, presented, of, now); err != nil {
			return nil, err
		}
	}
	if known.failure != nil {
		return nil, known.failure
	}
	return known.apiKey.result(now)
}

// verifySlow tries the argon2id entries and remembers the outcome. One
// computation serves all requests with the key that wait for it, so it does
// not end with the request that happened to be first.
func (k *apiKeys) verifySlow(ctx context.Context, set *apiKeySet, candidates []*apiKey, presented string, of digest, now time.Time) (*verdict, error) {
	flight := set.flights.DoChan(string(of[:]), func() (any, error) {
		if !k.limiter.AllowN(now, len(candidates)) {
			return nil, &unavailableError{reason: "too many unknown API keys at once to verify this one by argon2id"}
		}
		k.slots <- struct{}{}
		defer func() { <-k.slots }()
		v := &verdict{until: now.Add(failureMemory), failure: &UnauthenticatedError{Reason: errUnknownKey.Error()}}
		for _, key := range candidates {
			if key.argon.matches(presented) {
				v = &verdict{until: now.Add(verdictForever), apiKey: key}
				break
			}
		}
		set.cache.put(of, v)
		return v, nil
	})
	select {
	case result := <-flight:
		if result.Err != nil {
			return nil, result.Err
		}
		return result.Val.(*verdict), nil
	case <-ctx.Done():
		return nil, &unavailableError{reason: "the request ended before its API key was verified"}
	}
}

// candidates returns the argon2id entries that presented may be of: the one
// whose id it begins with, or all.
func (s *apiKeySet) candidates(presented string) []*apiKey {
	for i, key := range s.slow {
		if len(presented) > len(key.id) && presented[len(key.id)] == '.' && presented[:len(key.id)] == key.id {
			return s.slow[i : i+1]
		}
	}
	return s.slow
}

func (k *apiKey) result(now time.Time) (*Identity, error) {
	if !k.expires.IsZero() && !now.Before(k.expires) {
		return nil, fmt.Errorf("the API key %q expired at %s", k.id, k.expires.UTC().Format(time.RFC3339))
	}
	return k.identity, nil
}

func (h *argonHash) matches(presented string) bool {
	got := argon2.IDKey([]byte(presented), h.salt, h.passes, h.memory, h.threads, uint32(len(h.hash)))
	return subtle.ConstantTimeCompare(got, h.hash) == 1
}

// parseAPIKeys reads a file of keys. Its error names entries by place and
// id, never by digest.
func parseAPIKeys(document []byte) (*apiKeySet, error) {
	var entries []APIKey
	if len(bytes.TrimSpace(document)) > 0 {
		if err := yaml.Load(document, &entries, yaml.WithKnownFields(), yaml.WithUniqueKeys(true)); err != nil {
			return nil, yamlError(err)
		}
	}
	set := &apiKeySet{byHash: make(map[digest]*apiKey), cache: newCache(slowCacheSize)}
	ids := make(map[string]bool)
	for i := range entries {
		key, err := newAPIKey(&entries[i])
		switch {
		case err != nil:
		case ids[key.id]:
			err = errors.New("another entry has this id")
		case key.argon == nil && set.byHash[key.hash] != nil:
			err = fmt.Errorf("has the same key as %q", set.byHash[key.hash].id)
		}
		if err != nil {
			return nil, fmt.Errorf("[%d] %q: %w", i, entries[i].ID, err)
		}
		ids[key.id] = true
		set.entries = append(set.entries, key)
		if key.argon == nil {
			set.byHash[key.hash] = key
		} else if set.slow = append(set.slow, key); len(set.slow) > maxSlowKeys {
			return nil, fmt.Errorf("[%d] %q: more than %d argon2id keys: give random keys a sha256", i, key.id, maxSlowKeys)
		}
	}
	return set, nil
}

// yamlError reduces a YAML error to its places: its text quotes values,
// which may be digests or, by mistake, keys.
func yamlError(err error) error {
	if at, ok := errors.AsType[*yaml.LoadError](err); ok && at.Mark.Line > 0 {
		return fmt.Errorf("line %d: is not part of a YAML or JSON list of API keys (an unknown member, a wrong type or bad syntax)", at.Mark.Line)
	}
	return errors.New("is not YAML or JSON")
}

func newAPIKey(entry *APIKey) (*apiKey, error) {
	if !printable(entry.ID, maxClientName) {
		return nil, fmt.Errorf("id must be 1 to %d printable ASCII characters", maxClientName)
	}
	if entry.Client != "" && !validClientName(entry.Client) {
		return nil, errors.New("client is not a client name")
	}
	key := &apiKey{id: entry.ID, identity: &Identity{
		Authenticated: true,
		Subject:       entry.Subject,
		Roles:         entry.Roles,
		Scopes:        entry.Scopes,
		Client:        Client{ID: entry.Client, Name: entry.Client},
		Method:        MethodAPIKey,
		Key:           entry.ID,
		Tier:          entry.Tier,
	}}
	switch {
	case (entry.SHA256 == "") == (entry.Argon2id == ""):
		return nil, errors.New("needs exactly one of sha256 and argon2id")
	case entry.SHA256 != "":
		raw, err := hex.DecodeString(entry.SHA256)
		if err != nil || len(raw) != len(key.hash) {
			return nil, errors.New("sha256 is not 64 hex digits")
		}
		copy(key.hash[:], raw)
	default:
		var err error
		if key.argon, err = parsePHC(entry.Argon2id); err != nil {
			return nil, err
		}
	}
	if entry.Expires != "" {
		at, err := time.Parse(time.RFC3339, entry.Expires)
		if err != nil {
			at, err = time.Parse(time.DateOnly, entry.Expires)
		}
		if err != nil {
			return nil, errors.New("expires is neither an RFC 3339 time nor a date")
		}
		key.expires, key.identity.Expiry = at, at
	}
	return key, nil
}

// parsePHC reads an argon2id hash in the PHC string format, version 19.
func parsePHC(text string) (*argonHash, error) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v=19" {
		return nil, errors.New("argon2id is not a PHC string ($argon2id$v=19$m=65536,t=3,p=4$salt$hash)")
	}
	var numbers [3]uint32
	params := strings.Split(parts[3], ",")
	for i, name := range []string{"m=", "t=", "p="} {
		if len(params) != len(numbers) || !strings.HasPrefix(params[i], name) {
			return nil, errors.New("argon2id parameters are not m=,t=,p=")
		}
		n, err := strconv.ParseUint(params[i][len(name):], 10, 32)
		if err != nil {
			return nil, errors.New("argon2id parameters are not numbers")
		}
		numbers[i] = uint32(n)
	}
	h := &argonHash{memory: numbers[0], passes: numbers[1], threads: uint8(min(numbers[2], 255))}
	if h.threads < 1 || h.threads > maxArgonThreads || h.passes < 1 || h.passes > maxArgonPasses ||
		h.memory < 8*uint32(h.threads) || h.memory > maxArgonMemory {
		return nil, fmt.Errorf("argon2id parameters exceed m=%d,t=%d,p=%d or are below what argon2 needs", maxArgonMemory, maxArgonPasses, maxArgonThreads)
	}
	var err error
	if h.salt, err = base64.RawStdEncoding.Strict().DecodeString(parts[4]); err != nil || len(h.salt) < 8 || len(h.salt) > 64 {
		return nil, errors.New("argon2id salt is not 8 to 64 bytes of base64")
	}
	if h.hash, err = base64.RawStdEncoding.Strict().DecodeString(parts[5]); err != nil || len(h.hash) < 16 || len(h.hash) > 64 {
		return nil, errors.New("argon2id hash is not 16 to 64 bytes of base64")
	}
	return h, nil
}
