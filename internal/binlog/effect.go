package binlog

import (
	"slices"
	"strings"
)

// An Action is what a transaction does to an object.
type Action string

// What a transaction can do.
const (
	ActionInsert   Action = "insert"
	ActionUpdate   Action = "update"
	ActionDelete   Action = "delete"
	ActionCreate   Action = "create"
	ActionAlter    Action = "alter"
	ActionDrop     Action = "drop"
	ActionRename   Action = "rename" // listed for the old name and for the new one
	ActionTruncate Action = "truncate"
	ActionMaintain Action = "maintain" // ANALYZE, OPTIMIZE, REPAIR TABLE
	ActionOther    Action = "other"    // is understood, and does nothing to a table
	// ActionUnclear stands for a statement that this package does not understand, or of which it saw only a part: it may do anything to any table.
	ActionUnclear Action = "unclear"
)

// What kinds of objects there are.
const (
	ObjectTable     = "table" // or a view, where the statement does not tell
	ObjectView      = "view"
	ObjectPartition = "partition" // of the table that is named
	ObjectSchema    = "schema"
	ObjectTrigger   = "trigger"
	ObjectRoutine   = "routine"
	ObjectEvent     = "event"
	ObjectAccount   = "account"
)

// maxEffects is the number of effects that are kept of a transaction.
const maxEffects = 1000

// An Effect is something that a transaction does to an object. The JSON form is that of `agent binlog find`.
type Effect struct {
	Action Action `json:"action"`
	Object string `json:"object,omitempty"`
	Schema string `json:"schema,omitempty"` // of the object; the schema itself for ObjectSchema. "" if unknown
	Name   string `json:"name,omitempty"`   // "" for a schema
}

// On says whether the effect is, or may be, on this table: names are compared without regard to case, as a server with lower_case_table_names does it, and
// "*" or "" stands for any, and for a schema's triggers, routines and events as well. A schema's creation or drop is on all of its tables.
func (e Effect) On(schema, table string) bool {
	switch {
	case e.Action == ActionUnclear:
		return true
	case e.Object == ObjectAccount || e.Action == ActionOther:
		return false
	case e.Schema != "" && !matches(schema, e.Schema):
		return false
	case e.Object == ObjectSchema, table == "", table == "*":
		return true
	case e.Object != ObjectTable && e.Object != ObjectView && e.Object != ObjectPartition:
		return false
	}
	return matches(table, e.Name)
}

func matches(pattern, name string) bool {
	return pattern == "" || pattern == "*" || strings.EqualFold(pattern, name)
}

// IsDDL says whether it changes a definition, or may.
func (e Effect) IsDDL() bool {
	switch e.Action {
	case ActionInsert, ActionUpdate, ActionDelete, ActionMaintain, ActionOther:
		return false
	}
	return true
}

// addEffect notes an effect once.
func (t *Transaction) addEffect(e Effect) {
	e.Schema, e.Name = printable(e.Schema), printable(e.Name)
	switch {
	case len(t.Effects) > 0 && t.Effects[len(t.Effects)-1] == e, slices.Contains(t.Effects, e):
	case len(t.Effects) < maxEffects:
		t.Effects = append(t.Effects, e)
	default:
		t.Incomplete = true
	}
}
