// Package archive keeps a server's binary log in a store, so that a backup can be brought to any later point in time.
//
// An [Archiver] reads the log as a replica would, by GTID and including what is being written, and stores it in segments of some seconds or some MiB.
// A segment holds whole transactions and says in its header, which is sealed, which ones and which come before them. That is all that continuity
// needs: it is proven by set arithmetic over the headers ([Load], [Index.Path]), never by names, order or time of the objects. Objects are written
// once, under names that nobody else uses, and what two archivers write at the same time overlaps and does no harm. [Compact] puts many small objects
// into one; a [Guard] keeps the server from purging what is not archived yet, as long as there is room.
//
// The package does not replay anything, does not choose which pod archives, and logs nothing: see [Archiver.Status]. See
// docs/formats/binlog-archive.md.
package archive
