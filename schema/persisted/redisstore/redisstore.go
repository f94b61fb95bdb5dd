// Package redisstore keeps published manifests in Redis (or Valkey), version by
// version: `graphward operations publish` writes one, firewalls ask for what is
// newer than theirs.
//
// Whoever can write to the Redis database can register operations; keep it from
// others as the manifest file would be.
//
// The keys of a manifest share one hash tag, so that they lie on one node of a
// cluster. Contents are cut into pieces, because a value has at most 512 MB and
// a server that copies one large value serves nobody meanwhile. A version is
// written whole before it becomes the current one, in one step; the pieces of
// the one before stay for an hour, for those who are reading it.
package redisstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Store is a Redis database. It is safe for concurrent use.
type Store struct {
	client redis.UniversalClient
}

// Manifest is one published version.
type Manifest struct {
	Version   int64 // 1 for the first; each publication has a higher one
	Content   []byte
	Index     []byte // nil when none was published
	Published time.Time
}

// pieceSize is how much one value holds; keptFor how long an older version
// stays, and pieces that never became a version.
const (
	pieceSize = 4 << 20
	keptFor   = time.Hour
)

// NotPublishedError is a name under which nothing was published.
type NotPublishedError struct{ Name string }

func (e *NotPublishedError) Error() string {
	return fmt.Sprintf("nothing is published under the name %q", e.Name)
}

// DamagedError is a version whose pieces are not those that were published.
type DamagedError struct {
	Name    string
	Version int64
	Reason  string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("version %d of %q cannot be used: %s", e.Version, e.Name, e.Reason)
}

// Open takes redis:// and rediss:// URLs, as go-redis reads them, and connects
// to nothing yet.
func Open(url string) (*Store, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = 5*time.Second, 30*time.Second, 30*time.Second
	o.MaxRetries = 1
	return &Store{redis.NewClient(o)}, nil
}

// Close closes the connections.
func (s *Store) Close() error { return s.client.Close() }

func key(name string, parts ...string) string {
	return "{graphward:manifest:" + name + "}:" + strings.Join(parts, ":")
}

// CheckName refuses names that would move the keys' hash tag.
func CheckName(name string) error {
	if name == "" || len(name) > 200 || strings.ContainsAny(name, "{}: \t\r\n") {
		return fmt.Errorf("%q is no name for a manifest: 1 to 200 characters without spaces, colons and braces", name)
	}
	return nil
}

// commit makes a version the current one unless a later one is; of the version
// before it remembers nothing. KEYS: current; ARGV: version, then the fields.
var commit = redis.NewScript(`
local now = tonumber(redis.call('HGET', KEYS[1], 'version') or '0')
if tonumber(ARGV[1]) <= now then return now end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'version', unpack(ARGV))
return now`)

// Publish writes a manifest and its index (nil for none) as the newest version
// of the name and returns the version.
func (s *Store) Publish(ctx context.Context, name string, content, index []byte) (int64, error) {
	if err := CheckName(name); err != nil {
		return 0, err
	}
	version, err := s.client.Incr(ctx, key(name, "counter")).Result()
	if err != nil {
		return 0, err
	}
	v := strconv.FormatInt(version, 10)
	for _, part := range []struct {
		kind string
		text []byte
	}{{"content", content}, {"index", index}} {
		for i := 0; i*pieceSize < len(part.text); i++ {
			piece := part.text[i*pieceSize : min((i+1)*pieceSize, len(part.text))]
			if err := s.client.Set(ctx, key(name, v, part.kind, strconv.Itoa(i)), piece, keptFor).Err(); err != nil {
				return 0, err
			}
		}
	}
	if err := s.expire(ctx, name, version, len(content), len(index), 0); err != nil {
		return 0, err
	}
	before, err := s.current(ctx, name)
	if err != nil && !errors.As(err, new(*NotPublishedError)) {
		return 0, err
	}
	older, err := commit.Run(ctx, s.client, []string{key(name, "current")}, v, "size", len(content), "sum", sum(content),
		"index_size", len(index), "index_sum", sum(index), "published", time.Now().Unix()).Int64()
	if err != nil {
		return 0, err
	}
	if older > version {
		return 0, fmt.Errorf("version %d was published meanwhile, version %d stays unused", older, version)
	}
	if before.version == older && older > 0 {
		return version, s.expire(ctx, name, older, before.size, before.indexSize, keptFor)
	}
	return version, nil
}

// expire sets how long a version's pieces stay; 0: for good.
func (s *Store) expire(ctx context.Context, name string, version int64, size, indexSize int, after time.Duration) error {
	v := strconv.FormatInt(version, 10)
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for kind, n := range map[string]int{"content": size, "index": indexSize} {
			for i := 0; i*pieceSize < n; i++ {
				if k := key(name, v, kind, strconv.Itoa(i)); after == 0 {
					p.Persist(ctx, k)
				} else {
					p.Expire(ctx, k, after)
				}
			}
		}
		return nil
	})
	return err
}

type head struct {
	version         int64
	size, indexSize int
	sum, indexSum   string
	published       int64
}

func (s *Store) current(ctx context.Context, name string) (head, error) {
	fields, err := s.client.HGetAll(ctx, key(name, "current")).Result()
	if err != nil {
		return head{}, err
	}
	if len(fields) == 0 {
		return head{}, &NotPublishedError{name}
	}
	var h head
	number := func(field string) int64 {
		n, e := strconv.ParseInt(fields[field], 10, 64)
		if e != nil || n < 0 {
			err = &DamagedError{name, h.version, field + " is not a number"}
		}
		return n
	}
	h.version = number("version")
	h.size, h.indexSize, h.published = int(number("size")), int(number("index_size")), number("published")
	h.sum, h.indexSum = fields["sum"], fields["index_sum"]
	return h, err
}

// Fetch returns the current version, or nil when it is the one known already
// (0: none is). A manifest of more than limit bytes is an error. What comes back
// is verified to be what was published. Errors: *[NotPublishedError],
// *[DamagedError], or the connection's.
func (s *Store) Fetch(ctx context.Context, name string, known, limit int64) (*Manifest, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	h, err := s.current(ctx, name)
	if err != nil || h.version == known {
		return nil, err
	}
	if int64(h.size) > limit || int64(h.indexSize) > limit {
		return nil, &DamagedError{name, h.version, fmt.Sprintf("it has %d bytes and its index %d, more than the %d that are allowed", h.size, h.indexSize, limit)}
	}
	m := &Manifest{Version: h.version, Published: time.Unix(h.published, 0)}
	if m.Content, err = s.read(ctx, name, h.version, "content", h.size, h.sum); err != nil {
		return nil, err
	}
	if h.indexSize > 0 {
		if m.Index, err = s.read(ctx, name, h.version, "index", h.indexSize, h.indexSum); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (s *Store) read(ctx context.Context, name string, version int64, kind string, size int, want string) ([]byte, error) {
	var out bytes.Buffer
	for i := 0; i*pieceSize < size; i++ {
		piece, err := s.client.Get(ctx, key(name, strconv.FormatInt(version, 10), kind, strconv.Itoa(i))).Bytes()
		if errors.Is(err, redis.Nil) {
			return nil, &DamagedError{name, version, "a piece is missing"}
		}
		if err != nil {
			return nil, err
		}
		if out.Len()+len(piece) > size {
			return nil, &DamagedError{name, version, "it is longer than what was published"}
		}
		out.Write(piece)
	}
	if sum(out.Bytes()) != want {
		return nil, &DamagedError{name, version, "its checksum is wrong"}
	}
	return out.Bytes(), nil
}

func sum(content []byte) string {
	d := sha256.Sum256(content)
	return hex.EncodeToString(d[:])
}
