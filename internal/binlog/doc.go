// Package binlog reads the binary logs of a data directory and exports transactions from them as a file that any server can execute.
//
// A Reader goes through the events of one file and verifies the checksum of each; Transactions groups them. Neither knows about
// files or directories, and neither holds more than a fixed part of an event in memory, so a transaction may have any size. Export goes through
// all binlogs that an index file names and copies the transactions of a GTID set, byte for byte, so that they keep their GTIDs
// and a server that has one of them already skips it. See docs/formats/errant-transactions.md.
//
// A file that mysqld is writing to is read as far as it is complete. Anything else that is not as it should be is an error that names file and
// position: a reader never skips over what it does not understand within a transaction and never returns part of one.
//
// The package reads what servers from 8.0.17 on write. It does not look into rows, decompresses nothing and cannot read encrypted logs. See
// refman/8.4 binary-log and, for the layout of events, the server's source documentation of its binlog event library.
package binlog
