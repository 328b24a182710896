package binlog

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Layout of the data of a query event: thread[4] seconds[4] schema_length[1] error[2] variables_length[2] variables schema 0 text.
const (
	queryPostHeader         = 13
	offQuerySchemaLength    = 8
	offQueryVariablesLength = 11

	maxStatementText = 1000 // bytes that are listed
)

// A Statement is SQL that a transaction executes: DDL, or DML on a server that logs statements.
type Statement struct {
	Schema string `json:"schema,omitempty"` // the default schema
	// Text is the statement or, if Cut is set, its beginning. It is empty if Withheld is set.
	Text string `json:"text,omitempty"`
	Cut  bool   `json:"cut,omitempty"`
	// Withheld says that the statement is about accounts or may contain a password. The exported file has it.
	Withheld bool `json:"withheld,omitempty"`
}

// newStatement takes a statement or, if cut is set, its beginning.
func newStatement(schema, text string, cut bool) Statement {
	s := Statement{Schema: printable(schema)}
	if mayHoldSecret(schema, text) {
		s.Withheld = true
		return s
	}
	s.Text, s.Cut = printable(text), cut
	if len(s.Text) > maxStatementText {
		s.Text, s.Cut = strings.ToValidUTF8(s.Text[:maxStatementText], ""), true
	}
	return s
}

// listed are the first words of statements whose text may be shown. All others are withheld: what a newer server adds is not known here.
var listed = map[string]bool{
	"create": true, "alter": true, "drop": true, "rename": true, "truncate": true, "analyze": true, "optimize": true, "repair": true,
	"insert": true, "update": true, "delete": true, "replace": true, "load": true, "with": true, "xa": true,
}

var (
	comments = regexp.MustCompile(`(?s)/\*.*?\*/|--[ \t\n][^\n]*|#[^\n]*`)
	// Words that say that a secret is near. They need not stand alone: a column may be called password_hash.
	secretWords = regexp.MustCompile(`(?i)identified|passw|\bpass\b|pwd|secret|credential|token|auth(_|enti|ori[sz]|\b)|(private|api)_?key|_(en|de)crypt|\bmysql\b`)
	// What is made by these is an account, or holds the password of one.
	secretObjects = regexp.MustCompile(`^(?i)(create|alter|drop|rename)(\s+or\s+replace)?\s+(user|role|server)\b`)
)

// mayHoldSecret is wrong on one side only: it may withhold a harmless statement. Statements about accounts come to the log with the
// password's hash, and the server keeps it in tables of the schema mysql; applications have words of their own.
func mayHoldSecret(schema, text string) bool {
	if strings.EqualFold(schema, "mysql") || secretWords.MatchString(text) {
		return true
	}
	text = strings.TrimSpace(comments.ReplaceAllString(text, " "))
	word := strings.ToLower(text[:len(text)-len(strings.TrimLeftFunc(text, unicode.IsLetter))])
	return !listed[word] || secretObjects.MatchString(text)
}

// frames are statements that only hold a transaction together, and those that begin with them and a space.
var frames = []string{"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "XA START", "XA END"}

func isFrame(text string) bool {
	for _, frame := range frames {
		if rest, ok := strings.CutPrefix(text, frame); ok && (rest == "" || rest[0] == ' ') {
			return true
		}
	}
	return false
}

// printable makes text fit for JSON and terminals: UTF-8 without control characters, white space as spaces.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsSpace(c) {
			return ' '
		}
		if !unicode.IsGraphic(c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(text, string(utf8.RuneError)))
}
