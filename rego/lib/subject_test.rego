package graphward.lib.subject_test

import rego.v2

import data.graphward.lib.subject

nobody := {"subject": {"authenticated": false, "roles": [], "scopes": [], "claims": {}, "client": {}}}

ann := {"subject": {
	"authenticated": true, "id": "ann", "issuer": "https://id", "roles": ["editor", "author"],
	"scopes": ["posts:read", "posts:write"], "claims": {"org": "acme", "plan": "gold", "none": null, "empty": ""},
	"client": {"id": "web"},
}}

test_authenticated if {
	subject.authenticated with input as ann
	not subject.authenticated with input as nobody
	subject.anonymous with input as nobody
	not subject.anonymous with input as ann
}

test_roles if {
	subject.has_role("editor") with input as ann
	not subject.has_role("admin") with input as ann
	subject.has_any_role({"admin", "author"}) with input as ann
	not subject.has_any_role({"admin"}) with input as ann
	not subject.has_any_role(set()) with input as ann
	subject.has_all_roles({"editor", "author"}) with input as ann
	not subject.has_all_roles({"editor", "admin"}) with input as ann
	not subject.has_all_roles(set()) with input as ann
	not subject.has_role("editor") with input as nobody
}

test_scopes if {
	subject.has_scope("posts:read") with input as ann
	subject.has_any_scope({"x", "posts:write"}) with input as ann
	subject.has_all_scopes({"posts:read", "posts:write"}) with input as ann
	not subject.has_all_scopes({"posts:read", "x"}) with input as ann
	not subject.has_all_scopes([]) with input as ann
	not subject.has_scope("posts:read") with input as nobody
	not subject.has_any_scope([]) with input as ann
}

test_owns if {
	subject.owns("ann") with input as ann
	not subject.owns("bob") with input as ann
	not subject.owns(null) with input as ann
	not subject.owns("") with input as nobody
	not subject.owns(null) with input as nobody
	not subject.owns(null) with input as {"subject": {"id": null}}
	not subject.owns("") with input as {"subject": {"id": ""}}
}

test_tenant if {
	subject.same_tenant("acme", "org") with input as ann
	not subject.same_tenant("other", "org") with input as ann
	not subject.same_tenant("acme", "missing") with input as ann
	not subject.same_tenant(null, "none") with input as ann
	not subject.same_tenant("", "empty") with input as ann
}

test_claims_and_clients if {
	subject.claim_is("plan", {"gold"}) with input as ann
	not subject.claim_is("plan", {"silver"}) with input as ann
	not subject.claim_is("none", {null}) with input as ann
	subject.client_is({"web"}) with input as ann
	not subject.client_is({"web"}) with input as nobody
	subject.issued_by({"https://id"}) with input as ann
	not subject.issued_by({""}) with input as nobody
}
