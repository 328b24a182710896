package binlog

import (
	"encoding/binary"
	"strings"
)

// Variables of a query event that change how its text is read: code[1] value, in the order in which the server writes them. Those after the character set do
// not matter here. See the source documentation of Query_event, "Status variables".
const (
	variableFlags         = 0 // [4]
	variableSQLMode       = 1 // [8]
	variableAutoIncrement = 3 // [4]
	variableCharset       = 4 // client[2] connection[2] server[2]
	variableCatalog       = 6 // length[1] name

	modeANSIQuotes         = 1 << 2
	modeNoBackslashEscapes = 1 << 20
)

// A query is what a query event has.
type query struct {
	schema, text string
	mode         sqlMode
	charset      uint16 // number of the collation of the text; 0 if unknown
}

// parseQuery takes the data of a query event, or the first part of it.
func parseQuery(data []byte) (q query, err error) {
	if len(data) < queryPostHeader {
		return q, errShort
	}
	schemaLength := int(data[offQuerySchemaLength])
	skip := int(binary.LittleEndian.Uint16(data[offQueryVariablesLength:]))
	rest := data[queryPostHeader:]
	if len(rest) < skip+schemaLength+1 {
		return q, errShort
	}
	q.variables(rest[:skip])
	rest = rest[skip:]
	q.schema, q.text = string(rest[:schemaLength]), string(rest[schemaLength+1:])
	return q, nil
}

// variables reads as many as it knows. What it does not know, it does without.
func (q *query) variables(b []byte) {
	for len(b) > 0 {
		code := b[0]
		b = b[1:]
		size := 0
		switch code {
		case variableFlags, variableAutoIncrement:
			size = 4
		case variableSQLMode:
			size = 8
		case variableCharset:
			size = 6
		case variableCatalog:
			if len(b) > 0 {
				size = 1 + int(b[0])
			}
		}
		if size == 0 || len(b) < size {
			return
		}
		switch code {
		case variableSQLMode:
			mode := binary.LittleEndian.Uint64(b)
			q.mode = sqlMode{ansiQuotes: mode&modeANSIQuotes != 0, noBackslashEscapes: mode&modeNoBackslashEscapes != 0}
		case variableCharset:
			q.charset = binary.LittleEndian.Uint16(b)
		}
		b = b[size:]
	}
}

// effects says what the statement does. cut: the text is its beginning.
func (q *query) effects(cut bool) []Effect {
	text, exact := q.utf8()
	found := effectsOf(q.schema, text, q.mode, cut)
	if !exact {
		found = append(found, Effect{Action: ActionUnclear})
	}
	return found
}

// Numbers of collations: of latin1, and of character sets in which a letter may have the byte of a quote or a backslash in it.
var (
	latin1 = map[uint16]bool{5: true, 8: true, 15: true, 31: true, 47: true, 48: true, 49: true, 94: true}
	asUTF8 = func(n uint16) bool {
		return n == 0 || n == 11 || n == 63 || n == 65 || n == 33 || n == 45 || n == 46 || n == 76 || n == 83 || n >= 192 && n < 248 || n >= 255
	}
	asciiOnly = func(text string) bool { return strings.IndexFunc(text, func(c rune) bool { return c >= 0x80 }) < 0 }
)

// utf8 returns the text in UTF-8. exact is false if it is in a character set that this package does not know: names in it may look different then.
func (q *query) utf8() (text string, exact bool) {
	switch {
	case asUTF8(q.charset) || asciiOnly(q.text):
		return q.text, true
	case latin1[q.charset]:
		var b strings.Builder
		for i := range len(q.text) {
			b.WriteRune(rune(q.text[i]))
		}
		return b.String(), true
	}
	return q.text, false
}
