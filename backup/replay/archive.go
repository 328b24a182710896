package replay

import (
	"context"
	"io"
	"time"

	"ordinal/mysqlx"
)

// A Segment is what an archive says of one of its segments: a binlog of whole transactions.
type Segment struct {
	Name  string         // for messages, and for the archive to find it again
	GTIDs mysqlx.GTIDSet // of the transactions in it
	// Before is what the server that the segment was read from had executed before the first of them: without all of that they cannot be executed.
	Before mysqlx.GTIDSet
	// Abandons are transactions of earlier segments that are not in the history of this one: the source that had them was replaced by a server that had not.
	// A point before this segment may have them, one after it has not.
	Abandons mysqlx.GTIDSet
	// First and Last are the earliest and the latest time at which a transaction in it was first committed, in microseconds, UTC.
	First, Last time.Time
	Bytes       int64 // of the binlog; 0 if unknown
}

// An Archive has the binlogs of a lineage, in segments. Its methods are called by one goroutine at a time.
type Archive interface {
	// Segments returns all segments, in the order in which their transactions were logged, as far as there is one: segments may overlap, and one may repeat
	// what others have. Their headers were checked.
	Segments() []Segment
	// End returns what is known of the archive's end to who has executed from: the time up to which nothing is missing, so that whatever was committed until
	// then is in its segments, which may be later than the last transaction, zero if it is not known; and the transactions that are known to be missing.
	End(from mysqlx.GTIDSet) (until time.Time, missing mysqlx.GTIDSet)
	// Open returns a segment as a binlog: magic, format description, perhaps previous GTIDs, transactions, perhaps an event that ends the file. It was checked,
	// or is while it is read: an error instead of the end says that it is not what was archived. The caller closes it.
	Open(ctx context.Context, s Segment) (io.ReadCloser, error)
}
