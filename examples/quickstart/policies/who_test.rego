package graphward_test

import rego.v2

import data.graphward

changing(subject) := object.union(asking(subject), {"operation": {"kind": "mutation"}})

test_tiers if {
	graphward.tier == "staff" with input as asking(support)
	graphward.tier == "trial" with input as asking(object.union(customer, {"claims": {"plan": "trial"}}))
	not graphward.tier with input as asking(customer)
	not graphward.tier with input as asking(anonymous)
}

test_staff_on_trial_is_staff if {
	graphward.tier == "staff" with input as asking(object.union(admin, {"claims": {"plan": "trial"}}))
}

test_introspection_is_for_admins if {
	graphward.introspection with input as asking(admin)
	not graphward.introspection with input as asking(support)
}

test_the_kill_switch if {
	count(graphward.deny) == 1 with input as changing(customer) with data.flags.read_only as true
	count(graphward.deny) == 0 with input as asking(customer) with data.flags.read_only as true
	count(graphward.deny) == 0 with input as changing(admin) with data.flags.read_only as true
	count(graphward.deny) == 0 with input as changing(customer) with data.flags.read_only as false
}
