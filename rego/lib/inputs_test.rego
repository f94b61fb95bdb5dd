package graphward.lib.inputs_test

import rego.v2

import data.graphward.lib.inputs

test_length if {
	inputs.length("abc", 3, 3)
	inputs.length("äöü", 3, 3)
	not inputs.length("ab", 3, 5)
	not inputs.length("abcdef", 3, 5)
	not inputs.length(null, 0, 5)
	not inputs.length([1, 2, 3], 0, 5)
}

test_items if {
	inputs.items([1, 2], 1, 2)
	not inputs.items([], 1, 2)
	not inputs.items("ab", 1, 2)
	not inputs.items(null, 0, 2)
	inputs.distinct([1, 2])
	not inputs.distinct([1, 1])
	not inputs.distinct(null)
}

test_numbers if {
	inputs.between(1, 1, 5)
	inputs.between(5, 1, 5)
	not inputs.between(6, 1, 5)
	not inputs.between(null, -1, 5)
	not inputs.between("3", 1, 5)
	inputs.integer(3)
	not inputs.integer(3.5)
	not inputs.integer("3")
}

test_sets if {
	inputs.one_of("A", {"A", "B"})
	not inputs.one_of("C", {"A", "B"})
	not inputs.one_of(null, {null})
	inputs.all_of(["A", "B"], {"A", "B"})
	inputs.all_of([], {"A"})
	not inputs.all_of(["A", "C"], {"A", "B"})
	not inputs.all_of(null, {"A"})
}

test_patterns if {
	inputs.matches("abc", `[a-z]+`)
	not inputs.matches("abc1", `[a-z]+`)
	not inputs.matches("ab|x", `ab|cd`)
	inputs.matches("cd", `ab|cd`)
	not inputs.matches("abc\n", `[a-z]+`)
	not inputs.matches(null, `.*`)
}

test_formats if {
	inputs.email("ann@example.org")
	not inputs.email("ann@localhost")
	not inputs.email("ann@example.org\nbcc: x@y.org")
	not inputs.email("@example.org")
	inputs.url("https://example.org/a?b#c", {"https"})
	not inputs.url("http://example.org/", {"https"})
	not inputs.url("https://user:pw@example.org/", {"https"})
	not inputs.url("javascript://alert(1)", {"https", "http"})
	inputs.uuid("123e4567-e89b-12d3-a456-426614174000")
	not inputs.uuid("123e4567")
	inputs.date("2026-02-28")
	not inputs.date("2026-02-30")
	not inputs.date("28.2.2026")
	inputs.timestamp("2026-02-28T12:00:00Z")
	not inputs.timestamp("2026-02-28")
	not inputs.timestamp(null)
}
