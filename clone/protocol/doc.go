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
// A donor whose connections broke keeps the snapshot for [Parameters.ReconnectWindow], until somebody asks for a new one, or until its
// server ends. [Resume] goes on with it, over new connections, possibly in another process. It wants two things. The [Snapshot], kept
// at the donor's side and saved anew at each stage, says which snapshot it is and how far the donor has gone. The [Progress], counted at
// the receiver from what is safe there, says what need not be sent: chunks, of some the first blocks only (the donor goes on behind
// them), and whether a stage is held whole. A donor never goes back a stage. That is why [Sink.StageEnd] delays the acknowledgement,
// and why a receiver that has lost what it said it had must start over.
//
// Two mistakes would hurt others, so they are made impossible here. A donor's names of snapshots begin anew with its server process: with
// a locator from before, REINIT would succeed on somebody else's snapshot. Each connection is therefore asked when its server began. And
// a bitmap with one chunk more than the donor has ends the donor's server: the count is never taken from the receiver.
//
// A session whose connection to the donor broke, or which was kept ([ErrKeep], [Session.Keep]), leaves the snapshot to be resumed; one
// that was cancelled, or whose sink failed, tells the donor to release it.
//
// # Copying beside the donor
//
// FILE_COPY may come from elsewhere: who can read the donor's files says by [Options.Take] which chunks he reads himself, the donor is told, by a
// restart, that they are received, and sends the others, and what DDL and writes changed meanwhile, as always. The stage is held by not
// acknowledging it. Main is read meanwhile, so that a broken donor is noticed, and new connections renew the hold before the donor's
// patience of 30 minutes ends ([Options.Renew]).
package protocol
