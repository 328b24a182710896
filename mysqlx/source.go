package mysqlx

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// What ConfigureSource sets besides the address and the account. See refman/8.4 change-replication-source-to.
const (
	// HeartbeatPeriod is how often an idle source says that it is there.
	HeartbeatPeriod = 2 * time.Second
	// ConnectRetry is the pause between a replica's attempts to connect.
	ConnectRetry = time.Second
	// RetryCount is the number of attempts before the receiver gives up: the largest that every version and platform takes. Servers
	// from 8.4 on would give up after 10.
	RetryCount = 1<<32 - 1
)

const (
	maxSourceHost     = 255 // characters, from 8.0.17 on
	maxSourceUser     = 32
	maxSourcePassword = 32
)

// A Source is where a replica replicates from, and as whom.
type Source struct {
	Host     string // DNS name or IP address, at most 255 characters
	Port     int
	User     string
	Password string // at most 32 bytes: the server cuts longer ones off in mysql.slave_master_info
}

// String returns account and address, never the password.
func (s Source) String() string { return fmt.Sprintf("%s@%s:%d", s.User, s.Host, s.Port) }

// GoString is String.
func (s Source) GoString() string { return s.String() }

func (s Source) validate() error {
	switch {
	case s.Host == "" || len(s.Host) > maxSourceHost:
		return fmt.Errorf("host of %d characters: want 1 to %d", len(s.Host), maxSourceHost)
	case s.Port < 1 || s.Port > 65535:
		return fmt.Errorf("port %d: want 1 to 65535", s.Port)
	case s.User == "" || len(s.User) > maxSourceUser:
		return fmt.Errorf("user of %d characters: want 1 to %d", len(s.User), maxSourceUser)
	case len(s.Password) > maxSourcePassword:
		return fmt.Errorf("password longer than %d characters", maxSourcePassword)
	case strings.ContainsAny(s.Host+s.User+s.Password, "\x00\n\r"):
		return errors.New("line feed or zero byte in host, user or password")
	}
	return nil
}

// ConfigureSource points the default channel at a source: auto-position, TLS, and the heartbeat and retry settings of this package. The
// channel must be stopped. It drops relay logs that were received but not applied, so it is called only when something differs. No error
// shows the password.
func (db *DB) ConfigureSource(ctx context.Context, src Source) error {
	if err := src.validate(); err != nil {
		return fmt.Errorf("configure source: %w", err)
	}
	s, err := db.statements(ctx)
	if err != nil {
		return fmt.Errorf("configure source: %w", err)
	}
	if err := db.Exec(ctx, s.configureSource(src)); err != nil {
		return fmt.Errorf("configure source %v: %w", src, withoutSecrets(err, src.Password))
	}
	return nil
}

// StartReplica starts receiver and applier of all channels.
func (db *DB) StartReplica(ctx context.Context) error {
	return db.replicaCommand(ctx, "start replica", func(s statements) string { return s.start })
}

// StopReplica stops receiver and applier of all channels. What was received stays to be applied.
func (db *DB) StopReplica(ctx context.Context) error {
	return db.replicaCommand(ctx, "stop replica", func(s statements) string { return s.stop })
}

// ResetReplicaAll forgets all channels: address, account, position and relay logs. They must be stopped. gtid_executed stays.
func (db *DB) ResetReplicaAll(ctx context.Context) error {
	return db.replicaCommand(ctx, "reset replica", func(s statements) string { return s.resetAll })
}

func (db *DB) replicaCommand(ctx context.Context, name string, form func(statements) string) error {
	s, err := db.statements(ctx)
	if err == nil {
		err = db.Exec(ctx, form(s))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// statements asks for the version each time: a server may come back upgraded under the same DB.
func (db *DB) statements(ctx context.Context) (statements, error) {
	var text string
	if err := db.db.QueryRowContext(ctx, "SELECT @@GLOBAL.version").Scan(&text); err != nil {
		return statements{}, err
	}
	v, err := ParseVersion(text)
	return statementsFor(v), err
}
