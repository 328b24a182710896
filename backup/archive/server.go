package archive

import (
	"context"

	"ordinal/mysqlx"
)

// A Server is where a binary log comes from. [Local] is one.
type Server interface {
	Clock
	// Dump sends the binary log from the first transaction on that is not in have, and ends with ctx. See [mysqlx.StartDump].
	Dump(ctx context.Context, have mysqlx.GTIDSet) (Dump, error)
}

// A Clock says what a server has executed at a moment.
type Clock interface {
	BinlogState(ctx context.Context) (mysqlx.BinlogState, error)
}

// A Dump is a binary log as a server sends it: a [mysqlx.Dump].
type Dump interface {
	Next() (mysqlx.DumpEvent, error)
	Read(p []byte) (int, error)
	Close() error
}

// Local is a server on this machine.
type Local struct {
	*mysqlx.DB
	endpoint mysqlx.Endpoint
}

var _ Server = Local{}

// NewLocal returns a Server that logs in as e says; the account needs REPLICATION SLAVE and REPLICATION CLIENT. It connects when it is used. The
// caller closes it.
func NewLocal(e mysqlx.Endpoint) (Local, error) {
	db, err := mysqlx.Open(e)
	return Local{db, e}, err
}

// Dump implements [Server].
func (l Local) Dump(ctx context.Context, have mysqlx.GTIDSet) (Dump, error) {
	return mysqlx.StartDump(ctx, l.endpoint, mysqlx.DumpRequest{Have: have})
}
