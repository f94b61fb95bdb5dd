package gqlhttp

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// strip removes suggestions from the string values between start and end, which
// is checked JSON. Member names stay, and what removed covers, which is in order.
func (r *rewriter) strip(start, end int, removed []edit) error {
	if !r.o.StripSuggestions {
		return nil
	}
	for i := start; i < end; i++ {
		if len(removed) > 0 && i >= removed[0].start {
			i = max(i, removed[0].end) - 1
			removed = removed[1:]
			continue
		}
		if r.text[i] != '"' {
			continue
		}
		stop := i + 1
		for stop < end && r.text[stop] != '"' {
			if r.text[stop] == '\\' {
				stop++
			}
			stop++
		}
		stop++
		if stop > end {
			return &ResponseError{"a string does not end"}
		}
		if !bytes.HasPrefix(bytes.TrimLeft(r.text[stop:end], jsonSpace), []byte{':'}) {
			r.stripString(i, stop)
		}
		i = stop - 1
	}
	return nil
}

func (r *rewriter) stripString(start, stop int) {
	if stop-start < len(didYouMean) {
		return
	}
	if cut, ok := withoutSuggestions(unquoted(r.text[start:stop])); ok {
		by, _ := jsontext.AppendQuote(nil, cut)
		r.edit(start, stop, by)
	}
}

const didYouMean = "did you mean"

// withoutSuggestions cuts every "Did you mean …?" out of a message, with what
// joins it to the text before it. graphql-js, gqlparser, graphql-core,
// graphql-php, Absinthe and async-graphql write it as a sentence with
// double quotes, graphql-dotnet and Sangria with single ones, Hot Chocolate with backticks,
// graphql-ruby in parentheses, older graphql-js after a semicolon and for
// enum values without quotes. Without a question mark it ends with the message.
func withoutSuggestions(message string) (string, bool) {
	at := indexFold(message)
	if at < 0 {
		return message, false
	}
	var out strings.Builder
	for at >= 0 {
		before, rest := message[:at], message[at:]
		after := ""
		if q := strings.IndexByte(rest, '?'); q >= 0 {
			after = rest[q+1:]
		}
		before = strings.TrimRight(before, " \t\r\n")
		if strings.HasSuffix(before, "(") {
			before = strings.TrimRight(before[:len(before)-1], " \t\r\n")
			after = strings.TrimPrefix(strings.TrimLeft(after, " "), ")")
		}
		out.WriteString(strings.TrimRight(before, ";,-"))
		message = after
		at = indexFold(message)
	}
	out.WriteString(strings.TrimRight(message, " \t\r\n"))
	if out.Len() == 0 {
		return "Invalid request", true
	}
	return out.String(), true
}

// indexFold finds didYouMean in any case.
func indexFold(s string) int {
	for i := 0; i+len(didYouMean) <= len(s); i++ {
		if s[i]|0x20 == 'd' && strings.EqualFold(s[i:i+len(didYouMean)], didYouMean) {
			return i
		}
	}
	return -1
}
