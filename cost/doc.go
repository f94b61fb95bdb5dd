// Package cost answers one question about a GraphQL operation: is it too
// large? It compiles an operation once into a [Program] and then prices it for
// given variables in about the time of a map lookup, without executing
// anything and without allocating. It knows nothing of HTTP, policy or budgets.
//
// The reference is the IBM GraphQL Cost Directives draft
// (https://ibm.github.io/graphql-specs/cost-spec.html) for names and meaning and,
// where the draft is silent, the Lean-verified reading of it
// (https://github.com/duckki/graphql-lean, docs/theories/static-cost.md). One
// set of traversal rules serves every [Profile]; only the arithmetic differs:
//
//   - Fields are collected by response key over merged selection sets, as
//     execution does (GraphQL specification, CollectFields), once for each
//     region of possible object types that no type condition tells apart. What
//     happens together is added, what excludes itself takes the maximum.
//   - A response key is one resolver call: it is priced once, whatever the
//     number of its occurrences.
//   - @skip and @include stay in the program as guards over variables and are
//     decided when it is evaluated.
//
// Arithmetic is in float64. Sums that pass 2^53-1 are reported as 2^53-1 and
// flagged as saturated; NaN, infinities and negative totals never leave the package.
package cost
