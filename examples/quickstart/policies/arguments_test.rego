package graphward_test

import rego.v2

import data.graphward

giving(subject, value) := object.union(asking(subject), {"value": value})

test_customers_see_what_is_published if {
	not graphward.allow_argument.Query.products.includeUnpublished with input as giving(customer, true)
	graphward.allow_argument.Query.products.includeUnpublished with input as giving(support, true)
}

test_sorting_tells_no_secret if {
	graphward.allow_argument.Query.products.orderBy with input as giving(anonymous, "PRICE")
	not graphward.allow_argument.Query.products.orderBy with input as giving(customer, "COST_PRICE")
	not graphward.allow_argument.Query.products.orderBy with input as giving(customer, null)
	graphward.allow_argument.Query.products.orderBy with input as giving(support, "COST_PRICE")
}

test_nobody_promotes_itself if {
	not graphward.allow_input.ProfileInput.role with input as giving(customer, "ADMIN")
	not graphward.allow_input.ProfileInput.role with input as giving(support, "ADMIN")
	graphward.allow_input.ProfileInput.role with input as giving(admin, "ADMIN")
}

test_customers_name_no_price if {
	not graphward.allow_input.OrderInput.discount with input as giving(customer, {"percent": 99})
	graphward.allow_input.OrderInput.discount with input as giving(support, {"percent": 5})
}

test_orders_stay_small if {
	graphward.allow_input.OrderLineInput.quantity with input as giving(customer, 20)
	not graphward.allow_input.OrderLineInput.quantity with input as giving(customer, 21)
	not graphward.allow_input.OrderLineInput.quantity with input as giving(customer, -1)
	not graphward.allow_input.OrderLineInput.quantity with input as giving(customer, null)
}
