package budget

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisOptions name a server of Redis 5 or later, Valkey, or what speaks their protocol and scripts.
type RedisOptions struct {
	// URL is redis://user:password@host:port/db, or rediss:// for TLS. With ?cluster=true it is one of a cluster's nodes,
	// others with &addr=host:port; with ?master_name=NAME it is a sentinel, others likewise.
	URL string
	// Username and Password, when not empty, take the place of the URL's, so that a secret need not stand in it.
	Username, Password string
	// TLS takes the place of rediss's default, which checks the server's name against the system's roots. nil leaves it.
	TLS *tls.Config
	// Prefix begins every key; "" means "graphward:". It must not hold { or }.
	Prefix string
	// Timeout bounds every operation, connecting and retrying included; 0 means 100ms.
	Timeout time.Duration
	// PoolSize is the most connections to a node; 0 means 10 for each CPU.
	PoolSize int
	// Lease is how long a reservation may stay open; 0 means 5 minutes. It should exceed the longest operation.
	Lease time.Duration
}

const defaultRedisTimeout = 100 * time.Millisecond

// StoreError means that the store of a ledger could not be asked or did not answer in time.
type StoreError struct {
	Op  string // "spend", "settle", "balance", "reset" or "probe"
	Err error
}

func (e *StoreError) Error() string { return "budget store: " + e.Op + ": " + e.Err.Error() }

// Unwrap gives the client library's error.
func (e *StoreError) Unwrap() error { return e.Err }

// Redis is a Ledger that several processes share. Every operation is one script, hence atomic, and one round trip, of several settlements
// (SettleAll) and of a cancellation with a spend (Move) too; a server that has lost its scripts costs one more for each. Time is the server's. Its memory should be set to evict nothing
// (maxmemory-policy noeviction): an evicted bucket is a full one.
//
// Keys carry a hash tag, so that all buckets of one holder (see Holder) lie in one slot of a cluster. In a cluster a Spend
// over several holders takes one script for each, in the order of charges; when a later one refuses, the earlier are cancelled.
// Until then other calls see them as spent: never too much is admitted, but for that moment too little may be.
// Without a cluster one script does all.
//
// A Spend that fails with *StoreError may have been carried out. It then returns the Receipt beside the error: Settle it
// with zeros once the store is reachable again, and the charge is undone or, should it still be on its way, made void.
// Breaker does that.
type Redis struct {
	client  redis.UniversalClient
	cluster bool
	prefix  string
	timeout time.Duration
	lease   time.Duration
	process uint64
	count   atomic.Uint64
}

var (
	_ Ledger    = (*Redis)(nil)
	_ Inspector = (*Redis)(nil)
)

var (
	//go:embed lua/clock.lua
	clockLua string
	//go:embed lua/spend.lua
	spendLua string
	//go:embed lua/settle.lua
	settleLua string
	//go:embed lua/balance.lua
	balanceLua string
	//go:embed lua/reset.lua
	resetLua string

	spendScript   = redis.NewScript(clockLua + spendLua)
	settleScript  = redis.NewScript(clockLua + settleLua)
	balanceScript = redis.NewScript(clockLua + balanceLua)
	resetScript   = redis.NewScript(resetLua)
)

// silent keeps go-redis from writing to standard error: what it has to say is in the errors.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

var silence = sync.OnceFunc(func() { redis.SetLogger(silent{}) })

// NewRedis checks the options and connects to nothing: a server that is down is a *StoreError of the operations.
func NewRedis(o RedisOptions) (*Redis, error) {
	if o.Prefix == "" {
		o.Prefix = "graphward:"
	}
	if strings.ContainsAny(o.Prefix, "{}") {
		return nil, fmt.Errorf("budget store: the prefix %q holds a brace, which would move the keys' hash tag", o.Prefix)
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultRedisTimeout
	}
	if o.Lease <= 0 {
		o.Lease = defaultLease
	}
	silence()
	r := &Redis{prefix: o.Prefix, timeout: o.Timeout, lease: o.Lease}
	var seed [8]byte
	rand.Read(seed[:])
	r.process = binary.BigEndian.Uint64(seed[:])
	universal, err := universalOptions(o)
	if err != nil {
		return nil, err
	}
	r.cluster = universal.IsClusterMode
	r.client = redis.NewUniversalClient(universal)
	return r, nil
}

// Close closes the connections. Operations after it fail with *StoreError.
func (r *Redis) Close() error { return r.client.Close() }

// Spend implements Ledger. A deadline of ctx shortens the ledger's Timeout.
func (r *Redis) Spend(ctx context.Context, charges []Charge) (Receipt, error) {
	if err := ctx.Err(); err != nil {
		return Receipt{}, err
	}
	if err := checkCharges(charges); err != nil {
		return Receipt{}, err
	}
	receipt := r.open(charges)
	ctx, stop := r.bound(ctx)
	defer stop()
	return r.spendGroups(ctx, receipt, r.groups(charges), nil)
}

// open is a receipt of charges yet to be spent.
func (r *Redis) open(charges []Charge) Receipt {
	return Receipt{
		Charges:  charges,
		Balances: make([]Balance, len(charges)),
		id:       receiptID{process: r.process, count: r.count.Add(1)},
	}
}

// bound is a context for one call. A caller that gives up must not leave a call half done and of unknown effect, so of ctx only its
// deadline is kept.
func (r *Redis) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline := time.Now().Add(r.timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	return context.WithDeadline(context.WithoutCancel(ctx), deadline)
}

// spendGroups spends one group after the other, and cancels those before one that refuses. The first has been sent where sent is its answer.
func (r *Redis) spendGroups(ctx context.Context, receipt Receipt, groups []group, sent *redis.Cmd) (Receipt, error) {
	for i := range groups {
		var err error
		if i == 0 && sent != nil {
			err = readSpend(&receipt, &groups[i], sent)
		} else {
			err = r.spendGroup(ctx, &receipt, &groups[i])
		}
		if err == nil {
			continue
		}
		var store *StoreError
		if errors.As(err, &store) {
			return receipt, err
		}
		for j := range i {
			if undo := r.settleGroup(ctx, receipt, &groups[j], make([]float64, len(receipt.Charges)), true); undo != nil {
				return receipt, undo
			}
		}
		return Receipt{}, err
	}
	return receipt, nil
}

// group is the charges that one script can do: all, or in a cluster those of one hash tag.
type group struct {
	tag     string
	charges []int
}

func (r *Redis) groups(charges []Charge) []group {
	var groups []group
next:
	for i := range charges {
		tag := hashTag(charges[i].Key)
		for j := range groups {
			if !r.cluster || groups[j].tag == tag {
				groups[j].charges = append(groups[j].charges, i)
				continue next
			}
		}
		groups = append(groups, group{tag: tag, charges: []int{i}})
	}
	return groups
}

func (r *Redis) spendGroup(ctx context.Context, receipt *Receipt, g *group) error {
	keys, args := r.spending(receipt, g)
	return readSpend(receipt, g, spendScript.Run(ctx, r.client, keys, args...))
}

// spending is what the script is told of one group.
func (r *Redis) spending(receipt *Receipt, g *group) (keys []string, args []any) {
	keys = []string{r.recordKey(g.tag, receipt.id)}
	life := r.memory()
	args = []any{"", receipt.id.String(), milliseconds(r.lease)}
	for _, i := range g.charges {
		c := &receipt.Charges[i]
		if !c.Final {
			life = r.lease
		}
		keys = append(keys, r.bucketKey(c.Key))
		args = append(args, decimal(math.Min(c.Amount, 2*maxAmount)), decimal(c.Window.Amount), micros(c.Window), capped(c.Window), decimal(c.Window.capacity()))
	}
	args[0] = milliseconds(life)
	return keys, args
}

// readSpend reads the script's answer into the receipt, or as the refusal.
func readSpend(receipt *Receipt, g *group, cmd *redis.Cmd) error {
	answer, err := cmd.StringSlice()
	if err != nil {
		return &StoreError{Op: "spend", Err: err}
	}
	if len(answer) == 1 && answer[0] == "settled" {
		return &StoreError{Op: "spend", Err: errors.New("the receipt was cancelled before the call arrived")}
	}
	if len(answer) != 1+len(g.charges) {
		return &StoreError{Op: "spend", Err: fmt.Errorf("answer of %d parts for %d charges", len(answer), len(g.charges))}
	}
	return readLevels(receipt, g, answer[0], answer[1:])
}

// readLevels turns the script's levels into balances, or into the refusal.
func readLevels(receipt *Receipt, g *group, verdict string, levels []string) error {
	var refusal *ExceededError
	for n, i := range g.charges {
		c := &receipt.Charges[i]
		b, err := readBucket(levels[n])
		if err != nil {
			return &StoreError{Op: "spend", Err: err}
		}
		w := serverWindow(c.Window)
		if w.Slots() {
			switch {
			case verdict == "no" && b.used+c.Amount > w.Amount:
				refusal = worse(refusal, exceeded(i, c, slotBalance(w, b.used), slotRetry, c.Amount > w.Amount))
				continue
			case verdict == "ok":
				b.used += c.Amount
			}
			receipt.Balances[i] = slotBalance(w, b.used)
			continue
		}
		switch {
		case verdict == "no" && !b.admits(w, c.Amount):
			wait, ever := b.wait(w, c.Amount)
			refusal = worse(refusal, exceeded(i, c, b.balance(w), wait, !ever))
			continue
		case verdict == "ok":
			b.charge(c.Amount)
		}
		receipt.Balances[i] = b.balance(w)
	}
	switch {
	case refusal != nil:
		return refusal
	case verdict != "ok" && verdict != "again":
		return &StoreError{Op: "spend", Err: fmt.Errorf("verdict %q without a refusal", verdict)}
	}
	return nil
}

// readBucket reads what clock.lua's text wrote, or the number of slots held.
func readBucket(text string) (bucket, error) {
	var b bucket
	var numbers [2 + 2*len(b.spans)]float64
	n := 0
	for word := range strings.FieldsSeq(text) {
		v, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return b, err
		}
		if n == len(numbers) {
			return b, fmt.Errorf("a level of more than %d numbers", n)
		}
		numbers[n] = v
		n++
	}
	if n != 1 && (n == 0 || n%2 == 1) {
		return b, fmt.Errorf("a level of %d numbers", n)
	}
	b.used, b.at = numbers[0], int64(numbers[1])*int64(time.Microsecond)
	for age := range b.spans {
		b.spans[age] = span{numbers[2+2*age], int64(numbers[3+2*age]) * int64(time.Microsecond)}
	}
	b.held = allSpans
	return b, nil
}

// Settle implements Ledger.
func (r *Redis) Settle(ctx context.Context, receipt Receipt, actual []float64) error {
	if err := checkActual(receipt.Charges, actual); err != nil {
		return err
	}
	if receipt.id == (receiptID{}) {
		return nil
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), r.timeout)
	defer stop()
	groups := r.groups(receipt.Charges)
	var failed error
	for i := range groups {
		if err := r.settleGroup(ctx, receipt, &groups[i], actual, false); err != nil {
			failed = err
		}
	}
	return failed
}

// settleAll sends the scripts of all settlements at once. A server that lacks the script is told each again, which has its effect once.
func (r *Redis) settleAll(ctx context.Context, settlements []Settlement) error {
	for _, s := range settlements {
		if err := checkActual(s.Receipt.Charges, s.Actual); err != nil {
			return settleEach(ctx, r, settlements)
		}
	}
	bounded, stop := context.WithTimeout(context.WithoutCancel(ctx), r.timeout)
	defer stop()
	pipe := r.client.Pipeline()
	for _, s := range settlements {
		if s.Receipt.id == (receiptID{}) {
			continue
		}
		groups := r.groups(s.Receipt.Charges)
		for i := range groups {
			if keys, args := r.settlement(s.Receipt, &groups[i], s.Actual, false); keys != nil {
				settleScript.EvalSha(bounded, pipe, keys, args...)
			}
		}
	}
	if pipe.Len() == 0 {
		return nil
	}
	_, err := pipe.Exec(bounded)
	switch {
	case err == nil:
		return nil
	case redis.HasErrorPrefix(err, "NOSCRIPT"):
		return settleEach(ctx, r, settlements)
	}
	return &StoreError{Op: "settle", Err: err}
}

// move sends the scripts of the cancellation and that of the first group of charges at once. A server carries out in order what it is sent, so
// that what is given back can be spent. One that lacks a script is told again, in that order too; what it did at first has its effect once.
func (r *Redis) move(ctx context.Context, from Receipt, charges []Charge) (receipt Receipt, cancelled, err error) {
	receipt = r.open(charges)
	ctx, stop := r.bound(ctx)
	defer stop()
	pipe := r.client.Pipeline()
	given, back := r.cancellation(ctx, pipe, from)
	groups := r.groups(charges)
	var sent *redis.Cmd
	if len(groups) > 0 {
		keys, args := r.spending(&receipt, &groups[0])
		sent = spendScript.EvalSha(ctx, pipe, keys, args...)
	}
	if pipe.Len() > 0 {
		_, _ = pipe.Exec(ctx) // each command has its own error
	}
	for i, cmd := range back {
		_, err := cmd.Int64()
		switch {
		case err == nil:
		case redis.HasErrorPrefix(err, "NOSCRIPT"):
			if err := r.settleGroup(ctx, from, &given[i], make([]float64, len(from.Charges)), false); err != nil {
				cancelled = err
			}
			sent = nil
		default:
			cancelled = &StoreError{Op: "settle", Err: err}
		}
	}
	if sent != nil && redis.HasErrorPrefix(sent.Err(), "NOSCRIPT") {
		sent = nil
	}
	receipt, err = r.spendGroups(ctx, receipt, groups, sent)
	return receipt, cancelled, err
}

// cancellation puts the scripts that cancel a receipt into a pipeline: of which groups, and the answers to be.
func (r *Redis) cancellation(ctx context.Context, pipe redis.Pipeliner, receipt Receipt) (given []group, back []*redis.Cmd) {
	if receipt.id == (receiptID{}) {
		return nil, nil
	}
	nothing := make([]float64, len(receipt.Charges))
	for _, g := range r.groups(receipt.Charges) {
		if keys, args := r.settlement(receipt, &g, nothing, false); keys != nil {
			given, back = append(given, g), append(back, settleScript.EvalSha(ctx, pipe, keys, args...))
		}
	}
	return given, back
}

// settleGroup corrects one group; final charges only when all is undone.
func (r *Redis) settleGroup(ctx context.Context, receipt Receipt, g *group, actual []float64, undo bool) error {
	keys, args := r.settlement(receipt, g, actual, undo)
	if keys == nil {
		return nil
	}
	if err := settleScript.Run(ctx, r.client, keys, args...).Err(); err != nil {
		return &StoreError{Op: "settle", Err: err}
	}
	return nil
}

// settlement is what the script is told of one group; no keys when there is nothing to settle.
func (r *Redis) settlement(receipt Receipt, g *group, actual []float64, undo bool) (keys []string, args []any) {
	keys = []string{r.recordKey(g.tag, receipt.id)}
	args = []any{milliseconds(r.memory()), receipt.id.String(), milliseconds(r.lease)}
	open := undo
	for _, i := range g.charges {
		c := &receipt.Charges[i]
		difference := 0.0
		if actual != nil && (undo || !c.Final) {
			difference = actual[i] - c.Amount
		}
		open = open || !c.Final
		keys = append(keys, r.bucketKey(c.Key))
		args = append(args, decimal(difference), decimal(c.Window.Amount), micros(c.Window), capped(c.Window), decimal(c.Amount))
	}
	if !open {
		return nil, nil
	}
	return keys, args
}

// Balance is the state of a bucket now; it charges nothing. A bucket that is not known is full.
func (r *Redis) Balance(ctx context.Context, key string, w Window) (Balance, error) {
	if why := w.problem(); why != "" {
		return Balance{}, &ChargeError{Key: key, Reason: why}
	}
	ctx, stop := context.WithTimeout(ctx, r.timeout)
	defer stop()
	text, err := balanceScript.Run(ctx, r.client, []string{r.bucketKey(key)}, decimal(w.Amount), micros(w)).Text()
	if err != nil {
		return Balance{}, &StoreError{Op: "balance", Err: err}
	}
	b, err := readBucket(text)
	if err != nil {
		return Balance{}, &StoreError{Op: "balance", Err: err}
	}
	if w.Slots() {
		return slotBalance(w, b.used), nil
	}
	return b.balance(serverWindow(w)), nil
}

// Reset makes buckets of windows full, and takes no slot from those who hold one. Reservations that are open still settle: a
// refund then finds a full bucket. It takes a round trip for each key.
func (r *Redis) Reset(ctx context.Context, keys ...string) error {
	ctx, stop := context.WithTimeout(ctx, r.timeout)
	defer stop()
	for _, key := range keys {
		if err := resetScript.Run(ctx, r.client, []string{r.bucketKey(key)}).Err(); err != nil {
			return &StoreError{Op: "reset", Err: err}
		}
	}
	return nil
}

// Probe reports whether the store can be written to, which a replica or a full server cannot. Of a cluster it asks one node.
func (r *Redis) Probe(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, r.timeout)
	defer stop()
	id := receiptID{process: r.process, count: r.count.Add(1)}
	life := milliseconds(r.memory())
	if err := settleScript.Run(ctx, r.client, []string{r.recordKey("probe", id)}, life, id.String(), life).Err(); err != nil {
		return &StoreError{Op: "probe", Err: err}
	}
	return nil
}

// memory is how long a receipt is remembered for the sake of a copy of its calls that arrives late.
func (r *Redis) memory() time.Duration { return max(time.Second, 10*r.timeout) }

func (id receiptID) String() string {
	return strconv.FormatUint(id.process, 36) + "." + strconv.FormatUint(id.count, 36)
}

// hashTag is what Redis Cluster hashes of a key: the text in its first braces, unless empty; else, here, the text up to
// its first }, because bucketKey puts such a key into braces.
func hashTag(key string) string {
	if tag, ok := ownTag(key); ok {
		return tag
	}
	tag, _, _ := strings.Cut(key, "}")
	return tag
}

func ownTag(key string) (string, bool) {
	_, rest, ok := strings.Cut(key, "{")
	if !ok {
		return "", false
	}
	tag, _, ok := strings.Cut(rest, "}")
	return tag, ok && tag != ""
}

// bucketKey is injective: the two forms differ in their first letter.
func (r *Redis) bucketKey(key string) string {
	if _, ok := ownTag(key); ok {
		return r.prefix + "b:" + key
	}
	return r.prefix + "u:{" + key + "}"
}

func (r *Redis) recordKey(tag string, id receiptID) string {
	return r.prefix + "r:{" + tag + "}" + id.String()
}

func decimal(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func milliseconds(d time.Duration) string { return strconv.FormatInt(max(1, d.Milliseconds()), 10) }

// serverWindow is the window as the scripts see it, in whole microseconds: parts of it are numbered alike on both sides.
func serverWindow(w Window) Window {
	w.Per = w.Per.Truncate(time.Microsecond)
	return w
}

func micros(w Window) string { return strconv.FormatInt(w.Per.Microseconds(), 10) }

func capped(w Window) string {
	if w.capped() {
		return "1"
	}
	return "0"
}
