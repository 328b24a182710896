// Package bootcheck finds out whether a backup is what it claims to be by the only test that counts: a real mysqld starts on a restored copy of it.
//
// There every table that is stored is read from end to end ([Run]): CHECK TABLE for all of them, and CHECKSUM TABLE for those of which the backup knows what
// they held on the donor. Nobody can read a checksum at the very moment of the copy without stopping the donor. So the donor reads them twice, before and after
// the copy, and what is the same both times is what the copy must hold ([Match]). Tables that were changed meanwhile, or for which no time was allowed, are
// listed, never passed over in silence.
//
// The package knows nothing of stores and segments: it is given a directory, and gives back a [Result]. docs/formats/backup-checks.md describes the files.
package bootcheck
