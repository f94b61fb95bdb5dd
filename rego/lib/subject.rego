# METADATA
# title: Who is asking
# description: >
#   Roles, scopes, ownership, tenants and clients. What is absent, null or
#   empty equals nothing here, on either side.
package graphward.lib.subject

import rego.v2

# authenticated: a credential was presented and verified.
authenticated if input.subject.authenticated == true

anonymous if not authenticated

has_role(role) if role in input.subject.roles

has_any_role(roles) if {
	some role in roles
	role in input.subject.roles
}

# No role at all is not enough: every role of nothing is nobody's.
has_all_roles(roles) if {
	count(roles) > 0
	every role in roles { role in input.subject.roles }
}

has_scope(scope) if scope in input.subject.scopes

has_any_scope(scopes) if {
	some scope in scopes
	scope in input.subject.scopes
}

has_all_scopes(scopes) if {
	count(scopes) > 0
	every scope in scopes { scope in input.subject.scopes }
}

# owns(input.args.id): the subject is the one that the value names.
owns(id) if {
	something(id)
	id == input.subject.id
}

# same_tenant(input.args.tenant, "org"): the value is the subject's claim of
# that name.
same_tenant(value, claim) if {
	something(value)
	value == input.subject.claims[claim]
}

# claim_is("plan", {"gold", "platinum"})
claim_is(claim, values) if {
	something(input.subject.claims[claim])
	input.subject.claims[claim] in values
}

# client_is({"web", "mobile"}): the verified client id.
client_is(ids) if {
	something(input.subject.client.id)
	input.subject.client.id in ids
}

issued_by(issuers) if {
	something(input.subject.issuer)
	input.subject.issuer in issuers
}

something(x) if {
	x != null
	x != ""
}
