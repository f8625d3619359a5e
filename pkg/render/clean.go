package render

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes a text safe to show on a terminal: whatever is not printable
// (control characters, escape sequences, overrides of the writing direction,
// zero-width characters, invalid UTF-8) becomes a question mark.
func Clean(s string) string {
	if isClean(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if printable(r, n) {
			b.WriteString(s[:n])
		} else {
			b.WriteByte('?')
		}
		s = s[n:]
	}
	return b.String()
}

func isClean(s string) bool {
	for i, r := range s {
		n := 0 // the width of U+FFFD tells a real one from a broken byte
		if r == utf8.RuneError {
			_, n = utf8.DecodeRuneInString(s[i:])
		}
		if !printable(r, n) {
			return false
		}
	}
	return true
}

func printable(r rune, n int) bool {
	return unicode.IsPrint(r) && (r != utf8.RuneError || n > 1)
}

// word is a cleaned name that stays one word of a line: a name with spaces or
// brackets could pass for other fields, so it is quoted, and a long one is cut.
func word(s string, limit int) string {
	s = Clean(s)
	if width(s) > limit {
		cut, w := 0, 1 // the ellipsis
		for i, r := range s {
			if w += runeWidth(r); w > limit {
				cut = i
				break
			}
		}
		s = s[:cut] + "…"
	}
	if s == "" || strings.ContainsAny(s, " \"[]=") {
		return `"` + strings.ReplaceAll(s, `"`, "'") + `"`
	}
	return s
}

// width is how many columns a cleaned text takes at most.
func width(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// runeWidth errs on the side of too wide.
func runeWidth(r rune) int {
	if r >= 0x1100 && r != '…' {
		return 2
	}
	return 1
}
