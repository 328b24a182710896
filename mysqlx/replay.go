package mysqlx

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// ReplayChannel is the channel by which files that were put beside a server's data are executed as its relay logs. It has no source and never a receiver.
const ReplayChannel = "ordinal_replay"

// replayHost is the channel's source: the server asks for a name that is not empty. See RFC 2606 about such names.
const replayHost = "archive.invalid"

// ReplayFacts are what a server says of the place and the rules for relay logs of ReplayChannel.
type ReplayFacts struct {
	Dir   string // where its relay logs have to be, absolute; symbolic links are not resolved
	Base  string // what their names begin with, up to the dot before the number
	Index string // the name of the file that lists them, in Dir
	// Exists says that the channel is there, from an earlier replay.
	Exists bool
	// Running are the other channels that have a thread running; the default one is "".
	Running []string
	// Filters are the rules by which the server passes over transactions of a channel, or part of them, while their GTIDs count as executed.
	Filters []string
	// StartsAlone says that after a restart the server would execute by itself what is left of the relay logs.
	StartsAlone bool
}

// ReplayFacts asks for them. See refman/8.4 replica-logs-relaylog and performance-schema-replication-applier-filters-table.
func (db *DB) ReplayFacts(ctx context.Context) (ReplayFacts, error) {
	f, err := db.replayFacts(ctx)
	if err != nil {
		return ReplayFacts{}, fmt.Errorf("ask the server about its relay logs: %w", err)
	}
	return f, nil
}

func (db *DB) replayFacts(ctx context.Context) (f ReplayFacts, err error) {
	var base, index string
	var skip, recovery bool
	err = db.db.QueryRowContext(ctx, `SELECT @@GLOBAL.relay_log_basename, @@GLOBAL.relay_log_index, @@GLOBAL.relay_log_recovery,
		(SELECT COUNT(*) > 0 FROM performance_schema.global_variables
			WHERE VARIABLE_NAME IN ('skip_replica_start', 'skip_slave_start') AND VARIABLE_VALUE = 'ON')`).Scan(&base, &index, &recovery, &skip)
	if err != nil {
		return f, err
	}
	f.StartsAlone = !skip && !recovery
	f.Dir, f.Base, f.Index = channelLogs(base, index)
	if path.Dir(index) != f.Dir {
		return f, fmt.Errorf("relay_log_index is %s, in another directory than relay_log, %s", index, base)
	}
	all, err := db.channels(ctx)
	if err != nil {
		return f, err
	}
	for _, c := range all {
		switch {
		case c.Channel == ReplayChannel:
			f.Exists = true
		case c.ApplierState != "OFF" || c.ReceiverState != "OFF":
			f.Running = append(f.Running, c.Channel)
		}
	}
	// A new channel takes the global filters; a filter for a channel can be set before the channel exists.
	rows, err := db.Query(ctx, `SELECT FILTER_NAME, FILTER_RULE FROM performance_schema.replication_applier_global_filters WHERE FILTER_RULE <> ''
		UNION SELECT FILTER_NAME, FILTER_RULE FROM performance_schema.replication_applier_filters WHERE CHANNEL_NAME = ? AND FILTER_RULE <> ''`, ReplayChannel)
	for _, r := range rows {
		f.Filters = append(f.Filters, r[0]+" = "+r[1])
	}
	return f, err
}

// channelLogs says what the relay logs of ReplayChannel are called, from the names for the default channel: the channel's name goes before the extension.
// The base has none: the server takes it off.
func channelLogs(base, index string) (dir, name, indexName string) {
	ext := path.Ext(index)
	return path.Dir(base), path.Base(base) + "-" + ReplayChannel, strings.TrimSuffix(path.Base(index), ext) + "-" + ReplayChannel + ext
}

// ConfigureReplay makes ReplayChannel, which must not exist, to read relay logs from the beginning of one that its index file lists. With that file it
// takes over all others in the list, and makes a new one behind them.
func (db *DB) ConfigureReplay(ctx context.Context, file string) error {
	s, err := db.statements(ctx)
	if err == nil {
		err = db.Exec(ctx, s.changeSource+" "+s.optionPrefix+"HOST = "+quoteString(replayHost)+", RELAY_LOG_FILE = "+quoteString(file)+", RELAY_LOG_POS = 4"+
			forReplay)
	}
	if err != nil {
		return fmt.Errorf("configure channel %s: %w", ReplayChannel, err)
	}
	return nil
}

const forReplay = " FOR CHANNEL '" + ReplayChannel + "'"

// StartReplay starts the applier of ReplayChannel.
func (db *DB) StartReplay(ctx context.Context) error {
	return db.replicaCommand(ctx, "start channel "+ReplayChannel, func(s statements) string { return s.start + " SQL_THREAD" + forReplay })
}

// ForgetReplay stops the applier of ReplayChannel, if it runs, and removes the channel with its relay logs. It must exist.
func (db *DB) ForgetReplay(ctx context.Context) error {
	err := db.replicaCommand(ctx, "stop channel "+ReplayChannel, func(s statements) string { return s.stop + forReplay })
	if err != nil {
		return err
	}
	return db.replicaCommand(ctx, "remove channel "+ReplayChannel, func(s statements) string { return s.resetAll + forReplay })
}

// ReplayStatus returns the state of ReplayChannel; ok is false if there is no such channel.
func (db *DB) ReplayStatus(ctx context.Context) (s ReplicaStatus, ok bool, err error) {
	all, err := db.ReplicaStatus(ctx)
	for _, s := range all {
		if s.Channel == ReplayChannel {
			return s, true, err
		}
	}
	return s, false, err
}

// ReplayIdle says whether the applier of ReplayChannel has read all that there is and executes nothing.
func (db *DB) ReplayIdle(ctx context.Context) (bool, error) {
	var idle bool
	err := db.db.QueryRowContext(ctx, `SELECT
		(SELECT COUNT(*) FROM performance_schema.replication_applier_status_by_worker WHERE CHANNEL_NAME = ? AND APPLYING_TRANSACTION <> '') = 0
		AND (SELECT COUNT(*) FROM performance_schema.replication_applier_status_by_coordinator WHERE CHANNEL_NAME = ? AND PROCESSING_TRANSACTION <> '') = 0
		AND (SELECT COUNT(*) FROM performance_schema.threads WHERE PROCESSLIST_STATE LIKE '% has read all relay log; waiting for more updates') > 0`,
		ReplayChannel, ReplayChannel).Scan(&idle)
	if err != nil {
		return false, fmt.Errorf("ask whether channel %s is idle: %w", ReplayChannel, err)
	}
	return idle, nil
}

// WaitExecuted waits until the server has executed all of set, for at most timeout, and says whether it has. The set's text must fit max_allowed_packet.
func (db *DB) WaitExecuted(ctx context.Context, set GTIDSet, timeout time.Duration) (bool, error) {
	var late int
	err := db.db.QueryRowContext(ctx, "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?)", set.String(), timeout.Seconds()).Scan(&late)
	if err != nil {
		return false, fmt.Errorf("wait for transactions: %w", err)
	}
	return late == 0, nil
}

// An ApplierSetting is a setting of the applier whose name has changed.
type ApplierSetting string

// Settings of the applier, by the part of their names that has not changed.
const (
	ParallelWorkers     ApplierSetting = "parallel_workers"
	ParallelType        ApplierSetting = "parallel_type"
	PreserveCommitOrder ApplierSetting = "preserve_commit_order"
)

// Of returns the name by which settings, of ApplierSettings, have it. ok is false if this server has no such setting.
func (s ApplierSetting) Of(settings map[string]string) (name string, ok bool) {
	for _, prefix := range []string{"replica_", "slave_"} {
		name := prefix + string(s)
		if _, ok := settings[name]; ok {
			return name, true
		}
	}
	return "", false
}

// applierSettings are the settings that a replay changes: whatever of them a server has. Values are as the server says them.
var applierSettings = []string{
	"server_id",
	"replica_parallel_workers", "slave_parallel_workers",
	"replica_parallel_type", "slave_parallel_type",
	"replica_preserve_commit_order", "slave_preserve_commit_order",
}

// ApplierSettings returns the settings of the server that bear on how it executes relay logs, as it has them now. Of two spellings of one setting only the
// newer one is listed.
func (db *DB) ApplierSettings(ctx context.Context) (map[string]string, error) {
	rows, err := db.Query(ctx, "SELECT VARIABLE_NAME, VARIABLE_VALUE FROM performance_schema.global_variables WHERE VARIABLE_NAME IN (?"+
		strings.Repeat(", ?", len(applierSettings)-1)+")", anySlice(applierSettings)...)
	if err != nil {
		return nil, fmt.Errorf("read settings of the applier: %w", err)
	}
	found := make(map[string]string, len(rows))
	for _, r := range rows {
		found[r[0]] = r[1]
	}
	for name := range maps.Clone(found) {
		if option, old := strings.CutPrefix(name, "slave_"); old && found["replica_"+option] != "" {
			delete(found, name)
		}
	}
	return found, nil
}

func anySlice(s []string) []any {
	all := make([]any, len(s))
	for i := range s {
		all[i] = s[i]
	}
	return all
}

// SetApplierSettings changes settings that ApplierSettings returns, until the server stops: all of them or, on an error, none. Threads that run keep what
// they started with.
func (db *DB) SetApplierSettings(ctx context.Context, settings map[string]string) error {
	if len(settings) == 0 {
		return nil
	}
	var set []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if !slices.Contains(applierSettings, name) {
			return fmt.Errorf("set %q: not a setting of the applier", name)
		}
		value := settings[name]
		if strings.Trim(value, "0123456789") != "" || value == "" {
			value = quoteString(value)
		}
		set = append(set, "GLOBAL "+name+" = "+value)
	}
	if err := db.Exec(ctx, "SET "+strings.Join(set, ", ")); err != nil {
		return fmt.Errorf("change settings of the applier: %w", err)
	}
	return nil
}

// PurgeBinlogs removes all binlogs but a new one that it begins. It needs the privilege BINLOG_ADMIN.
func (db *DB) PurgeBinlogs(ctx context.Context) error {
	err := db.Exec(ctx, "FLUSH BINARY LOGS")
	if err == nil {
		err = db.purgeBinlogs(ctx)
	}
	if err != nil {
		return fmt.Errorf("purge binlogs: %w", err)
	}
	return nil
}

func (db *DB) purgeBinlogs(ctx context.Context) error {
	names, err := db.Query(ctx, "SHOW BINARY LOGS")
	if err != nil || len(names) < 2 {
		return err
	}
	return db.Exec(ctx, "PURGE BINARY LOGS TO "+quoteString(names[len(names)-1][0]))
}

// PreparedTransactions returns how many XA transactions are prepared and neither committed nor rolled back, or -1 if the account lacks XA_RECOVER_ADMIN.
func (db *DB) PreparedTransactions(ctx context.Context) (int, error) {
	const erXAManager = 1401 // ER_XAER_RMERR: what the server answers in place of a missing privilege
	rows, err := db.Query(ctx, "XA RECOVER CONVERT XID")
	if hasNumber(err, erXAManager) || IsMissingPrivilege(err) {
		return -1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("list prepared transactions: %w", err)
	}
	return len(rows), nil
}

// SleepingEvents returns the scheduled events, like "shop.nightly", that this server does not execute because it got them by replication. ALTER EVENT …
// ENABLE wakes one. Seen are those of schemas on which the account has the privilege EVENT. See refman/8.4 replication-features-invoked.
func (db *DB) SleepingEvents(ctx context.Context) ([]string, error) {
	names, err := db.strings(ctx, `SELECT CONCAT(EVENT_SCHEMA, '.', EVENT_NAME) FROM information_schema.EVENTS
		WHERE STATUS IN ('REPLICA_SIDE_DISABLED', 'SLAVESIDE_DISABLED') ORDER BY EVENT_SCHEMA, EVENT_NAME`)
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	return names, nil
}
