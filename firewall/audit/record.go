// Package audit writes one record per operation: what was decided about it,
// by which stage and rule, and what it cost. Refusals have records too.
//
// A record holds names, numbers and decisions. It has no place for a
// credential, a variable's value, a document or a header, and a caller must
// not put them into its texts.
package audit

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"time"
)

// The values of [Record.Verdict].
const (
	Allowed = "allowed" // forwarded, or answered from what the firewall knows
	Refused = "refused" // a stage refused it
	Failed  = "error"   // it could not be decided or carried out
)

// Record is what is written about one operation. The comment of each field
// begins with its JSON name. Zero values are left out unless said otherwise,
// so that a refusal in an early stage has no members of later ones.
//
// Texts that a client can choose may hold anything: control characters,
// characters without a glyph and invalid UTF-8 are replaced by U+FFFD when
// written, and long texts are cut (see [MaxText]).
type Record struct {
	// "time": when the request began; RFC 3339 with microseconds, UTC. Always
	// written. Zero: the time of writing.
	Time time.Time

	// "decision_id": names this decision, see [NewID]. Always written.
	ID string

	// "request_id", "traceparent": the request's own names for itself, as
	// they came.
	RequestID, TraceParent string

	// "protocol": how the operation came: "http", "ws", "sse".
	Protocol string

	// "client_ip": who sent it, by the trusted proxies' account.
	ClientIP netip.Addr

	// "subject", "issuer": whom the credential names.
	Subject, Issuer string

	// "method": how the subject was identified ("anonymous", "jwt" …).
	Method string

	// "key": id of the API key or fingerprint of the certificate.
	Key string

	// "client", "client_version": the application.
	Client, ClientVersion string

	// "tier": the tier that applied.
	Tier string

	// "operation": see [Operation]. Left out when it has neither kind, name,
	// hash nor id.
	Operation Operation

	// "shape": see [Shape]. Left out when all of it is 0.
	Shape Shape

	// "cost": see [Cost]. Left out when not estimated.
	Cost Cost

	// "verdict": one of the Verdict constants. Always written.
	Verdict string

	// "status": the HTTP status of the answer.
	Status int

	// "code", "stage", "message": the refusal or error for the operator; the
	// message is not what the client was told.
	Code, Stage, Message string

	// "rules": the policy rules that decided, at most [MaxRules]; the number
	// beyond is "rules_omitted".
	Rules []Rule

	// "reported": codes that would have refused the operation and are in
	// report mode.
	Reported []string

	// "cut", "masked", "dropped": how many positions of the answer the policy
	// made null or replaced, and how many list items it left out. Rules says by
	// which rules, as decisions "cut" and "mask".
	Cut, Masked, Dropped int

	// "upstream": see [Upstream]. Left out when nothing was forwarded.
	Upstream Upstream

	// "duration_us": from the request's begin to its end, in microseconds.
	// Always written.
	Duration time.Duration

	// "stages": microseconds by stage.
	Stages []StageTime

	// "policy_revision", "schema_digest", "generation": what decided.
	PolicyRevision, SchemaDigest string
	Generation                   uint64

	// "aborted": the client went away before the answer was complete.
	Aborted bool

	// "panic": the operation ended in a panic, which is a defect.
	Panic bool
}

// Operation names the operation, by the client's word for Name.
type Operation struct {
	Kind       string // "kind": query, mutation or subscription
	Name       string // "name"
	Hash       string // "hash": of the canonical text, hex
	DocumentID string // "document_id": the persisted id that was asked for
	Registered bool   // "registered": a manifest lists it; always written
}

// Shape is the operation's measured size.
type Shape struct {
	Depth      int // "depth"
	Aliases    int // "aliases"
	RootFields int // "root_fields"
	Directives int // "directives"
	Tokens     int // "tokens"
	Fragments  int // "fragments"
}

// Cost is the operation's price in cost units. An infinite number is written
// as the string "+Inf".
type Cost struct {
	Estimated bool    // whether Estimate is known, even as 0
	Estimate  float64 // "estimate"
	Max       float64 // "max": the limit that applied; 0: left out
	Settled   bool    // whether Actual is known, even as 0
	Actual    float64 // "actual": what the answer cost
}

// Rule is one decision of the policy.
type Rule struct {
	Coordinate string // "coordinate": Type.field
	Head       string // "rule": the head of the rule, such as allow.User.email
	At         string // "at": file:line; empty: no rule, which denies
	Decision   string // "decision": allow, deny, mask …
	// "reads": the input paths that the rule can read, such as
	// input.subject.roles; their values are never recorded.
	Reads []string
}

// Upstream is the exchange with the backend.
type Upstream struct {
	Status   int           // "status"; 0: no answer, left out
	Bytes    int64         // "bytes": of the answer's body
	Duration time.Duration // "duration_us": until the answer's headers; 0 with Status 0: nothing was forwarded
}

// StageTime is how long one stage of the pipeline took.
type StageTime struct {
	Stage    string
	Duration time.Duration
}

// Sink takes records.
type Sink interface {
	// Write records r, which it does not keep. It never waits for the
	// output. An error means that r is or may be lost and that its operation
	// should not go on. It is safe for concurrent use.
	Write(r *Record) error

	// Close writes what is queued and releases the output. Write fails
	// afterwards.
	Close() error
}

// NewID returns a new decision id: a UUID of version 7 (RFC 9562 section
// 5.7), whose order is that of time to the millisecond.
func NewID() string { return NewIDAt(time.Now()) }

// NewIDAt is [NewID] at another time than now.
func NewIDAt(at time.Time) string {
	var id [16]byte
	binary.BigEndian.PutUint64(id[8:], rand.Uint64()) // ChaCha8 with the runtime's seed: an id is unique, not secret
	ms := uint64(at.UnixMilli())
	binary.BigEndian.PutUint64(id[0:], ms<<16|rand.Uint64()>>48)
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	var text [36]byte
	hex.Encode(text[0:8], id[0:4])
	hex.Encode(text[9:13], id[4:6])
	hex.Encode(text[14:18], id[6:8])
	hex.Encode(text[19:23], id[8:10])
	hex.Encode(text[24:36], id[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}
