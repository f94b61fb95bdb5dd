package answer_test

import (
	"bytes"
	"context"
	"io"
	"testing"
)

// BenchmarkRewrite is an answer of 5 MB with one rule over 10,000 items.
func BenchmarkRewrite(b *testing.B) {
	st := itemSetting(b)
	st.options.Guards[0].Rule = byIndex{}
	body := items(10_000, 430)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := st.plan.Rewrite(context.Background(), io.Discard, bytes.NewReader(body), &st.options); err != nil {
			b.Fatal(err)
		}
	}
}
