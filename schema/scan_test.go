package schema

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/lexer"
)

// lex returns the tokens that gqlparser sees, comments left out, each as its
// kind and value; block strings count as strings.
func lex(document string) (tokens []string, err error) {
	l := lexer.New(&ast.Source{Input: document})
	for {
		t, err := l.ReadToken()
		if err != nil {
			return tokens, err
		}
		switch t.Kind {
		case lexer.EOF:
			return tokens, nil
		case lexer.Comment:
			continue
		case lexer.BlockString:
			t.Kind = lexer.String
		}
		tokens = append(tokens, fmt.Sprintf("%s %q", t.Kind, t.Value))
	}
}

func TestScanStrings(t *testing.T) {
	for _, test := range []struct {
		name, document string
		want           []string // values of the string tokens
	}{
		{"plain", `{a(b: "c")}`, []string{"c"}},
		{"simple escapes are the lexer's", `"\" \\ \/ \b \f \n \r \t"`, []string{"\" \\ / \b \f \n \r \t"}},
		{"four digits", `"\u00e9\u0041"`, []string{"éA"}},
		{"surrogate pair", `"\uD83D\uDE00"`, []string{"😀"}},
		{"surrogate pair in small letters", `"\ud83d\ude00"`, []string{"😀"}},
		{"braces", `"\u{1F600}\u{e9}\u{00000041}"`, []string{"😀éA"}},
		{"the last scalar value", `"\u{10FFFF}"`, []string{"\U0010FFFF"}},
		{"around the surrogates", `"\uD7FF\uE000"`, []string{"\uD7FF\uE000"}},
		{"escaped quote and backslash", `"\u0022\u005C\u{22}" "x"`, []string{`"\"`, "x"}},
		{"escaped controls", `"\u0000\u0001\u000a\u000D\u001f\u007f"`, []string{"\x00\x01\n\r\x1f\x7f"}},
		{"controls", "\"\x01\t\x1f\x7f\" \"\"\"\x01\t\x1f\x7f\"\"\"", []string{"\x01\t\x1f\x7f", "\x01\t\x1f\x7f"}},
		{"an escaped backslash before a u", `"\\u0041" "\\\u0041"`, []string{`\u0041`, `\A`}},
		{"byte order mark inside a string", "\"a\uFEFFb\"", []string{"a\uFEFFb"}},
		{"escape text in a block string stays", `"""\u0041 \n \\ \x"""`, []string{`\u0041 \n \\ \x`}},
		{"block string quotes", `"""a "b" ""c"" \"""d\""" """`, []string{`a "b" ""c"" """d""" `}},
		{"empty block string", `""""""`, []string{""}},
		{"block string, then a string", `"""a""""b"`, []string{"a", "b"}},
		{"empty block string, then a string", `"""""""b"`, []string{"", "b"}},
		{"string, then a block string", `"a""""b"""`, []string{"a", "b"}},
		{"empty string, then a name", `"" a`, []string{""}},
		{"hash inside a string", `"#a" # "b"` + "\n" + `"""#c"""`, []string{"#a", "#c"}},
		{"quote inside a comment", "# \" \\u{\n\"a\"", []string{"a"}},
		// Examples of the specification and graphql-js's tests of dedentBlockStringLines.
		{"the first line has no say in the indent", "\"\"\"  a\n    b\n      c\"\"\"", []string{"  a\nb\n  c"}},
		{"common indent", "\"\"\"\n    Hello,\n      World!\n\n    Yours,\n      GraphQL.\n\"\"\"", []string{"Hello,\n  World!\n\nYours,\n  GraphQL."}},
		{"blank lines at both ends", "\"\"\"\n\n \t\n  a\n \t \n\n\"\"\"", []string{"a"}},
		{"trailing blanks of a line stay", "\"\"\"\n  a  \n  b\t\n\"\"\"", []string{"a  \nb\t"}},
		{"a tab is one character of indent", "\"\"\"\n\t\ta\n  b\n\"\"\"", []string{"a\nb"}},
		{"short blank lines do not count", "\"\"\"\n    a\n \n    b\n\"\"\"", []string{"a\n\nb"}},
		{"line terminators are one", "\"\"\"\r\n  a\r  b\r\n\r  c\n\"\"\"", []string{"a\nb\n\nc"}},
		{"only blanks", "\"\"\"  \n \t \"\"\"", []string{""}},
		{"other white space is text", "\"\"\"\n\u00a0a\n\u2003b\n\"\"\"", []string{"\u00a0a\n\u2003b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			text, _, err := scan(test.document, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			tokens, err := lex(text)
			if err != nil {
				t.Fatalf("%v in %q", err, text)
			}
			var got []string
			for _, token := range tokens {
				var value string
				if n, _ := fmt.Sscanf(token, "String %q", &value); n == 1 {
					got = append(got, value)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			var l tokenizer
			if err := l.read(test.document, DefaultLimits); err != nil {
				t.Fatal(err)
			}
			got = nil
			for i := range l.tokens {
				if l.tokens[i].kind == tokenString {
					got = append(got, l.text(&l.tokens[i]))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("tokenizer: %s", diff)
			}
		})
	}
}

func TestScanRefuses(t *testing.T) {
	for _, test := range []struct{ name, document, want string }{
		{"lone lead", `{a(b: "\uD83D")}`, `1:8: invalid unicode escape`},
		{"lone trail", `"\uDE00"`, `1:2: invalid unicode escape`},
		{"two leads", `"\uD83D\uD83D"`, `1:2: invalid unicode escape`},
		{"lead, then a letter", `"\uD83Dx"`, `1:2: invalid unicode escape`},
		{"lead, then braces", `"\uD83D\u{DE00}"`, `1:2: invalid unicode escape`},
		{"surrogate in braces", `"\u{D83D}"`, `1:2: invalid unicode escape`},
		{"past Unicode", `"\u{110000}"`, `1:2: invalid unicode escape`},
		{"nine digits", `"\u{000000041}"`, `1:2: invalid unicode escape`},
		{"past 64 bits", `"\u{FFFFFFFFFFFFFFFFF}"`, `1:2: invalid unicode escape`},
		{"no digits", `"\u{}"`, `1:2: invalid unicode escape`},
		{"braces not closed", `"\u{41"`, `1:2: invalid unicode escape`},
		{"three digits", `"\u041"`, `1:2: invalid unicode escape`},
		{"not hexadecimal", `"é\u00g0"`, `1:3: invalid unicode escape`},
		{"invalid UTF-8 in a string", "{\na(b: \"\xff\")}", `2:7: the document is not valid UTF-8`},
		{"invalid UTF-8 in a comment", "#\xc3\n{a}", `1:2: the document is not valid UTF-8`},
		{"encoded surrogate", "\"\xed\xa0\x80\"", `1:2: the document is not valid UTF-8`},
		{"NUL", "{a\x00}", `1:3: the document holds a NUL character`},
		{"NUL in a comment", "{a}\n\n#\x00", `3:2: the document holds a NUL character`},
		{"byte order mark inside", "{\uFEFFa}", `1:2: unexpected character U+FEFF`},
		{"control", "{a\x01}", `1:3: unexpected character U+0001`},
		{"not ASCII", `{é}`, `1:2: unexpected character U+00E9`},
		{"form feed", "{a\f}", `1:3: unexpected character U+000C`},
		{"single quote", `{a(b: 'c')}`, `1:7: unexpected character U+0027`},
		{"unterminated string", "{\n\"a\nb\"", `2:1: unterminated string`},
		{"unterminated string at the end", `"a\`, `1:1: unterminated string`},
		{"unterminated block string", "{\n\n  \"\"\"a\nb\"\"", `3:3: unterminated string`},
		{"one dot", `{. a}`, `1:2: unexpected "."`},
		{"leading zero", `{a(b: 00)}`, `1:7: invalid number`},
		{"minus alone", `{a(b: -)}`, `1:7: invalid number`},
		{"number, then a name", `{a(b: [1a])}`, `1:8: invalid number`},
		{"hexadecimal", `{a(b: 0xF)}`, `1:7: invalid number`},
		{"no fraction", `{a(b: 1.)}`, `1:7: invalid number`},
		{"two fractions", `{a(b: 1.2.3)}`, `1:7: invalid number`},
		{"no exponent", `{a(b: 1e)}`, `1:7: invalid number`},
		{"exponent, then a name", `{a(b: 1e5_)}`, `1:7: invalid number`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := scan(test.document, Limits{})
			for _, err := range []error{err, new(tokenizer).read(test.document, DefaultLimits)} {
				var parse *ParseError
				if !errors.As(err, &parse) {
					t.Fatalf("got %v, want a ParseError", err)
				}
				if parse.Error() != test.want {
					t.Errorf("got %q, want %q", parse, test.want)
				}
			}
		})
	}
}

func TestScanLimits(t *testing.T) {
	for _, test := range []struct {
		name, document string
		limits         Limits
		want           LimitError
	}{
		{"document", "{abc}", Limits{Document: 4}, LimitError{Kind: LimitDocument, Got: 5, Max: 4}},
		{"default document", strings.Repeat(" ", 64<<10+1), Limits{}, LimitError{Kind: LimitDocument, Got: 64<<10 + 1, Max: 64 << 10}},
		{"tokens", "{\n a b c}", Limits{Tokens: 3}, LimitError{Kind: LimitTokens, Got: 4, Max: 3, Line: 2, Column: 6}},
		{"default tokens", strings.Repeat("{", 10) + strings.Repeat("a ", 4000), Limits{}, LimitError{Kind: LimitTokens, Got: 4001, Max: 4000, Line: 1, Column: 7991}},
		{"nesting", strings.Repeat("[{(", 67), Limits{}, LimitError{Kind: LimitNesting, Got: 201, Max: 200, Line: 1, Column: 201}},
		{"closing first buys no nesting", strings.Repeat(")", 1000) + strings.Repeat("(", 201), Limits{}, LimitError{Kind: LimitNesting, Got: 201, Max: 200, Line: 1, Column: 1201}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := scan(test.document, test.limits)
			for _, err := range []error{err, new(tokenizer).read(test.document, test.limits.orDefaults())} {
				var limit *LimitError
				if !errors.As(err, &limit) {
					t.Fatalf("got %v, want a LimitError", err)
				}
				if diff := cmp.Diff(test.want, *limit); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestScanKeepsPositions(t *testing.T) {
	document := "# é\n{a(b: \"\\u{1F600}\\uD83D\\uDE00\" c: \"\"\"x\r\n   é\n \"\"\" d: 1)\n}"
	text, tokens, err := scan(document, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if want := 14; tokens != want {
		t.Errorf("%d tokens, want %d", tokens, want)
	}
	where := func(document, token string) string {
		l := lexer.New(&ast.Source{Input: document})
		for {
			tok, err := l.ReadToken()
			if err != nil {
				t.Fatal(err)
			}
			if tok.Value == token {
				return fmt.Sprint(tok.Pos.Line, ":", tok.Pos.Column)
			}
		}
	}
	var l tokenizer
	if err := l.read(document, DefaultLimits); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c", "d", "1"} {
		want := where(document, name)
		if got := where(text, name); got != want {
			t.Errorf("%s is at %s, was at %s\n%s", name, got, want, text)
		}
		for i := range l.tokens {
			if token := &l.tokens[i]; l.text(token) == name {
				if got := fmt.Sprint(token.line, ":", token.column); got != want {
					t.Errorf("tokenizer: %s is at %s, want %s", name, got, want)
				}
			}
		}
	}
}

func TestScanLeavesOrdinaryTextAlone(t *testing.T) {
	document := `query Q($a: [Int!]! = [1, -2.5e+3]) @d { é: a }`
	document = strings.Replace(document, "é", "e", 1)
	text, tokens, err := scan(document, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if text != document || tokens != 24 {
		t.Errorf("got %d tokens of %q", tokens, text)
	}
	if n := testing.AllocsPerRun(10, func() { _, _, _ = scan(document, Limits{}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		`query Q($a: [Int!]! = [1, 2.5e3]) @d { f(s: "\u{41}\uD83D\uDE00") { ...F } }`,
		"\"\"\"  a\n    b \\\"\"\" \"\"\"\"x\" # c\n...",
		"\uFEFF{a,b}\r\n#\r\"\\n\"", `"""""""b"`, "0.0e-1[]{}()!$&|=@:",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, document string) {
		limits := Limits{Tokens: 1000}
		text, tokens, err := scan(document, limits)
		var own tokenizer
		if ownErr := own.read(document, limits.orDefaults()); err != nil && ownErr == nil {
			t.Fatalf("the tokenizer does not refuse: %v", err)
		} else if err == nil {
			defer sameTokens(t, text, &own, ownErr)
		}
		if err != nil {
			var parse *ParseError
			var limit *LimitError
			if !errors.As(err, &parse) && !errors.As(err, &limit) {
				t.Fatalf("untyped error %v", err)
			}
			if parse != nil && (parse.Line < 1 || parse.Column < 1) {
				t.Fatalf("no place: %v", parse)
			}
			return
		}
		if !utf8.ValidString(text) || len(text) > 6*len(document)+1 {
			t.Fatalf("%d bytes became %d", len(document), len(text))
		}
		seen, lexErr := lex(text)
		if lexErr == nil && len(seen) != tokens {
			t.Fatalf("%d tokens, the lexer has %d in %q", tokens, len(seen), text)
		}
		if lexErr != nil && !strings.Contains(lexErr.Error(), "Invalid character escape sequence") {
			t.Fatalf("let through to the lexer: %v", lexErr)
		}
		again, n, err := scan(text, Limits{Document: len(text) + 1, Tokens: limits.Tokens})
		if err != nil || n != tokens {
			t.Fatalf("the rewritten text has %d tokens, %v", n, err)
		}
		if resaid, err := lex(again); lexErr == nil && (err != nil || !cmp.Equal(seen, resaid)) {
			t.Fatalf("rewriting twice changes the meaning: %q, %q", text, again)
		}
		if strings.Contains(document, `"""`) {
			return // gqlparser reads block strings in its own way
		}
		if original, err := lex(document); err == nil && !cmp.Equal(original, seen) {
			t.Fatalf("%q means %q, not %q", document, original, seen)
		}
	})
}

// sameTokens compares what the tokenizer made of a document with what gqlparser's
// lexer makes of the rewritten text.
func sameTokens(t *testing.T, text string, l *tokenizer, err error) {
	t.Helper()
	want, lexErr := lex(text)
	if (lexErr != nil) != (err != nil) {
		t.Fatalf("the lexer says %v, the tokenizer %v", lexErr, err)
	}
	if err != nil {
		return
	}
	kinds := map[tokenKind]lexer.Type{tokenName: lexer.Name, tokenInt: lexer.Int, tokenFloat: lexer.Float, tokenString: lexer.String}
	var got []string
	for i := range l.tokens[:len(l.tokens)-1] {
		token := &l.tokens[i]
		value := l.text(token)
		kind, valued := kinds[token.kind]
		if !valued {
			kind, value = punctuators[value], ""
		}
		got = append(got, fmt.Sprintf("%s %q", kind, value))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

var punctuators = map[string]lexer.Type{
	"!": lexer.Bang, "$": lexer.Dollar, "&": lexer.Amp, "(": lexer.ParenL, ")": lexer.ParenR, "...": lexer.Spread, ":": lexer.Colon,
	"=": lexer.Equals, "@": lexer.At, "[": lexer.BracketL, "]": lexer.BracketR, "{": lexer.BraceL, "|": lexer.Pipe, "}": lexer.BraceR,
}

func BenchmarkScan(b *testing.B) {
	plain := strings.Repeat("field(argument: \"value\", n: 12) { id name ...F }\n", 21)
	for _, bench := range []struct{ name, document string }{
		{"plain 1 KB", plain},
		{"comments, escapes and block strings 1 KB", strings.Repeat("a # c\nb(c: \"\\u0041\" d: \"\"\"\n x\n y\"\"\")", 30)},
		{"64 KiB block string", `"""` + strings.Repeat("\n a\"b", 64<<10/5-2) + `"""`},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(bench.document)))
			for b.Loop() {
				if _, _, err := scan(bench.document, Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
