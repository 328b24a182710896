package mysqlx

import (
	"fmt"
	"strings"
)

// sessionSQLMode is the sql_mode of all our sessions. NO_BACKSLASH_ESCAPES makes a backslash an ordinary character, so that
// a string is quoted by doubling its quotes and nothing else, and no server-wide sql_mode can change that.
const sessionSQLMode = "NO_BACKSLASH_ESCAPES,STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION"

// quoteString returns s as an SQL string for statements that take no placeholders. It is right under sessionSQLMode only.
func quoteString(s string) string {
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

// statements are the forms of one server version. The old words are the only ones that old servers know, and unknown to new ones.
type statements struct {
	changeSource string // up to and with TO
	optionPrefix string // of each option: SOURCE_HOST or MASTER_HOST
	start        string
	stop         string
	resetAll     string
	receiver     string // after start or stop: only the receiver
	channel      string // after anything: the default channel only
}

// statementsFor returns what a server of version v understands. See refman/8.0 change-replication-source-to (from 8.0.23) and
// refman/8.0 start-replica (from 8.0.22).
func statementsFor(v Version) statements {
	s := statements{
		changeSource: "CHANGE REPLICATION SOURCE TO",
		optionPrefix: "SOURCE_",
		start:        "START REPLICA",
		stop:         "STOP REPLICA",
		resetAll:     "RESET REPLICA ALL",
		receiver:     " IO_THREAD",
		channel:      " FOR CHANNEL ''",
	}
	if !v.AtLeast(8, 0, 23) {
		s.changeSource, s.optionPrefix = "CHANGE MASTER TO", "MASTER_"
	}
	if !v.AtLeast(8, 0, 22) {
		s.start, s.stop, s.resetAll = "START SLAVE", "STOP SLAVE", "RESET SLAVE ALL"
	}
	return s
}

// configureSource returns the statement that points a replica at its source. It contains the password.
func (s statements) configureSource(src Source) string {
	options := []string{
		"HOST = " + quoteString(src.Host),
		fmt.Sprintf("PORT = %d", src.Port),
		"USER = " + quoteString(src.User),
		"PASSWORD = " + quoteString(src.Password),
		"AUTO_POSITION = 1",
		"SSL = 1",
		fmt.Sprintf("HEARTBEAT_PERIOD = %.3f", HeartbeatPeriod.Seconds()),
		fmt.Sprintf("CONNECT_RETRY = %d", int(ConnectRetry.Seconds())),
		fmt.Sprintf("RETRY_COUNT = %d", RetryCount),
	}
	for i, option := range options {
		options[i] = s.optionPrefix + option
	}
	return s.changeSource + " " + strings.Join(options, ", ")
}
