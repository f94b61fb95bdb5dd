# Who is asking. The rules of the other files read like sentences because of these.
package graphward

import rego.v2

is_authenticated if input.subject.authenticated

is_admin if "admin" in input.subject.roles

is_staff if is_admin

is_staff if "support" in input.subject.roles

# An anonymous subject has no id, so this is undefined for it, whatever it asks for.
is_self if input.args.id == input.subject.id

# The budget's tier. The first that holds counts; none means `default`.
tier := "staff" if {
	is_staff
} else := "trial" if {
	input.subject.claims.plan == "trial"
}

# Operations that no manifest lists, within `operations.unregistered`.
adhoc if is_authenticated

introspection if is_admin

# The kill switch: `read_only: true` in data.yaml.
deny contains {"code": "READ_ONLY", "message": "The shop is being repaired. Please come back later."} if {
	input.operation.kind == "mutation"
	data.flags.read_only
	not is_admin
}
