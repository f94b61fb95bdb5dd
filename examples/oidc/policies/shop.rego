# Who may read what, by the claims of the issuer's tokens.
package graphward

import rego.v2

is_authenticated if input.subject.authenticated

is_support if "support" in input.subject.roles

allow.Query.categories := true

allow.Category["*"] := true

allow.Query.me if is_authenticated

allow.Query.users if is_support

allow.UserConnection["*"] if is_support

allow.UserEdge["*"] if is_support

allow.User.id if is_authenticated

allow.User.name if is_authenticated

allow.User.email if is_support
