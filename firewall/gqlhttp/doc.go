// Package gqlhttp speaks GraphQL over HTTP (the draft specification, main at
// e1e46e7) for the firewall: it decodes a request into checked calls, encodes
// what is sent upstream, writes refusals, and holds the rules by which headers
// and error bodies cross the proxy.
//
// Everything here is strict on the way in, because the body that is forwarded
// is encoded anew from what was decoded: duplicate or case-variant JSON keys, a
// byte order mark, another charset, a second query in the URL are refused, and
// unknown members are dropped. The package knows no schema, policy or price and
// imports nothing else of this module.
package gqlhttp
