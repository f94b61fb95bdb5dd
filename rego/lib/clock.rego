# METADATA
# title: Time windows
# description: >
#   Rules that use these read the clock, so graphward evaluates them anew for
#   each request. Zones are IANA names, such as Europe/Berlin.
package graphward.lib.clock

import rego.v2

# since("2026-03-01T00:00:00Z") and until(…): an instant, in RFC 3339.
since(instant) if time.now_ns() >= time.parse_rfc3339_ns(instant)

until(instant) if time.now_ns() < time.parse_rfc3339_ns(instant)

# within(from, to): from is included, to is not.
within(from, to) if {
	since(from)
	until(to)
}

# hours("09:00", "17:30", "Europe/Berlin"): every day from the first to before
# the second; over midnight when the second is the earlier.
hours(from, to, zone) if {
	from <= to
	now := time_of_day(zone)
	now >= from
	now < to
}

hours(from, to, zone) if {
	from > to
	now := time_of_day(zone)
	outside(now, to, from)
}

outside(now, to, _) if now < to

outside(now, _, from) if now >= from

# weekdays({"Monday", "Tuesday"}, "UTC")
weekdays(days, zone) if time.weekday([time.now_ns(), zone]) in days

working_days(zone) if weekdays({"Monday", "Tuesday", "Wednesday", "Thursday", "Friday"}, zone)

time_of_day(zone) := sprintf("%02d:%02d", [hour, minute]) if {
	[hour, minute, _] := time.clock([time.now_ns(), zone])
}
