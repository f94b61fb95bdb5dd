# METADATA
# title: Validating arguments
# description: >
#   For allow_argument and allow_input (and wherever input.args is read). Each
#   function is undefined for a value of another type, null included.
package graphward.lib.inputs

import rego.v2

# length(input.value, 3, 20): characters of a string, bounds included.
length(value, low, high) if {
	is_string(value)
	count(value) >= low
	count(value) <= high
}

# items(input.value, 1, 50): elements of a list, bounds included.
items(value, low, high) if {
	is_array(value)
	count(value) >= low
	count(value) <= high
}

distinct(value) if {
	is_array(value)
	count(value) == count({v | some v in value})
}

# between(input.value, 1, 100): a number, bounds included.
between(value, low, high) if {
	is_number(value)
	value >= low
	value <= high
}

integer(value) if {
	is_number(value)
	value == floor(value)
}

one_of(value, allowed) if {
	value != null
	value in allowed
}

# all_of(input.value, {"NAME", "PRICE"}): every element of a list is allowed.
all_of(value, allowed) if {
	is_array(value)
	every v in value { v in allowed }
}

# matches(input.value, `[a-z]+`): the whole string matches (RE2 syntax).
matches(value, pattern) if {
	is_string(value)
	regex.match(concat("", ["^(?:", pattern, ")$"]), value)
	not contains(value, "\n")
}

# email is the shape of an address, as HTML forms check it; at most 254 bytes.
email(value) if {
	length(value, 3, 254)
	matches(value, `[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]+@[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+`)
}

# url(input.value, {"https"}): an absolute URL of one of the schemes, without
# credentials, spaces and control characters.
url(value, schemes) if {
	length(value, 1, 2048)
	matches(value, `[a-z][a-z0-9+.-]*://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:[/?#][!-~]*)?`)
	some scheme in schemes
	startswith(value, concat("", [scheme, "://"]))
}

uuid(value) if matches(value, `[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`)

# date is a calendar day, 2026-02-28.
date(value) if {
	matches(value, `[0-9]{4}-[0-9]{2}-[0-9]{2}`)
	is_number(time.parse_ns("2006-01-02", value))
}

# timestamp is an RFC 3339 date and time.
timestamp(value) if {
	is_string(value)
	is_number(time.parse_rfc3339_ns(value))
}
