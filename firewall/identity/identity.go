// Package identity turns what a request presents (a JSON Web Token, an
// opaque token, an API key, a client certificate) into an [Identity].
//
// One rule holds everywhere: a credential that is presented and does not
// verify is an error, never the anonymous identity. Nothing of a token is
// believed before its signature holds: the issuer, key id and algorithm that it
// names only choose among the keys that the config vouches for.
package identity

import (
	"net/http"
	"time"
)

// The values of [Identity.Method].
const (
	MethodAnonymous     = "anonymous"
	MethodJWT           = "jwt"
	MethodAPIKey        = "api_key"
	MethodCertificate   = "certificate"
	MethodIntrospection = "introspection"
)

// Identity is who sent a request, as far as it was proven. Identities are
// shared between requests and goroutines by the caches behind an
// [Authenticator]: neither the struct nor what it refers to may be changed.
type Identity struct {
	// Authenticated is false for the anonymous identity alone.
	Authenticated bool

	// Subject is the token's "sub", the SPIFFE ID or first subject
	// alternative name of a certificate, or an API key's configured subject.
	// It is empty for the anonymous identity, and where the key or the
	// certificate names nobody.
	Subject string

	// Issuer is the token's "iss", or for a SPIFFE certificate the trust
	// domain's ID ("spiffe://example.org"). Empty where there is none.
	Issuer string

	// Roles and Scopes are what the credential grants, by the configured
	// claims. Nil when there are none.
	Roles, Scopes []string

	// Claims are all claims of the token, or all members of the
	// introspection answer. Objects are map[string]any, arrays []any, and
	// numbers json.Number (of encoding/json) with the digits as they were
	// sent. Nil for the other methods.
	Claims map[string]any

	// Client is the application that acts. Zero when unknown.
	Client Client

	// Method is one of the Method constants and never empty.
	Method string

	// Key is a stable budget key besides Subject: the id of an API key, or
	// the fingerprint of the certificate that identifies. Else empty.
	Key string

	// Certificate is the SHA-256 fingerprint, in lower-case hex, of the
	// verified client certificate, whatever Method says. Else empty.
	Certificate string

	// Expiry is when the credential ends, without leeway: a connection that
	// outlives it must authenticate again. Zero when it does not end.
	Expiry time.Time

	// Tier is the tier that an API key's entry names. Else empty.
	Tier string
}

// Client names the application that sends requests, as opposed to the
// subject on whose behalf it does so.
type Client struct {
	// ID comes from the credential, or from a client header when it names a
	// public client of the config. It never rests on an unlisted header.
	ID string

	// Name equals ID. It exists because policies and clients speak of both.
	Name string

	// Version is what the client says of itself in the header beside its
	// name ("graphql-client-version"). It is not proven. Empty without ID.
	Version string
}

// Authenticator identifies the sender of a request.
type Authenticator interface {
	// Authenticate returns who sent r, which may be the anonymous identity
	// where that is allowed. Its error is an [*UnauthenticatedError]. It is
	// safe for concurrent use. It waits at most for r's context.
	Authenticate(r *http.Request) (*Identity, error)
}

// Recaller is an [Authenticator] that remembers whom it identified.
type Recaller interface {
	// Recall returns what Authenticate would, where that takes nothing but
	// memory: a credential that was verified before and still holds. nil says
	// that Authenticate has to judge. It is safe for concurrent use.
	Recall(r *http.Request) *Identity
}

// UnauthenticatedError says why a request has no identity.
type UnauthenticatedError struct {
	// Reason is for the operator: what was wrong. It never contains the
	// credential, but may contain names that the sender chose, quoted.
	Reason string

	// Challenge is the value of the WWW-Authenticate header (RFC 9110
	// section 11.6.1, RFC 6750 section 3). It tells nothing of Reason.
	Challenge string

	// Unavailable reports that the credential could not be judged, because
	// an issuer or an introspection server did not answer or a limit on
	// costly verifications was reached. The same request may succeed later.
	Unavailable bool
}

func (e *UnauthenticatedError) Error() string { return "unauthenticated: " + e.Reason }
