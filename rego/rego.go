// Package rego carries the Rego library that every policy may import as
// data.graphward.lib, and the JSON schema of the input that rules see.
package rego

import "embed"

// Library holds the library's modules and their tests under lib/. README.md
// beside this file documents them.
//
//go:embed lib/*.rego
var Library embed.FS

// InputSchema is the JSON schema of input, generated from the Go types in
// package policy; a test there keeps it in step.
//
//go:embed input.schema.json
var InputSchema []byte
