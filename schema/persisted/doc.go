// Package persisted knows which documents are registered: it loads manifests
// (Apollo's persisted query manifest v1, the {id: text} maps of Relay and
// graphql-codegen, folders of .graphql files), finds a document by client and
// id or by canonical form, keeps the documents of Automatic Persisted Queries
// apart from those, and extracts documents from TypeScript and JavaScript
// sources.
//
// Ids are compared exactly. A document id of the form sha256:<64 lower-case
// hexadecimal digits> (GraphQL over HTTP, persisted documents) and the bare
// digits are one id; nothing else is normalised.
package persisted
