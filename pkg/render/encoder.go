package render

import (
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// encoder appends one JSON object to its buffer. It writes commas by itself.
type encoder struct{ b []byte }

func (e *encoder) comma() {
	if n := len(e.b); n > 0 && e.b[n-1] != '{' && e.b[n-1] != '[' && e.b[n-1] != ':' {
		e.b = append(e.b, ',')
	}
}

// open begins an object '{' or an array '[', as the value of key if that is
// not "".
func (e *encoder) open(key string, c byte) {
	e.key(key)
	e.b = append(e.b, c)
}

func (e *encoder) close(c byte) { e.b = append(e.b, c) }

func (e *encoder) key(key string) {
	e.comma()
	if key != "" {
		e.b = append(appendQuoted(e.b, key), ':')
	}
}

func (e *encoder) text(key, v string) {
	e.key(key)
	e.b = appendQuoted(e.b, v)
}

func (e *encoder) uint(key string, v uint64) {
	e.key(key)
	e.b = strconv.AppendUint(e.b, v, 10)
}

func (e *encoder) bool(key string, v bool) {
	e.key(key)
	e.b = strconv.AppendBool(e.b, v)
}

func (e *encoder) seconds(key string, v time.Duration) {
	e.key(key)
	e.b = strconv.AppendFloat(e.b, v.Seconds(), 'f', -1, 64)
}

func (e *encoder) time(key string, v time.Time) {
	e.key(key)
	e.b = append(v.UTC().AppendFormat(append(e.b, '"'), "2006-01-02T15:04:05.000000000Z"), '"')
}

func (e *encoder) addr(key string, v netip.Addr) {
	e.key(key)
	e.b = append(v.AppendTo(append(e.b, '"')), '"')
}

// appendQuoted appends a JSON string. What is not printable is escaped, also
// where JSON does not ask for it, since people look at JSON on terminals;
// broken UTF-8 becomes U+FFFD, as JSON has no way to say it.
func appendQuoted(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	unit := func(b []byte, u rune) []byte {
		return append(b, '\\', 'u', hex[u>>12&15], hex[u>>8&15], hex[u>>4&15], hex[u&15])
	}
	b = append(b, '"')
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case printable(r, n):
			b = append(b, s[:n]...)
		case r > 0xffff:
			r -= 0x10000
			b = unit(unit(b, 0xd800+r>>10), 0xdc00+r&0x3ff)
		default:
			b = unit(b, r)
		}
		s = s[n:]
	}
	return append(b, '"')
}
