package persisted

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/graphward/graphward/schema"
)

// generate writes a map of n documents of size bytes each, and returns its path
// and the ids.
func generate(b *testing.B, n, size int) (path string, ids []string) {
	b.Helper()
	path = filepath.Join(b.TempDir(), "manifest.json")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriter(f)
	fmt.Fprint(w, "{")
	for i := range n {
		if i > 0 {
			fmt.Fprint(w, ",")
		}
		text := fmt.Sprintf("query Operation%d($first: Int!) {\n  products(first: $first) {\n    edges {\n      node {\n        id\n", i)
		for k := 0; len(text) < size-30; k++ {
			text += fmt.Sprintf("        field%d\n", k)
		}
		text += strings.Repeat(" ", max(0, size-20-len(text))) + "\n      }\n    }\n  }\n}\n"
		id := relayID(text)
		ids = append(ids, id)
		fmt.Fprintf(w, "%s:%s", quote(id), quote(text))
	}
	fmt.Fprint(w, "}")
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return path, ids
}

// benchEntries is small enough for a laptop's patience; a million in
// GRAPHWARD_BENCH_ENTRIES is the figure that matters.
func benchEntries(b *testing.B) int {
	text := os.Getenv("GRAPHWARD_BENCH_ENTRIES")
	if text == "" {
		return 20_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkLoad is a start: without canonical forms, with them computed, and
// with those that an index holds.
func BenchmarkLoad(b *testing.B) {
	n := benchEntries(b)
	path, _ := generate(b, n, 512)
	s, err := schema.LoadFiles(filepath.Join("..", "testdata", "corpora", "saleor", "schema.graphql"))
	if err != nil {
		b.Fatal(err)
	}
	form := func(text string) ([32]byte, error) { return s.CanonicalForm(text, schema.Limits{}) }
	var index bytes.Buffer
	set := load(b, path, Options{Canonical: form})
	if err := set.WriteIndex(&index, [32]byte{}); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		form    func(string) ([32]byte, error)
		indexed bool
	}{{"ids only", nil, false}, {"computed", form, false}, {"indexed", form, true}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				o := Options{Canonical: c.form}
				if c.indexed {
					var err error
					if o.Index, err = ReadIndex(bytes.NewReader(index.Bytes()), [32]byte{}); err != nil {
						b.Fatal(err)
					}
				}
				set = load(b, path, o)
			}
			perMillion := 1e6 / float64(b.N) / float64(n)
			b.ReportMetric(float64(set.Bytes())/float64(n), "bytes/entry")
			b.ReportMetric(b.Elapsed().Seconds()*perMillion, "s/million")
			b.ReportMetric((cpu(b)-before).Seconds()*perMillion, "cpu-s/million")
		})
	}
}

func load(b *testing.B, path string, o Options) *Set {
	b.Helper()
	set, err := Load(context.Background(), []Source{{Path: path}}, o)
	if err != nil {
		b.Fatal(err)
	}
	return set
}

// cpu is the processor time of the process: the figure that a busy machine does not spoil.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkLookup(b *testing.B) {
	path, ids := generate(b, benchEntries(b), 512)
	set := load(b, path, Options{Canonical: textForm})
	b.Run("id", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if i++; i == len(ids) {
				i = 0
			}
			if _, ok := set.Lookup(Client{Name: "web"}, ids[i]); !ok {
				b.Fatal(ids[i])
			}
		}
	})
	b.Run("unknown", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := set.Lookup(Client{Name: "web"}, "no such id"); ok {
				b.Fatal("found")
			}
		}
	})
	d, ok := set.Lookup(Client{}, ids[0])
	if !ok {
		b.Fatal(ids[0])
	}
	form, _ := textForm(d.Text)
	b.Run("form", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := set.Match(Client{Name: "web"}, form); !ok {
				b.Fatal("not found")
			}
		}
	})
}
