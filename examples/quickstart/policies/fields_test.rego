package graphward_test

import rego.v2

import data.graphward

anonymous := {"authenticated": false, "roles": [], "scopes": [], "claims": {}, "client": {}, "method": "anonymous"}

customer := object.union(anonymous, {"authenticated": true, "id": "user-3", "roles": ["customer"], "method": "jwt"})

support := object.union(customer, {"id": "user-2", "roles": ["support"]})

admin := object.union(customer, {"id": "user-1", "roles": ["admin"]})

asking(subject) := {"subject": subject, "args": {}, "operation": {"kind": "query"}}

test_the_shop_window_is_open if {
	graphward.allow.Query.products with input as asking(anonymous)
	graphward.allow.Product["*"] with input as asking(anonymous)
	graphward.allow.User.name with input as asking(anonymous)
}

test_an_anonymous_caller_is_nobody if {
	not graphward.allow.Query.me with input as asking(anonymous)
	not graphward.allow.User.joined with input as asking(anonymous)
	not graphward.allow.Mutation.placeOrder with input as asking(anonymous)
	not graphward.adhoc with input as asking(anonymous)
}

test_a_customer_asks_for_itself_alone if {
	graphward.allow.Query.user with input as object.union(asking(customer), {"args": {"id": "user-3"}})
	not graphward.allow.Query.user with input as object.union(asking(customer), {"args": {"id": "user-4"}})
	graphward.allow.Query.user with input as object.union(asking(support), {"args": {"id": "user-4"}})
}

# Absent, null and empty are equal to nothing.
test_nobody_is_not_the_owner_of_nothing if {
	not graphward.allow.Query.user with input as asking(anonymous)
	not graphward.allow.Query.user with input as object.union(asking(anonymous), {"args": {"id": ""}})
	not graphward.allow.Query.user with input as object.union(asking(anonymous), {"args": {"id": null}})
}

test_private_parts_are_for_staff if {
	not graphward.allow.User["*"] with input as asking(customer)
	not graphward.allow.Product.costPrice with input as asking(customer)
	not graphward.allow.InternalNote["*"] with input as asking(customer)
	graphward.allow.User["*"] with input as asking(support)
	graphward.allow.Product.costPrice with input as asking(support)
}

# Each of these is a rule of its own, so the wildcards are never asked.
test_some_fields_are_for_nobody if {
	graphward.allow.User.passwordHash == false with input as asking(admin)
	graphward.allow.User.ssn == false with input as asking(admin)
	graphward.allow.Order.paymentToken == false with input as asking(admin)
}

test_only_an_admin_deletes_and_falls_back if {
	graphward.allow.Mutation.deleteUser with input as asking(admin)
	graphward.allow["*"]["*"] with input as asking(admin)
	not graphward.allow.Mutation.deleteUser with input as asking(support)
	not graphward.allow["*"]["*"] with input as asking(support)
}
