package agent

import (
	"fmt"

	"ordinal/mysqlx"
)

// driftedAfter is how often the applier has to fail in the same place before its data is given up: a start in between tells a row that
// is missing from one that was locked.
const driftedAfter = 3

// failures counts how often the applier has stopped with the same error.
type failures struct {
	last  mysqlx.ReplicaError
	times int
}

// add takes in the applier's last error and returns how often it has been met, with no other one in between.
func (f *failures) add(e mysqlx.ReplicaError) int {
	switch {
	case e.Number == 0: // a start clears it, so that says nothing
	case e.Number != f.last.Number || !sameTransaction(e.Message, f.last.Message):
		*f = failures{last: e, times: 1}
	case !e.Time.Equal(f.last.Time):
		f.last, f.times = e, f.times+1
	}
	return f.times
}

// sameTransaction compares two messages of the applier. They name the transaction, so equal ones are about the same; the workers'
// numbers and positions in them may differ.
func sameTransaction(a, b string) bool { return a == b }

// observeFailures tells an applier that cannot go on from one that may.
func (r *runner) observeFailures(v *view) {
	for _, c := range v.Channels {
		times := r.failures.add(c.ApplierError)
		switch c.ApplierError.Class() {
		case mysqlx.ClassDataDrift:
			if times >= driftedAfter {
				v.Drifted = fmt.Sprintf("the applier has failed %d times at the same transaction: %s", times, c.ApplierError.Message)
			}
		case mysqlx.ClassRelayLog:
			v.RelayDamaged = true
		}
		if c.ReceiverError.Class() == mysqlx.ClassPurged && c.ReceiverState == "OFF" {
			v.Purged = c.ReceiverError.Message
		}
	}
}
