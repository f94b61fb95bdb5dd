package audit

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAppendTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
		if got, want := string(appendTime(nil, at)), at.Format(timeFormat); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	})
}
