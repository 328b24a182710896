package binlog

import "strings"

// sqlMode has what of a session's sql_mode changes where words and strings end. See refman/8.4 sql-mode.
type sqlMode struct {
	ansiQuotes         bool // "…" is an identifier
	noBackslashEscapes bool
}

// A sqlToken is a word, quoted or not, or a sign of one character. Strings are tokens without text: nothing in them is of interest.
type sqlToken struct {
	kind tokenKind
	text string // of a name without its quotes; of a sign the character
}

type tokenKind byte

const (
	tokenEnd    tokenKind = iota
	tokenWord             // a keyword, a name or a number
	tokenName             // a quoted identifier
	tokenString           //
	tokenSign             // any other character
)

// is says whether a token is one of these keywords, which are given in upper case, or signs.
func (t sqlToken) is(words ...string) bool {
	if t.kind != tokenWord && t.kind != tokenSign {
		return false
	}
	for _, w := range words {
		if strings.EqualFold(t.text, w) {
			return true
		}
	}
	return false
}

// isName says whether a token may be an identifier. A keyword may be one too, after a dot.
func (t sqlToken) isName() bool { return t.kind == tokenWord || t.kind == tokenName }

// A sqlScanner splits a statement into tokens. Comments are passed over, but for those whose content the server executes. It takes any bytes:
// what is not closed ends where the text ends.
type sqlScanner struct {
	text      string
	at        int
	mode      sqlMode
	inComment bool // within /*! … */
	open      bool // the text ended within quotes or a comment
	back      sqlToken
	hasBack   bool
}

// next returns the next token, of kind tokenEnd at the end.
func (s *sqlScanner) next() sqlToken {
	if s.hasBack {
		s.hasBack = false
		return s.back
	}
	s.space()
	if s.at >= len(s.text) {
		return sqlToken{}
	}
	switch c := s.text[s.at]; {
	case c == '`' || c == '"' && s.mode.ansiQuotes:
		return sqlToken{tokenName, s.quoted(c, false)}
	case c == '"' || c == '\'':
		s.quoted(c, !s.mode.noBackslashEscapes)
		return sqlToken{kind: tokenString}
	case isWordByte(c):
		begin := s.at
		for s.at < len(s.text) && isWordByte(s.text[s.at]) {
			s.at++
		}
		return sqlToken{tokenWord, s.text[begin:s.at]}
	default:
		s.at++
		return sqlToken{tokenSign, string(rune(c))}
	}
}

// peek returns the next token without taking it.
func (s *sqlScanner) peek() sqlToken {
	if !s.hasBack {
		s.back, s.hasBack = s.next(), true
	}
	return s.back
}

// take takes the next token if it is one of these.
func (s *sqlScanner) take(words ...string) bool {
	if s.peek().is(words...) {
		s.hasBack = false
		return true
	}
	return false
}

// skip takes all of these, in any order and number.
func (s *sqlScanner) skip(words ...string) {
	for s.take(words...) {
	}
}

// isWordByte: from 0x80 on it is a letter of some alphabet.
func isWordByte(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '$' || c >= 0x80
}

// quoted reads what stands between quotes; two of them in a row are one.
func (s *sqlScanner) quoted(quote byte, backslash bool) string {
	var b strings.Builder
	for s.at++; s.at < len(s.text); s.at++ {
		c := s.text[s.at]
		switch {
		case c == '\\' && backslash:
			s.at++ // whatever it stands for, it is in a string
			continue
		case c != quote:
		case s.at+1 < len(s.text) && s.text[s.at+1] == quote:
			s.at++
		default:
			s.at++
			return b.String()
		}
		b.WriteByte(c)
	}
	s.at, s.open = len(s.text), true
	return b.String()
}

// space passes over white space and comments.
func (s *sqlScanner) space() {
	for s.at < len(s.text) {
		rest := s.text[s.at:]
		switch c := rest[0]; {
		case c <= ' ' || c == 0x7f:
			s.at++
		case c == '#' || strings.HasPrefix(rest, "--") && (len(rest) == 2 || rest[2] <= ' '):
			n := strings.IndexByte(rest, '\n')
			if n < 0 {
				n = len(rest) - 1
			}
			s.at += n + 1
		case strings.HasPrefix(rest, "/*!"):
			// What was executed on the server that wrote the binlog is not known without its version: all of it, as good as always.
			s.at += 3
			for s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9' {
				s.at++
			}
			s.inComment = true
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest[2:], "*/")
			if n < 0 {
				s.at, s.open = len(s.text), true
				return
			}
			s.at += n + 4
		case s.inComment && strings.HasPrefix(rest, "*/"):
			s.at += 2
			s.inComment = false
		default:
			return
		}
	}
}
