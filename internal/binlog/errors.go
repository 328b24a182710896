package binlog

import (
	"errors"
	"fmt"
)

// ErrEncrypted says that a binlog is encrypted at rest (binlog_encryption=ON). Only the server that wrote it can decrypt it.
var ErrEncrypted = errors.New("binlog is encrypted at rest; " +
	"read it through its server, with mysqlbinlog --read-from-remote-server, as long as that runs")

// A DamageError says where a binlog is not what a server writes: it was cut off, changed on disk, or is of a format that this package does
// not know.
type DamageError struct {
	File     string
	Position int64 // of the event, in bytes
	Problem  string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("binlog %s is damaged at position %d: %s", e.File, e.Position, e.Problem)
}
