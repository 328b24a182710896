// Package clone moves a data directory from one pod to another while its server goes on working.
//
// The Donor is a client of its own mysqld's CLONE protocol (package protocol) and relays what the server sends as one
// framed stream (package stream) over HTTP. The Recipient fetches that stream and hands it to a Directory, which builds a
// data directory a stock mysqld starts on.
//
// What holds a snapshot is a session; an attempt is one try to transfer what is missing, over one or more HTTP streams, its lanes. After a
// break the recipient says what it has written, and the next attempt goes on from there. Both agents may die in between: the recipient
// saves what it holds beside the copy, the donor the name of the snapshot on its volume. In FILE_COPY the donor's agent reads the files
// itself where it can (package livefiles), and the server has nothing to do but to hold the snapshot.
//
// Four ideas carry the package:
//
//   - A stage is acknowledged to the donor's server only after the recipient has confirmed, with a request of its own, that
//     everything of that stage is durable. Nothing that the donor's server has forgotten can be missing at the recipient.
//   - Progress is counted at the recipient, in the server's own chunks and blocks, so that it means the same whoever reads the files.
//   - A stream that merely stops is not finished. Only stages that have ended, with totals that agree, make a copy complete.
//   - Every InnoDB page is checked while it passes. A page may be torn in FILE_COPY, because the server copies files that are
//     being written; then PAGE_COPY must bring it again. What is still bad at the end is rot on the donor's disk.
//
// The package does not decide who clones from whom, nor when: that is package agent. It does not talk SQL: what it needs to
// know of the donor's server it asks through the small interfaces it declares.
package clone
