package persisted

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzManifest loads any bytes as a JSON manifest of either format, strictly
// and leaving bad entries out. Whatever is taken can be asked for by those whom
// it belongs to and by nobody else, survives being written again in either
// format, and is the same with an index as without.
func FuzzManifest(f *testing.F) {
	// Small ones: the fuzzer would spend its time on making large ones smaller.
	ops := []realOperation{{Name: "A", Kind: "query", Query: "query A { a }"}, {Name: "B", Kind: "mutation", Query: "mutation B { b }"}}
	f.Add([]byte(relayMap(ops)), "")
	f.Add([]byte(apolloManifest(ops)), "web")
	for _, s := range []string{
		`{"format":"apollo-persisted-query-manifest","version":1,"operations":[{"id":"a","name":"A","type":"query","body":"query A{a}","clientName":"web","limits":{"depth":20,"cost":1e9}},{"id":"a","body":"{b}"}]}`,
		`{"format":"query format{a}","version":"{a}","operations":"{a}"}`,
		`{"a":"{a}","a":"{a}","b":"{a}","sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855":"{e}"}`,
		"{\"a\":\"query A{a} query B{b}\",\n\"\\u0062\": \"\\ud800{a}\", \"c\":1}",
		`{"":"{a}","a b":"{a}","c":"fragment F on T{a}"}`, `[]`, `{} {}`, `{"a":"{a}"`, "\xef\xbb\xbf{}",
	} {
		f.Add([]byte(s), "")
		f.Add([]byte(s), "web")
	}
	f.Fuzz(func(t *testing.T, text []byte, client string) {
		client = strings.ToValidUTF8(client, "") // a configuration is UTF-8
		source := Source{Path: "m.json", Content: text, Client: client}
		if source.Content == nil {
			source.Content = []byte{}
		}
		o := Options{Canonical: textForm, MaxDocuments: 1000}
		strict, strictErr := Load(context.Background(), []Source{source}, o)
		checkLoadError(t, strictErr, text)
		o.SkipBad = true
		set, err := Load(context.Background(), []Source{source}, o)
		checkLoadError(t, err, text)
		if err != nil {
			if strictErr == nil {
				t.Fatalf("only the strict load takes it: %v", err)
			}
			return
		}
		if (strictErr == nil) != (len(set.Problems()) == 0) || strictErr == nil && strict.Digest() != set.Digest() {
			t.Fatalf("strictly: %v; else %v", strictErr, set.Problems())
		}
		checkSet(t, set)
		checkWritten(t, set, client)
		checkIndexed(t, set, source)
	})
}

// checkLoadError: a refused manifest says why, and where within it.
func checkLoadError(t *testing.T, err error, text []byte) {
	t.Helper()
	if err == nil {
		return
	}
	e, ok := errors.AsType[*LoadError](err)
	if !ok || len(e.Problems) == 0 {
		t.Fatalf("%T: %v", err, err)
	}
	last := bytes.Count(text, []byte("\n")) + 1
	for _, p := range e.Problems {
		if p.Message == "" || p.File == "" || p.Line < 0 || p.Line > last || p.Line > 0 && p.Column < 1 {
			t.Fatalf("a problem without its place, of %d lines: %+v", last, p)
		}
	}
}

// checkSet: every document is found by its id and its form by its owner alone.
func checkSet(t *testing.T, set *Set) {
	t.Helper()
	n := 0
	for d := range set.All() {
		n++
		who := Client{d.Client, d.Version}
		switch {
		case d.ID == "" || len(d.ID) > MaxIDLength || !utf8.ValidString(d.Text) || !strings.Contains(d.Text, d.Name) || d.Number >= set.Numbers():
			t.Fatalf("kept: %+v", d)
		}
		if got, ok := set.Lookup(who, d.ID); !ok || got.Text != d.Text || got.Client != d.Client {
			t.Fatalf("by id: %+v, wanted %+v", got, d)
		}
		form, _ := textForm(d.Text)
		if got, ok := set.Match(who, form); ok != (d.Kind != "") || ok && got.Text != d.Text {
			t.Fatalf("by form: %+v, wanted %+v", got, d)
		}
		for _, other := range []Client{{}, {Name: d.Client + "-"}} {
			if got, ok := set.Lookup(other, d.ID); ok && got.Client != "" && got.Client != other.Name {
				t.Fatalf("%q found what belongs to %q", other.Name, got.Client)
			}
		}
	}
	if n != set.Len() {
		t.Fatalf("%d documents, Len is %d", n, set.Len())
	}
}

// checkWritten: the set is the same after it was written and read.
func checkWritten(t *testing.T, set *Set, client string) {
	t.Helper()
	var documents []Document
	owned := false
	for d := range set.All() {
		documents = append(documents, *d)
		owned = owned || d.Client != client
	}
	forms := [][]byte{AppendManifest(nil, documents)}
	if !owned {
		forms = append(forms, AppendMap(nil, documents))
	}
	for _, text := range forms {
		again, err := Load(context.Background(), []Source{{Path: "again.json", Content: text, Client: client}}, Options{})
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		if again.Len() != len(documents) {
			t.Fatalf("%d of %d documents came back", again.Len(), len(documents))
		}
		for _, d := range documents {
			if got, ok := again.Lookup(Client{Name: d.Client}, d.ID); !ok || got.Text != d.Text || got.Name != d.Name || got.Kind != d.Kind || got.Client != d.Client {
				t.Fatalf("%+v came back as %+v", d, got)
			}
		}
	}
}

// checkIndexed: an index that was written for a set gives the same set.
func checkIndexed(t *testing.T, set *Set, source Source) {
	t.Helper()
	rule := [32]byte{7}
	var file bytes.Buffer
	if err := set.WriteIndex(&file, rule); err != nil {
		t.Fatal(err)
	}
	index, err := ReadIndex(&file, rule)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Load(context.Background(), []Source{source}, Options{Canonical: textForm, Index: index, SkipBad: true, MaxDocuments: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if again.Digest() != set.Digest() {
		t.Fatal("the index changed the set")
	}
	checkSet(t, again)
}

// FuzzFolder loads two files of a folder: each is one document under its name
// and under its SHA-256.
func FuzzFolder(f *testing.F) {
	f.Add("Products", []byte("query Products { a }"), "Me", []byte("{ me }"))
	f.Add("a", []byte("{a}"), "a", []byte("{b}"))
	f.Add("a", []byte("query A{a} query B{b}"), "b", []byte("fragment F on T {a}"))
	f.Add("white space", []byte("{a}"), "", []byte("\xff{a}"))
	sum := sha256.Sum256([]byte("{a}"))
	f.Add(string(sum[:]), []byte("{a}"), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", []byte("{a}"))
	f.Fuzz(func(t *testing.T, name1 string, text1 []byte, name2 string, text2 []byte) {
		for _, skip := range []bool{false, true} {
			l := newLoader(context.Background(), Options{Canonical: textForm, SkipBad: skip})
			l.from = &Source{}
			l.oneDocument("folder/"+name1+".graphql", bytes.Clone(text1))
			l.oneDocument("folder/"+name2+".gql", bytes.Clone(text2))
			set, err := l.build()
			if err != nil {
				if _, ok := errors.AsType[*LoadError](err); !ok {
					t.Fatalf("%T: %v", err, err)
				}
				continue
			}
			checkSet(t, set)
			for d := range set.All() {
				got, ok := set.Lookup(Client{}, apolloID(d.Text))
				if !ok || got.Text != d.Text {
					t.Fatalf("%q is not found by its SHA-256", d.Text)
				}
			}
		}
	})
}

// FuzzIndex reads any bytes as an index, and any records with a head and a
// checksum that are right: what is taken is sorted and finds each record.
func FuzzIndex(f *testing.F) {
	rule := [32]byte{1}
	records := make([]byte, 4*recordSize)
	for i := range 4 {
		records[i*recordSize] = byte(i)
		records[(i+1)*recordSize-1] = byte(i)
	}
	f.Add(records, uint64(4), true)
	f.Add(records, uint64(3), true)
	f.Add(slices.Concat(records[recordSize:], records[:recordSize]), uint64(4), true)
	f.Add(records[:100], uint64(1)<<60, true)
	f.Add([]byte(indexMagic), uint64(0), false)
	f.Fuzz(func(t *testing.T, data []byte, claimed uint64, framed bool) {
		file := data
		if framed {
			file = append([]byte(indexMagic), rule[:]...)
			file = append(binary.LittleEndian.AppendUint64(file, claimed), data...)
			sum := sha256.Sum256(file)
			file = append(file, sum[:]...)
		}
		x, err := ReadIndex(bytes.NewReader(file), rule)
		if err != nil {
			if _, ok := errors.AsType[*IndexError](err); !ok {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		for i := range x.len() {
			if i > 0 && bytes.Compare(x.key(i-1), x.key(i)) >= 0 {
				t.Fatalf("records %d and %d are out of order", i-1, i)
			}
			form, ok := x.find([32]byte(x.key(i)))
			if !ok || !bytes.Equal(form[:], x.records[i*recordSize+sha256.Size:(i+1)*recordSize]) {
				t.Fatalf("record %d is not found", i)
			}
			missing := [32]byte(x.key(i))
			missing[31]++
			if _, ok := x.find(missing); ok && (i+1 == x.len() || [32]byte(x.key(i+1)) != missing) {
				t.Fatalf("%x is found and not there", missing)
			}
		}
	})
}
