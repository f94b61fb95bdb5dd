# Arguments and input fields. They are asked only when a request gives them, as a literal or in a variable; without a rule they
# may be given by whoever may select the field.
package graphward

import rego.v2

allow_argument.Query.products.includeUnpublished if is_staff

# Sorting by a secret reads it, and so does filtering.
allow_argument.Query.products.orderBy if input.value in {"NAME", "PRICE"}

allow_argument.Query.products.orderBy if is_staff

allow_input.ProductFilter.costPrice if is_staff

# A stranger's form with one field more.
allow_input.ProfileInput.role if is_admin

allow_input.OrderInput.discount if is_staff

# One customer orders at most 20 of a thing.
allow_input.OrderLineInput.quantity if {
	input.value >= 1
	input.value <= 20
}
