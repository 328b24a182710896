// Package clone moves a data directory from one pod to another while its server goes on working.
//
// The Donor is a client of its own mysqld's CLONE protocol (package protocol) and relays what the server sends as one
// framed stream (package stream) over HTTP. The Recipient fetches that stream and hands it to a Directory, which builds a
// data directory a stock mysqld starts on.
//
// Three ideas carry the package:
//
//   - A stage is acknowledged to the donor's server only after the recipient has confirmed, with a request of its own, that
//     everything of that stage is durable. Nothing that the donor's server has forgotten can be missing at the recipient.
//   - A stream that merely stops is not finished. Only the end frame, with totals that agree, makes a copy complete.
//   - Every InnoDB page is checked while it passes. A page may be torn in FILE_COPY, because the server copies files that are
//     being written; then PAGE_COPY must bring it again. What is still bad at the end is rot on the donor's disk.
//
// The package does not decide who clones from whom, nor when: that is package agent. It does not talk SQL: what it needs to
// know of the donor's server it asks through the small interfaces it declares.
package clone
