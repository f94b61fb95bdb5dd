package graphward.lib.mask_test

import rego.v2

import data.graphward.lib.mask

test_calls if {
	mask.keep_first(2) == {"graphward.mask": {"function": "keep_first", "arguments": [2]}}
	mask.keep_last(4) == {"graphward.mask": {"function": "keep_last", "arguments": [4]}}
	mask.date("month") == {"graphward.mask": {"function": "date", "arguments": ["month"]}}
	mask.round(-3) == {"graphward.mask": {"function": "round", "arguments": [-3]}}
}

test_without_arguments if {
	every f in [mask.hash, mask.email, mask.redact] { f["graphward.mask"].arguments == [] }
	mask.hash["graphward.mask"].function == "hash"
	mask.email["graphward.mask"].function == "email"
	mask.redact["graphward.mask"].function == "redact"
}

test_refused_arguments if {
	every n in [-1, 1.5, 1001, "4", null] {
		not mask.keep_first(n)
		not mask.keep_last(n)
	}
	every p in ["hour", "", 1, null] { not mask.date(p) }
	every d in [-16, 16, 0.5, "1", null] { not mask.round(d) }
}
