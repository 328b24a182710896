// Package protocol is a client of the MySQL server's CLONE protocol: it receives a
// physical snapshot of a running, stock server, the donor, without a server at the
// receiving end.
//
// A [Session] is one clone: a main connection that carries the order of events, an
// auxiliary one for acknowledgements (the donor does not read the main connection
// while it sends), and any number of workers that share the transfer. The donor
// pushes; the session checks what arrives, keeps the order between connections that
// the protocol demands, and hands everything to a [Sink].
//
// The package knows nothing of files or networks: it does not dial, authenticate,
// create or write anything, and it has no opinion on names beyond their bounds.
// Everything the donor sends is treated as hostile: lengths, indexes, counts and the
// order of messages are checked before they are believed.
//
// Integers of the RPC layer are little-endian (rpc.go), those of the InnoDB
// descriptors big-endian (descriptor.go).
//
// # Resuming
//
// REINIT is not spoken yet. Its seams are: [Sink.StageEnd], which delays the
// acknowledgement until the receiver is safe; the [Locator], which names the snapshot;
// [Data] with Chunk and Block, from which a receiver can keep the progress that a
// restart locator carries (a donor never goes back a stage, so progress must be counted
// at the receiver, from what is durable); and [Parameters.ReconnectWindow]. A session
// that fails because a connection broke leaves the donor's snapshot in place for that
// window, or until the donor is asked for a new one; a session that was cancelled, or
// whose sink failed, tells the donor to release it.
package protocol
