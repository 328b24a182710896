// Package s3store keeps a [store.Store] in a bucket of an S3-compatible server, below a prefix.
//
// A small object is one request, a large one a multipart upload whose parts are held in memory until the server has them: that bounds the memory, and
// makes a part that fails worth nothing but itself. Each request carries the CRC-32C of its body, which a server that knows it checks; afterwards the
// object is looked at once more. Every upload has an id of its own in the object's metadata, so that an answer that was lost can be told from
// somebody else's object.
//
// Bodies go out as they are, never in the chunks that AWS signs or ends with a trailer: some compatible servers store those as data. A connection on which
// no byte moves in either direction for a while is closed; there are no deadlines.
package s3store
