package find

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ordinal/internal/binlog"
	"ordinal/mysqlx"
)

// A Query says which transactions are looked for. The zero Query is all.
type Query struct {
	// Tables are those that are looked for; none means any.
	Tables []Table
	// Types are what is done to them; none means anything.
	Types []Type
	// Since and Until bound the time of the original commit, both included; zero means no bound.
	Since, Until time.Time
	// GTIDs, if not empty, are the only transactions that are looked at.
	GTIDs mysqlx.GTIDSet
}

// A Table is a name, or a pattern: "*" stands for any schema or table. Case does not matter.
type Table struct{ Schema, Name string }

// String returns it as ParseTable reads it.
func (t Table) String() string { return quoteName(t.Schema) + "." + quoteName(t.Name) }

func quoteName(s string) string {
	if strings.ContainsAny(s, ".`") {
		return "`" + strings.ReplaceAll(s, "`", "``") + "`"
	}
	return s
}

// ParseTable reads "shop.orders", "shop.*" or "shop", which is all of a schema, or names in backticks.
func ParseTable(text string) (Table, error) {
	schema, rest, err := parseName(text)
	if err != nil {
		return Table{}, fmt.Errorf("table %q: %w", text, err)
	}
	if rest == "" {
		return Table{schema, "*"}, nil
	}
	name, rest, err := parseName(rest[1:])
	if err == nil && rest != "" {
		err = fmt.Errorf("more than a schema and a table")
	}
	if err != nil {
		return Table{}, fmt.Errorf("table %q: %w", text, err)
	}
	return Table{schema, name}, nil
}

// parseName reads a name up to a dot or the end. rest begins with the dot.
func parseName(text string) (name, rest string, err error) {
	if !strings.HasPrefix(text, "`") {
		name, rest = text, ""
		if i := strings.IndexByte(text, '.'); i >= 0 {
			name, rest = text[:i], text[i:]
		}
	} else {
		var b strings.Builder
		i := 1
		for ; i < len(text); i++ {
			if text[i] != '`' {
				b.WriteByte(text[i])
			} else if i+1 < len(text) && text[i+1] == '`' {
				b.WriteByte('`')
				i++
			} else {
				break
			}
		}
		if i == len(text) {
			return "", "", fmt.Errorf("a backtick is not closed")
		}
		if name, rest = b.String(), text[i+1:]; rest != "" && rest[0] != '.' {
			return "", "", fmt.Errorf("%q after a backtick", rest)
		}
	}
	if name == "" {
		return "", "", fmt.Errorf("a name is empty: give schema.table, like shop.orders")
	}
	return name, rest, nil
}

// A Type is a kind of change that is looked for.
type Type string

// Types.
const (
	TypeInsert   Type = "insert"
	TypeUpdate   Type = "update"
	TypeDelete   Type = "delete"
	TypeDML      Type = "dml" // insert, update, delete
	TypeCreate   Type = "create"
	TypeAlter    Type = "alter"
	TypeDrop     Type = "drop"
	TypeRename   Type = "rename"
	TypeTruncate Type = "truncate"
	TypeDDL      Type = "ddl"     // create, alter, drop, rename, truncate
	TypeAccount  Type = "account" // users, roles, grants; they have no table
	TypeUnclear  Type = "unclear" // what is not understood is found for every type; here it alone
)

// Types returns all types, for messages and completion.
func Types() []Type {
	return []Type{TypeInsert, TypeUpdate, TypeDelete, TypeDML, TypeCreate, TypeAlter, TypeDrop, TypeRename, TypeTruncate, TypeDDL, TypeAccount, TypeUnclear}
}

// ParseType reads a type in any case.
func ParseType(text string) (Type, error) {
	t := Type(strings.ToLower(strings.TrimSpace(text)))
	if !slices.Contains(Types(), t) {
		return "", fmt.Errorf("type %q: want one of %s", text, joinTypes())
	}
	return t, nil
}

func joinTypes() string {
	var names []string
	for _, t := range Types() {
		names = append(names, string(t))
	}
	return strings.Join(names, ", ")
}

// has says whether an effect is of the type.
func (t Type) has(e binlog.Effect) bool {
	if e.Action == binlog.ActionUnclear {
		return true
	}
	account := e.Object == binlog.ObjectAccount
	switch t {
	case TypeDML:
		return e.Action == binlog.ActionInsert || e.Action == binlog.ActionUpdate || e.Action == binlog.ActionDelete
	case TypeDDL:
		return e.IsDDL() && !account
	case TypeAccount:
		return account
	case TypeUnclear:
		return false
	}
	return !account && string(t) == string(e.Action)
}

// effects returns what of a transaction is looked for; ok is false if nothing is.
func (q Query) effects(t binlog.Transaction) (found []binlog.Effect, ok bool) {
	for _, e := range t.Effects {
		if q.has(e) {
			found = append(found, e)
		}
	}
	all := len(q.Tables) == 0 && len(q.Types) == 0
	return found, all || len(found) > 0 || t.Incomplete
}

func (q Query) has(e binlog.Effect) bool {
	if len(q.Types) > 0 && !slices.ContainsFunc(q.Types, func(t Type) bool { return t.has(e) }) {
		return false
	}
	return len(q.Tables) == 0 || slices.ContainsFunc(q.Tables, func(t Table) bool { return e.On(t.Schema, t.Name) })
}

// inTime says whether a transaction's time is one that is looked for. One without a time is.
func (q Query) inTime(t time.Time) bool {
	return t.IsZero() || (q.Since.IsZero() || !t.Before(q.Since)) && (q.Until.IsZero() || !t.After(q.Until))
}
