package firewall

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/graphward/graphward/cost"
	"github.com/graphward/graphward/cost/budget"
	"github.com/graphward/graphward/firewall/gqlhttp"
	"github.com/graphward/graphward/firewall/identity"
	"github.com/graphward/graphward/policy"
	"github.com/graphward/graphward/schema"
)

// Stage names a step of the pipeline in refusals, audit records and metrics.
type Stage string

// The stages, in order (DESIGN.md section 3).
const (
	StageDecode    Stage = "decode"
	StageAdmit     Stage = "admit"
	StageIdentify  Stage = "identify"
	StageResolve   Stage = "resolve"
	StageTier      Stage = "tier"
	StagePlan      Stage = "plan"
	StageBind      Stage = "bind"
	StageMeasure   Stage = "measure"
	StageAuthorize Stage = "authorize"
	StageCharge    Stage = "charge"
	StageForward   Stage = "forward"
	StageGuard     Stage = "guard"
	StageSettle    Stage = "settle"
)

// Refusal is what becomes of a call that is not let through. Client sees Code,
// Status and Message (and RetryAfter); the operator's log has the rest.
type Refusal struct {
	Code    string
	Status  int // under application/graphql-response+json; gqlhttp.StatusFor gives the legacy one
	Message string
	Stage   Stage
	// RetryAfter is above 0 for 429 and OVERLOADED, else 0.
	RetryAfter time.Duration
	// Challenge is the WWW-Authenticate value of a 401.
	Challenge string
	// Allow is the Allow value of a 405.
	Allow []string
	// Denials are the policy's, in order; empty for other refusals.
	Denials []policy.Denial
	// Exceeded is set for BUDGET_EXCEEDED and CONCURRENCY_LIMIT.
	Exceeded *budget.ExceededError
	// Cause is for the operator only.
	Cause error
	// told is what the client is told in place of this; nil: this. Records and
	// metrics have the truth.
	told *Refusal
	// line and column are the place in the client's document that the refusal is
	// about; 0: none.
	line, column int
	// cost is set for COST_LIMIT by cost.max and the tiers'.
	cost *costError
}

// refuse is the only mapping from errors to what a client sees. An error that
// it does not know is INTERNAL: it says nothing to the client.
func refuse(stage Stage, err error) *Refusal {
	r := new(Refusal)
	r.become(stage, err)
	return r
}

// become makes r the refusal of an error.
func (r *Refusal) become(stage Stage, err error) {
	*r = Refusal{Stage: stage, Cause: err}
	if !r.found(err) && !r.unwrapped(err) {
		r.Code, r.Message = "INTERNAL", "Internal error"
	}
	row, _ := gqlhttp.Lookup(r.Code) // a policy's own code has FORBIDDEN's row
	r.Status = row.Status
}

// found is for an error as its stage made it, which most are.
func (r *Refusal) found(err error) bool {
	switch e := err.(type) { //nolint:errorlint // unwrapped looks inside
	case *callError:
		r.Code, r.Message = e.code, e.message
	case *gqlhttp.Error:
		r.Code, r.Message, r.Allow = e.Code, e.Message, e.Allow
	case *schema.LimitError:
		r.Code, r.Message = limitCode(e.Kind), e.Error()
		r.line, r.column = e.Line, e.Column
	case *schema.ParseError:
		r.Code, r.Message = "GRAPHQL_PARSE_FAILED", "Syntax error: "+e.Message
		r.line, r.column = e.Line, e.Column
	case *schema.ValidationError:
		r.Code, r.Message = "GRAPHQL_VALIDATION_FAILED", e.Message
		r.line, r.column = e.Line, e.Column
	case *schema.OperationNameError:
		r.Code, r.Message = "GRAPHQL_VALIDATION_FAILED", e.Error()
	case *schema.VariableError:
		r.Code, r.Message = "BAD_VARIABLES", e.Error()
		if e.Limit {
			r.Code = "VALUE_LIMIT"
		}
	case *identity.UnauthenticatedError:
		if e.Unavailable {
			r.overloaded()
			return true
		}
		r.Code, r.Message, r.Challenge = "UNAUTHENTICATED", "Authentication is required or has failed", e.Challenge
	case *budget.ExceededError:
		refuseExceeded(r, e)
	case *budget.StoreError, *budget.CapacityError:
		r.overloaded()
	case *policy.TimeoutError:
		r.Code, r.Message = "POLICY_TIMEOUT", "The decision took too long"
	case *deniedError:
		first := e.denials[0]
		r.Code, r.Message, r.Denials = first.Code, first.Message, e.denials
	case *upstreamError:
		r.Code, r.Message = "UPSTREAM_ERROR", "The upstream gave no usable answer"
		if e.timeout {
			r.Code, r.Message = "UPSTREAM_TIMEOUT", "The upstream took too long"
		}
	case *cost.PageSizeError, *cost.UnboundedError, *cost.SlicingError, *cost.NegativeSizeError:
		r.Code, r.Message = "PAGE_SIZE", err.Error()
	case *costError:
		r.Code, r.Message, r.cost = "COST_LIMIT", e.Error(), e
	case *cost.NodeLimitError:
		r.Code, r.Message = "COST_LIMIT", e.Error()
	default:
		return false
	}
	return true
}

func (r *Refusal) overloaded() {
	r.Code, r.Message, r.RetryAfter = "OVERLOADED", "The service is overloaded", time.Second
}

// unwrapped looks for an error that found knows inside err.
func (r *Refusal) unwrapped(err error) bool {
	if errors.Is(err, errAudit) || errors.Is(err, errOverloaded) {
		r.overloaded()
		return true
	}
	switch e := err.(type) { //nolint:errorlint // it unwraps
	case interface{ Unwrap() error }:
		return r.within(e.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), r.within)
	}
	return false
}

func (r *Refusal) within(err error) bool { return err != nil && (r.found(err) || r.unwrapped(err)) }

func refuseExceeded(r *Refusal, e *budget.ExceededError) {
	r.Exceeded, r.RetryAfter = e, e.RetryAfter
	if r.RetryAfter <= 0 {
		// More than a full bucket holds. Waiting does not help, but a client
		// that is told nothing comes back at once.
		r.RetryAfter = max(e.Window.Per, time.Second)
	}
	r.Code, r.Message = exceededCode(e), "The budget is used up, try again later"
	switch {
	case e.Window.Slots():
		r.Message = "Too many requests at once"
	case e.Never:
		r.Message = "The budget is smaller than what the request takes of it"
		r.RetryAfter = max(e.RetryAfter, e.Window.Per) // waiting does not help: then not too often
	}
}

func exceededCode(e *budget.ExceededError) string {
	if e.Window.Slots() {
		return "CONCURRENCY_LIMIT"
	}
	return "BUDGET_EXCEEDED"
}

func limitCode(k schema.LimitKind) string {
	switch k {
	case schema.LimitDocument:
		return "BODY_LIMIT"
	case schema.LimitTokens, schema.LimitNesting:
		return "TOKEN_LIMIT"
	case schema.LimitFragments:
		return "FRAGMENT_LIMIT"
	case schema.LimitDepth:
		return "DEPTH_LIMIT"
	case schema.LimitRootFields:
		return "ROOT_FIELD_LIMIT"
	case schema.LimitAliases:
		return "ALIAS_LIMIT"
	case schema.LimitDirectives:
		return "DIRECTIVE_LIMIT"
	case schema.LimitValue:
		return "VALUE_LIMIT"
	default:
		return "COMPLEXITY_LIMIT"
	}
}

// callError is a refusal that the pipeline itself decides.
type callError struct {
	code, message string
	detail        string // for the operator
}

func (e *callError) Error() string {
	if e.detail != "" {
		return e.detail
	}
	return e.message
}

// deniedError carries the policy's denials; there is at least one.
type deniedError struct{ denials []policy.Denial }

func (e *deniedError) Error() string { return e.denials[0].Reason() }

// costError is an estimate above the limit.
type costError struct{ requested, max float64 }

func (e *costError) Error() string {
	text := appendRounded(append(make([]byte, 0, 80), "the operation costs "...), e.requested)
	return string(appendRounded(append(text, ", the limit is "...), e.max))
}

// appendRounded writes a cost as explain does, without an exponent.
func appendRounded(dst []byte, x float64) []byte {
	if n := int64(x); float64(n) == x && n > -1e15 && n < 1e15 {
		return strconv.AppendInt(dst, n, 10)
	}
	return strconv.AppendFloat(dst, math.Round(x*1e6)/1e6, 'f', -1, 64)
}

// upstreamError is a failed forward. sent is false when the upstream cannot
// have seen the request, so that its charge is given back.
type upstreamError struct {
	cause   error
	timeout bool
	sent    bool
}

func (e *upstreamError) Error() string { return "upstream: " + e.cause.Error() }

func (e *upstreamError) Unwrap() error { return e.cause }

// clientGone reports whether the failure is the client's leaving.
func clientGone(ctx context.Context) bool {
	return errors.Is(context.Cause(ctx), context.Canceled)
}

// measureOf names the budget that an exceeded bucket belongs to.
func measureOf(e *budget.ExceededError) string {
	_, name, _ := strings.Cut(e.Key, "}")
	measure, _, _ := strings.Cut(name, ":")
	return measure
}

// itemName names a budget in the RateLimit fields: cost, requests, in_flight,
// operation:NAME or field:COORDINATE, of which a call may be charged to several.
func itemName(key string) string {
	_, name, _ := strings.Cut(key, "}")
	if measure, _, _ := strings.Cut(name, ":"); measure == "cost" {
		return measure // of operations.unregistered too
	}
	return name
}

// tableCode is the code as metrics count it: a policy's own is FORBIDDEN.
func tableCode(code string) string {
	if row, ok := gqlhttp.Lookup(code); ok {
		return row.Name
	}
	return gqlhttp.CodeForbidden
}
