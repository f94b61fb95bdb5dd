package graphward.lib.clock_test

import rego.v2

import data.graphward.lib.clock

# Sunday, 1 March 2026, 08:30 in UTC; 09:30 in Berlin.
now := time.parse_rfc3339_ns("2026-03-01T08:30:00Z")

test_instants if {
	clock.since("2026-03-01T08:30:00Z") with time.now_ns as now
	not clock.since("2026-03-01T08:30:01Z") with time.now_ns as now
	clock.until("2026-03-01T08:30:01Z") with time.now_ns as now
	not clock.until("2026-03-01T08:30:00Z") with time.now_ns as now
	clock.within("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z") with time.now_ns as now
	not clock.within("2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z") with time.now_ns as now
	not clock.since("yesterday") with time.now_ns as now
}

test_hours if {
	clock.hours("08:00", "09:00", "UTC") with time.now_ns as now
	not clock.hours("09:00", "17:00", "UTC") with time.now_ns as now
	clock.hours("09:00", "17:00", "Europe/Berlin") with time.now_ns as now
	not clock.hours("08:00", "08:30", "UTC") with time.now_ns as now
	clock.hours("22:00", "09:00", "UTC") with time.now_ns as now
	not clock.hours("22:00", "06:00", "UTC") with time.now_ns as now
	not clock.hours("22:00", "06:00", "No/Where") with time.now_ns as now
}

test_days if {
	clock.weekdays({"Sunday"}, "UTC") with time.now_ns as now
	not clock.working_days("UTC") with time.now_ns as now
}
