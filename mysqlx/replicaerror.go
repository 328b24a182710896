package mysqlx

import (
	"strconv"
	"strings"
)

// An ErrorClass says what kind of trouble a replication thread is in. Its text is fit for a reason code.
type ErrorClass string

// What the errors of replication threads mean.
const (
	ClassNone         ErrorClass = ""
	ClassDataDrift    ErrorClass = "data_drift"          // rows or tables of the replica are not what the source's were
	ClassPurged       ErrorClass = "binlogs_purged"      // the source has not kept what the replica needs next
	ClassSourceBehind ErrorClass = "source_behind"       // the source lacks transactions of its own that the replica has: it was rolled back
	ClassRelayLog     ErrorClass = "relay_log_damaged"   // what was received cannot be read; ResetReplicaAll and receive it again
	ClassAccount      ErrorClass = "account_collision"   // an account that is created exists, or one that is changed does not
	ClassDiskFull     ErrorClass = "disk_full"           // see also ReplicaStatus.DiskFull
	ClassDuplicateID  ErrorClass = "duplicate_server_id" // another server has this one's server_uuid or server_id
	ClassAccessDenied ErrorClass = "access_denied"       // wrong account or password, or a missing privilege
	ClassUnreachable  ErrorClass = "source_unreachable"  // no connection; the receiver tries again by itself
	ClassOther        ErrorClass = "other"
)

// The numbers that need a look at the message. See refman/8.4 error-reference (mysql-errors), server and client errors.
const (
	erSourceFatal     = 13114 // ER_SERVER_SOURCE_FATAL_ERROR_READING_BINLOG
	erSourceFatal1236 = 1236  // ER_SOURCE_FATAL_ERROR_READING_BINLOG, its former number
	erSourceCommand   = 13120 // ER_RPL_REPLICA_SOURCE_COM_FAILURE
)

var errorClasses = map[int]ErrorClass{
	1007:  ClassDataDrift, // ER_DB_CREATE_EXISTS
	1008:  ClassDataDrift, // ER_DB_DROP_EXISTS
	1032:  ClassDataDrift, // ER_KEY_NOT_FOUND
	1049:  ClassDataDrift, // ER_BAD_DB_ERROR
	1050:  ClassDataDrift, // ER_TABLE_EXISTS_ERROR
	1051:  ClassDataDrift, // ER_BAD_TABLE_ERROR
	1054:  ClassDataDrift, // ER_BAD_FIELD_ERROR
	1060:  ClassDataDrift, // ER_DUP_FIELDNAME
	1061:  ClassDataDrift, // ER_DUP_KEYNAME
	1062:  ClassDataDrift, // ER_DUP_ENTRY
	1091:  ClassDataDrift, // ER_CANT_DROP_FIELD_OR_KEY
	1146:  ClassDataDrift, // ER_NO_SUCH_TABLE
	1304:  ClassDataDrift, // ER_SP_ALREADY_EXISTS
	1305:  ClassDataDrift, // ER_SP_DOES_NOT_EXIST
	1359:  ClassDataDrift, // ER_TRG_ALREADY_EXISTS
	1360:  ClassDataDrift, // ER_TRG_DOES_NOT_EXIST
	1451:  ClassDataDrift, // ER_ROW_IS_REFERENCED_2
	1452:  ClassDataDrift, // ER_NO_REFERENCED_ROW_2
	1677:  ClassDataDrift, // ER_REPLICA_CONVERSION_FAILED
	13146: ClassDataDrift, // ER_SERVER_REPLICA_CONVERSION_FAILED

	1594:  ClassRelayLog, // ER_REPLICA_RELAY_LOG_READ_FAILURE
	1872:  ClassRelayLog, // ER_REPLICA_AM_INIT_REPOSITORY
	13121: ClassRelayLog, // ER_RPL_RELAY_LOG_READ_FAILURE
	13124: ClassRelayLog, // ER_RPL_REPLICA_AM_INIT_REPOSITORY

	1396: ClassAccount, // ER_CANNOT_USER

	1021: ClassDiskFull, // ER_DISK_FULL
	1114: ClassDiskFull, // ER_RECORD_FILE_FULL

	13117: ClassDuplicateID, // ER_RPL_FATAL_ERROR

	1044: ClassAccessDenied, // ER_DBACCESS_DENIED_ERROR
	1045: ClassAccessDenied, // ER_ACCESS_DENIED_ERROR
	1130: ClassAccessDenied, // ER_HOST_NOT_PRIVILEGED
	1227: ClassAccessDenied, // ER_SPECIFIC_ACCESS_DENIED_ERROR
	1698: ClassAccessDenied, // ER_ACCESS_DENIED_NO_PASSWORD_ERROR
	3118: ClassAccessDenied, // ER_ACCOUNT_HAS_BEEN_LOCKED

	1040: ClassUnreachable, // ER_CON_COUNT_ERROR
	1053: ClassUnreachable, // ER_SERVER_SHUTDOWN
	1129: ClassUnreachable, // ER_HOST_IS_BLOCKED
	2002: ClassUnreachable, // CR_CONNECTION_ERROR
	2003: ClassUnreachable, // CR_CONN_HOST_ERROR
	2005: ClassUnreachable, // CR_UNKNOWN_HOST
	2006: ClassUnreachable, // CR_SERVER_GONE_ERROR
	2013: ClassUnreachable, // CR_SERVER_LOST
	2026: ClassUnreachable, // CR_SSL_CONNECTION_ERROR
	2055: ClassUnreachable, // CR_SERVER_LOST_EXTENDED
	3032: ClassUnreachable, // ER_SERVER_OFFLINE_MODE
}

// fatalTexts tell apart what a source answers instead of its binlog. The server has these sentences in English only: they are the same in
// the message files of all its languages, or not in these files at all. They have changed their word for the source, which is left out here.
var fatalTexts = []struct {
	text  string
	class ErrorClass
}{
	{"purged required binary logs", ClassPurged},
	{"has more GTIDs than the", ClassSourceBehind},
	{"with the same server_uuid/server_id", ClassDuplicateID},
}

// Class says what kind of error it is, by its number. Where the number has several meanings the message decides, whatever language the
// server speaks.
func (e ReplicaError) Class() ErrorClass {
	switch e.Number {
	case 0:
		return ClassNone
	case erSourceFatal, erSourceFatal1236:
		for _, f := range fatalTexts {
			if strings.Contains(e.Message, f.text) {
				return f.class
			}
		}
	case erSourceCommand: // "… (Errno: 1045)"
		if i := strings.LastIndex(e.Message, "(Errno: "); i >= 0 {
			digits, _, _ := strings.Cut(e.Message[i+len("(Errno: "):], ")")
			if n, err := strconv.Atoi(digits); err == nil && errorClasses[n] != "" {
				return errorClasses[n]
			}
		}
	}
	if class, ok := errorClasses[e.Number]; ok {
		return class
	}
	return ClassOther
}
