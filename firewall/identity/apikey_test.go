package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/argon2"
)

func sha(key string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(key))) }

// phc hashes a key with parameters that are cheap enough for tests.
func phc(key string) string {
	salt := []byte("0123456789abcdef")
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=19$m=64,t=1,p=1$%s$%s", encode(salt), encode(argon2.IDKey([]byte(key), salt, 1, 64, 1, 32)))
}

func keysConfig(path string) Config {
	return Config{Anonymous: Allow, APIKeys: &APIKeysConfig{File: path}, PublicClients: []string{"web"}}
}

func TestAPIKeys(t *testing.T) {
	file := "- {id: plain, sha256: " + sha("key-1") + "}\n" +
		"- {id: full, sha256: " + strings.ToUpper(sha("key-2")) + ", subject: s, client: mobile, tier: gold, roles: [a, b], scopes: [c], expires: 2999-01-01}\n" +
		"- {id: slow, argon2id: '" + phc("correct horse") + "', client: cli}\n" +
		"- {id: named, argon2id: '" + phc("named.secret") + "'}\n" +
		"- {id: ended, sha256: " + sha("key-3") + ", expires: 2020-01-01T00:00:00Z}\n"
	v := newVerifier(t, keysConfig(writeFile(t, "keys.yaml", file)))
	expiry := time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)
	key := func(id string, change func(*Identity)) *Identity {
		want := &Identity{Authenticated: true, Method: MethodAPIKey, Key: id}
		change(want)
		return want
	}
	for name, test := range map[string]struct {
		headers []string
		want    *Identity
		reason  string
	}{
		"in its header":    {headers: []string{"X-API-Key", "key-1"}, want: key("plain", func(*Identity) {})},
		"in Authorization": {headers: []string{"Authorization", "apikey key-1"}, want: key("plain", func(*Identity) {})},
		"with everything": {headers: []string{"X-API-Key", "key-2"}, want: key("full", func(i *Identity) {
			*i = Identity{Authenticated: true, Subject: "s", Roles: []string{"a", "b"}, Scopes: []string{"c"}, Client: Client{ID: "mobile", Name: "mobile"}, Method: MethodAPIKey, Key: "full", Expiry: expiry, Tier: "gold"}
		})},
		"argon2id":           {headers: []string{"X-API-Key", "correct horse"}, want: key("slow", func(i *Identity) { i.Client = Client{ID: "cli", Name: "cli"} })},
		"argon2id, named":    {headers: []string{"X-API-Key", "named.secret"}, want: key("named", func(*Identity) {})},
		"of a public client": {headers: []string{"X-API-Key", "key-1", "graphql-client-name", "web", "graphql-client-version", "3"}, want: key("plain", func(i *Identity) { i.Client = Client{ID: "web", Name: "web", Version: "3"} })},
		"unknown":            {headers: []string{"X-API-Key", "key-4"}, reason: "unknown"},
		"unknown, named":     {headers: []string{"X-API-Key", "named.wrong"}, reason: "unknown"},
		"expired":            {headers: []string{"X-API-Key", "key-3"}, reason: `"ended" expired at 2020-01-01`},
		"long":               {headers: []string{"X-API-Key", strings.Repeat("k", maxAPIKey+1)}, reason: "longer than"},
		"as a bearer token":  {headers: []string{"Authorization", "Bearer key-1"}, reason: "scheme"},
		"another's client":   {headers: []string{"X-API-Key", "key-2", "graphql-client-name", "web"}, reason: "contradicts"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				got, err := v.Authenticate(request(test.headers...))
				if test.want == nil {
					if err == nil || !strings.Contains(err.Error(), test.reason) {
						t.Errorf("got %+v, %v", got, err)
					}
					continue
				}
				if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
					t.Errorf("%v %s", err, diff)
				}
			}
		})
	}
}

func TestAPIKeyFiles(t *testing.T) {
	good := sha("k")
	for name, test := range map[string]struct {
		text   string
		reason string // empty: good
		count  int
	}{
		"nothing":                  {"", "", 0},
		"an empty list":            {"[]", "", 0},
		"JSON":                     {`[{"id": "a", "sha256": "` + good + `"}]`, "", 1},
		"a digest of digits":       {"- {id: a, sha256: " + strings.Repeat("1", 64) + "}", "", 1},
		"a digest like a float":    {"- {id: a, sha256: 1e" + strings.Repeat("1", 62) + "}", "", 1},
		"an id like a number":      {"- {id: 007, sha256: " + good + "}", "", 1},
		"no list":                  {"id: a", "line 1", 0},
		"a member misspelt":        {"- {id: a, sha265: " + good + "}", "line 1", 0},
		"a member twice":           {"- {id: a, id: b, sha256: " + good + "}", "line 1", 0},
		"two documents":            {"[]\n---\n[]", "is not", 0},
		"no YAML":                  {"[", "is not", 0},
		"no id":                    {"- {sha256: " + good + "}", "[0] \"\": id must be", 0},
		"an id with a line break":  {`- {id: "a\nb", sha256: ` + good + "}", "id must be", 0},
		"an id twice":              {"- {id: a, sha256: " + good + "}\n- {id: a, sha256: " + sha("l") + "}", `[1] "a": another entry`, 0},
		"a key twice":              {"- {id: a, sha256: " + good + "}\n- {id: b, sha256: " + good + "}", `[1] "b": has the same key as "a"`, 0},
		"no hash":                  {"- {id: a}", "exactly one", 0},
		"two hashes":               {"- {id: a, sha256: " + good + ", argon2id: '" + phc("k") + "'}", "exactly one", 0},
		"a short digest":           {"- {id: a, sha256: abcd}", "64 hex", 0},
		"the key itself":           {"- {id: a, sha256: my-secret-key}", "64 hex", 0},
		"a bad client":             {`- {id: a, client: "x\ty", sha256: ` + good + "}", "client", 0},
		"a bad date":               {"- {id: a, expires: tomorrow, sha256: " + good + "}", "expires", 0},
		"argon2i":                  {"- {id: a, argon2id: '" + strings.Replace(phc("k"), "argon2id", "argon2i", 1) + "'}", "PHC", 0},
		"an old version":           {"- {id: a, argon2id: '" + strings.Replace(phc("k"), "v=19", "v=16", 1) + "'}", "PHC", 0},
		"much memory":              {"- {id: a, argon2id: '" + strings.Replace(phc("k"), "m=64", "m=4194304", 1) + "'}", "exceed", 0},
		"many passes":              {"- {id: a, argon2id: '" + strings.Replace(phc("k"), "t=1", "t=1000", 1) + "'}", "exceed", 0},
		"no passes":                {"- {id: a, argon2id: '" + strings.Replace(phc("k"), "t=1", "t=0", 1) + "'}", "exceed", 0},
		"many threads":             {"- {id: a, argon2id: '" + strings.Replace(phc("k"), "p=1", "p=257", 1) + "'}", "exceed", 0},
		"parameters in disorder":   {"- {id: a, argon2id: '" + strings.Replace(phc("k"), "m=64,t=1", "t=1,m=64", 1) + "'}", "m=,t=,p=", 0},
		"a short salt":             {"- {id: a, argon2id: '$argon2id$v=19$m=64,t=1,p=1$AAAA$" + strings.Repeat("A", 43) + "'}", "salt", 0},
		"an empty hash":            {"- {id: a, argon2id: '$argon2id$v=19$m=64,t=1,p=1$" + strings.Repeat("A", 22) + "$'}", "hash", 0},
		"more slow keys than meet": {manySlow(maxSlowKeys + 1), "more than 16", 0},
		"as many slow keys":        {manySlow(maxSlowKeys), "", maxSlowKeys},
		"aliases that multiply":    {"- &a {id: a, roles: [x]}\n- *a", "exactly one", 0},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := parseAPIKeys([]byte(test.text))
			if test.reason == "" {
				if err != nil || len(set.entries) != test.count {
					t.Errorf("got %v, %v", set, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.reason) {
				t.Fatalf("got %v", err)
			}
			for _, secret := range []string{good, "my-secret-key", phc("k")} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows a digest or key: %v", err)
				}
			}
		})
	}
}

func manySlow(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "- {id: k%d, argon2id: '%s'}\n", i, phc("k"))
	}
	return b.String()
}

// TestSlowKeysAreBounded: unknown keys cannot make this host compute
// argon2id without bound, and known ones go on.
func TestSlowKeysAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(t, keysConfig(writeFile(t, "keys.yaml", "- {id: a, argon2id: '"+phc("secret")+"'}")))
		if _, err := v.Authenticate(request("X-API-Key", "secret")); err != nil {
			t.Fatal(err)
		}
		judged, put := 0, 0
		for n := range 200 {
			_, err := v.Authenticate(request("X-API-Key", fmt.Sprint("guess", n)))
			refusal, ok := err.(*UnauthenticatedError)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if refusal.Unavailable {
				put++
			} else {
				judged++
			}
		}
		if judged > slowBurst || put == 0 {
			t.Errorf("%d computations at once, %d put off", judged, put)
		}
		if _, err := v.Authenticate(request("X-API-Key", "secret")); err != nil {
			t.Errorf("a key that was seen before: %v", err)
		}
		// What was judged is remembered: it costs nothing again.
		for range 200 {
			if _, err := v.Authenticate(request("X-API-Key", "guess0")); err == nil || err.(*UnauthenticatedError).Unavailable {
				t.Fatalf("a wrong key that was seen before: %v", err)
			}
		}
		time.Sleep(2 * time.Second)
		if _, err := v.Authenticate(request("X-API-Key", "guess199")); err == nil || err.(*UnauthenticatedError).Unavailable {
			t.Errorf("after a while: %v", err)
		}
		_ = v.Close()
	})
}

func TestSlowKeyOnceForMany(t *testing.T) {
	v := newVerifier(t, keysConfig(writeFile(t, "keys.yaml", "- {id: a, argon2id: '"+phc("secret")+"'}")))
	var all sync.WaitGroup
	for range 10 * slowBurst {
		all.Go(func() {
			if _, err := v.Authenticate(request("X-API-Key", "secret")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// TestAPIKeyFileChanges: a key that is taken out ends, also a remembered
// argon2id one, and a mistake in the file changes nothing.
func TestAPIKeyFileChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := writeFile(t, "keys.yaml", "- {id: a, sha256: "+sha("one")+"}\n- {id: b, argon2id: '"+phc("two")+"'}")
		v := newVerifier(t, keysConfig(path))
		check := func(when string, one, two, three bool) {
			t.Helper()
			for key, want := range map[string]bool{"one": one, "two": two, "three": three} {
				if _, err := v.Authenticate(request("X-API-Key", key)); (err == nil) != want {
					t.Errorf("%s: %s: %v", when, key, err)
				}
			}
		}
		change := func(text string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * filePoll)
			synctest.Wait()
		}
		check("at start", true, true, false)
		change("- {id: a, sha256: oops}")
		check("after a mistake", true, true, false)
		change("- {id: c, sha256: " + sha("three") + "}")
		check("after a change", false, false, true)
		change("")
		check("without keys", false, false, false)
		_ = v.Close()
	})
}

func BenchmarkAPIKey(b *testing.B) {
	v := newVerifier(b, keysConfig(writeFile(b, "keys.yaml", "- {id: a, sha256: "+sha("one")+"}\n- {id: b, argon2id: '"+phc("two")+"'}")))
	for name, key := range map[string]string{"sha256": "one", "argon2id-warm": "two"} {
		b.Run(name, func(b *testing.B) {
			r := request("X-API-Key", key)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Authenticate(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
