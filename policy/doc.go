// Package policy decides, by the operator's Rego, which fields, arguments and
// input fields of an operation a subject may use. It is the only package that
// imports OPA.
//
// A policy is package graphward; its rule heads mirror the schema
// (allow.User.email, allow_argument.Query.products.includeUnpublished, …);
// DESIGN.md section 5 is the contract. [Load] checks a policy against a
// schema and compiles it to an [Engine]; [Engine.Bind] prepares one operation;
// [Engine.Decide] judges one request.
//
// What is undefined is refused, and what fails is an error, which callers must
// treat as a refusal.
package policy
