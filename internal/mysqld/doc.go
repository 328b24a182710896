// Package mysqld runs a real mysqld that is on this machine, on a data directory of ours, as one process of ours: to look whether a backup starts, or to
// replay an archive. The server is the one that is installed; this package brings none.
//
// The server that it runs cannot be reached but by us: no network, a unix socket in a directory of its own that nobody else may enter. It replicates from
// nobody by itself, runs no events, reads no option file and no persisted variables, and gets nothing of our environment, where secrets may be.
// It never outlives us: see [Run].
package mysqld
