package gqlhttp

import (
	"github.com/go-json-experiment/json/jsontext"
)

// AppendPrefix appends the part of an upstream body that depends on the plan
// alone: {"query":"…","operationName":"…" without the closing brace. It may be
// kept per plan and finished with [AppendTail]. An empty operationName is left
// out. Strings are escaped minimally (RFC 8785), never for HTML; both must be
// valid UTF-8, as Decode and schema give them, and what is not becomes U+FFFD.
func AppendPrefix(dst []byte, query, operationName string) []byte {
	dst = append(dst, `{"query":`...)
	dst, _ = jsontext.AppendQuote(dst, query)
	if operationName != "" {
		dst = append(dst, `,"operationName":`...)
		dst, _ = jsontext.AppendQuote(dst, operationName)
	}
	return dst
}

// AppendTail finishes what AppendPrefix began. variables and extensions are
// JSON objects, copied as they are; nil or empty leaves the member out.
func AppendTail(dst, variables, extensions []byte) []byte {
	if len(variables) > 0 {
		dst = append(append(dst, `,"variables":`...), variables...)
	}
	if len(extensions) > 0 {
		dst = append(append(dst, `,"extensions":`...), extensions...)
	}
	return append(dst, '}')
}

// AppendRequest appends a whole upstream body; see AppendPrefix and AppendTail.
func AppendRequest(dst []byte, query, operationName string, variables, extensions []byte) []byte {
	return AppendTail(AppendPrefix(dst, query, operationName), variables, extensions)
}
