package mysqlx

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"
)

// ReplicaStatus is the state of one replication channel.
type ReplicaStatus struct {
	Channel         string // "" is the default channel
	SourceHost      string
	SourcePort      int
	SourceUser      string
	SourceUUID      string // "" until the receiver was connected once
	AutoPosition    bool
	SSL             bool
	HeartbeatPeriod time.Duration
	RetryCount      uint64
	ReceiverState   string // ON, OFF or CONNECTING
	ReceiverError   ReplicaError
	ApplierState    string // ON or OFF
	ApplierError    ReplicaError
	// RetrievedGTIDs is what was received and is in the relay logs, or was until it was applied: each transaction in it is in gtid_executed
	// or waits to be applied. The reverse does not hold: it begins empty after ResetReplicaAll, ConfigureSource and, with
	// relay_log_recovery, after every start of the server, which throws away what waited. It then says nothing of what the server has.
	RetrievedGTIDs GTIDSet
	DiskFull       bool      // the receiver waits for room on its disk, and goes on by itself; its state stays ON, without an error
	LastHeartbeat  time.Time // by the replica's clock; zero if there was none. An idle source sends them, a busy one need not
	// Lag is how long ago the oldest transaction that waits to be applied was committed on the source where it was first executed. 0 when
	// all that was received is applied and the receiver is connected; nil when no one can know: the receiver is not connected, or
	// transactions wait and no one applies them. It compares the clocks of two machines.
	Lag *time.Duration
}

// A ReplicaError is the last error of a replication thread. The zero value means none.
type ReplicaError struct {
	Number  int // see the server's error reference
	Message string
	Time    time.Time // by the replica's clock
}

// The tables know every channel in every version, and unlike SHOW REPLICA STATUS take no lock that STOP REPLICA holds.
// RECEIVED_TRANSACTION_SET is read before gtid_executed, so that a transaction under way never looks like the replica's own surplus.
// Timestamps are turned into numbers by the server, in its time zone: "0000-00-00" becomes 0.
// See refman/8.4 performance-schema-replication-tables.
const replicaStatusQuery = `SELECT c.CHANNEL_NAME, c.HOST, c.PORT, c.USER, c.AUTO_POSITION = '1', c.SSL_ALLOWED = 'YES',
	c.HEARTBEAT_INTERVAL, c.CONNECTION_RETRY_COUNT,
	COALESCE(s.SOURCE_UUID, ''), COALESCE(s.SERVICE_STATE, 'OFF'), COALESCE(s.RECEIVED_TRANSACTION_SET, ''),
	COALESCE(UNIX_TIMESTAMP(s.LAST_HEARTBEAT_TIMESTAMP), 0),
	COALESCE(s.LAST_ERROR_NUMBER, 0), COALESCE(s.LAST_ERROR_MESSAGE, ''), COALESCE(UNIX_TIMESTAMP(s.LAST_ERROR_TIMESTAMP), 0),
	COALESCE(a.SERVICE_STATE, 'OFF'),
	COALESCE(GTID_SUBSET(s.RECEIVED_TRANSACTION_SET, @@GLOBAL.gtid_executed), 1),
	COALESCE(h.PROCESSLIST_STATE = 'Waiting for disk space', 0),
	COALESCE(
		(SELECT MIN(NULLIF(UNIX_TIMESTAMP(w.APPLYING_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP), 0))
			FROM performance_schema.replication_applier_status_by_worker w WHERE w.CHANNEL_NAME = c.CHANNEL_NAME),
		(SELECT MIN(NULLIF(UNIX_TIMESTAMP(k.PROCESSING_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP), 0))
			FROM performance_schema.replication_applier_status_by_coordinator k WHERE k.CHANNEL_NAME = c.CHANNEL_NAME),
		UNIX_TIMESTAMP(s.LAST_QUEUED_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP), 0),
	UNIX_TIMESTAMP(NOW(6))
	FROM performance_schema.replication_connection_configuration c
	LEFT JOIN performance_schema.replication_connection_status s ON s.CHANNEL_NAME = c.CHANNEL_NAME
	LEFT JOIN performance_schema.replication_applier_status a ON a.CHANNEL_NAME = c.CHANNEL_NAME
	LEFT JOIN performance_schema.threads h ON h.THREAD_ID = s.THREAD_ID
	ORDER BY c.CHANNEL_NAME`

// A worker's error is the cause; the coordinator's, which follows it, says only that there was one. On a single-threaded replica there
// is one row in the workers' table. Errors stay there after a STOP REPLICA, and go with the next START REPLICA.
const applierErrorsQuery = `SELECT CHANNEL_NAME, LAST_ERROR_NUMBER, LAST_ERROR_MESSAGE, UNIX_TIMESTAMP(LAST_ERROR_TIMESTAMP) FROM (
	SELECT 0 AS place, CHANNEL_NAME, LAST_ERROR_NUMBER, LAST_ERROR_MESSAGE, LAST_ERROR_TIMESTAMP
		FROM performance_schema.replication_applier_status_by_worker
	UNION ALL
	SELECT 1, CHANNEL_NAME, LAST_ERROR_NUMBER, LAST_ERROR_MESSAGE, LAST_ERROR_TIMESTAMP
		FROM performance_schema.replication_applier_status_by_coordinator) e
	WHERE LAST_ERROR_NUMBER <> 0 ORDER BY place, LAST_ERROR_TIMESTAMP`

// ReplicaStatus returns the state of all configured channels, none on a server that is no replica.
func (db *DB) ReplicaStatus(ctx context.Context) ([]ReplicaStatus, error) {
	all, err := db.channels(ctx)
	if err == nil && len(all) > 0 {
		err = db.applierErrors(ctx, all)
	}
	if err != nil {
		return nil, fmt.Errorf("read replica status: %w", err)
	}
	return all, nil
}

func (db *DB) channels(ctx context.Context) ([]ReplicaStatus, error) {
	rows, err := db.db.QueryContext(ctx, replicaStatusQuery)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []ReplicaStatus
	for rows.Next() {
		s, err := scanChannel(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}

func scanChannel(rows *sql.Rows) (ReplicaStatus, error) {
	var s ReplicaStatus
	var received string
	var heartbeat, lastHeartbeat, errorTime, oldest, now float64 // seconds
	var allApplied bool
	err := rows.Scan(&s.Channel, &s.SourceHost, &s.SourcePort, &s.SourceUser, &s.AutoPosition, &s.SSL,
		&heartbeat, &s.RetryCount,
		&s.SourceUUID, &s.ReceiverState, &received, &lastHeartbeat,
		&s.ReceiverError.Number, &s.ReceiverError.Message, &errorTime,
		&s.ApplierState, &allApplied, &s.DiskFull, &oldest, &now)
	if err != nil {
		return s, err
	}
	if s.RetrievedGTIDs, err = ParseGTIDSet(received); err != nil {
		return s, fmt.Errorf("received_transaction_set: %w", err)
	}
	s.HeartbeatPeriod = seconds(heartbeat)
	s.LastHeartbeat = unixTime(lastHeartbeat)
	s.ReceiverError.Time = unixTime(errorTime)
	s.Lag = lag(s.ReceiverState, s.ApplierState, allApplied, seconds(oldest), seconds(now))
	return s, nil
}

// lag decides what is known. oldest is the commit time of the oldest waiting transaction, 0 if unknown; both are since 1970.
func lag(receiver, applier string, allApplied bool, oldest, now time.Duration) *time.Duration {
	var d time.Duration
	switch {
	case receiver != "ON":
		return nil // the source may have more than was received
	case allApplied:
	case applier != "ON" || oldest == 0:
		return nil
	default:
		d = max(0, now-oldest) // the source's clock may be ahead
	}
	return &d
}

func (db *DB) applierErrors(ctx context.Context, all []ReplicaStatus) error {
	rows, err := db.db.QueryContext(ctx, applierErrorsQuery)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var channel string
		var e ReplicaError
		var at float64
		if err := rows.Scan(&channel, &e.Number, &e.Message, &at); err != nil {
			return err
		}
		e.Time = unixTime(at)
		for i := range all {
			if s := &all[i]; s.Channel == channel && s.ApplierError.Number == 0 {
				s.ApplierError = e
			}
		}
	}
	return rows.Err()
}

// seconds rounds to microseconds, the server's precision.
func seconds(s float64) time.Duration {
	return time.Duration(math.Round(s*1e6)) * time.Microsecond
}

func unixTime(s float64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(math.Round(s * 1e6)))
}
