package answer_test

import (
	"bytes"
	"context"
	"io"
	"syscall"
	"testing"
	"time"
)

// BenchmarkRewrite is an answer of 5 MB with one rule over 10,000 items.
func BenchmarkRewrite(b *testing.B) {
	st := itemSetting(b)
	st.options.Guards[0].Rule = byIndex{}
	body := items(10_000, 430)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	before := processTime(b)
	for b.Loop() {
		if _, err := st.plan.Rewrite(context.Background(), io.Discard, bytes.NewReader(body), &st.options); err != nil {
			b.Fatal(err)
		}
	}
	// What a busy machine leaves of a second is not in it.
	b.ReportMetric(float64(len(body))*float64(b.N)/1e6/(processTime(b)-before).Seconds(), "MB/cpu-s")
}

func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
