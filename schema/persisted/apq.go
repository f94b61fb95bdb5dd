package persisted

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
)

// APQ keeps the documents of Automatic Persisted Queries: those that clients
// registered by sending text and hash together. It is no [Store] on purpose: a
// document that a client registered never satisfies an allowlist.
//
// Clients are kept apart, so that none can push out or probe another's
// documents. Least recently used documents, and clients, go first. It is safe
// for concurrent use.
type APQ struct {
	options APQOptions
	mu      sync.Mutex
	clients map[string]*apqClient
	recent  *list.List // of *apqClient, most recently used first
	bytes   int
}

// APQOptions bounds an APQ; zero means the default.
type APQOptions struct {
	Clients   int // distinct clients; 0 is 1,000
	Documents int // of one client; 0 is 1,000
	Bytes     int // of text of one client; 0 is 4 MiB
	Total     int // of text of all clients; 0 is 64 MiB, at least Bytes
}

type apqClient struct {
	name      string
	documents map[string]*list.Element
	recent    *list.List // of apqDocument, most recently used first
	bytes     int
	place     *list.Element
}

type apqDocument struct {
	hash, text string
}

// MismatchError is a text whose SHA-256 is not the hash it came with.
type MismatchError struct {
	Hash string // as claimed
}

func (e *MismatchError) Error() string { return "the text's SHA-256 is not " + e.Hash }

// NewAPQ returns an empty APQ.
func NewAPQ(o APQOptions) *APQ {
	or := func(n *int, d int) {
		if *n <= 0 {
			*n = d
		}
	}
	or(&o.Clients, 1000)
	or(&o.Documents, 1000)
	or(&o.Bytes, 4<<20)
	or(&o.Total, 64<<20)
	o.Total = max(o.Total, o.Bytes)
	return &APQ{options: o, clients: map[string]*apqClient{}, recent: list.New()}
}

// Lookup returns the text that the client registered under the hash: 64
// lower-case hexadecimal digits.
func (a *APQ) Lookup(client, hash string) (text string, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.clients[client]
	if c == nil {
		return "", false
	}
	a.recent.MoveToFront(c.place)
	e := c.documents[hash]
	if e == nil {
		return "", false
	}
	c.recent.MoveToFront(e)
	return e.Value.(apqDocument).text, true
}

// Register keeps the text under its hash for the client. The error is a
// *[MismatchError]; nothing is kept then. A text larger than a client's bytes
// is verified and not kept.
func (a *APQ) Register(client, hash, text string) error {
	if err := Verify(hash, text); err != nil {
		return err
	}
	if len(text) > a.options.Bytes {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.client(client)
	if e := c.documents[hash]; e != nil {
		c.recent.MoveToFront(e)
		return nil
	}
	// Cloned: a document of a few bytes must not hold a request's memory.
	d := apqDocument{strings.Clone(hash), strings.Clone(text)}
	c.documents[d.hash] = c.recent.PushFront(d)
	c.bytes += len(text)
	a.bytes += len(text)
	for c.recent.Len() > a.options.Documents || c.bytes > a.options.Bytes {
		old := c.recent.Remove(c.recent.Back()).(apqDocument)
		delete(c.documents, old.hash)
		c.bytes -= len(old.text)
		a.bytes -= len(old.text)
	}
	for a.bytes > a.options.Total {
		a.forget()
	}
	return nil
}

// forget drops the least recently used client. The client of the moment is at
// the front and within Total, so it is never the one that must go.
func (a *APQ) forget() {
	old := a.recent.Remove(a.recent.Back()).(*apqClient)
	delete(a.clients, old.name)
	a.bytes -= old.bytes
}

func (a *APQ) client(name string) *apqClient {
	if c := a.clients[name]; c != nil {
		a.recent.MoveToFront(c.place)
		return c
	}
	if a.recent.Len() >= a.options.Clients {
		a.forget()
	}
	c := &apqClient{name: strings.Clone(name), documents: map[string]*list.Element{}, recent: list.New()}
	c.place = a.recent.PushFront(c)
	a.clients[c.name] = c
	return c
}

// Verify checks that hash is the SHA-256 of text in lower-case hexadecimal
// digits; the error is a *[MismatchError].
func Verify(hash, text string) error {
	sum := sha256.Sum256([]byte(text))
	var digits [2 * sha256.Size]byte
	hex.Encode(digits[:], sum[:])
	if string(digits[:]) != hash {
		return &MismatchError{hash}
	}
	return nil
}
