# METADATA
# title: Masks
# description: >
#   What a denied position shows instead of null: mask.Type.field :=
#   mask.keep_last(4). Each of these says what is to be done; graphward does it
#   with the value in the answer, and null stays null. What is hidden is always
#   four asterisks, whatever its length.
package graphward.lib.mask

import rego.v2

# keep_first(2): "Amsterdam" becomes "Am****"; a text of two characters "****".
keep_first(n) := call("keep_first", [n]) if characters(n)

# keep_last(4): "4111111111111111" becomes "****1111".
keep_last(n) := call("keep_last", [n]) if characters(n)

# hash: HMAC-SHA-256 in hex, under the key of policy.mask_key_file. Equal values
# stay equal.
hash := call("hash", [])

# email: "jane.doe@example.org" becomes "j****@example.org".
email := call("email", [])

# redact: any text becomes "****".
redact := call("redact", [])

# date("month"): "2026-03-15" becomes "2026-03-01"; also "year" and "day", and
# dates with a time, whose time becomes 00:00:00.
date(precision) := call("date", [precision]) if precision in {"year", "month", "day"}

# round(1): 52.3702 becomes 52.4; round(-3): 61250 becomes 61000.
round(digits) := call("round", [digits]) if {
	is_number(digits)
	digits == floor(digits)
	digits >= -15
	digits <= 15
}

characters(n) if {
	is_number(n)
	n == floor(n)
	n >= 0
	n <= 1000
}

call(name, arguments) := {"graphward.mask": {"function": name, "arguments": arguments}}
