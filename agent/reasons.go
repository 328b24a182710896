package agent

//go:generate go test -run TestReasonCodesAreDocumented -update

// Code names a reason. Codes are an API: alerts and scripts match on them. They are only ever added to.
type Code string

// The reason codes. docs/reason-codes.md explains each; a test keeps both equal.
const (
	// Any time.
	CodeStarting    Code = "starting"
	CodeTerminating Code = "terminating"
	CodeStatusStale Code = "status_stale"

	// Peers.
	CodePeerAbsent   Code = "peer_absent"
	CodePeerSilent   Code = "peer_silent"
	CodePeerStranger Code = "peer_stranger"
	CodeDNSFailed    Code = "dns_failed"

	// The volume.
	CodeVolumeNotWritable      Code = "volume_not_writable"
	CodeVolumeLocked           Code = "volume_locked"
	CodeVolumeDamaged          Code = "volume_damaged"
	CodeForeignData            Code = "foreign_data"
	CodeInterruptedFirstStart  Code = "interrupted_first_start"
	CodeSiblingsHaveData       Code = "siblings_have_data"
	CodeSiblingsDiverged       Code = "siblings_diverged"
	CodeSiblingApplying        Code = "sibling_applying"
	CodeSourceMustNotStartOver Code = "source_must_not_start_over"
	CodeNoSpace                Code = "no_space"

	// The clone, seen by the recipient.
	CodeDonorNotReady        Code = "donor_not_ready"
	CodeDonorBusy            Code = "donor_busy"
	CodeDonorRefused         Code = "donor_refused"
	CodeDonorRestarted       Code = "donor_restarted"
	CodeStreamTruncated      Code = "stream_truncated"
	CodeStreamCorrupt        Code = "stream_corrupt"
	CodeCloneStalled         Code = "clone_stalled"
	CodeCloneInterrupted     Code = "clone_interrupted"
	CodeSnapshotGone         Code = "snapshot_gone"
	CodeBadPages             Code = "bad_pages"
	CodeVersionMismatch      Code = "version_mismatch"
	CodePageSizeMismatch     Code = "page_size_mismatch"
	CodeEncryptedTablespaces Code = "encrypted_tablespaces"
	CodeDataDirectoryTables  Code = "data_directory_tables"
	CodeNonInnoDBTables      Code = "non_innodb_tables"

	// mysqld.
	CodeMysqldNotAnswering  Code = "mysqld_not_answering"
	CodeMysqldInitialising  Code = "mysqld_initialising"
	CodeMysqldUnsupported   Code = "mysqld_unsupported"
	CodeMysqldError         Code = "mysqld_error"
	CodeAccessDenied        Code = "access_denied"
	CodeRootPasswordMissing Code = "root_password_missing"
	CodeConfigOverridden    Code = "config_overridden"
	CodeClusterIDMissing    Code = "cluster_id_missing"
	CodeReadOnlyReasserted  Code = "super_read_only_reasserted"

	// The source's gate.
	CodeSiblingAhead         Code = "sibling_ahead"
	CodeSiblingSilent        Code = "sibling_silent"
	CodeSiblingsAreStrangers Code = "siblings_are_strangers"

	// Replication.
	CodeSourceUnreachable  Code = "source_unreachable"
	CodeSourceNotOpen      Code = "source_not_open"
	CodeSourceIsStranger   Code = "source_is_stranger"
	CodeReceiverStopped    Code = "receiver_stopped"
	CodeApplierStopped     Code = "applier_stopped"
	CodeLagAboveBound      Code = "lag_above_bound"
	CodeLagUnknown         Code = "lag_unknown"
	CodeErrantTransactions Code = "errant_transactions"
	CodeBinlogsPurged      Code = "binlogs_purged"
	CodeDuplicateUUID      Code = "duplicate_server_uuid"
	CodeDiskFull           Code = "disk_full"
	CodeChannelElsewhere   Code = "channel_elsewhere"
	CodeReplicationHeld    Code = "replication_held"
	CodeDataDrifted        Code = "data_drifted"
	CodeNotCloned          Code = "not_cloned"

	// Healing.
	CodeRebuildNeeded Code = "rebuild_needed"
	CodeRebuilding    Code = "rebuilding"
	CodeRebuildFailed Code = "rebuild_failed"
	CodeRequested     Code = "requested"

	// Durability.
	CodeNobodyAcknowledges Code = "nobody_acknowledges"
	CodeSemisyncMissing    Code = "semisync_missing"

	// Backups.
	CodeRestoring        Code = "restoring"
	CodeReplaying        Code = "replaying"
	CodeReplayFailed     Code = "replay_failed"
	CodeRestoredBehind   Code = "restored_behind_sibling"
	CodeStoreUnavailable Code = "store_unavailable"
	CodeNoBackup         Code = "no_backup"
	CodeBackupKnown      Code = "backup_known"
	CodeArchiveGap       Code = "archive_gap"
	CodeArchiveLate      Code = "archive_late"
)

// CodeDoc explains a code to the operator.
type CodeDoc struct {
	Code    Code
	Meaning string
	Remedy  string
}

const byItself = "Nothing: it ends by itself."

// Codes lists every code with its explanation, in the order of the documentation.
func Codes() []CodeDoc {
	return []CodeDoc{
		{CodeStarting, "The agent has just started and has not observed anything yet.", byItself},
		{CodeTerminating, "The agent was told to stop and is finishing what it serves.", byItself},
		{CodeStatusStale, "The last observation is too old to be believed; the answer shows what was true then.", "Look at the agent's log; `/livez` says whether its loop still turns."},

		{CodePeerAbsent, "DNS knows no such pod.", "If the pod should exist: does the governing Service have `publishNotReadyAddresses: true`, and is `--service` its name?"},
		{CodePeerSilent, "The pod's name is known, but its agent does not answer.", "Look at that pod. A NetworkPolicy must let the set's pods reach each other's ports 3307 and 3306."},
		{CodePeerStranger, "Somebody answers in the pod's place who does not hold this cluster's secret, or is another pod.", "Mount the same secret into every pod; check that no other set uses the same names."},
		{CodeDNSFailed, "The name server did not give an answer about the governing Service.", "Usually passes. Otherwise check `--service` and cluster DNS, or give `--replicas`."},

		{CodeVolumeNotWritable, "The agent may not write to the volume.", "Run the agent as mysqld's user (uid 999 in the official image) and set `fsGroup: 999`."},
		{CodeVolumeLocked, "Another agent works on this volume.", "Wait for the other one to end. If it runs on another node, find out why the volume is mounted twice."},
		{CodeVolumeDamaged, "The volume's layout or records contradict each other. Nothing was changed.", "Keep the volume; read the message and docs/what-if.md#volume_damaged."},
		{CodeForeignData, "The volume holds a data directory or files that the agent did not make.", "Start once with `--adopt` to take a data directory over, or give the pod an empty volume."},
		{CodeInterruptedFirstStart, "The first initialisation on this volume began and never ended. mysqld is never started on the rest: it may lack passwords. It is kept in `quarantine/`.", "Nothing: a new one begins. Remove the quarantine when nobody needs it."},
		{CodeSiblingsHaveData, "The source's volume is empty but its siblings have data: it is cloned from the one that has most.", byItself},
		{CodeSiblingsDiverged, "Of several pods none has everything that any of them has. Nothing is chosen and nothing is changed; the message says what each has.", "Keep every volume. Decide whose data is the right one; export what the others have (`errant_transactions`), then rebuild them."},
		{CodeSiblingApplying, "The pod to copy from has received transactions that it has not executed yet; they are waited for.", "Nothing, unless its applier has stopped: see that pod's reasons."},
		{CodeSourceMustNotStartOver, "The source's volume is empty and it is not certain that no data exists anywhere.", "Let all siblings start (`podManagementPolicy: Parallel`). For a new cluster only: `--allow-empty-source`."},
		{CodeNoSpace, "The volume has no room for the copy; what was copied has been removed. The message has the bytes: `need=` and `have=`.", "Enlarge the volume or free space on it; the copy begins by itself when there is room."},

		{CodeDonorNotReady, "The donor cannot give a copy now: it is being built itself, is not replicating or its mysqld does not answer.", byItself},
		{CodeDonorBusy, "The donor serves another recipient.", byItself},
		{CodeDonorRefused, "The donor will not give a copy to this pod.", "Read the message: it names what does not fit."},
		{CodeDonorRestarted, "The donor's mysqld or agent ended during the copy.", byItself},
		{CodeStreamTruncated, "The copy stopped before its end mark.", byItself},
		{CodeStreamCorrupt, "A frame of the copy failed its checksum or made no sense.", "If it comes back: the network or a machine's memory damages data."},
		{CodeCloneStalled, "No byte has arrived for too long, not even a heartbeat. The copy goes on as soon as the donor answers.", byItself},
		{CodeCloneInterrupted, "The connection to the donor broke in mid-copy. What has arrived is kept, and the copy goes on from there.", byItself},
		{CodeSnapshotGone, "The donor no longer holds the snapshot that an unfinished copy was made from: its mysqld was restarted, or nobody asked for too long. The copy starts over.", byItself},
		{CodeBadPages, "InnoDB pages of the copy fail their own checksum: the donor's disk is rotten at the file and page named.", "Check the donor's disk and tables (`innochecksum`, `CHECK TABLE`); restore them or rebuild that pod from another one."},
		{CodeVersionMismatch, "Donor and recipient run MySQL versions between which CLONE does not work.", "Run the same version in all pods; upgrade replicas first, the source last."},
		{CodePageSizeMismatch, "Donor and recipient have different `innodb_page_size`.", "Give all pods the same."},
		{CodeEncryptedTablespaces, "The donor has encrypted tablespaces, which are not copied.", "Decrypt the tables named, or copy by other means."},
		{CodeDataDirectoryTables, "The donor has tables outside its data directory, which are not copied.", "Move the tables named into the data directory."},
		{CodeNonInnoDBTables, "The donor has tables of other engines; they arrive empty.", "Convert the tables named to InnoDB."},

		{CodeMysqldNotAnswering, "The pod's mysqld does not answer.", "Look at its log. During crash recovery this is normal."},
		{CodeMysqldInitialising, "The image is initialising the database for the first time.", byItself},
		{CodeMysqldUnsupported, "The server is not MySQL 8.0.17 or later.", "Use a supported image."},
		{CodeMysqldError, "mysqld refused what the agent asked.", "Read the message and mysqld's log."},
		{CodeAccessDenied, "mysqld does not accept the agent's account.", "Is the secret the one this cluster was made with? On a pod without accounts, is the root password right?"},
		{CodeRootPasswordMissing, "The agent must create its accounts and has no root password.", "Set `MYSQL_ROOT_PASSWORD_FILE` or `--root-password-file` for the agent too."},
		{CodeConfigOverridden, "Another option file or SET PERSIST overrides what the agent configured.", "Remove the setting the message names."},
		{CodeClusterIDMissing, "The data carries no cluster identity yet.", "Passes once the source has created the accounts."},
		{CodeReadOnlyReasserted, "Somebody turned `super_read_only` off; the agent turned it on again.", "Find out who: writes in between are errant transactions."},

		{CodeSiblingAhead, "A sibling holds transactions that the source lacks: its volume was rolled back, or a crash cost it the end of its binlog. It catches up from the sibling before it takes writes.", byItself},
		{CodeSiblingSilent, "A sibling that may hold newer data does not answer; writes stay closed for `--gate-patience`.", "Bring the sibling back."},
		{CodeSiblingsAreStrangers, "Pods of the set hold data of another cluster than this source: it was born empty while they had data.", "Decide whose data is the right one. If theirs: `agent rebuild` in this pod, then delete the pod; its data goes to quarantine and it is cloned from them."},

		{CodeSourceUnreachable, "The replica cannot reach the source.", "Look at the source. The replica goes on by itself when it is back."},
		{CodeSourceNotOpen, "The source is up but does not take writes yet.", byItself},
		{CodeSourceIsStranger, "The source's history does not contain this replica's: it is not followed.", "The source lost its data or belongs to another cluster. Nothing on this replica is lost; do not delete its volume."},
		{CodeReceiverStopped, "The receiver thread stopped with an error.", "Read the message; the agent starts it again where that can help."},
		{CodeApplierStopped, "The applier stopped with an error.", "Read the message. Never skip transactions: rebuild the replica."},
		{CodeLagAboveBound, "The replica is further behind than `--max-lag`.", "Usually passes; look for long transactions and a slow disk."},
		{CodeLagUnknown, "How far behind the replica is cannot be told.", "See the other reasons."},
		{CodeErrantTransactions, "The replica has transactions that did not come from the source. They are exported to a file that can be replayed, then the replica is cloned anew.", "Find out who wrote; replay the file on the source if the transactions are wanted."},
		{CodeBinlogsPurged, "Nobody has the binlogs any more that this pod needs: it is cloned anew.", "Keep binlogs longer (`binlog_expire_logs_seconds`)."},
		{CodeDuplicateUUID, "Another server has the same `server_uuid`: the data directory was copied with its `auto.cnf`. mysqld is restarted with a new one.", byItself},
		{CodeDiskFull, "mysqld waits for disk space.", "Enlarge the volume; it goes on by itself."},
		{CodeChannelElsewhere, "The replica's channel pointed at another server than the set's source. It was stopped, and is pointed at the source.", "Find out who changed it."},
		{CodeReplicationHeld, "Somebody asked the agent not to start replication (`agent hold`).", "`agent release` when it may."},
		{CodeDataDrifted, "The applier cannot execute a transaction of the source because the replica's rows are not the source's. It is cloned anew.", "Find out who wrote to the replica."},
		{CodeNotCloned, "A replica's data was initialised by itself instead of cloned from the set. It is cloned anew.", byItself},

		{CodeRebuildNeeded, "The pod's data has to be replaced by a new copy, and `--heal=report` forbids the agent to do so.", "Run `agent plan` to see what would be done, `agent rebuild` to do it."},
		{CodeRebuilding, "A new copy is being made beside the data, which goes to `quarantine/` when the copy is complete.", byItself},
		{CodeRebuildFailed, "A new copy could not be made; the message says why. It is tried again.", "Read the message."},
		{CodeRequested, "Somebody asked for it (`agent rebuild`).", byItself},

		{CodeNobodyAcknowledges, "With `--durability=semisync` a commit is acknowledged when a replica has it, and there is none: commits wait.", "Bring a replica back. `--durability=async` gives the promise up."},
		{CodeRestoring, "An empty source whose siblings have nothing is restored from the set's backup (`--restore-from`).", byItself},
		{CodeReplaying, "Data was restored from a backup, and what was archived after it is executed before anybody may use it.", byItself},
		{CodeReplayFailed, "The archive could not be replayed; the message says why. It is tried again, and the pod takes no writes.", "Read the message. To do without the rest of the archive restore again, to a point that can be reached."},
		{CodeRestoredBehind, "This source was restored from a backup, and a sibling has transactions that came after it. Nobody knows whether they are wanted: it takes no writes.", "If they are to be undone, delete the replicas' volumes: they clone the restored data. If they are wanted, bring the old data back (`agent quarantine undo`), or delete this pod's volume: it is cloned from the sibling."},
		{CodeStoreUnavailable, "The store with the backups does not answer. Nothing is decided without it.", "See what is wrong with it; the message says what it said."},
		{CodeNoBackup, "The store is this set's and has no backup that can be restored.", "If the set is to start empty: `--allow-empty-source`."},
		{CodeBackupKnown, "The source's volume is empty and no sibling has data, but the set's store says that there was some. Nothing is started empty.", "Restore it: `--restore-from`, or `agent restore`. To begin a new cluster: another `--store`, or `--allow-empty-source`."},
		{CodeArchiveGap, "The archive of the binlogs lacks transactions that were purged before they were archived: no point in time behind them can be reached from an older backup.", "Make a new backup: points after it can be reached. Keep binlogs longer."},
		{CodeArchiveLate, "The archive of the binlogs is far behind; the message says why.", "Read the message."},

		{CodeSemisyncMissing, "The server lacks the plugins for semi-synchronous replication.", "Use an image that has them, MySQL 8.0.26 or later."},
	}
}
