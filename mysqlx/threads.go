package mysqlx

import "context"

// StopReceiver stops the receivers of all channels. What was received goes on to be applied.
func (db *DB) StopReceiver(ctx context.Context) error {
	return db.replicaCommand(ctx, "stop receiver", func(s statements) string { return s.stop + s.receiver })
}

// StartApplier starts the appliers of all channels, and no receiver: what was received is applied, and nothing more arrives.
func (db *DB) StartApplier(ctx context.Context) error {
	return db.replicaCommand(ctx, "start applier", func(s statements) string { return s.start + " SQL_THREAD" })
}
