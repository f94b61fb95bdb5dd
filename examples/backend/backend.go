// Package backend is the GraphQL server that the examples and the demo protect: a small shop, written with gqlgen the way such
// servers are written in a hurry. It checks no permission, limits nothing, shows its errors whole, and serves secrets to whoever
// selects them; every one of those begins with [shop.Planted], so that a test can tell a leak. Never put it in front of anything.
package backend

import (
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/99designs/gqlgen/graphql/handler/transport"

	"github.com/graphward/graphward/examples/backend/graph"
	"github.com/graphward/graphward/examples/backend/shop"
)

//go:generate go tool gqlgen generate
//go:generate cp schema.graphql ../quickstart/schema.graphql

// SDL is the server's schema.
//
//go:embed schema.graphql
var SDL string

// New returns a server over a fresh shop, for any path. It answers POST (JSON and multipart uploads), GET, server-sent events and
// WebSocket. Each handler has a shop of its own; it is safe for concurrent use.
//
// The caller of an operation is the `sub` of the bearer token, whose signature nobody looks at here: the firewall has.
func New() http.Handler {
	server := handler.New(graph.NewExecutableSchema(graph.Config{Resolvers: &resolvers{shop: shop.Open()}}))
	server.AddTransport(transport.SSE{})
	server.AddTransport(transport.Websocket{KeepAlivePingInterval: 12 * time.Second})
	server.AddTransport(transport.MultipartForm{})
	server.AddTransport(transport.POST{})
	server.AddTransport(transport.GET{})
	server.Use(extension.Introspection{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := context.WithValue(r.Context(), callerKey{}, subject(r.Header.Get("Authorization")))
		server.ServeHTTP(w, r.WithContext(ctx))
	})
}

type callerKey struct{}

// caller returns the id of who sent the operation, "" when nobody says.
func caller(ctx context.Context) string {
	id, _ := ctx.Value(callerKey{}).(string)
	return id
}

// subject reads the `sub` of a bearer token without verifying anything; "" when there is none.
func subject(authorization string) string {
	scheme, token, _ := strings.Cut(authorization, " ")
	parts := strings.Split(token, ".")
	if !strings.EqualFold(scheme, "bearer") || len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Subject
}
