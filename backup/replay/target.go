package replay

import (
	"errors"
	"fmt"
	"time"

	"ordinal/mysqlx"
)

// A Target is the point up to which an archive is replayed, in the order of the archive. At most one field is set; the zero Target is everything that the
// archive has.
type Target struct {
	// Time: every transaction before the first one that was committed later than this, on the server where it was first executed. Those of exactly this
	// microsecond are in.
	Time time.Time `json:"time,omitzero"`
	// GTIDs: everything up to the moment when all of these are executed.
	GTIDs mysqlx.GTIDSet `json:"gtids,omitzero"`
	// Before: everything before this transaction. It is a set of one.
	Before mysqlx.GTIDSet `json:"before,omitzero"`
}

// Validate says whether t is a target.
func (t Target) Validate() error {
	set := 0
	for _, is := range []bool{!t.Time.IsZero(), !t.GTIDs.IsEmpty(), !t.Before.IsEmpty()} {
		if is {
			set++
		}
	}
	switch {
	case set > 1:
		return errors.New("target of a replay: more than one of a time, a GTID set and a transaction to stop before")
	case !t.Before.IsEmpty() && t.Before.Count() != 1:
		return fmt.Errorf("target of a replay: %s are %d transactions; give the one to stop before", t.Before, t.Before.Count())
	}
	return nil
}

// String is for people: "2026-11-21T12:00:00Z", "just before 6a8c…:42".
func (t Target) String() string {
	switch {
	case !t.Time.IsZero():
		return t.Time.UTC().Format(time.RFC3339Nano)
	case !t.GTIDs.IsEmpty():
		return t.GTIDs.String()
	case !t.Before.IsEmpty():
		return "just before " + t.Before.String()
	}
	return "the end of the archive"
}
