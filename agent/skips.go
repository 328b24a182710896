package agent

import "ordinal/mysqlx"

// skips finds what a replica will never execute though its source has it: transactions of its own server, which somebody brought to the
// source, and behind which its data was rolled back. A server skips what it has written itself, in silence. See refman/8.4
// replication-options-replica, replicate-same-server-id.
type skips struct {
	told   mysqlx.GTIDSet // the source's last answer
	misses surplus
}

// add takes in an answer of a source that takes writes. What is on its way is told from what is skipped by the rest of the answer before: once
// that has arrived, so has everything that comes with it.
func (s *skips) add(v *view, told mysqlx.GTIDSet) {
	has := v.Mysqld.Facts.GTIDExecuted.Union(v.Waiting)
	own := ofServer(s.told, v.Mysqld.Facts.ServerUUID)
	var missed mysqlx.GTIDSet
	if receives(v.Channels) && has.Contains(s.told.Subtract(own)) {
		missed = own.Subtract(has)
	}
	s.misses.add(missed, v.Source.Status.ObservedAt)
	s.told = told
}

// lasting is what has been missed in several answers in a row.
func (s *skips) lasting() mysqlx.GTIDSet { return s.misses.lasting() }

// receives reports whether something arrives over a channel, as far as the server knows.
func receives(channels []mysqlx.ReplicaStatus) bool {
	return len(channels) == 1 && channels[0].ReceiverState == "ON"
}
