// Package find looks for transactions in binlogs, by what they do to which table: for the one before which a replay has to stop.
//
// It goes through binlogs of a directory or of an archive, event by event, with the fixed memory of a binlog.Reader. Of changes of rows it knows the tables
// exactly, in compressed transactions too. Of statements, DDL above all, it knows what their text tells; what it does not understand it lists for every table,
// as unclear, rather than hide it. Values are never looked at or shown, and statements that may hold a secret are listed without their text.
package find
