// Package schema turns GraphQL text into meaning: it loads a schema, compiles
// a document into an immutable [Operation] in linear time, and coerces
// variables to typed values. It knows nothing of HTTP, policy or price.
//
// Terms are those of the GraphQL specification (October 2021 and the draft):
// document, operation, selection set, field coordinate, response key.
package schema
