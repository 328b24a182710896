// Package livefiles reads the data files of a running mysqld beside it, as the server's own FILE_COPY would send them.
//
// A client of the clone protocol that shares the donor's volume and kernel may read the files itself and tell the donor that
// it has them: the donor's mysqld is then spared most of the work. It is correct because FILE_COPY is fuzzy by design:
// whatever the server writes from the start of that stage on it sends again in PAGE_COPY. So any read made between
// FILE_COPY's START and its acknowledgement will do, as long as it is a read of the live file, not of a copy, a snapshot or a
// stale cache.
//
// Three ideas carry the package:
//
//   - Doubt means no. A directory that is not proven to be the live one is refused by Check; a file about which anything is
//     odd is left to the server, which sends it as ever. Nothing here is needed for a clone to succeed.
//   - Files are opened once, checked on the open descriptor, and never looked up again: a descriptor keeps its file through
//     renames and drops, which the server announces afterwards.
//   - Data is cut as the server cuts it, into chunks and blocks, so that progress means the same whoever reads.
//
// The package neither speaks the protocol nor knows when reading is allowed: that is its caller's part. It does not check
// pages either; the recipient does.
package livefiles
