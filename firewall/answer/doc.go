// Package answer rewrites GraphQL answers while they stream: what a decision
// denied becomes null with an error (GraphQL section 6.4.4), what it masked is
// replaced, and what the firewall itself asked the upstream for is taken out
// again. What no guard touches passes byte for byte.
//
// A [Plan] is made once for a document and a set of guards: it says what to
// forward in the client's place. [Plan.Rewrite] then turns the upstream's answer
// to that into the answer to the client's document. Memory is bounded by nesting,
// by a window of list items that are judged together ([WindowItems],
// [WindowBytes]) and by the regions that a denial could still null.
package answer
