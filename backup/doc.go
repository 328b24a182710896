// Package backup makes and reads backups: a copy of a data directory as a donor streams it, in segments in a store, and a manifest that names them.
//
// A backup is the clone's own sequence of events (package stream), kept. Who has a copy coming in hands it to a Taker, which Create makes; Restore
// hands it to an Applier, which builds the data directory. Nothing is staged on a disk on the way, and memory is fixed.
//
// Three ideas carry the package:
//
//   - The manifest is written last, after the store was asked to show what it has got. A backup without one does not exist, and one with one was whole.
//   - Everything read is checked before it is used: the manifest by its seal, which only a holder of the cluster's secret can make, everything else by
//     the sizes and digests in the manifest. A store may lose and change things; it is found out, and said what it was.
//   - A segment is a stream of its own, which begins where the one before it ended. So segments can be fetched, decrypted and unpacked in parallel,
//     and a restore that was interrupted goes on with the segment that it was at.
//
// The package does not know where copies come from, nor what a data directory is. Which backups a store has and which of them are kept is the
// work of package catalog. The format is docs/formats/backup.md.
package backup
