package budget

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestIPPrefix(t *testing.T) {
	for _, test := range []struct{ addr, want string }{
		{"192.0.2.7", "192.0.2.7/32"},
		{"::ffff:192.0.2.7", "192.0.2.7/32"},
		{"::ffff:192.0.2.7%eth0", "192.0.2.7/32"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"},
		{"2001:db8:1:3::1", "2001:db8:1:3::/64"},
		{"fe80::1%eth0", "fe80::/64"},
		{"fe80::2%eth1", "fe80::/64"},
		{"::1", "::/64"},
		{"", ""},
	} {
		var addr netip.Addr
		if test.addr != "" {
			addr = netip.MustParseAddr(test.addr)
		}
		if got := IPPrefix(addr); got != test.want {
			t.Errorf("IPPrefix(%q) = %q, want %q", test.addr, got, test.want)
		}
	}
}

// Holders and keys that an attacker may try to make collide; every line is another bucket.
func TestKeysNeverCollide(t *testing.T) {
	keys := []string{
		Key(Holder(KindSubject, "https://issuer", "alice"), "cost"),
		Key(Holder(KindSubject, "https://issuer", "Alice"), "cost"),
		Key(Holder(KindSubject, "https://issuer", "alice "), "cost"),
		Key(Holder(KindSubject, "https://issuer", "\u0430lice"), "cost"), // Cyrillic a
		Key(Holder(KindSubject, "https://issuer", "e\u0301"), "cost"),
		Key(Holder(KindSubject, "https://issuer", "\u00e9"), "cost"),
		Key(Holder(KindSubject, "https://issuer:alice"), "cost"),
		Key(Holder(KindSubject, "https://issuer", "alice", ""), "cost"),
		Key(Holder(KindSubject, "", "https://issuer", "alice"), "cost"),
		Key(Holder(KindSubject, "https://issuer%3Aalice"), "cost"),
		Key(Holder(KindSubject, "https://issuer", "alice}cost"), ""),
		Key(Holder(KindSubject, "https://issuer", "alice}"), "cost"),
		Key(Holder(KindAPIKey, "https://issuer", "alice"), "cost"),
		Key(Holder(KindAPIKey, "192.0.2.1/32"), "cost"),
		Key(Holder(KindIP, "192.0.2.1/32"), "cost"),
		Key(Holder(KindClient, "192.0.2.1/32"), "cost"),
		Key(Holder(KindCertificate, "192.0.2.1/32"), "cost"),
		Key(Holder(KindIP, "192.0.2.1/32"), "requests"),
		Key(Holder(KindIP, "192.0.2.1/32"), "cost", "operation", "A"),
		Key(Holder(KindIP, "192.0.2.1/32"), "cost", "operation:A"),
		Key(Holder(KindIP, "192.0.2.1/32"), "cost:operation", "A"),
		Key(Holder(KindIP), "cost"),
		Key(Holder(KindIP, ""), "cost"),
	}
	slices.Sort(keys)
	for i := 1; i < len(keys); i++ {
		if keys[i] == keys[i-1] {
			t.Errorf("two holders share %q", keys[i])
		}
	}
}

func TestKeyIsInjective(t *testing.T) {
	part := rapid.StringOfN(rapid.RuneFrom([]rune("a{}:%+ é\x00A3")), 0, 4, -1)
	rapid.Check(t, func(t *rapid.T) {
		type input struct{ kind, parts, measure, of string }
		draw := func(label string) (input, string) {
			kind := part.Draw(t, label+" kind")
			parts := rapid.SliceOfN(part, 0, 3).Draw(t, label+" parts")
			measure := part.Draw(t, label+" measure")
			of := rapid.SliceOfN(part, 0, 2).Draw(t, label+" of")
			const sep = "\xff" // not in any part
			return input{kind, strings.Join(append(parts, ""), sep), measure, strings.Join(append(of, ""), sep)},
				Key(Holder(Kind(kind), parts...), measure, of...)
		}
		a, keyA := draw("a")
		b, keyB := draw("b")
		if (a == b) != (keyA == keyB) {
			t.Fatalf("%q and %q: %q and %q", a, b, keyA, keyB)
		}
	})
}

// All buckets of a holder and their records hash to the holder's tag, and no two keys share a place in the store.
func TestRedisKeysKeepTheTag(t *testing.T) {
	r := &Redis{prefix: "graphward:"}
	holder := Holder(KindSubject, "https://issuer", "a}b{c")
	tag := strings.Trim(holder, "{}")
	for _, key := range []string{
		r.bucketKey(Key(holder, "cost")), r.bucketKey(Key(holder, "requests")), r.recordKey(hashTag(Key(holder, "cost")), receiptID{1, 2}),
	} {
		if got, ok := ownTag(key); !ok || got != tag {
			t.Errorf("tag of %q is %q, want %q", key, got, tag)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("ab{}:")), 1, 6, -1)
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		if (a == b) != (r.bucketKey(a) == r.bucketKey(b)) {
			t.Fatalf("%q and %q: %q and %q", a, b, r.bucketKey(a), r.bucketKey(b))
		}
		record := r.recordKey(hashTag(a), receiptID{1, 2})
		bucketTag, okBucket := ownTag(r.bucketKey(a))
		recordTag, okRecord := ownTag(record)
		if okBucket != okRecord || bucketTag != recordTag {
			t.Fatalf("%q: bucket %q has tag %q (%v), record %q has %q (%v)", a, r.bucketKey(a), bucketTag, okBucket, record, recordTag, okRecord)
		}
	})
}
